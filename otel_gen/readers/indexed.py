"""The index for readers: one consistent look that leaves nothing behind."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import quote

from otel_gen.errors import StorageError
from otel_gen.files import Folder, closed_on_failure
from otel_gen.index import Index, current_name
from otel_gen.readers.findings import REBUILD, literal
from otel_gen.readers.journal import inner
from otel_gen.tree import DOT


@contextmanager
def opened_index(root: Folder) -> Iterator[Index | None]:
    """Open the index for one look; None where there is none. Raises StorageError where it cannot be read."""
    found = _open(root)
    try:
        yield found
    finally:
        if found is not None:
            found.close()


@contextmanager
def usable_index(root: Folder) -> Iterator[Index | None]:
    """Open the index for one look; None where it cannot be read, too: the files say the same."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(opened_index(root))
        except StorageError:
            found = None
        yield found


def _open(root: Folder) -> Index | None:
    dot = inner(root, DOT)
    if dot is None:
        return None
    try:
        name = current_name(dot)
        if name is None or not dot.exists(name):
            return None
        return _connected(dot, name)
    finally:
        dot.close()


def _connected(dot: Folder, name: str) -> Index:
    """Connect read-only; without a write-ahead log as to a file at rest, or SQLite would make one."""
    path = os.path.join(dot.path, name)
    how = "mode=ro" if dot.exists(f"{name}-wal") else "immutable=1"
    uri = f"file:{quote(path)}?{how}"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=2.0, check_same_thread=False)

    try:
        found = Index(connect, name)
        with closed_on_failure(found):
            found.db.execute("BEGIN")
            found.meta("version")
    except sqlite3.Error as error:
        hint = literal(REBUILD, os.path.dirname(dot.path))
        raise StorageError(path, f"cannot be read ({error})", hint) from error
    return found
