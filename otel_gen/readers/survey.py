"""Survey: one pass over every line of every file; what is in them, and what is wrong with them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from otel_gen import history
from otel_gen.aggregate import Aggregates, output_digest
from otel_gen.errors import DamageError
from otel_gen.history import History, Part
from otel_gen.index import Index
from otel_gen.lines import AMENDMENTS, HISTORY
from otel_gen.overlay import overlay
from otel_gen.readers.findings import RECOVER, RESTORE, Report
from otel_gen.readers.strict import fault
from otel_gen.record import Record
from otel_gen.rows import artifacts_of
from otel_gen.tombstone import is_tombstone, repeat_key, was_repeated

REFUSED = ("rejected", "withheld", "failed", "cancelled")
"""Outcomes whose output is not kept, unless as a sample."""
_CUT = f"{RECOVER} (it sets the torn end aside and writes the record again where the journal has it)"


@dataclass(frozen=True)
class Named:
    """An artifact as a record names it; `size` in bytes where that is known."""

    generation_id: str
    kind: str
    digest: str
    size: int | None


@dataclass
class Survey:
    """What the files hold."""

    ids: dict[str, str] = field(default_factory=dict)
    """Generation id -> file and offset of its record."""
    events: dict[str, set[str]] = field(default_factory=dict)
    """Generation id -> event ids of its verdict and amendments, for generations that were asked about."""
    verdicts: dict[str, set[tuple[Any, Any, Any]]] = field(default_factory=dict)
    """The same with verdict, score and validator."""
    named: dict[str, Named] = field(default_factory=dict)
    """Path of an artifact -> what a record says of it."""
    older: bool = False
    """There are lines of an older logger."""
    foreign: set[str] = field(default_factory=set)
    """Paths that lines of an older logger name."""
    gone: dict[str, str] = field(default_factory=dict)
    """Digest of an output that was refused and is not kept -> generation id."""
    counted: Aggregates = field(default_factory=Aggregates)
    unknown: list[str] = field(default_factory=list)
    """Ids of records that the index does not know."""
    lost: set[str] = field(default_factory=set)
    """Ids of records that the index knows and no file has."""
    damaged: bool = False
    mixed_repeats: bool = False
    """The same output stands in two files, or was deleted: which repeats the other is not known any more."""


class Surveyor:
    """Read files line by line into a survey; `asked` are the generations whose verdicts matter."""

    def __init__(self, report: Report, index: Index | None, counted: Aggregates, asked: set[str]) -> None:
        self._report, self._index, self._asked = report, index, asked
        self.found = Survey(counted=counted)
        self._amended: dict[str, list[Record]] = {}
        self._first: dict[str, tuple[str, str]] = {}
        """What repeats of an output have in common -> file and generation id of the first."""
        self._place = ""

    def read(self, files: History) -> Survey:
        """Read everything: amendments first, so that every record can be seen as they make it."""
        self._report.files = len(files.parts())
        if files.amendments is not None:
            self._lines(files.amendments, self._amendment)
        for part in files.months:
            self._lines(part, self._record)
        for id_ in self._amended.keys() - self.found.ids.keys():
            if not self.found.damaged:
                self._report.problem(
                    "amendment",
                    f"{AMENDMENTS}, generation {id_}",
                    "amends a record that is not there",
                    RESTORE,
                )
        return self.found

    def _lines(self, part: Part, take: Any) -> None:
        self._place = part.name
        try:
            for offset, line in part.lines():
                place = f"{part.name}, offset {offset}"
                record, wrong = fault(line)
                if wrong and not (record and "schema_version" not in record and part.name != AMENDMENTS):
                    self._damage(place, f"the line {wrong}", torn=not line.endswith(b"\n"), part=part)
                if record is not None:
                    take(place, record)
        except DamageError as error:
            self._damage(f"{part.name}, offset {error.offset}", error.reason, torn=False, part=part)

    def _damage(self, place: str, text: str, *, torn: bool, part: Part) -> None:
        self.found.damaged = True
        mends = torn and part.name in (HISTORY, AMENDMENTS)
        self._report.problem("line", place, text, _CUT if mends else RESTORE)

    # --- amendments ------------------------------------------------------------------------------------
    def _amendment(self, place: str, amendment: Record) -> None:
        id_, event_id = amendment.get("generation_id"), amendment.get("event_id")
        if not (
            isinstance(id_, str) and isinstance(event_id, str) and isinstance(amendment.get("applied"), bool)
        ):
            self._report.problem("shape", place, "is no amendment", RESTORE)
            self.found.damaged = True
            return
        self._report.amendments += 1
        self._amended.setdefault(id_, []).append(amendment)

    # --- records ---------------------------------------------------------------------------------------
    def _record(self, place: str, record: Record) -> None:
        if "schema_version" not in record and "checksum" not in record:
            self._older(record)
            return
        if not history.is_record(record):
            self._report.problem("shape", place, "is no record", RESTORE)
            self.found.damaged = True
            return
        self._report.records += 1
        self._report.deleted += is_tombstone(record)
        id_ = record["metadata"]["generation_id"]
        if id_ in self.found.ids:
            first = self.found.ids[id_]
            text = f"a second record of generation {id_}, first in {first}"
            self._report.problem("duplicate", place, text, "remove one of the two lines")
            self.found.damaged = True
            return
        self.found.ids[id_] = place
        try:
            self._look_into(id_, record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._report.problem("shape", place, f"is not shaped like a record ({error!r})", RESTORE)
            self.found.damaged = True

    def _older(self, record: Record) -> None:
        """A line of the logger that was here before counts nowhere; what it names is its own."""
        self._report.note("older", self._place, "has lines of an older logger")
        self.found.older = True
        with suppress(KeyError, TypeError, AttributeError, ValueError):
            for row in artifacts_of(record):
                self.found.foreign.add(row.path)

    def _look_into(self, id_: str, record: Record) -> None:
        amendments = self._amended.get(id_, [])
        final = overlay(record, amendments)
        self._artifacts(id_, final)
        if id_ in self._asked:
            self._verdicts(id_, record, [*record.get("amendments", ()), *amendments])
        if self._index is not None and self._index.is_delivered(id_):
            self._count(id_, record, amendments)
        else:
            self.found.unknown.append(id_)

    def _artifacts(self, id_: str, record: Record) -> None:
        output = record["generation"]["output"]
        rows = artifacts_of(record)
        for row in rows:
            size = output.get("file_size_bytes") if row.kind in ("ply", "spz") else None
            self.found.named.setdefault(row.path, Named(id_, row.kind, row.digest, size))
        digest = output_digest(record)
        kept = any(row.kind in ("ply", "spz", "rejected_sample") for row in rows)
        if digest and not kept and record["outcome"] in REFUSED:
            self.found.gone.setdefault(digest.rpartition(":")[2], id_)

    def _verdicts(self, id_: str, record: Record, amendments: list[Record]) -> None:
        told = [record["validator_feedback"], record.get("settled_feedback") or {}, *amendments]
        self.found.events[id_] = {str(one.get("event_id")) for one in told}
        self.found.verdicts[id_] = {
            (one.get("verdict"), one.get("score"), one.get("validator_uid")) for one in told
        }

    def _count(self, id_: str, record: Record, amendments: list[Record]) -> None:
        key, here = repeat_key(record), (self._place, id_)
        first = self._first.setdefault(key, here) if key else here
        if was_repeated(record) or first[0] != self._place:
            self.found.mixed_repeats = True
        self.found.counted.record(record, repeated=was_repeated(record) or first != here)
        metadata = record["metadata"]
        for amendment in record.get("amendments", ()):
            self.found.counted.amendment(amendment, metadata)
        for amendment in amendments:
            if self._index is not None and self._index.amended(amendment["event_id"]):
                self.found.counted.amendment(amendment, metadata)
