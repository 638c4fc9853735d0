"""The file under inspection: opened once, read by position, never waited for and never moved."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

PathOrFd: TypeAlias = "str | bytes | os.PathLike[str] | int"


class UnreadableError(ValueError):
    """Says in a few words, without any path, why a file gives no facts."""


@dataclass(frozen=True)
class Source:
    """An open regular file and its size in bytes."""

    fd: int
    size: int

    def read(self, count: int, offset: int) -> bytes:
        """Return the bytes at `offset`, fewer than `count` only at the end of the file."""
        data = os.pread(self.fd, count, offset)
        if len(data) == count or not data:
            return data
        parts = [data]
        while data and (missing := count - sum(map(len, parts))):
            data = os.pread(self.fd, missing, offset + count - missing)
            parts.append(data)
        return b"".join(parts)


@contextmanager
def reading(path_or_fd: PathOrFd) -> Iterator[Source]:
    """Open a path, or borrow a descriptor without closing it or moving its offset; raise UnreadableError."""
    try:
        # O_NONBLOCK: opening a fifo must not wait for its writer.
        fd = path_or_fd if isinstance(path_or_fd, int) else os.open(path_or_fd, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise UnreadableError(f"cannot be opened: {error.strerror}") from error
    try:
        yield Source(fd, _regular_size(fd))
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from error
    finally:
        if fd is not path_or_fd:
            os.close(fd)


def _regular_size(fd: int) -> int:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise UnreadableError("not a regular file")
    return found.st_size
