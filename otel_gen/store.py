"""Store: where artifacts stand for good, one file per digest, moved there before a record names them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from otel_gen.files import Folder, write_all

IMAGES, OUTPUTS, SAMPLES = "images", "ply_files", "rejected_samples"
SAMPLE_PREFIX = f"{OUTPUTS}/{SAMPLES}/"


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
    """Move staged files to final names and away again; every step can be repeated."""

    def __init__(self, root: Folder, staging: Folder) -> None:
        self.root, self.staging = root, staging
        self._folders: dict[str, Folder] = {}

    def final(self, artifact: Artifact, *, sample: bool = False, long: bool = False) -> str:
        """Give the path, relative to data_dir, where a kept artifact stands."""
        if artifact.kind in ("image", "output_image"):
            return f"{IMAGES}/{artifact.digest if long else artifact.digest[:16]}.{artifact.extension}"
        return f"{SAMPLE_PREFIX if sample else OUTPUTS + '/'}{artifact.digest}.{artifact.extension}"

    def keep(self, artifact: Artifact, path: str) -> bool:
        """Bring a staged file to its final name; False where it is nowhere to be found."""
        folder, name = self._place(path)
        if folder.exists(name):
            self.staging.unlink(artifact.staged)
            return True
        try:
            self.staging.rename(artifact.staged, name, folder)
        except FileNotFoundError:
            return False
        folder.sync()
        return True

    def copy(self, path: str, to: str) -> bool:
        """Give a kept file a second name (a copy where links are not to be had); False where it is missing."""
        folder, name = self._place(path)
        target, target_name = self._place(to)
        if target.exists(target_name):
            return True
        if not folder.exists(name):
            return False
        try:
            os.link(name, target_name, src_dir_fd=folder.fd, dst_dir_fd=target.fd, follow_symlinks=False)
        except OSError:
            self._copy_bytes(folder, name, target, target_name)
        target.sync()
        return True

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

    def discard(self, artifact: Artifact) -> None:
        """Remove a staged file."""
        if artifact.staged:
            self.staging.unlink(artifact.staged)

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

    def _place(self, path: str) -> tuple[Folder, str]:
        *parts, name = path.split("/")
        key, folder = "", self.root
        for part in parts:
            key = f"{key}/{part}"
            if key not in self._folders:
                self._folders[key] = folder.sub(part)
            folder = self._folders[key]
        return folder, name
