"""Backlog: events that wait in memory for a disk that takes them again, in the order of their tickets."""

from __future__ import annotations

from collections import deque

_OVERHEAD = 64
"""Bytes that an event takes in memory beside its payload."""


class Backlog:
    """A bounded queue; what may be shed leaves the last quarter to what may not."""

    ROOM = 8 << 20

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, bytes]] = deque()
        self.bytes = 0
        """What its events take; 0 only where none waits."""

    def add(self, ticket: int, payload: bytes, *, sheddable: bool) -> bool:
        """Take an event; False where there is no room for it."""
        room, size = self.ROOM * (3 if sheddable else 4) // 4, len(payload) + _OVERHEAD
        if self.bytes + size > room:
            return False
        at = len(self._waiting)
        while at and self._waiting[at - 1][0] > ticket:  # a signal handler's event came in between
            at -= 1
        self._waiting.insert(at, (ticket, payload))
        self.bytes += size
        return True

    @property
    def first(self) -> tuple[int, bytes]:
        """The event with the lowest ticket."""
        return self._waiting[0]

    def drop_first(self) -> None:
        """Forget the first: it is written."""
        self.bytes -= len(self._waiting.popleft()[1]) + _OVERHEAD
