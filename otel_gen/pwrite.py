"""One write at an offset that keeps the interpreter's lock where others wait for it and the disk is quick."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

WANTED = 0.0001
"""Seconds after which a write that gave the lock up had to wait for it."""
OFTEN, LATELY = 4, 16
"""Of the last sixteen watched writes four had to wait: others are busy, not one now and then; then the lock is kept."""
KEEP = 10.0
"""Seconds for which it is kept then."""
SLOW = 0.02
"""Seconds after which a write that kept the lock was held by the kernel."""
CALM = 5.0
"""Seconds for which the lock is not kept after such a write."""

_ALL = (1 << LATELY) - 1
_os_pwrite = os.pwrite
keep_until = 0.0
"""On the monotonic clock; 0 while the lock is given up. Then not each write needs the look that `pwrite` takes."""
_give_up_until = 0.0
_waits = 0
"""Which of the last watched writes had to wait, a bit each, that of the newest last."""


def _keeping() -> Callable[[int, bytes, int, int], int] | None:
    """Find the C library's own function, called without giving the lock up; None where there is none."""
    try:
        import ctypes

        library = ctypes.PyDLL(None)
        # the one that os.pwrite calls; its offset has 64 bits everywhere
        found: Any = getattr(library, "pwrite64", None) or library.pwrite
        found.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int64)
        found.restype = ctypes.c_ssize_t
    except (ImportError, OSError, AttributeError):
        return None
    return found  # type: ignore[no-any-return]


_kept = _keeping()


def pwrite(fd: int, data: bytes, at: int, overdue: float = math.inf) -> int:
    """Write at an offset and return the number of bytes; raises OSError like os.pwrite.

    os.pwrite gives the interpreter's lock up for the microseconds that it takes; a busy thread then has it for
    up to 5 ms. Where that was seen lately, it is kept, unless a write took long lately or the disk is `overdue`
    (on the monotonic clock): a write that the kernel holds would hold every thread of the process.
    """
    global keep_until, _give_up_until, _waits
    begin = time.monotonic()
    if begin < keep_until and begin < overdue and os.pwrite is _os_pwrite and _kept is not None:
        written = _kept(fd, data, len(data), at)
        if time.monotonic() - begin > SLOW:
            keep_until, _give_up_until = 0.0, begin + CALM
        if written >= 0:
            return written
    if begin >= keep_until:
        keep_until = 0.0
    written = os.pwrite(fd, data, at)  # after a failure: it says what is wrong, or succeeds
    waited = time.monotonic() - begin > WANTED
    _waits = (_waits << 1 | waited) & _ALL
    if waited and begin > _give_up_until and _waits.bit_count() >= OFTEN:
        keep_until = begin + KEEP
    return written
