"""View of the journal: all segments of a data_dir, read incrementally, each event once."""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from otel_gen import aggregate, events
from otel_gen import semconv as sc
from otel_gen.counted import count_of
from otel_gen.errors import StorageError
from otel_gen.events import Event, Header, Sealed, Span, Started
from otel_gen.files import Folder
from otel_gen.segment import SPARE, SUFFIX, Damage, Reader
from otel_gen.settings import Policy

Counts = Counter[tuple[str, str]]


class Source:
    """One segment as it is read. `refs` counts what still needs it: open generations, waiting feedback."""

    def __init__(self, folder: Folder, name: str) -> None:
        self.name = name
        self.reader = Reader(folder, name)
        self.worker, self.boot_id, self.policy = name.removesuffix(SUFFIX), "", Policy()
        """As its header says; where that is damaged, a worker of its own, whose numbers are nobody else's."""
        self.first = math.inf
        self.begin = self.last = 0
        """The first and the last sequence number that was new here."""
        self.counts: Counts = Counter()
        self.refs = 0
        self.sealed = self.closed = self.dead = self.finished = False
        self.synced = self.created = 0

    @property
    def done(self) -> bool:
        """Tell whether nothing will be read from it any more and nothing needs it."""
        return self.finished and self.refs == 0

    def take_frame_of_its_own(self, event: Event) -> None:
        """Take what the segment says of itself: its header, or that it is sealed."""
        if isinstance(event, Header):
            self.take_header(event)
        elif isinstance(event, Sealed):
            self.sealed, self.closed = True, event.closed

    def take_header(self, header: Header) -> None:
        """Learn whose segment this is."""
        self.worker, self.boot_id, self.policy = header.worker, header.boot_id, header.policy
        self.created = header.created


