"""The leader's index: what is delivered, what it counted, where its files stand; derived and rebuildable.

One SQLite file, one writing connection, synchronous=FULL, one transaction per delivered batch. A new
number is taken on a rebuild and published by a pointer file; a file is never replaced while open.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from operator import attrgetter
from urllib.parse import quote

from otel_gen.errors import StorageError
from otel_gen.files import Folder, closed_on_failure
from otel_gen.queries import AMENDMENT, ARTIFACT, DELIVERED, Queries
from otel_gen.tables import FOREVER, TABLES, VERSION, AmendmentRow, ArtifactRow, Delivered

POINTER = "index"
_NAME = re.compile(r"index-(\d+)\.db")

_delivered_row = attrgetter(*(field.name for field in fields(Delivered)))
_amendment_row = attrgetter(*(field.name for field in fields(AmendmentRow)))
_artifact_row = attrgetter(*(field.name for field in fields(ArtifactRow)))


def _marks(names: str) -> str:
    return ", ".join("?" * (names.count(",") + 1))


class Index(Queries):
    """Write one index file too; every write stands inside `transaction`."""

    def set_meta(self, **values: object) -> None:
        """Store values of the index itself."""
        self.db.executemany("REPLACE INTO meta VALUES (?, ?)", [(k, str(v)) for k, v in values.items()])

    def set_cursors(self, cursors: Iterable[tuple[str, int]], gone: Iterable[str] = ()) -> None:
        """Store how far segments are dealt with; forget those that are gone."""
        self.db.executemany("REPLACE INTO cursors VALUES (?, ?)", cursors)
        self.db.executemany("DELETE FROM cursors WHERE segment = ?", ((name,) for name in gone))

    def set_aggregates(self, rows: Iterable[tuple[str, str]]) -> None:
        """Store counters and histograms."""
        self.db.executemany("REPLACE INTO aggregates VALUES (?, ?)", rows)

    def add_delivered(self, rows: Iterable[Delivered]) -> None:
        """Mark generations as delivered (or renew what is known of them)."""
        self.db.executemany(
            f"REPLACE INTO delivered ({DELIVERED}) VALUES ({_marks(DELIVERED)})",  # noqa: S608 - own names
            map(_delivered_row, rows),
        )

    def add_amendments(self, rows: Iterable[AmendmentRow]) -> None:
        """Mark events as amendments."""
        self.db.executemany(
            f"REPLACE INTO amendments ({AMENDMENT}) VALUES ({_marks(AMENDMENT)})",  # noqa: S608
            map(_amendment_row, rows),
        )

    def add_artifacts(self, rows: Iterable[ArtifactRow]) -> None:
        """Note kept files."""
        self.db.executemany(
            f"REPLACE INTO artifacts ({ARTIFACT}) VALUES ({_marks(ARTIFACT)})",  # noqa: S608
            map(_artifact_row, rows),
        )

    def drop_artifacts(self, keys: Iterable[tuple[str, str]]) -> None:
        """Forget references, given as generation id and kind."""
        self.db.executemany("DELETE FROM artifacts WHERE id = ? AND kind = ?", keys)

    def wait_longer(self, by: int) -> None:
        """Put the end of all waits off, by nanoseconds; what it stands at would be no time stays there."""
        self.db.execute("UPDATE artifacts SET due = min(due + ?, ?) WHERE due IS NOT NULL", (by, FOREVER))

    def doom(self, paths: Iterable[str]) -> None:
        """Note files that are to be removed once this transaction is durable."""
        self.db.executemany("REPLACE INTO doomed VALUES (?)", ((path,) for path in paths))

    def forget_doomed(self) -> None:
        """Say that they are."""
        self.db.execute("DELETE FROM doomed")

    def forget(self, generation_id: str) -> None:
        """Drop all rows of a generation."""
        for table in ("delivered", "amendments", "artifacts"):
            self.db.execute(f"DELETE FROM {table} WHERE id = ?", (generation_id,))  # noqa: S608 - own names

    def rewrite(self) -> bool:
        """Write the file anew, without what was dropped from it; False while a reader holds the old pages."""
        self.db.execute("VACUUM")
        busy: int = self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        return not busy

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
        with closed_on_failure(index):
            if index.meta("version") == VERSION and index.db.execute("PRAGMA quick_check").fetchone() == (
                "ok",
            ):
                return index
        index.close()
    except StorageError:
        return None
    except sqlite3.DatabaseError as error:
        if temporary(error):
            raise
    return None


_TEMPORARY = (
    "full",
    "disk i/o",
    "locked",
    "unable to open",
    "readonly",
    "read-only",
    "out of memory",
    "busy",
)


def temporary(error: BaseException) -> bool:
    """Tell an error of the disk or of the moment from damage: a new index would meet it too."""
    return isinstance(error, sqlite3.OperationalError) and any(
        word in str(error).lower() for word in _TEMPORARY
    )


def is_full(error: BaseException) -> bool:
    """Tell whether SQLite met a full disk."""
    return isinstance(error, sqlite3.OperationalError) and "full" in str(error)


def create_index(folder: Folder) -> Index:
    """Make an empty index under the next number; `publish` makes it the current one."""
    numbers = [int(found[1]) for name in folder.names() if (found := _NAME.match(name))]
    index = _connect(folder, f"index-{max(numbers, default=0) + 1}.db")
    with closed_on_failure(index):
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
        with closed_on_failure(db):
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
        return db

    return Index(connect, name)
