"""Flock: a lock by a file that one process at a time holds, and that goes with it, whatever ends it."""

from __future__ import annotations

import fcntl
import os

from otel_gen.files import Folder


class Flock:
    """The exclusive lock of one file in a folder; the file is made where there is none, and stays."""

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder, self._name = folder, name
        self._fd = -1
        self._pid = 0

    def take(self) -> bool:
        """Try to have the lock, without waiting; true as well where it is held here already."""
        if self._fd >= 0 and self._pid == os.getpid():
            return True
        self.release()
        fd = self._folder.open(self._name, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd, self._pid = fd, os.getpid()
        return True

    @property
    def fd(self) -> int:
        """The descriptor that holds the lock, -1 without it."""
        return self._fd

    def release(self) -> None:
        """Let the lock go, whoever inherited its descriptor; in a forked child, let the descriptor go alone."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            if self._pid == os.getpid():
                fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)
