"""One append-only file of lines: whole appends or none, its torn tail cut back, its place told by inode."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from otel_gen.errors import StorageError
from otel_gen.files import Folder, write_all

HISTORY = "generation_history.jsonl"
AMENDMENTS = "generation_amendments.jsonl"
CONFIG_HISTORY = "miner_config_history.jsonl"
_LOOK = 1 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file was durably written up to."""

    inode: int
    size: int


class Lines:
    """The leader's end of a line file."""

    def __init__(self, folder: Folder, name: str) -> None:
        self.folder, self.name = folder, name
        self._broken = False

    def append(self, data: bytes) -> Place:
        """Append whole lines durably. On an error the file is cut back to what it was, then it is raised."""
        fresh = not self.folder.exists(self.name)
        with self.folder.opened(self.name, os.O_RDWR | os.O_APPEND | os.O_CREAT) as fd:
            before = os.fstat(fd).st_size
            try:
                if self._broken and self._torn(fd, before):
                    raise StorageError(self.folder.path, f"{self.name} has a torn tail", "free disk space")
                write_all(fd, data)
                os.fdatasync(fd)
            except OSError:
                self._broken = True
                with suppress(OSError):  # the next append looks, and the first error is the one to tell
                    os.ftruncate(fd, before)
                raise
            self._broken = False
            state = os.fstat(fd)
        if fresh:
            self.folder.sync()
        return Place(state.st_ino, state.st_size)

    @staticmethod
    def _torn(fd: int, size: int) -> bool:
        return size > 0 and os.pread(fd, 1, size - 1) != b"\n"

    def place(self) -> Place | None:
        """Tell inode and size now; None where there is no file."""
        state = self.folder.stat(self.name)
        return None if state is None else Place(state.st_ino, state.st_size)

    def cut_torn_tail(self) -> tuple[int, bytes]:
        """Cut what stands behind the last newline; returns its offset and bytes."""
        if not self.folder.exists(self.name):
            return 0, b""
        with self.folder.opened(self.name, os.O_RDWR) as fd:
            size = os.fstat(fd).st_size
            keep = _last_newline(fd, size)
            if keep == size:
                return size, b""
            torn = os.pread(fd, min(size - keep, 16 << 20), keep)
            os.ftruncate(fd, keep)
            os.fsync(fd)
        return keep, torn

    def read_from(self, offset: int = 0) -> Iterator[tuple[int, bytes]]:
        """Read whole lines from an offset on: offset, line with its newline."""
        if not self.folder.exists(self.name):
            return
        with self.folder.opened(self.name) as fd:
            rest = b""
            os.lseek(fd, offset, os.SEEK_SET)
            while chunk := os.read(fd, _LOOK):
                rest += chunk
                *whole, rest = rest.split(b"\n")
                for line in whole:
                    yield offset, line + b"\n"
                    offset += len(line) + 1


def _last_newline(fd: int, size: int) -> int:
    """Offset behind the last newline."""
    end = size
    while end > 0:
        start = max(end - _LOOK, 0)
        at = os.pread(fd, end - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0
