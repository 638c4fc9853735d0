"""Store: where artifacts stand for good, one file per digest, moved there before a record names them."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from dataclasses import dataclass
from typing import TypeGuard

from otel_gen.files import Folder, write_all

IMAGES, OUTPUTS, SAMPLES = "images", "ply_files", "rejected_samples"
SAMPLE_PREFIX = f"{OUTPUTS}/{SAMPLES}/"
_NO_LINKS = (errno.EPERM, errno.EMLINK, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS)


_PLACE = re.compile(rf"({IMAGES}|{OUTPUTS}(/{SAMPLES})?)/[0-9a-f]{{16,64}}\.[a-z0-9]{{1,8}}")


def is_place(path: object) -> TypeGuard[str]:
    """Tell whether a path is one that this module gives; a line of a file may say anything."""
    return isinstance(path, str) and _PLACE.fullmatch(path) is not None


@dataclass(frozen=True, slots=True)
class Artifact:
    """One artifact that a generation staged: kind, digest (hex), size, staged name ('' if not stored)."""

    kind: str
    digest: str
    size: int
    staged: str

    @property
    def extension(self) -> str:
        """File name extension, from what was sniffed."""
        return self.staged.rpartition(".")[2] if self.staged else ""


class Store:
    """Bring staged files to final names and away again; every step can be repeated."""

    def __init__(self, root: Folder, staging: Folder) -> None:
        self.root, self.staging = root, staging
        self._folders: dict[str, Folder] = {}
        self._changed: set[Folder] = set()

    def final(self, artifact: Artifact, *, sample: bool = False, long: bool = False) -> str:
        """Give the path, relative to data_dir, where a kept artifact stands."""
        if artifact.kind in ("image", "output_image"):
            return f"{IMAGES}/{artifact.digest if long else artifact.digest[:16]}.{artifact.extension}"
        return f"{SAMPLE_PREFIX if sample else OUTPUTS + '/'}{artifact.digest}.{artifact.extension}"

    def keep(self, artifact: Artifact, path: str) -> bool:
        """Give a staged file its final name beside its own; False where it is nowhere to be found."""
        return self._name_anew(self.staging, artifact.staged, path)

    def copy(self, path: str, to: str) -> bool:
        """Give a kept file a second name; False where it is missing."""
        return self._name_anew(*self._place(path), to)

    def _name_anew(self, source: Folder, name: str, to: str) -> bool:
        """Link, or copy where links are not to be had; nothing is moved, so a crash takes nothing away."""
        folder, target = self._place(to)
        if folder.exists(target):
            return True
        if not source.exists(name):
            return False
        try:
            os.link(name, target, src_dir_fd=source.fd, dst_dir_fd=folder.fd, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self._copy_bytes(source, name, folder, target)
        self._changed.add(folder)
        return True

    def sync(self) -> None:
        """Make new names durable."""
        for folder in self._changed:
            folder.sync()
        self._changed.clear()

    @staticmethod
    def _copy_bytes(folder: Folder, name: str, target: Folder, target_name: str) -> None:
        temporary = f".{target_name}.tmp"
        target.unlink(temporary)
        with (
            folder.opened(name) as source,
            target.opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd,
        ):
            while chunk := os.read(source, 1 << 20):
                write_all(fd, chunk)
            os.fsync(fd)
        target.rename(temporary, target_name)

    def remove(self, path: str) -> None:
        """Remove a kept file that no record refers to any more."""
        folder, name = self._place(path)
        folder.unlink(name)

    def exists(self, path: str) -> bool:
        """Tell whether a kept file is there."""
        folder, name = self._place(path)
        return folder.exists(name)

    def size(self, path: str) -> int:
        """Size of a kept file in bytes, 0 where it is missing."""
        folder, name = self._place(path)
        state = folder.stat(name)
        return 0 if state is None else state.st_size

    def digest(self, path: str) -> str | None:
        """Hash a kept file; None where it is missing."""
        folder, name = self._place(path)
        found = hashlib.sha256()
        try:
            with folder.opened(name) as fd:
                while chunk := os.read(fd, 1 << 20):
                    found.update(chunk)
        except FileNotFoundError:
            return None
        return found.hexdigest()

    def close(self) -> None:
        """Let all folders go."""
        for folder in self._folders.values():
            folder.close()
        self._folders.clear()
        self._changed.clear()

    def _place(self, path: str) -> tuple[Folder, str]:
        *parts, name = path.split("/")
        key, folder = "", self.root
        for part in parts:
            key = f"{key}/{part}"
            known = self._folders.get(key)
            if known is None or known.gone():
                known = self._folders[key] = folder.sub(part)
            folder = known
        return folder, name
