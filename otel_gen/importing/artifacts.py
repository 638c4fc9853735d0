"""Artifacts of old records: opened below the directory of the import only, staged, compared with their hash."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
from typing import Any

from otel_gen import semconv as sc
from otel_gen.files import Folder
from otel_gen.images import input_image
from otel_gen.importing.lines import Note
from otel_gen.importing.old import File, Old
from otel_gen.job import Job
from otel_gen.wiring import Runtime

_BELOW = re.compile(r"(?:^|/)((?:images|ply_files)/.+)$")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Artifacts:
    """Bring the files of old records into the staging of a data_dir."""

    def __init__(self, runtime: Runtime, staging: Folder, root: str, note: Note) -> None:
        self._runtime, self._staging, self._root, self._note = runtime, staging, root, note
        self.brought = 0

    def attributes(self, old: Old) -> dict[str, Any]:
        """Stage what a record names, as far as it is there; give the attributes that say so."""
        found: dict[str, Any] = {}
        if old.image is not None:
            image, _ = input_image("IMAGE-TO-3D", None, old.image)
            found = {} if image is None else self._take(old, "image", image.source, "")
        for file in old.files:
            if file.kind != "image" or not found:
                found |= self._file(old, file)
        return found

    def _file(self, old: Old, file: File) -> dict[str, Any]:
        parts = _parts(file.path)
        if parts is None:
            self._note("artifact path leads outside", old.place)
            return {}
        fd = _open_below(self._root, parts)
        if fd is None:
            self._note("artifact is missing", old.place)
            return {}
        return self._take(old, "spz" if parts[-1].endswith(".spz") else file.kind, fd, file.digest)

    def _take(self, old: Old, kind: str, source: Any, wanted: str) -> dict[str, Any]:
        capture = self._runtime.capture
        size = os.fstat(source).st_size if isinstance(source, int) else 0
        job = capture.job(kind, source, size, _nothing, mutable=False)
        self._runtime.stager.submit(job)
        job.finished.wait()
        if wanted and job.digest and wanted not in (job.digest, self._of_text(job)):
            self._note("artifact is not what its hash says", old.place)
            self._staging.unlink(job.name) if job.name else None
            return {}
        self.brought += bool(job.name)
        return self._described(old, job)

    def _described(self, old: Old, job: Job) -> dict[str, Any]:
        found = self._runtime.capture.staged_attributes(job)
        if not str(old.attributes.get(sc.PROMPT) or "[").startswith("["):
            found.pop(sc.PROMPT, None)  # a text task with an image beside it
        seen = self._runtime.capture.inspected(job)
        return found | {key: value for key, value in seen.items() if old.attributes.get(key) is None}

    def _of_text(self, job: Job) -> str:
        """Hash an image as base64: some records hold the hash of what was sent."""
        if job.kind != "image" or not job.name:
            return ""
        return hashlib.sha256(base64.b64encode(self._staging.read(job.name))).hexdigest()


def _nothing(_: Job) -> None:
    """Nobody is told: the importer waits."""


def _parts(path: str) -> list[str] | None:
    """Take a path apart, below `images` or `ply_files` where it names one; None where it leads outside."""
    below = _BELOW.search(path.replace("\\", "/"))
    parts = (below[1] if below else path).split("/")
    outside = path.startswith("/") and not below
    return None if outside or any(part in ("", ".", "..") for part in parts) else parts


def _open_below(root: str, parts: list[str]) -> int | None:
    """Open a plain file below a directory, step by step and through no link; None where there is none."""
    try:
        at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in parts[:-1]:
            at = _step(at, part, _FOLDER)
        fd = _step(at, parts[-1], _PLAIN)
    except (OSError, ValueError):  # ValueError: no name that a file can have
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def _step(at: int, name: str, flags: int) -> int:
    try:
        return os.open(name, flags, dir_fd=at)
    finally:
        os.close(at)
