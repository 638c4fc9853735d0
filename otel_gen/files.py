"""Directories opened once and files opened relative to them, without following a symlink.

Everything otel_gen writes goes through a `Folder`: files are 0600 and directories 0700 whatever the
umask, names are single components, and what is not a plain file with one name is refused. What root makes
belongs to the owner of the directory it is in.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from otel_gen.directories import give, make, sync_names
from otel_gen.errors import StorageError

_PLAIN = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_REFUSED = {
    errno.ELOOP: "is a symbolic link",
    errno.EISDIR: "is a directory, not a file",
    errno.ENXIO: "not a plain file",
}
_LOOK = "remove it or choose another data_dir"
_IN_ITS_PLACE = (errno.ELOOP, errno.ENOTDIR)
_DENIED = (errno.EACCES, errno.EPERM)
_OTHER_USER = "run this as the user of the service, or give that user what is there (chown)"


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all bytes at the descriptor's position; a short write goes on, an error is raised."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Closable(Protocol):
    """Whatever holds files and can let them go."""

    def close(self) -> None:
        """Let them go."""


@contextmanager
def closed_on_failure(what: Closable) -> Iterator[None]:
    """Let go of what was opened where its making fails: nobody else will know of it."""
    try:
        yield
    except BaseException:
        what.close()
        raise


def _refusal(path: str, error: OSError) -> StorageError:
    """Say why there is no directory to be had: what is in its place may be removed, what is denied must not."""
    if error.errno in _IN_ITS_PLACE:
        return StorageError(path, f"not a plain directory ({error.strerror})", _LOOK)
    hint = _OTHER_USER if error.errno in _DENIED else "see to it and try again"
    return StorageError(path, error.strerror or str(error), hint)


class Folder:
    """A directory held by descriptor. Opening it never waits for a disk; `sync` makes its own name durable too."""

    def __init__(self, path: str, fd: int, unsynced: list[str]) -> None:
        self.path, self.fd = path, fd
        self._unsynced = unsynced
        """The directories above it that hold a name which may not be durable, made by whatever process."""

    @classmethod
    def root(cls, path: str, *, create: bool = True) -> Folder:
        """Open a data_dir; the path itself may be a link, nothing below it may. Raises StorageError.

        One that is made, or that holds nothing yet, is closed to others; what somebody uses stays as it is.
        """
        try:
            unsynced = make(os.path.abspath(path)) if create else []
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            denied = error.errno in _DENIED and os.path.exists(path)
            hint = _OTHER_USER if denied else "give a directory you may write"
            raise StorageError(path, error.strerror or str(error), hint) from error
        folder = cls(os.path.abspath(path), fd, unsynced)
        if create and not folder.names():
            folder.tighten()
        return folder

    def tighten(self) -> None:
        """Close the directory to all but its owner, where that is us."""
        state = os.fstat(self.fd)
        if state.st_uid == os.geteuid() and stat.S_IMODE(state.st_mode) != 0o700:
            try:
                os.fchmod(self.fd, 0o700)
            except OSError:
                return  # a read-only file system: what can be read is still read

    def sub(self, name: str, *, create: bool = True) -> Folder:
        """Open (and by default make) a subdirectory; a link in its place is refused."""
        path = os.path.join(self.path, name)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            if create and not self.exists(name):
                with contextlib.suppress(FileExistsError):  # another process was faster
                    os.mkdir(name, 0o700, dir_fd=self.fd)
            unsynced = [*self._unsynced, self.path] if create else list(self._unsynced)
            folder = Folder(path, os.open(name, flags, dir_fd=self.fd), unsynced)
            if create:
                with closed_on_failure(folder):
                    folder.tighten()
                    give(folder.fd, self.fd)
        except OSError as error:
            raise _refusal(path, error) from error
        return folder

    def gone(self) -> bool:
        """Tell whether the directory was removed under us."""
        return os.fstat(self.fd).st_nlink == 0

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a plain file; links, fifos, devices and files with a second name are refused."""
        try:
            fd = os.open(name, flags | _PLAIN, 0o600, dir_fd=self.fd)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            raise StorageError(os.path.join(self.path, name), _REFUSED[error.errno], _LOOK) from error
        try:
            self._check(name, fd, flags)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _check(self, name: str, fd: int, flags: int) -> None:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode):
            raise StorageError(os.path.join(self.path, name), "not a plain file", _LOOK)
        if flags & (os.O_WRONLY | os.O_RDWR):
            if state.st_nlink > 1:
                raise StorageError(os.path.join(self.path, name), "has a second name (hard link)", _LOOK)
            give(fd, self.fd)
            if stat.S_IMODE(state.st_mode) != 0o600:
                os.fchmod(fd, 0o600)

    @contextmanager
    def opened(self, name: str, flags: int = os.O_RDONLY) -> Iterator[int]:
        """Open a plain file for the length of a block."""
        fd = self.open(name, flags)
        try:
            yield fd
        finally:
            os.close(fd)

    def stat(self, name: str) -> os.stat_result | None:
        """Look at a name without following it; None where there is nothing."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def exists(self, name: str) -> bool:
        """Tell whether the name is taken, by whatever."""
        return self.stat(name) is not None

    def names(self) -> list[str]:
        """List the names in the directory, sorted; of one that was removed, none."""
        try:
            # By a descriptor of its own: two threads that list by one share its position, and miss names.
            fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        except FileNotFoundError:
            return []
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def read(self, name: str) -> bytes:
        """Read a whole plain file."""
        with self.opened(name) as fd:
            return b"".join(iter(lambda: os.read(fd, 1 << 20), b""))

    def rename(self, name: str, to: str, folder: Folder | None = None) -> None:
        """Rename within the file system, over what has the new name."""
        os.rename(name, to, src_dir_fd=self.fd, dst_dir_fd=(folder or self).fd)

    def unlink(self, name: str) -> bool:
        """Remove a name; tell whether there was one."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            return False
        return True

    def sync(self) -> None:
        """Make the directory's names durable, its own among them."""
        # Two threads may both do it, and neither is done before the names are durable.
        for path in self._unsynced:
            sync_names(path)
        self._unsynced = []
        os.fsync(self.fd)

    def replace(self, name: str, data: bytes) -> None:
        """Write a file so that a reader, or a crash, sees the old or the new one: temp, fsync, rename."""
        temporary = f".{name}.tmp"
        self.unlink(temporary)
        try:
            with self.opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
                write_all(fd, data)
                os.fsync(fd)
            self.rename(temporary, name)
        except OSError:
            self.unlink(temporary)
            raise
        self.sync()

    def append(self, name: str, data: bytes) -> None:
        """Append with one write and make it durable; the file is made where there is none."""
        fresh = not self.exists(name)
        with self.opened(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as fd:
            write_all(fd, data)
            os.fdatasync(fd)
        if fresh:
            self.sync()

    def close(self) -> None:
        """Let the descriptor go."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
