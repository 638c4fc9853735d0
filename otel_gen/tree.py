"""The tree of a data_dir: its folders, opened once, and the lock of whoever delivers."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from otel_gen.clock import Clock, boot_id
from otel_gen.errors import StorageError
from otel_gen.files import Folder, closed_on_failure
from otel_gen.flock import Flock

DOT = ".otel_gen"
LOCK = "leader.lock"
_NAMES = ("archive", "images", "ply_files", "README.md", "pending_generations.json", DOT)
_REMOTE = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "afs", "ceph")


def is_ours(name: str) -> bool:
    """Tell whether a name at the top of a data_dir is one that otel_gen, or the former logger, gives."""
    return name in _NAMES or name.lstrip(".").startswith(("generation_", "miner_config_"))


def is_begun(names: list[str]) -> bool:
    """Tell a data_dir, by the names in it, from a directory in which nothing was recorded."""
    return any(name == DOT or name.startswith("generation_history") for name in names)


def is_used(names: list[str]) -> bool:
    """Tell whether somebody keeps other things there; what git or a file system puts there says nothing."""
    return not all(is_ours(name) or name.startswith(".") or name == "lost+found" for name in names)


class Tree:
    """Open folders of one data_dir; without `create` nothing on disk is touched."""

    def __init__(self, path: str, *, create: bool = True) -> None:
        self.path = path
        self._open: list[Folder] = []
        with closed_on_failure(self):
            if create:
                refuse_shared(path)
            self.root = self._keep(Folder.root(path, create=create))
            if create and not is_used(self.root.names()):
                self.root.tighten()
            self.dot = self._keep(self.root.sub(DOT, create=create))
            self.segments = self._keep(self.dot.sub("segments", create=create))
            self.staging = self._keep(self.dot.sub("staging", create=create))
            self.quarantine = self._keep(self.dot.sub("quarantine", create=create))

    def _keep(self, folder: Folder) -> Folder:
        self._open.append(folder)
        return folder

    def gone(self) -> bool:
        """Tell whether the data_dir was removed under us."""
        return os.fstat(self.root.fd).st_nlink == 0 or os.fstat(self.dot.fd).st_nlink == 0

    def set_aside(self, name: str, data: bytes) -> bool:
        """Keep damaged or refused bytes under a name of their own; tell whether they are new there."""
        if self.quarantine.exists(name):
            return False
        self.quarantine.replace(name, data)
        return True

    def close(self) -> None:
        """Let all folders go."""
        for folder in self._open:
            folder.close()


class LeaderLock(Flock):
    """The lock that makes one process the leader."""

    def __init__(self, dot: Folder) -> None:
        super().__init__(dot, LOCK)

    def beat(self, boot: int) -> None:
        """Write down that a pass was done, at which boot time, and by whom."""
        os.pwrite(self._fd, f"{os.getpid():<10d} {boot:<20d} {boot_id()[:8]:<8}\n".encode(), 0)

    def holder(self) -> str:
        """Say who holds the lock, as its file tells."""
        try:
            return self._folder.read(LOCK).decode("ascii", "replace").split()[0]
        except (OSError, StorageError, IndexError):
            return "unknown"


def refuse_shared(path: str, what: str = "data_dir") -> None:
    """Refuse a directory that everybody uses, like /tmp: it cannot be closed to others. Raises StorageError."""
    with suppress(OSError):
        mode = os.stat(path).st_mode
        if mode & stat.S_ISVTX and mode & stat.S_IWOTH:
            reason = f"is for everybody (mode {stat.S_IMODE(mode):o})"
            raise StorageError(path, reason, f"give a directory of its own as {what}")


def refuse_remote(path: str) -> None:
    """Refuse a data_dir on a network file system, whose locks prove nothing. Raises StorageError."""
    kind = _file_system(path)
    if kind in _REMOTE:
        raise StorageError(
            path, f"is on {kind}, where locks prove nothing", "choose a local disk as data_dir"
        )


def _file_system(path: str) -> str:
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            mounts = [line.split() for line in file]
    except OSError:
        return ""
    real, best, kind = os.path.realpath(path), -1, ""
    for fields in mounts:
        point, rest = fields[4].replace("\\040", " "), fields[fields.index("-") + 1 :]
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) > best:
            best, kind = len(point), rest[0]
    return kind


def beat_age(dot: Folder, clock: Clock) -> float | None:
    """Seconds since the leader's last pass: by boot time; by the file's time if that was in another boot."""
    try:
        _, boot, *which = dot.read(LOCK).split()
        age = clock.boot() - int(boot)
        state = dot.stat(LOCK)
    except (OSError, StorageError, ValueError):
        return None
    if which != [boot_id()[:8].encode()] and state is not None:
        age = clock.wall() - state.st_mtime_ns
    return max(age, 0) / 1e9
