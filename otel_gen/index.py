"""The leader's index: what is delivered, what it counted, where its files stand; derived and rebuildable.

One SQLite file, one writing connection, synchronous=FULL, one transaction per delivered batch. A new
number is taken on a rebuild and published by a pointer file; a file is never replaced while open.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from operator import attrgetter
from urllib.parse import quote

from otel_gen.errors import StorageError
from otel_gen.files import Folder
from otel_gen.tables import TABLES, VERSION, AmendmentRow, ArtifactRow, Delivered

POINTER = "index"
_NAME = re.compile(r"index-(\d+)\.db")

_DELIVERED = ", ".join(field.name for field in fields(Delivered))
_AMENDMENT = ", ".join(field.name for field in fields(AmendmentRow))
_ARTIFACT = ", ".join(field.name for field in fields(ArtifactRow))


_delivered_row = attrgetter(*(field.name for field in fields(Delivered)))
_amendment_row = attrgetter(*(field.name for field in fields(AmendmentRow)))
_artifact_row = attrgetter(*(field.name for field in fields(ArtifactRow)))


def _marks(names: str) -> str:
    return ", ".join("?" * (names.count(",") + 1))


class Index:
    """Read and write one index file; every write stands inside `transaction`."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], name: str) -> None:
        self._connect, self.name = connect, name
        self._db: sqlite3.Connection | None = connect()

    @property
    def db(self) -> sqlite3.Connection:
        """The connection; opened again after `close`, which a fork asks for."""
        if self._db is None:
            self._db = self._connect()
        return self._db

    # --- meta, cursors and aggregates ------------------------------------------------------------------
    def meta(self, key: str, default: str = "") -> str:
        """Read one value of the index itself."""
        row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return default if row is None else str(row[0])

    def set_meta(self, **values: object) -> None:
        """Store values of the index itself."""
        self.db.executemany("REPLACE INTO meta VALUES (?, ?)", [(k, str(v)) for k, v in values.items()])

    def cursors(self) -> dict[str, int]:
        """How far each segment was read and dealt with."""
        return dict(self.db.execute("SELECT segment, position FROM cursors"))

    def set_cursors(self, cursors: Iterable[tuple[str, int]], gone: Iterable[str] = ()) -> None:
        """Store how far segments are dealt with; forget those that are gone."""
        self.db.executemany("REPLACE INTO cursors VALUES (?, ?)", cursors)
        self.db.executemany("DELETE FROM cursors WHERE segment = ?", ((name,) for name in gone))

    def aggregates(self) -> list[tuple[str, str]]:
        """All stored counters and histograms, as JSON."""
        return self.db.execute("SELECT key, value FROM aggregates").fetchall()

    def set_aggregates(self, rows: Iterable[tuple[str, str]]) -> None:
        """Store counters and histograms."""
        self.db.executemany("REPLACE INTO aggregates VALUES (?, ?)", rows)

    # --- delivered -------------------------------------------------------------------------------------
    def delivered(self, generation_id: str) -> Delivered | None:
        """Find a delivered generation."""
        row = self.db.execute(f"SELECT {_DELIVERED} FROM delivered WHERE id = ?", (generation_id,)).fetchone()  # noqa: S608
        return None if row is None else Delivered(*row)

    def is_delivered(self, generation_id: str) -> bool:
        """Tell whether a record was written."""
        return (
            self.db.execute("SELECT 1 FROM delivered WHERE id = ?", (generation_id,)).fetchone() is not None
        )

    def attempts(self, task_id: str, start: int, generation_id: str) -> tuple[int, int, int]:
        """Of a task's delivered attempts: how many began before one, their highest number, the highest."""
        query = """SELECT count(*) FILTER (WHERE (start, id) < (?2, ?3)),
                          max(attempt) FILTER (WHERE (start, id) < (?2, ?3)), max(attempt)
                   FROM delivered WHERE task_id = ?1"""
        count, highest, taken = self.db.execute(query, (task_id, start, generation_id)).fetchone()
        return count, highest or 0, taken or 0

    def attempt_taken(self, task_id: str, attempt: int) -> bool:
        """Tell whether a record of the task has this number."""
        query = "SELECT 1 FROM delivered WHERE task_id = ? AND attempt = ?"
        return self.db.execute(query, (task_id, attempt)).fetchone() is not None

    def last_attempts(self, task_id: str) -> list[tuple[bool, int, str]]:
        """Give the latest attempt that was, and the latest that could be proved: submitted, start, id."""
        query = """SELECT outcome IN ('accepted', 'rejected', 'unscored'), max(start), id FROM delivered
                   WHERE task_id = ? AND outcome NOT IN ('withheld', 'failed', 'cancelled') GROUP BY 1"""
        return [(bool(submitted), start, id_) for submitted, start, id_ in self.db.execute(query, (task_id,))]

    def repeats(self, digest: str) -> bool:
        """Tell whether an earlier live record has this output."""
        query = "SELECT 1 FROM delivered WHERE digest = ? AND source IS NULL"
        return self.db.execute(query, (digest,)).fetchone() is not None

    def add_delivered(self, rows: Iterable[Delivered]) -> None:
        """Mark generations as delivered (or renew what is known of them)."""
        self.db.executemany(
            f"REPLACE INTO delivered ({_DELIVERED}) VALUES ({_marks(_DELIVERED)})",  # noqa: S608 - own names
            map(_delivered_row, rows),
        )

    # --- amendments ------------------------------------------------------------------------------------
    def amended(self, event_id: str) -> bool:
        """Tell whether an event became an amendment."""
        return (
            self.db.execute("SELECT 1 FROM amendments WHERE event_id = ?", (event_id,)).fetchone() is not None
        )

    def amendments_of(self, generation_id: str) -> list[AmendmentRow]:
        """All amendments of one record."""
        query = f"SELECT {_AMENDMENT} FROM amendments WHERE id = ?"  # noqa: S608
        return [AmendmentRow(*row) for row in self.db.execute(query, (generation_id,))]

    def add_amendments(self, rows: Iterable[AmendmentRow]) -> None:
        """Mark events as amendments."""
        self.db.executemany(
            f"REPLACE INTO amendments ({_AMENDMENT}) VALUES ({_marks(_AMENDMENT)})",  # noqa: S608
            map(_amendment_row, rows),
        )

    # --- artifacts -------------------------------------------------------------------------------------
    def artifacts_of(self, generation_id: str) -> list[ArtifactRow]:
        """The kept files of one record."""
        query = f"SELECT {_ARTIFACT} FROM artifacts WHERE id = ?"  # noqa: S608
        return [ArtifactRow(*row) for row in self.db.execute(query, (generation_id,))]

    def at_path(self, path: str) -> ArtifactRow | None:
        """One of the references to a file, if there is any."""
        query = f"SELECT {_ARTIFACT} FROM artifacts WHERE path = ? LIMIT 1"  # noqa: S608
        row = self.db.execute(query, (path,)).fetchone()
        return None if row is None else ArtifactRow(*row)

    def overdue(self, wall: int, limit: int = 100) -> list[ArtifactRow]:
        """Files whose wait for a verdict is over."""
        query = f"SELECT {_ARTIFACT} FROM artifacts WHERE due <= ? ORDER BY due LIMIT ?"  # noqa: S608
        return [ArtifactRow(*row) for row in self.db.execute(query, (wall, limit))]

    def next_due(self) -> int | None:
        """When the next file has waited long enough."""
        due: int | None = self.db.execute("SELECT min(due) FROM artifacts WHERE due IS NOT NULL").fetchone()[
            0
        ]
        return due

    def add_artifacts(self, rows: Iterable[ArtifactRow]) -> None:
        """Note kept files."""
        self.db.executemany(
            f"REPLACE INTO artifacts ({_ARTIFACT}) VALUES ({_marks(_ARTIFACT)})",  # noqa: S608
            map(_artifact_row, rows),
        )

    def drop_artifacts(self, keys: Iterable[tuple[str, str]]) -> None:
        """Forget references, given as generation id and kind."""
        self.db.executemany("DELETE FROM artifacts WHERE id = ? AND kind = ?", keys)

    def doom(self, paths: Iterable[str]) -> None:
        """Note files that are to be removed once this transaction is durable."""
        self.db.executemany("REPLACE INTO doomed VALUES (?)", ((path,) for path in paths))

    def doomed(self) -> list[str]:
        """Files that were to be removed."""
        return [path for (path,) in self.db.execute("SELECT path FROM doomed")]

    def forget_doomed(self) -> None:
        """Say that they are."""
        self.db.execute("DELETE FROM doomed")

    def totals(self) -> dict[str, tuple[int, int]]:
        """Files and bytes by folder and kind, each file once."""
        query = """SELECT kind, count(*), coalesce(sum(size), 0)
                   FROM (SELECT kind, path, max(size) AS size FROM artifacts GROUP BY path) GROUP BY kind"""
        return {kind: (count, size) for kind, count, size in self.db.execute(query)}

    # --- life ------------------------------------------------------------------------------------------
    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all writes of a block durably, or none."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        if self._db is not None:
            self._db.close()
            self._db = None


