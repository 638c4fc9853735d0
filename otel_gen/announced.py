"""Announced: stages that have begun, on record only if they run for long; their callers pay nothing for that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol


class Begun(Protocol):
    """What may be announced."""

    def begun(self) -> bytes:
        """Encode the event; called on the syncer's thread."""
        ...


class Announced:
    """What stands announced. Any thread adds and withdraws; the syncer alone asks for what is due.

    `ring` wakes the syncer, which ticks while something is announced and for a while after.
    """

    TICK = 0.1  # seconds between two looks while something is announced
    CALM = 20  # ticks without an announcement after which there is no tick any more

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._standing: set[Begun] = set()
        self._seen: set[Begun] = set()
        self._ticks = 0
        self.withdraw: Callable[[Begun], None] = self._standing.discard
        """Take an announcement back: the thing itself is journalled."""

    def add(self, what: Begun) -> None:
        """Have its event journalled, unless it is withdrawn within a tick or two."""
        self._standing.add(what)
        if not self._ticks:
            self._ticks = self.CALM
            self._ring()

    def pause(self, idle: float) -> float:
        """Tell how long the syncer may sleep; `idle` where nothing was announced for a while."""
        if self._standing:
            self._ticks = self.CALM
        return self.TICK if self._ticks else idle

    def due(self) -> Iterator[Begun]:
        """Take, one by one, what was announced before the last tick and still stands."""
        self._ticks = max(self._ticks - 1, 0)
        for what in self._seen & self._standing:
            try:
                self._standing.remove(what)
            except KeyError:
                continue  # withdrawn meanwhile
            yield what
        self._seen = self._standing.copy()
