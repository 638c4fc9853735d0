"""Room: what a file system must have left before artifacts go to it; the rest belongs to what is never given up."""

from __future__ import annotations

import errno
import os
from typing import Final

from otel_gen.files import Folder

RESERVE: Final = 64_000_000
"""Bytes for starts, ends, verdicts and records: some 6,000 generations."""
_SHARE: Final = 8
"""On a small file system at most an eighth."""


def space(where: Folder | str) -> tuple[int, int]:
    """Give the free bytes and all bytes of the file system of a folder or path, as `df` does. Raises OSError.

    What is set aside for root, on some systems more than half, counts as neither.
    """
    state = os.statvfs(where if isinstance(where, str) else where.fd)
    used = state.f_blocks - state.f_bfree
    return state.f_bavail * state.f_frsize, (used + state.f_bavail) * state.f_frsize


def missing(folder: Folder, more: int = 0) -> int:
    """Tell how many bytes the reserve of a folder's file system lacks once `more` are written; 0: none."""
    try:
        free, whole = space(folder)
    except OSError:
        return 0  # what writes there will say so
    return max(min(RESERVE, whole // _SHARE) - (free - more), 0)


def claim(folder: Folder, size: int) -> None:
    """Raise OSError where so many bytes would take of the reserve."""
    if missing(folder, size):
        raise OSError(errno.ENOSPC, "what is left of the disk is for events")
