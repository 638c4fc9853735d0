"""Post: send one feedback to the endpoint of another machine and understand its answer."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

import msgspec

from otel_gen.errors import SettingsError
from otel_gen.signing import signed

_MOST = 65_536


@dataclass(frozen=True)
class Answer:
    """What became of one sending: `ok`, or `final` where it never will; `reached` whether a service answered."""

    ok: bool
    reason: str
    final: bool = False
    reached: bool = True


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What is signed goes where it was addressed to."""

    def redirect_request(self, *_: Any) -> None:
        return None


_open = urllib.request.build_opener(_NoRedirect).open


def checked_url(url: str) -> str:
    """Check an endpoint's URL. Raises SettingsError."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise SettingsError(
            f"{url[:80]!r} is no address of an endpoint; write https://host:port/otel-gen/feedback"
        )
    return url


def post(url: str, key: bytes | None, body: bytes, timeout: float) -> Answer:
    """Send a body, signed anew each time; never raises for what the network does."""
    headers = {"Content-Type": "application/json"} | (signed(key, body, time.time()) if key else {})
    request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - checked_url
    try:
        with _open(request, timeout=timeout) as answer:
            return _understood(answer.status, answer.read(_MOST))
    except urllib.error.HTTPError as error:
        with error:
            return _understood(error.code, _rest(error))
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        return Answer(ok=False, reason=f"no answer: {reason}"[:200], reached=False)


def _rest(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read(_MOST)
    except (OSError, http.client.HTTPException):
        return b""


def _understood(status: int, body: bytes) -> Answer:
    """Read the endpoint's JSON; what somebody else answers on its behalf decides nothing."""
    try:
        found = msgspec.json.decode(body, type=_Reply)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Answer(ok=False, reason=f"status {status}, and not from a feedback endpoint")
    return Answer(found.ok and status == 200, found.reason, found.final and not found.ok)


class _Reply(msgspec.Struct):
    ok: bool
    reason: str
    final: bool = False
