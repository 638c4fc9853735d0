"""Signing: how feedback is signed on its way to another machine, for both ends."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Final

from otel_gen.errors import SettingsError

TIMESTAMP: Final = "X-Otel-Gen-Timestamp"
NONCE: Final = "X-Otel-Gen-Nonce"
SIGNATURE: Final = "X-Otel-Gen-Signature"
WINDOW: Final = 300
"""Seconds that the clocks of both ends may differ, either way."""
_LEAST = 16
_SECONDS = re.compile(r"[0-9]{1,12}")
_WORD = re.compile(r"[A-Za-z0-9_-]{16,64}")


class SignatureError(Exception):
    """Tell why a request is not believed; the text is one of a few fixed words."""


def key_bytes(key: str | bytes) -> bytes:
    """Check a key: at least 16 bytes. Raises SettingsError, which never shows it."""
    if not isinstance(key, (str, bytes, bytearray)):  # bytes(32) would be a key that everybody knows
        raise SettingsError(f"the feedback key is text or bytes, not {type(key).__name__}")
    raw = key.encode() if isinstance(key, str) else bytes(key)
    if len(raw) < _LEAST:
        how = 'make one with: python -c "import secrets; print(secrets.token_hex(32))"'
        raise SettingsError(f"the feedback key has {len(raw)} bytes and needs at least {_LEAST}; {how}")
    return raw


def signed(key: bytes, body: bytes, now: float) -> dict[str, str]:
    """Make the headers of one request; each call takes a nonce of its own."""
    timestamp, nonce = str(int(now)), secrets.token_urlsafe(24)
    return {TIMESTAMP: timestamp, NONCE: nonce, SIGNATURE: _signature(key, timestamp, nonce, body)}


def verify(key: bytes, headers: Mapping[str, str], body: bytes, now: float) -> str:
    """Check the headers (names in lower case) of a request and give its nonce. Raises SignatureError.

    Whether the nonce was seen before is not known here.
    """
    timestamp, nonce, given = (headers.get(name.lower(), "") for name in (TIMESTAMP, NONCE, SIGNATURE))
    well_formed = bool(_SECONDS.fullmatch(timestamp) and _WORD.fullmatch(nonce))
    wanted = _signature(key, timestamp if well_formed else "", nonce if well_formed else "", body)
    if not hmac.compare_digest(wanted.encode(), given.encode()) or not well_formed:
        raise SignatureError("bad signature")
    if abs(now - int(timestamp)) > WINDOW:
        raise SignatureError("stale timestamp")
    return nonce


def _signature(key: bytes, timestamp: str, nonce: str, body: bytes) -> str:
    message = f"v1\n{timestamp}\n{nonce}\n".encode() + body
    return "v1=" + hmac.new(key, message, hashlib.sha256).hexdigest()
