"""Room: what a file system must have left before artifacts go to it; the rest belongs to what is never given up."""

from __future__ import annotations

import os
from typing import Final

from otel_gen.files import Folder

RESERVE: Final = 64_000_000
"""Bytes for starts, ends, verdicts and records: some 6,000 generations."""
_SHARE: Final = 8
"""On a small file system at most an eighth."""


def missing(folder: Folder, more: int = 0) -> int:
    """Tell how many bytes the reserve of a folder's file system lacks once `more` are written; 0: none."""
    try:
        state = os.fstatvfs(folder.fd)
    except OSError:
        return 0  # what writes there will say so
    free, whole = state.f_bavail * state.f_frsize, state.f_blocks * state.f_frsize
    return max(min(RESERVE, whole // _SHARE) - (free - more), 0)
