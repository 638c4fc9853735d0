"""Seen: nonces and events that the feedback endpoint took, for all workers and restarts of a data_dir.

A file of lines `kind time digest id`, written under a lock; `kind` is
n  a nonce; forgotten once its time stamp alone would be refused
r  an event, and the generation that it goes to: written before the verdict is recorded
d  the same, once the verdict is durable
Only those who have the key can make it grow, and it is bounded all the same.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from otel_gen.errors import LeaderBusyError, StorageError
from otel_gen.files import Folder
from otel_gen.flock import Flock
from otel_gen.foreign import valid_id
from otel_gen.signing import WINDOW
from otel_gen.tree import DOT

FILE: Final = "feedback-seen"
LOCK: Final = "feedback-seen.lock"
MAX_NONCES: Final = 5_000
MAX_EVENTS: Final = 5_000
_REWRITE: Final = 1 << 20
_PAUSE: Final = 0.01


class Line(NamedTuple):
    """One line: what was seen when."""

    kind: str
    time: int
    digest: str
    id: str

    def encode(self) -> bytes:
        return f"{self.kind} {self.time} {self.digest} {self.id}\n".encode()


class Target(NamedTuple):
    """Where an event went before, and whether it is recorded for good."""

    id: str
    done: bool


class Seen:
    """What was seen, as it stands while the lock is held; made by `opened`."""

    def __init__(self, dot: Folder) -> None:
        self._dot = dot
        self._raw = dot.read(FILE) if dot.exists(FILE) else b""
        self._lines = [line for raw in self._raw.splitlines() if (line := _parsed(raw))]

    def take_nonce(self, nonce: str, now: float) -> bool:
        """Remember a nonce; False where it was taken before. Raises StorageError where there are too many."""
        digest = _digest(nonce)
        fresh = [line for line in self._lines if line.kind == "n" and now - line.time <= 2 * WINDOW]
        if any(line.digest == digest for line in fresh):
            return False
        if len(fresh) >= MAX_NONCES:
            raise StorageError(f"{self._dot.path}/{FILE}", "too many requests within the window", "wait")
        self._add(Line("n", int(now), digest, "-"))
        return True

    def target(self, event: str) -> Target | None:
        """Tell where an event went; None for one that was never seen."""
        digest = _digest(event)
        mine = [line for line in self._lines if line.digest == digest and line.kind in "rd"]
        return Target(mine[0].id, any(line.kind == "d" for line in mine)) if mine else None

    def reserve(self, event: str, generation_id: str, now: float) -> None:
        """Write down where an event goes: a repeat goes there too, whatever was submitted meanwhile."""
        self._add(Line("r", int(now), _digest(event), generation_id))

    def done(self, event: str, generation_id: str, now: float) -> None:
        """Write down that an event is recorded for good."""
        self._add(Line("d", int(now), _digest(event), generation_id))

    def _add(self, line: Line) -> None:
        if len(self._raw) > _REWRITE:
            self._rewrite(line.time)
        torn = b"\n" if self._raw and not self._raw.endswith(b"\n") else b""
        self._dot.append(FILE, torn + line.encode())
        self._raw += torn + line.encode()
        self._lines.append(line)

    def _rewrite(self, now: int) -> None:
        nonces = [line for line in self._lines if line.kind == "n" and now - line.time <= 2 * WINDOW]
        events = {line.digest: line for line in self._lines if line.kind in "rd"}
        self._lines = [*nonces, *list(events.values())[-MAX_EVENTS:]]
        self._raw = b"".join(line.encode() for line in self._lines)
        self._dot.replace(FILE, self._raw)


@contextmanager
def opened(data_dir: str, timeout: float = 2.0) -> Iterator[Seen]:
    """Hold the lock for a block. Raises LeaderBusyError where another process keeps it, StorageError."""
    root = Folder.root(data_dir)
    dot = root.sub(DOT)
    lock = Flock(dot, LOCK)
    try:
        _wait_for(lock, timeout)
        yield Seen(dot)
    finally:
        lock.release()
        dot.close()
        root.close()


def _wait_for(lock: Flock, timeout: float) -> None:
    until = time.monotonic() + timeout
    while not lock.take():
        if time.monotonic() > until:
            raise LeaderBusyError("another process takes feedback and does not come to its end")
        time.sleep(_PAUSE)


def _digest(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()[:32]


def _parsed(raw: bytes) -> Line | None:
    """Read a line; None for one that a crash cut short: its id is not whole then."""
    kind, time_, digest, id_ = (*raw.decode("ascii", "replace").split(" "), "", "", "", "")[:4]
    whole = valid_id(id_) if kind in ("r", "d") else (kind, id_) == ("n", "-")
    if not whole or len(digest) != 32 or not time_.isdigit():
        return None
    return Line(kind, int(time_), digest, id_)
