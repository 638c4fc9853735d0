"""Directories that are made: whose they are, and when their names are durable."""

from __future__ import annotations

import contextlib
import errno
import os

_NO_OWNERS = (errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


def give(made: int | str, above: int | str) -> None:
    """As root, give what is root's to the owner of the directory it is in: that user's service has to open it."""
    if os.geteuid() or os.stat(made).st_uid:
        return
    owner = os.stat(above)
    try:
        if owner.st_uid:
            os.chown(made, owner.st_uid, owner.st_gid, follow_symlinks=isinstance(made, int))
    except OSError as error:
        if error.errno not in _NO_OWNERS:
            raise


def make(path: str) -> list[str]:
    """Make a directory and those above it; gives the directories that hold a name which may not be durable yet."""
    above = os.path.dirname(path)
    if os.path.isdir(path):
        return [above]
    unsynced = make(above)
    with contextlib.suppress(FileExistsError):  # another process was faster
        os.mkdir(path, 0o700)
        give(path, above)
    return [*unsynced, above]


def sync_names(path: str) -> None:
    """Make the names in a directory durable."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (PermissionError, FileNotFoundError):
        return  # writable, but not to be opened; or moved away since: all that can be done is done
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
