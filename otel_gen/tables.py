"""Tables of the leader's index, and the rows that they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from otel_gen.scalars import INT64_MAX
from otel_gen.tombs import MARK

VERSION: Final = "2"
FOREVER: Final = 9 * 10**18
"""Wall nanoseconds, in 2255: a number of the index has 64 bits."""
TABLES: Final = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS delivered (
    id TEXT PRIMARY KEY, task_id TEXT, attempt INTEGER, start INTEGER, outcome TEXT, digest TEXT,
    submitted INTEGER, submitted_boot INTEGER, boot_id TEXT, validator INTEGER, verdict TEXT, score REAL,
    verdict_validator INTEGER, event_id TEXT, replaceable INTEGER, source TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS delivered_task ON delivered (task_id, start, id, attempt, outcome)
    WHERE task_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS delivered_attempt ON delivered (task_id, attempt) WHERE task_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS delivered_digest ON delivered (digest) WHERE digest IS NOT NULL;
CREATE TABLE IF NOT EXISTS amendments (
    event_id TEXT PRIMARY KEY, id TEXT, kind TEXT, verdict TEXT, score REAL, validator INTEGER,
    applied INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS amendments_id ON amendments (id);
CREATE TABLE IF NOT EXISTS artifacts (
    id TEXT, kind TEXT, digest TEXT, path TEXT, size INTEGER, due INTEGER, terms TEXT, PRIMARY KEY (id, kind)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS artifacts_path ON artifacts (path);
CREATE INDEX IF NOT EXISTS artifacts_due ON artifacts (due) WHERE due IS NOT NULL;
CREATE TABLE IF NOT EXISTS doomed (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS aggregates (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cursors (segment TEXT PRIMARY KEY, position INTEGER) WITHOUT ROWID;
"""


@dataclass(slots=True)
class Delivered:
    """What is kept for ever of a delivered generation: late feedback, repeats and duplicates need it."""

    id: str
    task_id: str | None
    attempt: int
    start: int
    outcome: str
    digest: str | None = None
    submitted: int | None = None
    submitted_boot: int = 0
    boot_id: str = ""
    validator: int | None = None
    verdict: str | None = None
    score: float | None = None
    verdict_validator: int | None = None
    event_id: str | None = None
    replaceable: int = 0
    """1 where a later finite score replaces the verdict, as SQLite has it."""
    source: str | None = None

    def __post_init__(self) -> None:
        """Refuse what the index could not hold, before a line is written that it cannot mark."""
        numbers = (self.attempt, self.start, self.submitted or 0, self.submitted_boot, self.validator or 0)
        if any(abs(number) > INT64_MAX for number in numbers):
            raise ValueError(f"a number of generation {self.id} does not fit into 64 bits")

    @property
    def deleted(self) -> bool:
        """Tell whether a tombstone stands in place of the record."""
        return self.event_id == MARK


@dataclass(slots=True)
class AmendmentRow:
    """What is kept of an amendment, or of feedback that is none because it is known or was replaced."""

    event_id: str
    id: str
    kind: str
    verdict: str | None
    score: float | None
    validator: int | None
    applied: int


@dataclass(slots=True)
class ArtifactRow:
    """A kept file and the record that refers to it.

    `due`: wall ns until which it waits for a verdict; `terms`: by which settings that verdict decides, JSON.
    """

    id: str
    kind: str
    digest: str
    path: str
    size: int
    due: int | None = None
    terms: str | None = None
