"""Ballast: room held back on the disk: artifacts leave it free, and records get it when everything is full.

What is given up on a full disk, in this order: new artifacts, then outputs that wait for a verdict, the oldest
first, then the ballast file, then stages in memory; never a start, an end or a verdict.
"""

from __future__ import annotations

import contextlib
import errno
import os

from otel_gen.files import Folder

NAME = "ballast"
SIZE = 16 << 20
"""Bytes held back: four segments, or a hundred thousand records; on a small file system a sixteenth of it."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


def reserve(fd: int) -> tuple[int, int]:
    """Tell, of the file system of a descriptor, how much shall be held back and how much is free."""
    state = os.fstatvfs(fd)
    return min(SIZE, state.f_blocks * state.f_frsize // 16), state.f_bavail * state.f_frsize


def leaves_room(fd: int, size: int = 0) -> bool:
    """Tell whether so many bytes more leave free what is to be held back."""
    held, free = reserve(fd)
    return free - size >= held


def is_full(error: BaseException) -> bool:
    """Tell whether an error of the operating system, or what caused it, is that of a full disk."""
    code = getattr(error, "errno", None) or getattr(error.__cause__, "errno", None)
    return code in _FULL


def hold(dot: Folder) -> None:
    """Take the ballast up where there is none and room for it three times over; without it all goes on."""
    size, free = reserve(dot.fd)
    state = dot.stat(NAME)
    if free < 3 * size or (state is not None and state.st_size >= size):
        return
    release(dot)  # a power loss may have left less of it
    try:
        with dot.opened(NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
            os.posix_fallocate(fd, 0, size)
    except OSError:
        release(dot)


def release(dot: Folder) -> bool:
    """Give the ballast back; tell whether there was any."""
    with contextlib.suppress(OSError):
        return dot.unlink(NAME)
    return False
