"""Door: feedback as it comes over HTTP, believed or refused, and answered; whatever framework carries it.

| status | reason | the sender |
|---|---|---|
| 200 | recorded, known already | is done |
| 400 403 404 413 | malformed, wrong validator, unknown generation, too large | need not try again |
| 401 403 409 415 | bad signature, stale timestamp, replayed nonce, not local, not JSON | is not believed |
| 503 | not durable yet, not configured, busy | tries again |
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from otel_gen import runtime, seen
from otel_gen.errors import OtelGenError
from otel_gen.files import Folder
from otel_gen.foreign import valid_id
from otel_gen.process import process
from otel_gen.readers.known import find
from otel_gen.safely import faults
from otel_gen.signing import SignatureError, verify

MAX_BODY: Final = 16_384
"""Bytes of one request's body."""
PATH: Final = "/otel-gen/feedback"
_EVENT = re.compile(r"[A-Za-z0-9_-]{8,64}")
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via", "origin")
_LOCAL_NAME = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?", re.IGNORECASE)


class Said(msgspec.Struct, forbid_unknown_fields=True):
    """The body: which generation, what the validator said, and the event that says so."""

    id: str | None = None
    task_id: str | None = None
    event_id: str | None = None
    score: float | str | None = None
    validator_uid: int | None = None
    validation_failed: bool | None = None
    task_fidelity_score: float | str | None = None
    average_fidelity_score: float | None = None
    cooldown_until: int | float | str | None = None
    generations_within_the_window: float | None = None
    current_duel_rating: float | None = None
    current_miner_reward: float | None = None
    rejection_reason: str | None = None
    feedback_time: float | None = None
    """When the verdict came, in seconds since 1970, where the caller says so."""
    age: float = 0.0
    """Seconds for which it waited to be sent."""

    def keywords(self) -> dict[str, Any]:
        """What `feedback()` takes, without the ids."""
        found = msgspec.structs.asdict(self)
        return {k: v for k, v in found.items() if v is not None and k not in _ABOUT}

    def came(self, now: float) -> float:
        """When it would have come without the wait, in seconds since 1970."""
        return max(now - max(self.age, 0.0), 0.0)


_ABOUT = ("id", "task_id", "event_id", "age")


@dataclass(frozen=True)
class Reply:
    """An answer; `final` where the same request would be refused for ever."""

    status: int
    reason: str
    final: bool = False
    id: str | None = None

    def body(self) -> bytes:
        """Write it as JSON."""
        ok = self.status == 200
        return msgspec.json.encode({"ok": ok, "reason": self.reason, "final": self.final, "id": self.id})


class _RefusedError(Exception):
    def __init__(self, status: int, reason: str, *, final: bool = False) -> None:
        self.reply = Reply(status, reason, final)


class Door:
    """Takes feedback: signed by `key`, or without one from this machine only."""

    def __init__(self, key: bytes | None, now: Callable[[], float] = time.time) -> None:
        self._key, self._now = key, now

    def take(self, headers: Mapping[str, str], peer: str | None, body: bytes) -> Reply:
        """Answer one request (header names in lower case); waits for the disk, so not on an event loop."""
        try:
            nonce = self._believed(headers, peer, body)
            data_dir = _data_dir()
            if nonce is not None:
                self._fresh(data_dir, nonce)
            return self._record(data_dir, _parsed(body))
        except _RefusedError as error:
            return error.reply
        except (OtelGenError, OSError) as error:
            faults.report("feedback endpoint", error)
            return Reply(503, "not recorded: the service cannot use its data_dir now")

    # --- who ------------------------------------------------------------------------------------------------
    def _believed(self, headers: Mapping[str, str], peer: str | None, body: bytes) -> str | None:
        """Decide whether to listen at all; gives the nonce of what is signed."""
        if len(body) > MAX_BODY:
            raise _RefusedError(413, f"more than {MAX_BODY} bytes", final=True)
        if self._key is None:
            _local_only(headers, peer)
            return None
        try:
            return verify(self._key, headers, body, self._now())
        except SignatureError as error:
            raise _RefusedError(401, str(error)) from error

    def _fresh(self, data_dir: str, nonce: str) -> None:
        with seen.opened(data_dir) as known:
            if not known.take_nonce(nonce, self._now()):
                raise _RefusedError(409, "replayed nonce")

    # --- what -----------------------------------------------------------------------------------------------
    def _record(self, data_dir: str, said: Said) -> Reply:
        target = self._target(data_dir, said)
        if target.done:
            return Reply(200, "known already", id=target.id)
        keywords = said.keywords()
        if said.age > 0:
            keywords.setdefault("feedback_time", said.came(self._now()))
        result = runtime.feedback(target.id, data_dir=data_dir, **keywords)
        if not result:
            return Reply(503, result.reason, id=target.id)
        if said.event_id is not None:
            with seen.opened(data_dir) as known:
                known.done(said.event_id, target.id, self._now())
        return Reply(200, "recorded", id=target.id)

    def _target(self, data_dir: str, said: Said) -> seen.Target:
        """Find the generation that is meant: of an event that came before the same one again."""
        with seen.opened(data_dir) as known:
            before = known.target(said.event_id) if said.event_id is not None else None
            if before is not None:
                return before
            generation_id = _looked_up(data_dir, said, said.came(self._now()))
            if said.event_id is not None:
                known.reserve(said.event_id, generation_id, self._now())
            return seen.Target(generation_id, done=False)


def _local_only(headers: Mapping[str, str], peer: str | None) -> None:
    """Listen to this machine only: not through a proxy, not to a web page, not under a foreign name."""
    try:
        local = ipaddress.ip_address(peer or "").is_loopback
    except ValueError:
        local = False
    named = _LOCAL_NAME.fullmatch(headers.get("host", "")) is not None
    if not local or not named or any(name in headers for name in _FORWARDED):
        raise _RefusedError(403, "only from this machine")
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise _RefusedError(415, "send application/json")


def _data_dir() -> str:
    configured = process.configured
    if configured is None:
        raise _RefusedError(503, "not configured")
    return configured.settings.data_dir


def _parsed(body: bytes) -> Said:
    try:
        said = msgspec.json.decode(body, type=Said, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _RefusedError(400, f"malformed: {str(error)[:200]}", final=True) from error
    if (said.id is None) == (said.task_id is None):
        raise _RefusedError(400, "malformed: give either id or task_id", final=True)
    if said.event_id is not None and not _EVENT.fullmatch(said.event_id):
        raise _RefusedError(400, "malformed: event_id", final=True)
    if said.id is not None:
        said.id = said.id.lower()
        if not valid_id(said.id):
            raise _RefusedError(400, "malformed id", final=True)
    if not said.keywords().keys() - {"feedback_time"}:
        raise _RefusedError(400, "malformed: nothing is said", final=True)
    return said


def _looked_up(data_dir: str, said: Said, came: float) -> str:
    root = Folder.root(data_dir, create=False)
    try:
        found = find(root, said.id, said.task_id, at=int(came * 1e9))
    finally:
        root.close()
    if found is None:
        raise _RefusedError(404, "unknown generation", final=True)
    if found.validator_uid is not None and said.validator_uid != found.validator_uid:
        raise _RefusedError(403, "wrong validator", final=True)
    return found.id
