"""Run an import: choose one line per generation, journal it as spans, have it delivered as everything is."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

from otel_gen import index
from otel_gen import semconv as sc
from otel_gen.clock import Clock
from otel_gen.events import Span
from otel_gen.exporter import JournalExporter
from otel_gen.importing.artifacts import Artifacts
from otel_gen.importing.findings import ImportReport
from otel_gen.importing.lines import ARCHIVE, files_of, objects
from otel_gen.importing.old import SOURCE, Old, understand, why_not
from otel_gen.settings import Policy, resolve
from otel_gen.tables import Delivered
from otel_gen.tree import Tree
from otel_gen.wiring import Runtime

BATCH = 500
_NOT_CHOSEN: tuple[tuple[bool, ...], int] = ((), -1)
_LONG = 315_360_000.0
_POLICY = Policy(
    feedback_timeout=_LONG, rejected_sample_rate=1.0, rejected_sample_max_bytes=1 << 60, undecided_keep=_LONG
)
"""What the former logger kept is kept: its own rules have decided already."""


def import_legacy(source: Any, data_dir: Any, *, tests: bool = False, timeout: float = 600.0) -> ImportReport:
    """Turn the files of the former logger into records of a data_dir; a second time writes nothing.

    source: a file, or the directory that holds the history, its months, its archive and what was pending.
    tests: import what the version marks as a test, too. Raises StorageError where there is nothing to read,
    and where the records are not delivered within `timeout` seconds.
    """
    return _Import(os.fspath(source), resolve({"data_dir": data_dir}).data_dir, tests, timeout).run()


class _Import:
    def __init__(self, source: str, data_dir: str, tests: bool, timeout: float) -> None:
        self._source, self._data_dir = os.path.abspath(source), data_dir
        self._tests, self._timeout = tests, timeout
        self._files = files_of(self._source)
        self.report = ImportReport(files=len(self._files))
        self._chosen: dict[str, tuple[tuple[bool, ...], int]] = {}
        self._said: set[str] = set()

    def run(self) -> ImportReport:
        """Choose in a first pass, import in a second one."""
        self._choose()
        batch: list[Old] = []
        for number, old in self._read(lambda *_: None):
            if self._chosen.get(old.id, _NOT_CHOSEN)[1] != number:
                continue
            batch.append(old)
            if len(batch) >= BATCH:
                self._deliver(batch)
                batch = []
        self._deliver(batch)
        return self.report

    # --- choosing --------------------------------------------------------------------------------------
    def _choose(self) -> None:
        for number, old in self._read(self.report.note):
            here = self._stands_here(old.place)
            if here and not old.readable:
                self.report.note("stands in this data_dir, unreadable", old.place)
                continue
            rank = (here, *old.rank)
            best = self._chosen.get(old.id)
            if best is not None:
                twice = "pending, and finalised elsewhere" if old.pending else "duplicate id"
                self.report.note(twice, old.place)
            if here:
                self.report.note("stands in this data_dir", old.place)
            if best is None or rank > best[0]:
                self._chosen[old.id] = (rank, _NOT_CHOSEN[1] if here else number)

    def _read(self, note: Any) -> Iterator[tuple[int, Old]]:
        """Read all objects that are old records, numbered; the same each time."""
        number = 0
        for path in self._files:
            for raw in objects(path, note):
                number += 1
                reason = why_not(raw, tests=self._tests)
                if reason:
                    note(reason, raw.place)
                else:
                    yield number, understand(raw)
        self.report.lines = number

    def _stands_here(self, place: str) -> bool:
        """Tell whether a line is one of the data_dir's own history: it is read there as it is."""
        path = place.rpartition(":")[0]
        folder = os.path.dirname(path)
        own = (self._data_dir, os.path.join(self._data_dir, ARCHIVE))
        return not path.endswith(".json") and any(_same(folder, one) for one in own)

    # --- importing -------------------------------------------------------------------------------------
    def _deliver(self, batch: list[Old]) -> None:
        before = self._delivered(batch)
        runtime = Runtime(_quiet(self._data_dir), Clock(), policy=_POLICY)
        exporter = JournalExporter(runtime.journal, SOURCE)
        tree = Tree(self._data_dir)
        artifacts = Artifacts(runtime, tree.staging, self._root(), self.report.note)
        new: list[str] = []
        try:
            for old in batch:
                if before.get(old.id) is None:
                    for what in old.mended:
                        self.report.note(what, old.place)
                    _journal(exporter, old, artifacts.attributes(old))
                    new.append(old.id)
                else:
                    self.report.note(_known_as(old, before[old.id]), old.place)
                    _journal_late_verdict(exporter, old, before[old.id])
        finally:
            delivered = runtime.close(self._timeout)
            tree.close()
        if not delivered:
            raise runtime.undelivered()
        self.report.artifacts += artifacts.brought
        self._count(new)

    def _count(self, new: list[str]) -> None:
        rows = self._delivered_ids(new)
        self.report.records += len(rows)
        outcomes = Counter(self.report.outcomes) + Counter(row.outcome for row in rows.values())
        self.report.outcomes = dict(outcomes.most_common())

    def _root(self) -> str:
        """The directory below which artifacts are looked for."""
        if os.path.isdir(self._source):
            return self._source
        folder = os.path.dirname(self._source)
        return os.path.dirname(folder) if os.path.basename(folder) == ARCHIVE else folder

    def _delivered(self, batch: list[Old]) -> dict[str, Delivered]:
        return self._delivered_ids([old.id for old in batch])

    def _delivered_ids(self, ids: list[str]) -> dict[str, Delivered]:
        tree = Tree(self._data_dir)
        try:
            reader = index.open_reader(tree.dot)
            if reader is None:
                return {}
            try:
                rows = ((id_, reader.delivered(id_)) for id_ in ids)
                return {id_: row for id_, row in rows if row is not None}
            finally:
                reader.close()
        finally:
            tree.close()


