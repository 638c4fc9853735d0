"""Refusals: what a disk, or the index on it, refuses, as an error that says where and what to do."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from otel_gen.errors import StorageError

_TRY = "see that there is room and that every file is yours to write, then try again"


@contextmanager
def refusals(path: str, what: str) -> Iterator[None]:
    """Say what could not be done below a path. Raises StorageError in place of an error of the disk or the index."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise StorageError(os.path.abspath(path), f"{what} ({_reason(error)})", _TRY) from error


def _reason(error: Exception) -> str:
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
