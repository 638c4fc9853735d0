"""Artifacts: each file that a record names is there and whole; each file that is there is named."""

from __future__ import annotations

import hashlib
import math
import os
import re

from otel_gen.errors import StorageError
from otel_gen.files import Folder
from otel_gen.readers.findings import Report
from otel_gen.readers.journal import inner
from otel_gen.readers.survey import Named, Survey
from otel_gen.store import IMAGES, OUTPUTS, SAMPLES

_FOLDERS = ((IMAGES,), (OUTPUTS,), (OUTPUTS, SAMPLES))
_YOUNG = 60 * 10**9
_REPLACE = "restore it from a backup"
_NAME = re.compile(r"([0-9a-f]{16,64})\.[a-z0-9]{1,8}")


class Hashes:
    """Digests of files, each file read once however often it is asked for."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int], str] = {}

    def of(self, folder: Folder, name: str) -> tuple[int, str]:
        """Give size and sha256 of a file. Raises OSError or StorageError where it is none."""
        with folder.opened(name) as fd:
            state = os.fstat(fd)
            key = (state.st_ino, state.st_size, state.st_mtime_ns)
            if key not in self._known:
                found = hashlib.sha256()
                while chunk := os.read(fd, 1 << 20):
                    found.update(chunk)
                self._known[key] = found.hexdigest()
        return state.st_size, self._known[key]


def check_named(report: Report, root: Folder, survey: Survey, hashes: Hashes) -> None:
    """Report every artifact that a record names and that is missing, cut or changed."""
    for path, named in sorted(survey.named.items()):
        wrong = _wrong(report, root, path, named, hashes)
        if wrong:
            whose = f"the {named.kind} of generation {named.generation_id}"
            report.problem("artifact", path, f"{whose} {wrong}", _REPLACE)


def _wrong(report: Report, root: Folder, path: str, named: Named, hashes: Hashes) -> str:
    try:
        size, digest = _look(root, path, hashes)
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except (OSError, StorageError) as error:
        return f"cannot be read ({error})"
    report.artifacts += 1
    report.artifact_bytes += size
    if digest == named.digest:
        return ""
    if isinstance(named.size, int) and size != named.size:
        return f"has {size:,} bytes of {named.size:,}"
    return "is not what was delivered: its bytes were changed"


def _look(root: Folder, path: str, hashes: Hashes) -> tuple[int, str]:
    *folders, name = path.split("/")
    if not name or ".." in folders or path.startswith("/"):
        raise StorageError(path, "leads out of the data_dir")
    folder = inner(root, *folders) if folders else root
    if folder is None:
        raise FileNotFoundError(path)
    try:
        return hashes.of(folder, name)
    finally:
        if folder is not root:
            folder.close()


def check_unnamed(report: Report, root: Folder, survey: Survey, now: int) -> None:
    """Tell of files that no record names; an output that was refused must not be there.

    `now`: wall nanoseconds. Beside a living leader a young file may be on its way into a record.
    """
    young = now - _YOUNG if report.leader is not None else math.inf
    for names in _FOLDERS:
        folder = inner(root, *names)
        if folder is None:
            continue
        for name in folder.names():
            path, state = "/".join((*names, name)), folder.stat(name)
            known = path in survey.named or path in survey.foreign or name == SAMPLES
            if not known and state is not None and state.st_ctime_ns <= young:
                _unnamed(report, path, survey)
        folder.close()


def _unnamed(report: Report, path: str, survey: Survey) -> None:
    known = _NAME.fullmatch(path.rpartition("/")[2])
    owner = survey.gone.get(known[1]) if known else None
    if owner is not None:
        text = f"was not to be kept (generation {owner}) and is still there"
        report.problem("kept", path, text, "remove the file")
    else:
        report.note("unnamed", path, "no record names this file")