def _quiet(data_dir: str) -> Any:
    return resolve({"data_dir": data_dir, "metrics_port": None, "stats_interval": 0, "otlp": False})


def _same(one: str, two: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(two)


def _journal(exporter: JournalExporter, old: Old, staged: dict[str, Any]) -> None:
    """Journal a generation as the spans it would have had: its stages one after the other, then the root."""
    trace, root = _derived(old.id, "trace", 32), _derived(old.id, "root", 16)
    at = old.start
    for number, (name, seconds) in enumerate(old.stages):
        took = round(seconds * 1e9)
        attributes = {
            sc.GENERATION_ID: old.id, sc.STAGE_NAME: name, sc.STAGE_STATUS: "ok", sc.SOURCE: SOURCE,
        }  # fmt: skip
        own = _derived(old.id, f"stage {number}", 16)
        exporter.take(Span(old.id, name, trace, own, root, 0, at, at + took, 0, attributes))
        at += took
    attributes = {key: value for key, value in (old.attributes | staged).items() if value is not None}
    exporter.take(Span(old.id, sc.GENERATION_SPAN, trace, root, "", 0, old.start, old.end, 0, attributes))
    if old.verdict is not None:
        exporter.take(old.verdict)


def _known_as(old: Old, row: Delivered) -> str:
    """Say what a known line is: of one that was imported while it was pending, what came after is not on record."""
    ended = not old.pending and sc.SAID in old.attributes
    return "finalised after it was imported" if ended and row.outcome == "unsubmitted" else "imported before"


def _journal_late_verdict(exporter: JournalExporter, old: Old, row: Delivered) -> None:
    """A verdict that the record, imported from an older state of the files, does not have yet."""
    if old.verdict is not None and row.verdict is None:
        exporter.take(old.verdict)


def _derived(id_: str, what: str, digits: int) -> str:
    return hashlib.sha256(f"{SOURCE} {what} {id_}".encode()).hexdigest()[:digits]
