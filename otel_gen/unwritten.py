"""Unwritten: the generations without a record, the segments that hold their events, and which to look at again."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import TypeAlias

from otel_gen.attempts import Attempts
from otel_gen.events import Began, Noted, Span, Started
from otel_gen.fold import Generation
from otel_gen.view import Source

Word: TypeAlias = Started | Noted | Began | Span
"""An event that says something of one generation."""


class Open:
    """A generation without a record, and the segments that hold its events."""

    __slots__ = ("gen", "sources")

    def __init__(self, gen: Generation) -> None:
        self.gen = gen
        self.sources: set[Source] = set()

    def needs(self, source: Source) -> bool:
        """Hold a segment until there is a record; tell whether it was not held before."""
        new = source not in self.sources
        self.sources.add(source)
        return new


class Unwritten:
    """Open generations by id."""

    def __init__(self) -> None:
        self._open: dict[str, Open] = {}
        self._attempts = Attempts()
        self._changed: set[str] = set()
        self._later: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, id_: str) -> bool:
        return id_ in self._open

    def __iter__(self) -> Iterator[Open]:
        return iter(self._open.values())

    def get(self, id_: str | None) -> Open | None:
        """Find a generation; None where its record is written, or nobody knows it."""
        return self._open.get(id_ or "")

    def take(self, source: Source, event: Word) -> Generation:
        """Add an event to its generation, which begins with the first one."""
        one = self._open.get(event.id)
        if one is None:
            one = self._open[event.id] = Open(Generation(event.id, source.worker, source.boot_id))
        if one.needs(source):
            source.refs += 1
        gen = one.gen
        gen.apply(event)
        if (event is gen.started or event is gen.root) and gen.task_id:
            self._attempts.add(gen.task_id, (gen.start, gen.id))
        if gen.root is not None or not gen.known:
            self.look_at(gen.id)
        return gen

    def forget(self, one: Open) -> None:
        """Let a generation go: its record is written, or it is none."""
        self._open.pop(one.gen.id, None)
        if one.gen.task_id:
            self._attempts.remove(one.gen.task_id, (one.gen.start, one.gen.id))
        for source in one.sources:
            source.refs -= 1

    # --- attempts at a task ------------------------------------------------------------------------------
    def earlier_attempts(self, gen: Generation) -> int:
        """Count the open attempts at its task that began before it."""
        return self._attempts.before(gen.task_id or "", (gen.start, gen.id))

    def submitted_attempts(self, task_id: str) -> Iterator[Generation]:
        """Give the open attempts at a task that were submitted, the latest start first."""
        attempts = (self._open[id_].gen for id_ in self._attempts.latest_first(task_id))
        return (gen for gen in attempts if gen.said == "submitted")

    # --- what to look at ---------------------------------------------------------------------------------
    def look_at(self, id_: str, at: float | None = None) -> None:
        """Have a generation settled, if it can be: with the next batch, or from a boot time on, in seconds."""
        if at is None:
            self._changed.add(id_)
        else:
            heapq.heappush(self._later, (at, id_))

    def changed(self, now: float) -> Iterator[Open]:
        """Give the generations to look at, by id; each is looked at once."""
        while self._later and self._later[0][0] <= now:
            self._changed.add(heapq.heappop(self._later)[1])
        for id_ in sorted(self._changed):
            self._changed.discard(id_)
            one = self._open.get(id_)
            if one is not None:
                yield one