class View:
    """Read segments in the order in which each worker wrote them.

    about: passes over events that do not hold these bytes; they are looked for without decoding, for one reading.
    """

    def __init__(self, folder: Folder, about: bytes = b"") -> None:
        self._folder, self._about = folder, about
        self.sources: dict[str, Source] = {}
        self.seen: dict[str, int] = {}
        self.retired: dict[str, list[tuple[int, int]]] = {}
        """Sequence numbers that deleted segments of a worker held, as sorted ranges."""
        self._passed: dict[str, list[tuple[int, int]]] = {}
        self._refused: set[str] = set()
        self.unreadable: list[tuple[str, int, str]] = []
        """Events that cannot be understood: segment, offset, reason."""
        self.denied: dict[str, str] = {}
        """Segments that we may not open, and why; it is tried again at each look."""

    def poll(self) -> Iterator[tuple[Source, int, Event]]:
        """Give the new events of all segments: source, sequence, event."""
        self._refresh()
        for source in sorted(self.sources.values(), key=lambda s: (s.worker, s.first)):
            if not source.finished:
                yield from self._read(source)

    def _refresh(self) -> None:
        """Find new segments. Locks are tried before names are listed: all that a dead worker wrote is found then."""
        new = True
        while new:
            for source in self.sources.values():
                if not source.dead:
                    source.dead = not source.reader.alive()
            new = self._look()

    def _look(self) -> bool:
        """Let go of segments that were deleted and open new ones; tell whether there were any."""
        names, known = set(self._folder.names()), len(self.sources)
        for name in [name for name in self.sources if name not in names]:
            self.sources.pop(name).reader.close()
            known -= 1
        self.denied = {name: reason for name, reason in self.denied.items() if name in names}
        for name in names:
            if name.endswith(SUFFIX) and name not in self.sources:
                self._open(name)
        return len(self.sources) > known

    def _open(self, name: str) -> None:
        """Open a segment. Raises OSError where it cannot be had now: what it begins, others end."""
        try:
            source = Source(self._folder, name)
        except FileNotFoundError:
            return
        except PermissionError as error:  # another user's: the rest goes on without it
            self.denied[name] = error.strerror or str(error)
            return
        except StorageError as error:  # not ours
            if name not in self._refused:
                self._refused.add(name)
                self.unreadable.append((name, 0, str(error)))
            return
        self.denied.pop(name, None)
        self.sources[name] = source
        for sequence, payload, _ in source.reader.read():
            if sequence:
                source.first = min(source.first, sequence)
            else:
                event = self._decode(source, payload)
                if isinstance(event, Header):
                    source.take_header(event)
        source.reader.offset = 0

    def _read(self, source: Source) -> Iterator[tuple[Source, int, Event]]:
        while True:
            frames = source.reader.read()
            for sequence, payload, _ in frames:
                if sequence and self._about not in payload:
                    continue
                event = self._decode(source, payload)
                if event is not None and self._is_new(source, sequence, event):
                    yield source, sequence, event
            if frames:
                continue
            if not source.dead or not source.reader.skip_damage():
                break
        source.finished = source.dead or source.sealed

    def _decode(self, source: Source, payload: bytes) -> Event | None:
        try:
            event: Event = events.decode(payload)
        except events.UNREADABLE as error:
            self.unreadable.append((source.name, source.reader.offset, str(error)[:200]))
            return None
        return event

    def _is_new(self, source: Source, sequence: int, event: Event) -> bool:
        if not sequence:
            source.take_frame_of_its_own(event)
            return False
        if self._was_retired(source.worker, sequence) or not self._see(source.worker, sequence):
            return False
        source.last = sequence
        source.begin = source.begin or sequence
        if sequence < source.first:
            source.first = sequence
        _count(source.counts, event)
        return True

    def _see(self, worker: str, sequence: int) -> bool:
        """Take a number of a worker once; one that was passed over may still come, from behind damage."""
        seen, passed = self.seen.get(worker, 0), self._passed.setdefault(worker, [])
        if sequence > seen:
            self.seen[worker] = sequence
            if sequence > seen + 1:
                passed.append((seen + 1, sequence - 1))
            return True
        for at, (first, last) in enumerate(passed):
            if first <= sequence <= last:
                left = ((first, sequence - 1), (sequence + 1, last))
                passed[at : at + 1] = [(low, high) for low, high in left if low <= high]
                return True
        return False

    def _was_retired(self, worker: str, sequence: int) -> bool:
        ranges = self.retired.get(worker)
        if not ranges:
            return False
        at = bisect.bisect_right(ranges, (sequence, math.inf))
        return at > 0 and ranges[at - 1][1] >= sequence

    def alive(self, worker: str) -> bool:
        """Tell whether a worker holds the lock of any of its segments and has not said goodbye."""
        return any(s.worker == worker and not s.dead and not s.closed for s in self.sources.values())

    def damage(self) -> Iterator[tuple[Source, Damage]]:
        """Give all damage found so far in dead segments."""
        for source in self.sources.values():
            for damage in source.reader.damage:
                yield source, damage

    def sync(self) -> None:
        """Make everything that was read durable, whoever wrote it."""
        for source in self.sources.values():
            if source.synced != source.reader.offset:
                source.reader.sync()
                source.synced = source.reader.offset
        self._folder.sync()

    def remove(self, source: Source) -> None:
        """Delete a segment that nothing needs."""
        self.sources.pop(source.name, None)
        self._folder.unlink(source.name)
        source.reader.close()

    def sweep_spares(self) -> None:
        """Delete prepared segments whose owner is gone."""
        for name in self._folder.names():
            if name.endswith(SPARE):
                self._sweep_spare(name)

    def _sweep_spare(self, name: str) -> None:
        try:
            reader = Reader(self._folder, name)
        except (OSError, StorageError):
            return  # no spare of ours
        try:
            if not reader.alive():
                self._folder.unlink(name)
        finally:
            reader.close()

    def close(self) -> None:
        """Let all segments go."""
        for source in self.sources.values():
            source.reader.close()
        self.sources.clear()


def _count(counts: Counts, event: Event) -> None:
    found = count_of(event)
    if found is not None:
        name, label, n = found
        counts[f"gen3d_{name}", label] += n
    seen: Any = event.attributes.get(sc.VALIDATOR_UID) if isinstance(event, Started) else None
    if seen is not None:
        counts["gen3d_submissions", aggregate.validator(seen)] += 0


__all__ = ["Counts", "Source", "Span", "View"]
