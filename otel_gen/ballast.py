"""Ballast: a file that holds room back, for records, and gives it up when somebody has filled the disk.

What goes on a full disk, in this order: new artifacts, kept ones that may go (both leave the reserve of `room`),
then the ballast, then stages in memory; never a start, an end or a verdict.
"""

from __future__ import annotations

import contextlib
import errno
import os

from otel_gen.files import Folder
from otel_gen.room import space

NAME = "ballast"
SIZE = 16 << 20
"""Bytes held back, some 5,000 records; on a small file system a sixteenth of it."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: BaseException) -> bool:
    """Tell whether an error of the operating system, or what caused it, is that of a full disk."""
    code = getattr(error, "errno", None) or getattr(error.__cause__, "errno", None)
    return code in _FULL


def hold(dot: Folder) -> None:
    """Take the ballast up where there is none and room for it three times over; without it all goes on."""
    free, whole = space(dot)
    size, state = min(SIZE, whole // 16), dot.stat(NAME)
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