def current_name(folder: Folder) -> str | None:
    """Name the index file that the pointer names; None where there is none."""
    try:
        name = folder.read(POINTER).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    return name if _NAME.fullmatch(name) else None


def open_index(folder: Folder) -> Index | None:
    """Open the leader's index for writing; None where it has to be (re)built."""
    name = current_name(folder)
    if name is None or not folder.exists(name):
        return None
    try:
        index = _connect(folder, name)
        if index.meta("version") == VERSION and index.db.execute("PRAGMA quick_check").fetchone() == ("ok",):
            return index
        index.close()
    except (sqlite3.DatabaseError, StorageError):
        return None
    return None


def create_index(folder: Folder) -> Index:
    """Make an empty index under the next number; `publish` makes it the current one."""
    numbers = [int(found[1]) for name in folder.names() if (found := _NAME.match(name))]
    index = _connect(folder, f"index-{max(numbers, default=0) + 1}.db")
    index.db.executescript(TABLES)
    index.set_meta(version=VERSION)
    return index


def publish(folder: Folder, index: Index) -> None:
    """Make an index the current one and remove the others."""
    folder.replace(POINTER, index.name.encode())
    for name in folder.names():
        if _NAME.match(name) and not name.startswith(index.name):
            folder.unlink(name)


def open_reader(folder: Folder) -> Index | None:
    """Open the index read-only for one query; None where there is none (yet).

    Without a -wal file nobody writes: `immutable` keeps SQLite from making files where we only look.
    """
    name = current_name(folder)
    if name is None or not folder.exists(name):
        return None
    still = "" if folder.exists(f"{name}-wal") else "&immutable=1"
    uri = f"file:{quote(os.path.join(folder.path, name))}?mode=ro{still}"
    return Index(
        lambda: sqlite3.connect(uri, uri=True, isolation_level=None, timeout=2.0, check_same_thread=False),
        name,
    )


def _connect(folder: Folder, name: str) -> Index:
    for file in (name, name + "-wal", name + "-shm"):
        if folder.exists(file):
            os.close(folder.open(file, os.O_RDWR))  # refuses links, sets the mode
    fd = folder.open(name, os.O_RDWR | os.O_CREAT)  # made by us, so that SQLite's siblings get its mode
    os.close(fd)
    path = os.path.join(folder.path, name)

    def connect() -> sqlite3.Connection:
        db = sqlite3.connect(path, isolation_level=None, timeout=5.0, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        return db

    return Index(connect, name)
