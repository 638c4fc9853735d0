"""Ledger: the line files and the index as one thing that is brought in line after any crash, by id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from otel_gen import index as indexes
from otel_gen import months, rows
from otel_gen.aggregate import Aggregates, Names
from otel_gen.index import ArtifactRow, Delivered, Index
from otel_gen.lines import AMENDMENTS, CONFIG_HISTORY, HISTORY, Lines, Place
from otel_gen.plan import Plan
from otel_gen.record import Record
from otel_gen.store import Store
from otel_gen.tree import Tree
from otel_gen.view import Counts

ASIDE = "aside.jsonl"
_loads = msgspec.json.Decoder().decode
_Number = dict[tuple[str, tuple[str, ...]], float]


class Ledger:
    """Append lines, then commit what they say; on opening, commit what was appended before a crash."""

    def __init__(self, tree: Tree, store: Store) -> None:
        self._tree, self._store = tree, store
        self.history = Lines(tree.root, HISTORY)
        self.amendments = Lines(tree.root, AMENDMENTS)
        self._config = Lines(tree.root, CONFIG_HISTORY)
        self._aside = Lines(tree.quarantine, ASIDE)
        self.aside_ids: set[str] = set()
        self.aside_counts: Counts = Counter()
        self._open()

    def _open(self) -> None:
        months.finish_intent(self._tree)
        for lines in (self.history, self.amendments, self._config, self._aside):
            self._cut(lines)
        self._load_aside()
        found = indexes.open_index(self._tree.dot)
        if found is None:
            found = self._rebuild()
        self.index: Index = found
        self._load_numbers()
        self._catch_up()

    def _cut(self, lines: Lines) -> None:
        offset, torn = lines.cut_torn_tail()
        if torn:
            self._tree.set_aside(f"{lines.name}.{offset}.torn", torn)

    def _load_aside(self) -> None:
        self.aside_ids, self.aside_counts = set(), Counter()
        for _, line in self._aside.read_from():
            self._note_aside(_loads(line))
        refused = sum(name.endswith(".record") for name in self._tree.quarantine.names())
        damaged = sum(name.endswith((".corrupt", ".unreadable")) for name in self._tree.quarantine.names())
        self.aside_counts["gen3d_capture_errors", "quarantined"] = refused
        self.aside_counts["gen3d_capture_errors", "damage"] = damaged

    def _note_aside(self, row: Record) -> None:
        self.aside_ids.add(row["event_id"])
        label = "unknown_feedback" if row["kind"] == "feedback" else "other"
        self.aside_counts["gen3d_capture_errors", label] += 1

    def quarantined(self) -> None:
        """Count a record that could not be encoded."""
        self.aside_counts["gen3d_capture_errors", "quarantined"] += 1

    def aside_line(self, event_id: str, row: Record) -> list[bytes]:
        """Give the line that sets an event aside, unless it was before."""
        if event_id in self.aside_ids:
            return []
        self._note_aside(row)
        return [msgspec.json.encode(row) + b"\n"]

    def _load_numbers(self) -> None:
        names = self.index.meta("names")
        self.aggregates = Aggregates(Names(_loads(names) if names else None))
        self.aggregates.load(self.index.aggregates())
        self.config_hash = self.index.meta("config_hash")
        self._stored: _Number = dict(self.aggregates.counters)
        self._cursors = self.index.cursors()

    # --- after a crash, or from nothing ---------------------------------------------------------------------
    def _rebuild(self) -> Index:
        """Make a new index of the files alone, and publish it."""
        index = indexes.create_index(self._tree.dot)
        self.index = index
        self._load_numbers()
        with index.transaction():
            for record in months.records(self._tree.root):
                self._take_record(record)
            for _, amendment in self._parsed(self.amendments, 0):
                self._take_amendment(amendment)
            self._store_numbers()
            self._remember(self.history.place(), self.amendments.place())
        indexes.publish(self._tree.dot, index)
        return index

    def _catch_up(self) -> None:
        """Mark what stands in the files behind the cursors: decided by id, whatever the offsets say."""
        with self.index.transaction():
            for _, record in self._parsed(self.history, self._offset("history", self.history)):
                if not self.index.is_delivered(record["metadata"]["generation_id"]):
                    self._take_record(record)
            for _, amendment in self._parsed(self.amendments, self._offset("amendments", self.amendments)):
                if not self.index.amended(amendment["event_id"]):
                    self._take_amendment(amendment)
            self._store_numbers()
            self._remember(self.history.place(), self.amendments.place())

    def _offset(self, key: str, lines: Lines) -> int:
        place = lines.place()
        same = place is not None and str(place.inode) == self.index.meta(f"{key}_inode")
        offset = int(self.index.meta(f"{key}_size", "0")) if same else 0
        return offset if place is not None and offset <= place.size else 0

    @staticmethod
    def _parsed(lines: Lines, offset: int) -> Iterable[tuple[int, Record]]:
        for at, line in lines.read_from(offset):
            try:
                yield at, _loads(line)
            except msgspec.DecodeError:
                continue  # a corrupt line stays where it is; verify names it

    def _take_record(self, record: Record) -> None:
        row = rows.from_record(record)
        repeated = row.digest is not None and self.index.repeats(row.digest)
        self.count_record(record, repeated=repeated)
        for amendment in record.get("amendments", ()):
            self.index.add_amendments([rows.from_amendment(amendment)])
            self.aggregates.amendment(amendment, record["metadata"])
        self.index.add_delivered([row])
        undecided = row.verdict is None and row.outcome in ("unscored", "unsubmitted", "interrupted")
        due = row.start + 86_400 * 10**9 if undecided else None
        kept = rows.artifacts_of(record, due)
        for one in kept:
            one.size = self._store.size(one.path)
        self.index.add_artifacts(kept)

    def _take_amendment(self, amendment: Record) -> None:
        row = self.index.delivered(amendment["generation_id"])
        self.index.add_amendments([rows.from_amendment(amendment)])
        if row is None:
            return
        self.aggregates.amendment(amendment, {"validator_uid": row.validator, "source": row.source})
        rows.apply_amendment(row, amendment)
        self.index.add_delivered([row])
        if amendment["applied"]:
            self._move_references(row, amendment)

    def _move_references(self, row: Delivered, amendment: Record) -> None:
        """An amendment may have taken paths back, or named a sample; decided outputs wait no longer."""
        output = amendment.get("changes", {}).get("generation", {}).get("output", {})
        kept = [a for a in self.index.artifacts_of(row.id) if a.kind in ("ply", "spz")]
        for one in kept:
            key = "ply_file_path" if one.kind == "ply" else "spz_file_path"
            self.index.drop_artifacts([(one.id, one.kind)])
            if key in output and output[key] is None:
                if self.index.at_path(one.path) is None:
                    self._store.remove(one.path)
            else:
                self.index.add_artifacts([ArtifactRow(one.id, one.kind, one.digest, one.path, one.size)])
        path = output.get("rejected_sample_path")
        if path:
            digest = str(output.get("rejected_sample_hash")).rpartition(":")[2]
            self.index.add_artifacts(
                [ArtifactRow(row.id, "rejected_sample", digest, path, self._store.size(path))]
            )

    # --- counting ------------------------------------------------------------------------------------------------
    def count_record(self, record: Record, *, repeated: bool) -> None:
        """Count one line."""
        self.aggregates.record(record, repeated=repeated)
        self.config_hash = record["miner_config_hash"] or self.config_hash

    def count_amendment(self, amendment: Record, metadata: Record) -> None:
        """Count one amendment."""
        self.aggregates.amendment(amendment, metadata)

    # --- a delivery -------------------------------------------------------------------------------------------------
    def append(self, plan: Plan) -> dict[str, Place]:
        """Append all lines of a plan, durably."""
        places: dict[str, Place] = {}
        for key, lines, new in (
            ("history", self.history, plan.history),
            ("amendments", self.amendments, plan.amendments),
            ("config", self._config, plan.config),
            ("aside", self._aside, plan.aside),
        ):
            if new:
                places[key] = lines.append(b"".join(new))
        return places

    def commit(self, plan: Plan, places: dict[str, Place]) -> None:
        """Store what a plan's lines say; the caller holds the transaction."""
        self.index.add_delivered(plan.delivered.values())
        self.index.add_amendments(plan.amended.values())
        self.index.drop_artifacts(plan.dropped)
        self.index.add_artifacts(plan.artifacts)
        self._store_numbers()
        self._remember(places.get("history"), places.get("amendments"))

    def _remember(self, history: Place | None, amendments: Place | None) -> None:
        for key, place in (("history", history), ("amendments", amendments)):
            if place is not None:
                self.index.set_meta(**{f"{key}_inode": place.inode, f"{key}_size": place.size})

    def remember_places(self) -> None:
        """After files were replaced: note where they end now."""
        with self.index.transaction():
            self._remember(self.history.place(), self.amendments.place())

    def _store_numbers(self) -> None:
        self.index.set_aggregates(self.aggregates.take_changes())
        names = msgspec.json.encode(self.aggregates.names.known).decode()
        found = [[name, labels, rows] for (name, labels), rows in self.aggregates.exemplars.items()]
        exemplars = msgspec.json.encode(found).decode()
        self.index.set_meta(names=names, config_hash=self.config_hash, exemplars=exemplars)

    def commit_numbers(self, numbers: _Number, cursors: dict[str, int]) -> None:
        """Store event counts and gauges, and how far segments were read, where anything changed."""
        changed = {key: value for key, value in numbers.items() if self._stored.get(key) != value}
        moved = {name: at for name, at in cursors.items() if self._cursors.get(name) != at}
        if not changed and not moved:
            return
        self.aggregates.counters.update(changed)
        self.aggregates.changed |= changed.keys()
        with self.index.transaction():
            self.index.set_aggregates(self.aggregates.take_changes())
            self.index.set_cursors(moved.items())
        self._stored.update(changed)
        self._cursors = dict(cursors)

    def close(self) -> None:
        """Close the index."""
        self.index.close()
