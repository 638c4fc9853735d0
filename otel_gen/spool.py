"""Spool: feedback on its way to another machine, a file each, until it is acknowledged or refused for good."""

from __future__ import annotations

import os
import re
import time
from typing import Any, Final

import msgspec

from otel_gen.files import Folder
from otel_gen.flock import Flock
from otel_gen.tree import refuse_shared

MAX_WAITING: Final = 100_000
REFUSED: Final = "refused"
LOCK: Final = "lock"
_NAME = re.compile(r"[0-9]{20}-[A-Za-z0-9_-]{8,64}\.json")


class Spool:
    """A directory 0700 with files 0600, oldest first by name; any number of processes may put into it."""

    def __init__(self, path: Any) -> None:
        """Open it, and make it where there is none. Raises StorageError."""
        place = os.path.expanduser(os.fspath(path))
        refuse_shared(place, "spool")
        self._folder = Folder.root(place)
        self._refused = self._folder.sub(REFUSED)
        self._lock = Flock(self._folder, LOCK)
        self.path = self._folder.path

    def put(self, event_id: str, body: bytes) -> str:
        """Keep one event durably; gives its name. Raises OSError, also where too many wait."""
        if len(self.waiting()) >= MAX_WAITING:
            raise OSError(f"{self.path}: {MAX_WAITING} events wait already")
        name = f"{time.time_ns():020d}-{event_id}.json"
        self._folder.replace(name, body)
        return name

    def waiting(self) -> list[str]:
        """Name what waits, oldest first."""
        return [name for name in self._folder.names() if _NAME.fullmatch(name)]

    def refused(self) -> list[str]:
        """Name what was refused for good; each file says why."""
        return [name for name in self._refused.names() if _NAME.fullmatch(name)]

    def why(self, name: str) -> str:
        """Read why an event was refused."""
        return str(msgspec.json.decode(self._refused.read(name))["reason"])

    def get(self, name: str) -> bytes | None:
        """Read one event; None where another process has dealt with it."""
        try:
            return self._folder.read(name)
        except FileNotFoundError:
            return None

    def acknowledged(self, name: str) -> None:
        """Forget an event that the service has."""
        self._folder.unlink(name)

    def refuse(self, name: str, why: bytes) -> None:
        """Set an event aside that the service will never take, with the reason."""
        self._refused.replace(name, why)
        self._folder.unlink(name)

    def take(self) -> bool:
        """Become the one process that sends from here, without waiting."""
        return self._lock.take()

    def release(self) -> None:
        """Let others send."""
        self._lock.release()

    def close(self) -> None:
        """Let all descriptors go."""
        self.release()
        self._refused.close()
        self._folder.close()
