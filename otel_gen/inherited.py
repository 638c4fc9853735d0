"""Inherited: what a forked child has open and must not keep."""

from __future__ import annotations

import contextlib
import os


def close_inherited(*parts: str) -> None:
    """In a forked child: close what is open under a path that holds one of these; its parent may have opened it
    just before, and told nobody yet."""
    try:
        descriptors = os.listdir("/proc/self/fd")
    except OSError:
        return  # no Linux: the child keeps it open
    for fd in map(int, descriptors):
        with contextlib.suppress(OSError):  # the listing itself is closed by now
            path = os.readlink(f"/proc/self/fd/{fd}")
            if any(part in path for part in parts):
                os.close(fd)
