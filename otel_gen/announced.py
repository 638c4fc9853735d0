"""Announced: stages that have begun, on record only if they run for long; their callers pay nothing for that."""

from __future__ import annotations

from collections.abc import Callable, Iterator


class Announced:
    """What stands announced. Any thread adds and withdraws; the syncer alone asks for what is due.

    `ring` wakes the syncer, which ticks while something is announced and for a while after.
    """

    TICK = 0.1  # seconds between two looks while something is announced
    CALM = 20  # ticks without an announcement after which there is no tick any more

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._standing: dict[object, Callable[[], bytes]] = {}
        self._seen: set[object] = set()
        self._ticks = 0

    def add(self, what: object, event: Callable[[], bytes]) -> None:
        """Have an event journalled, made on the syncer's thread, unless it is withdrawn within a tick or two."""
        self._standing[what] = event
        if not self._ticks:
            self._ticks = self.CALM
            self._ring()

    def withdraw(self, what: object) -> None:
        """Take an announcement back: the thing itself is journalled."""
        self._standing.pop(what, None)

    def pause(self, idle: float) -> float:
        """Tell how long the syncer may sleep; `idle` where nothing was announced for a while."""
        if self._standing:
            self._ticks = self.CALM
        return self.TICK if self._ticks else idle

    def due(self) -> Iterator[Callable[[], bytes]]:
        """Take, one by one, what was announced before the last tick and still stands."""
        self._ticks = max(self._ticks - 1, 0)
        standing = dict(self._standing)
        for what in self._seen & standing.keys():
            if self._standing.pop(what, None) is not None:
                yield standing[what]
        self._seen = set(self._standing)
