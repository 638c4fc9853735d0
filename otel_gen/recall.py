"""Recall: what must outlive the segments: event counts of deleted ones, damage that was set aside."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

import msgspec

from otel_gen import events
from otel_gen.lines import Lines
from otel_gen.tree import Tree
from otel_gen.view import Counts, Source, View

log = logging.getLogger("otel_gen")
TOTALS = "totals.jsonl"
_COMPACT, _APART = 1000, 256


class Retired(msgspec.Struct):
    """A line of totals.jsonl: what a deleted segment counted, and which sequence numbers were its own."""

    segment: str
    worker: str
    last: int
    counts: list[tuple[str, str, int]]
    first: int = 1


_row = msgspec.json.Decoder(Retired).decode


class Recall:
    """Event counts: the lines of totals.jsonl for segments that are gone, plus the living ones."""

    def __init__(self, tree: Tree, view: View, set_aside: Callable[[str, bytes], None]) -> None:
        self._tree, self._view, self._set_aside = tree, view, set_aside
        self._lines = Lines(tree.dot, TOTALS)
        self._base: Counts = Counter()
        self._aside: set[tuple[str, int]] = set()
        self._told = 0
        self._denied: set[str] = set()
        self._load()

    def _load(self) -> None:
        offset, torn = self._lines.cut_torn_tail()
        if torn:
            self._set_aside(f"{TOTALS}.{offset}.torn", torn)
        present, lines = set(self._tree.segments.names()), 0
        kept: dict[str, Retired] = {}
        for offset, line in self._lines.read_from():
            row, lines = self._parsed(offset, line), lines + 1
            if row is not None and row.segment not in present:  # one that is still there counts itself
                kept[row.segment] = row  # twice where a crash came between the line and the deletion
        for row in kept.values():
            self._base.update({(name, label): n for name, label, n in row.counts})
            if row.worker and row.last:
                self._view.retired.setdefault(row.worker, []).append((row.first, row.last))
        for ranges in self._view.retired.values():
            ranges.sort()
        if lines > _COMPACT:
            self._compact(list(kept.values()))

    def _parsed(self, offset: int, line: bytes) -> Retired | None:
        try:
            return _row(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._set_aside(f"{TOTALS}.{offset}.corrupt", line)
            return None

    def _compact(self, rows: list[Retired]) -> None:
        """Add up old rows; the newest stay apart, for their workers may live."""
        old, new = rows[:-_APART], rows[-_APART:]
        counts: Counts = Counter()
        for row in old:
            counts.update({(name, label): n for name, label, n in row.counts})
        merged = Retired("", "", 0, [(*key, n) for key, n in sorted(counts.items())])
        self._tree.dot.replace(TOTALS, b"".join(events.encode(row) + b"\n" for row in (merged, *new)))

    def totals(self) -> Counts:
        """All event counts of the data_dir, by metric and label."""
        found = Counter(self._base)
        for source in self._view.sources.values():
            found.update(source.counts)
        return found

    def cursors(self) -> dict[str, int]:
        """How far each segment was read."""
        return {source.name: source.reader.offset for source in self._view.sources.values()}

    def retire(self, sources: list[Source]) -> None:
        """Write down the counts of segments that are about to be deleted."""
        rows = [
            Retired(s.name, s.worker, s.last, [(*key, n) for key, n in sorted(s.counts.items())], s.begin)
            for s in sources
        ]
        self._lines.append(b"".join(events.encode(row) + b"\n" for row in rows))
        for source in sources:
            self._base.update(source.counts)

    def set_aside_damage(self) -> None:
        """Keep damaged stretches of dead segments, and events that cannot be understood, in quarantine."""
        for source, damage in self._view.damage():
            if (source.name, damage.offset) in self._aside:
                continue
            self._aside.add((source.name, damage.offset))
            word = "torn" if damage.torn else "corrupt"
            self._set_aside(f"{source.name}.{damage.offset}.{word}", damage.data)
        for name, offset, reason in self._view.unreadable[self._told :]:
            self._set_aside(f"{name}.{offset}.unreadable", reason.encode())
        self._told = len(self._view.unreadable)

    def warn_of_denied(self) -> None:
        """Say once of each segment of another user that what it holds is not delivered."""
        for name, reason in self._view.denied.items():
            if name not in self._denied:
                self._denied.add(name)
                path = f"{self._tree.segments.path}/{name}"
                log.warning(
                    "otel_gen cannot read %s (%s): what it holds is delivered once it belongs to the user of "
                    "the service (chown)",
                    path,
                    reason,
                )
