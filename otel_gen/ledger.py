"""Ledger: the line files and the index as one thing that is brought in line after any crash, by id."""

from __future__ import annotations

import sqlite3
import stat
from collections import Counter
from collections.abc import Iterator

import msgspec

from otel_gen import index as indexes
from otel_gen import months, signpost
from otel_gen.aggregate import Aggregates, Key, Names
from otel_gen.files import closed_on_failure
from otel_gen.guard import log
from otel_gen.index import Index
from otel_gen.lines import AMENDMENTS, CONFIG_HISTORY, HISTORY, Lines, Place
from otel_gen.plan import Plan
from otel_gen.record import Record
from otel_gen.restore import Restore, is_amendment, is_ours, parsed
from otel_gen.store import Store
from otel_gen.tree import Tree
from otel_gen.view import Counts

ASIDE = "aside.jsonl"
_DAMAGE = ("gen3d_capture_errors", "damage")
_REFUSED = ("gen3d_capture_errors", "quarantined")
_loads = msgspec.json.Decoder().decode


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
        self.aggregates = Aggregates()
        self._doomed: list[str] = []
        self._buried = False
        self._open()

    # --- opening ---------------------------------------------------------------------------------------
    def _open(self) -> None:
        months.finish_intent(self._tree)
        self._load_aside()
        for lines in (self.history, self.amendments, self._config, self._aside):
            offset, torn = lines.cut_torn_tail()
            if torn:
                self.set_aside(f"{lines.name}.{offset}.torn", torn)
        try:
            found = indexes.open_index(self._tree.dot)
            self.index: Index = self._rebuilt() if found is None else self._ready(found)
        except (sqlite3.DatabaseError, msgspec.MsgspecError, ValueError, TypeError, LookupError) as error:
            if indexes.temporary(error):
                raise
            log.warning("otel_gen makes its index anew from the files: %s", error)
            self.index = self._rebuilt()
        with closed_on_failure(self):
            self._doomed = self.index.doomed()
            self.bury()
            self.forget_buried()

    def _ready(self, found: Index) -> Index:
        with closed_on_failure(found):
            self._load_numbers(found)
            self._catch_up(found)
        return found

    def _rebuilt(self) -> Index:
        """Make a new index of the files alone, and publish it."""
        name = indexes.current_name(self._tree.dot)
        if name is not None and self._tree.dot.exists(name):
            self.set_aside(f"{name}.corrupt", b"could not be used; made anew from the files\n")
        index = indexes.create_index(self._tree.dot)
        with closed_on_failure(index):
            self._fill(index)
            indexes.publish(self._tree.dot, index)
            signpost.put_up(self._tree.root)
        return index

    def _fill(self, index: Index) -> None:
        """Fill an empty index from all files."""
        self._load_numbers(index)
        restore = Restore(index, self.aggregates, self._store)
        with index.transaction():
            for record in months.records(self._tree.root):
                if is_ours(record) and not index.is_delivered(record["metadata"]["generation_id"]):
                    restore.record(record)
            for amendment in filter(is_amendment, parsed(self.amendments)):
                restore.amendment(amendment)
            self._finish(index, restore)

    def _catch_up(self, index: Index) -> None:
        """Mark what stands in the files behind the cursors: decided by id, whatever the offsets say."""
        restore = Restore(index, self.aggregates, self._store)
        restore.config_hash = self.config_hash
        with index.transaction():
            for lines, offset in self._unmarked(index, "history", self.history):
                for record in filter(is_ours, parsed(lines, offset)):
                    id_ = record["metadata"]["generation_id"]
                    if not index.is_delivered(id_):
                        restore.record(record)
            for lines, offset in self._unmarked(index, "amendments", self.amendments):
                for amendment in filter(is_amendment, parsed(lines, offset)):
                    if not index.amended(amendment["event_id"]):
                        restore.amendment(amendment)
            self._finish(index, restore)

    def _unmarked(self, index: Index, key: str, lines: Lines) -> Iterator[tuple[Lines, int]]:
        """Find what was appended behind the last commit, also to a file that somebody has renamed since."""
        inode, size = index.meta(f"{key}_inode"), int(index.meta(f"{key}_size", "0"))
        place = lines.place()
        if place is not None and str(place.inode) == inode:
            yield lines, size if size <= place.size else 0
            return
        for name in self._tree.root.names() if inode else ():
            if name != lines.name and self._is_file(name, inode):
                yield Lines(self._tree.root, name), size
        yield lines, 0

    def _is_file(self, name: str, inode: str) -> bool:
        """Tell whether a name is a plain file of this inode; the number may be a directory's by now."""
        state = self._tree.root.stat(name)
        return state is not None and stat.S_ISREG(state.st_mode) and str(state.st_ino) == inode

    def _finish(self, index: Index, restore: Restore) -> None:
        self.config_hash = restore.config_hash
        self._store_numbers(index)
        self._remember(index, self.history.place(), self.amendments.place())

    def _load_numbers(self, index: Index) -> None:
        names = index.meta("names")
        self.aggregates = Aggregates(Names(_loads(names) if names else None))
        self.aggregates.load(index.aggregates())
        self.config_hash = index.meta("config_hash")
        self._stored: dict[Key, float] = dict(self.aggregates.counters)
        self._cursors = index.cursors()

    # --- what is set aside -----------------------------------------------------------------------------
    def _load_aside(self) -> None:
        for row in parsed(self._aside):
            if isinstance(row.get("event_id"), str):
                self._note_aside(row)
        for name in self._tree.quarantine.names():
            if name != ASIDE and not name.startswith("."):
                self.aside_counts[_REFUSED if name.endswith(".record") else _DAMAGE] += 1

    def _note_aside(self, row: Record) -> None:
        self.aside_ids.add(row["event_id"])
        label = "unknown_feedback" if row.get("kind") == "feedback" else "other"
        self.aside_counts["gen3d_capture_errors", label] += 1

    def set_aside(self, name: str, data: bytes) -> None:
        """Keep damaged or refused bytes in quarantine, and count them once."""
        if self._tree.set_aside(name, data):
            self.aside_counts[_REFUSED if name.endswith(".record") else _DAMAGE] += 1

    def aside_line(self, event_id: str, row: Record) -> list[bytes]:
        """Give the line that sets an event aside, unless it was before."""
        if event_id in self.aside_ids:
            return []
        self._note_aside(row)
        return [msgspec.json.encode(row) + b"\n"]

    # --- a delivery ------------------------------------------------------------------------------------
    def count_record(self, record: Record, *, repeated: bool) -> None:
        """Count one line."""
        self.aggregates.record(record, repeated=repeated)
        if not record["metadata"].get("source"):
            self.config_hash = record["miner_config_hash"] or self.config_hash

    def count_amendment(self, amendment: Record, metadata: Record) -> None:
        """Count one amendment."""
        self.aggregates.amendment(amendment, metadata)

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
        index = self.index
        index.add_delivered(plan.delivered.values())
        index.add_amendments(row for rows in plan.amended.values() for row in rows)
        index.drop_artifacts(plan.dropped)
        index.add_artifacts(plan.artifacts.values())
        self.doom(plan.paths)
        self._store_numbers(index)
        self._remember(index, places.get("history"), places.get("amendments"))

    def doom(self, paths: list[str]) -> None:
        """Note files that are to go; the caller holds the transaction."""
        self.index.doom(paths)
        self._doomed += paths

    def forget_exemplars(self, trace_id: str) -> None:
        """Let go of what points to a trace; the caller holds the transaction."""
        self.aggregates.forget_exemplars(trace_id)
        self.index.set_aggregates(self.aggregates.take_changes())

    def bury(self) -> None:
        """Remove files that are to go, unless a record refers to them; the next commit forgets them."""
        for path in self._doomed:
            if self.index.at_path(path) is None:
                self._store.remove(path)
        self._buried, self._doomed = self._buried or bool(self._doomed), []

    def forget_buried(self) -> None:
        """Say in a transaction of its own that they are gone."""
        if self._buried:
            with self.index.transaction():
                self.index.forget_doomed()
            self._buried = False

    @staticmethod
    def _remember(index: Index, history: Place | None, amendments: Place | None) -> None:
        for key, place in (("history", history), ("amendments", amendments)):
            if place is not None:
                index.set_meta(**{f"{key}_inode": place.inode, f"{key}_size": place.size})

    def remember_places(self) -> None:
        """After files were replaced: note where they end now."""
        with self.index.transaction():
            self._remember(self.index, self.history.place(), self.amendments.place())

    def _store_numbers(self, index: Index) -> None:
        index.set_aggregates(self.aggregates.take_changes())
        names = msgspec.json.encode(self.aggregates.names.known).decode()
        index.set_meta(names=names, config_hash=self.config_hash)

    def commit_numbers(self, numbers: dict[Key, float], cursors: dict[str, int]) -> None:
        """Store event counts and gauges, and how far segments were read, where anything changed."""
        changed = {key: value for key, value in numbers.items() if self._stored.get(key) != value}
        moved = {name: at for name, at in cursors.items() if self._cursors.get(name) != at}
        if not (changed or moved or self._buried):
            return
        self.aggregates.counters.update(changed)
        self.aggregates.changed |= changed.keys()
        with self.index.transaction():
            self.index.set_aggregates(self.aggregates.take_changes())
            self.index.set_cursors(moved.items())
            if self._buried:
                self.index.forget_doomed()
        self._buried = False
        self._stored.update(changed)
        self._cursors = dict(cursors)

    def close(self) -> None:
        """Close the index."""
        self.index.close()
