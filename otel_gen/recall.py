"""Recall: what must outlive the segments: event counts of deleted ones, damage that was set aside."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from otel_gen import events
from otel_gen.lines import Lines
from otel_gen.tree import Tree
from otel_gen.view import Counts, Source, View

TOTALS = "totals.jsonl"
_COMPACT = 1000
_loads = msgspec.json.Decoder().decode


class Recall:
    """Event counts: the lines of totals.jsonl for segments that are gone, plus the living ones."""

    def __init__(self, tree: Tree, view: View) -> None:
        self._tree, self._view = tree, view
        self._lines = Lines(tree.dot, TOTALS)
        self._base: Counts = Counter()
        self._aside: set[tuple[str, int]] = set()
        self._told = 0
        self._load()

    def _load(self) -> None:
        self._lines.cut_torn_tail()
        present, rows, kept = set(self._tree.segments.names()), 0, []
        for _, line in self._lines.read_from():
            row = _loads(line)
            rows += 1
            if row["segment"] in present:
                continue  # the crash came between this line and the deletion: the segment counts itself
            kept.append(row)
            self._base.update({(name, label): n for name, label, n in row["counts"]})
            if row["worker"]:
                self._view.seen[row["worker"]] = max(self._view.seen.get(row["worker"], 0), row["last"])
        if rows > _COMPACT:
            self._compact(kept)

    def _compact(self, rows: list[dict[str, Any]]) -> None:
        living = [row for row in rows if any(s.worker == row["worker"] for s in self._view.sources.values())]
        counts = Counter(self._base)
        for row in living:
            counts.subtract({(name, label): n for name, label, n in row["counts"]})
        merged = {
            "segment": "",
            "worker": "",
            "last": 0,
            "counts": [[*k, n] for k, n in sorted(counts.items()) if n],
        }
        self._tree.dot.replace(TOTALS, b"".join(events.encode(row) + b"\n" for row in [merged, *living]))

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
            {
                "segment": source.name,
                "worker": source.worker,
                "last": source.last,
                "counts": [[name, label, n] for (name, label), n in sorted(source.counts.items())],
            }
            for source in sources
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
            self._tree.set_aside(f"{source.name}.{damage.offset}.{word}", damage.data)
        for name, offset, reason in self._view.unreadable[self._told :]:
            self._tree.set_aside(f"{name}.{offset}.unreadable", reason.encode())
        self._told = len(self._view.unreadable)
