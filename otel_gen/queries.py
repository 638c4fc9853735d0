"""Queries: what can be asked of the index, by its leader or by any reader."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import fields
from typing import TypeAlias

from otel_gen.tables import AmendmentRow, ArtifactRow, Delivered
from otel_gen.tombs import hashed, tomb_id

DELIVERED = ", ".join(field.name for field in fields(Delivered))
AMENDMENT = ", ".join(field.name for field in fields(AmendmentRow))
ARTIFACT = ", ".join(field.name for field in fields(ArtifactRow))

Attempt: TypeAlias = "tuple[bool, bool, bool, int, str]"
"""An attempt as a verdict of some moment sees it: had begun, was submitted by then, ever; start, id. They sort."""


class Queries:
    """Read one index file."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], name: str) -> None:
        self._connect, self.name = connect, name
        self._db: sqlite3.Connection | None = connect()

    @property
    def db(self) -> sqlite3.Connection:
        """The connection; opened again after `close`, which a fork asks for."""
        if self._db is None:
            self._db = self._connect()
        return self._db

    def meta(self, key: str, default: str = "") -> str:
        """Read one value of the index itself."""
        row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return default if row is None else str(row[0])

    def cursors(self) -> dict[str, int]:
        """How far each segment was read and dealt with."""
        return dict(self.db.execute("SELECT segment, position FROM cursors"))

    def aggregates(self) -> list[tuple[str, str]]:
        """All stored counters and histograms, as JSON."""
        return self.db.execute("SELECT key, value FROM aggregates").fetchall()

    def delivered(self, generation_id: str) -> Delivered | None:
        """Find a delivered generation."""
        row = self.db.execute(f"SELECT {DELIVERED} FROM delivered WHERE id = ?", (generation_id,)).fetchone()  # noqa: S608
        return None if row is None else Delivered(*row)

    def is_delivered(self, generation_id: str) -> bool:
        """Tell whether a record was written, though it may be deleted since."""
        query = "SELECT 1 FROM delivered WHERE id IN (?, ?)"
        return self.db.execute(query, (generation_id, tomb_id(generation_id))).fetchone() is not None

    def is_deleted(self, generation_id: str) -> bool:
        """Tell whether a record was deleted."""
        query = "SELECT 1 FROM delivered WHERE id = ?"
        return self.db.execute(query, (tomb_id(generation_id),)).fetchone() is not None

    def attempts(self, task_id: str, start: int, generation_id: str) -> tuple[int, int, int]:
        """Of a task's delivered attempts: how many began before one, their highest number, the highest."""
        query = """SELECT count(*) FILTER (WHERE (start, id) < (:start, :id)),
                          max(attempt) FILTER (WHERE (start, id) < (:start, :id)), max(attempt)
                   FROM delivered WHERE task_id = :task"""
        given = {"task": task_id, "start": start, "id": generation_id}
        count, highest, taken = self.db.execute(query, given).fetchone()
        return count, highest or 0, taken or 0

    def attempt_taken(self, task_id: str, attempt: int) -> bool:
        """Tell whether a record of the task has this number."""
        query = "SELECT 1 FROM delivered WHERE task_id = ? AND attempt = ?"
        return self.db.execute(query, (task_id, attempt)).fetchone() is not None

    def last_attempts(self, task_id: str, wall: int, boot: int = 0, boot_id: str = "") -> list[Attempt]:
        """Give the latest attempt of each kind that was submitted, or could be proved to be.

        wall, boot, boot_id: by when; boot time counts for what was submitted in the same boot.
        """
        query = """SELECT by_then OR start <= :then, by_then, submitted, max(start), id FROM (
                       SELECT start, id, outcome IN ('accepted', 'rejected', 'unscored') AS submitted,
                              outcome IN ('accepted', 'rejected', 'unscored') AND CASE
                                  WHEN :boot AND submitted_boot AND boot_id = :boot_id THEN submitted_boot <= :boot
                                  ELSE coalesce(submitted, start) <= :then END AS by_then
                       FROM delivered
                       WHERE task_id = :task AND outcome NOT IN ('withheld', 'failed', 'cancelled'))
                   GROUP BY 1, 2, 3"""
        given = {"task": task_id, "then": wall, "boot": boot, "boot_id": boot_id}
        return [
            (bool(begun), bool(then), bool(submitted), start, id_)
            for begun, then, submitted, start, id_ in self.db.execute(query, given)
        ]

    def repeats(self, digest: str) -> bool:
        """Tell whether an earlier live record has this output, or had it before it was deleted."""
        query = "SELECT 1 FROM delivered WHERE digest IN (?, ?) AND source IS NULL"
        return self.db.execute(query, (digest, hashed(digest))).fetchone() is not None

    def given_to(self, event_id: str, task_id: str) -> str | None:
        """Find the generation that a verdict for a task was given to before."""
        query = """SELECT id FROM amendments WHERE event_id = :event
                   UNION ALL SELECT id FROM delivered WHERE task_id = :task AND event_id = :event LIMIT 1"""
        row = self.db.execute(query, {"event": event_id, "task": task_id}).fetchone()
        return None if row is None else str(row[0])

    def amended(self, event_id: str) -> bool:
        """Tell whether an event became an amendment."""
        return (
            self.db.execute("SELECT 1 FROM amendments WHERE event_id = ?", (event_id,)).fetchone() is not None
        )

    def amendments_of(self, generation_id: str) -> list[AmendmentRow]:
        """All amendments of one record."""
        query = f"SELECT {AMENDMENT} FROM amendments WHERE id = ?"  # noqa: S608
        return [AmendmentRow(*row) for row in self.db.execute(query, (generation_id,))]

    def artifacts_of(self, generation_id: str) -> list[ArtifactRow]:
        """The kept files of one record."""
        query = f"SELECT {ARTIFACT} FROM artifacts WHERE id = ?"  # noqa: S608
        return [ArtifactRow(*row) for row in self.db.execute(query, (generation_id,))]

    def at_path(self, path: str) -> ArtifactRow | None:
        """One of the references to a file, if there is any."""
        query = f"SELECT {ARTIFACT} FROM artifacts WHERE path = ? LIMIT 1"  # noqa: S608
        row = self.db.execute(query, (path,)).fetchone()
        return None if row is None else ArtifactRow(*row)

    def overdue(self, wall: int, limit: int = 100) -> list[ArtifactRow]:
        """Files whose wait for a verdict is over."""
        query = f"SELECT {ARTIFACT} FROM artifacts WHERE due <= ? ORDER BY due LIMIT ?"  # noqa: S608
        return [ArtifactRow(*row) for row in self.db.execute(query, (wall, limit))]

    def spare(self, limit: int = 100) -> list[ArtifactRow]:
        """Files that may go: samples, then those that wait for a verdict; ids sort by time."""
        query = f"""SELECT {ARTIFACT} FROM artifacts WHERE kind = 'rejected_sample' OR due IS NOT NULL
                    ORDER BY kind != 'rejected_sample', id LIMIT ?"""  # noqa: S608
        return [ArtifactRow(*row) for row in self.db.execute(query, (limit,))]

    def next_due(self) -> int | None:
        """When the next file has waited long enough."""
        due: int | None = self.db.execute("SELECT min(due) FROM artifacts WHERE due IS NOT NULL").fetchone()[
            0
        ]
        return due

    def doomed(self) -> list[str]:
        """Files that were to be removed."""
        return [path for (path,) in self.db.execute("SELECT path FROM doomed")]

    def totals(self) -> dict[str, tuple[int, int]]:
        """Files and bytes by folder and kind, each file once."""
        query = """SELECT kind, count(*), coalesce(sum(size), 0)
                   FROM (SELECT kind, path, max(size) AS size FROM artifacts GROUP BY path) GROUP BY kind"""
        return {kind: (count, size) for kind, count, size in self.db.execute(query)}

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        if self._db is not None:
            self._db.close()
            self._db = None
