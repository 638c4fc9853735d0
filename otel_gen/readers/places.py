"""Places: modes of files and folders, links, and the state of the folder .otel_gen."""

from __future__ import annotations

import os
import shlex
import stat

import msgspec

from otel_gen.files import Folder
from otel_gen.history import NOTE
from otel_gen.lines import AMENDMENTS
from otel_gen.readers.findings import RECOVER, Report
from otel_gen.readers.journal import inner
from otel_gen.readers.survey import Survey
from otel_gen.tree import DOT, is_ours


def check_modes(report: Report, root: Folder, survey: Survey) -> None:
    """Report links, special files, and what other users of the machine may read."""
    if not any(map(is_ours, root.names())):
        report.note("empty", ".", "nothing is recorded here yet")
        return
    modes = _Modes(report, survey)
    modes.check(".", os.fstat(root.fd))
    for name in root.names():
        state = root.stat(name)
        if state is None:
            continue
        if is_ours(name):
            modes.check(name, state)
            if stat.S_ISDIR(state.st_mode):
                modes.walk(root, name)
        elif not name.startswith(".otel-gen"):  # the demo's mark
            report.note("foreign", name, "is not of otel_gen")
    if modes.older:
        text = f"others may use {modes.older:,} files and folders that the older logger left"
        report.note("mode", ".", text, "run: chmod -R go= {dir}")


class _Modes:
    """Looks at one thing after the other; what stood there before otel_gen came is counted in `older`."""

    def __init__(self, report: Report, survey: Survey) -> None:
        self._report, self.older = report, 0
        self._beside_older_lines = survey.older
        self._written = {place.partition(",")[0] for place in survey.ids.values()}
        self._written |= {AMENDMENTS, *survey.named}

    def walk(self, parent: Folder, path: str) -> None:
        """Look at everything in a folder."""
        folder = inner(parent, path.rpartition("/")[2])
        if folder is None:
            return
        try:
            for name in folder.names():
                state = folder.stat(name)
                if state is not None:
                    self.check(f"{path}/{name}", state)
                    if stat.S_ISDIR(state.st_mode):
                        self.walk(folder, f"{path}/{name}")
        finally:
            folder.close()

    def check(self, path: str, state: os.stat_result) -> None:
        """Look at one file or folder."""
        mode, plain = stat.S_IMODE(state.st_mode), stat.S_ISREG(state.st_mode)
        if stat.S_ISLNK(state.st_mode):
            self._report.problem(
                "link", path, "is a symbolic link", "replace it by what it points to, or remove it"
            )
        elif not plain and not stat.S_ISDIR(state.st_mode):
            self._report.problem("special", path, "is neither a file nor a folder", "remove it")
        elif mode & 0o077 and self._stood_there_before(path):
            self.older += 1
        elif mode & 0o077:
            wanted = "600" if plain else "700"
            hint = f"run: chmod {wanted} {{dir}}/{shlex.quote(path)}"
            self._report.problem("mode", path, f"others may use it (mode {mode:o})", hint)

    def _stood_there_before(self, path: str) -> bool:
        ours = path in self._written or path.partition("/")[0] == DOT
        return self._beside_older_lines and not ours


def quarantined(root: Folder) -> dict[str, int]:
    """List what was set aside: name, bytes."""
    folder = inner(root, DOT, "quarantine")
    if folder is None:
        return {}
    try:
        return {name: state.st_size for name in folder.names() if (state := folder.stat(name))}
    finally:
        folder.close()


def check_quarantine(report: Report, root: Folder) -> None:
    """Tell what was set aside."""
    for name, size in quarantined(root).items():
        report.note("quarantine", f"{DOT}/quarantine/{name}", f"{size:,} bytes were set aside")


def check_totals(report: Report, root: Folder) -> None:
    """Report damage in the counts of segments that are gone: they stand nowhere else."""
    dot = inner(root, DOT)
    if dot is None:
        return
    offset = 0
    for line in dot.read("totals.jsonl").splitlines(keepends=True) if dot.exists("totals.jsonl") else ():
        place = f"{DOT}/totals.jsonl, offset {offset}"
        offset += len(line)
        if not line.endswith(b"\n"):
            report.problem("totals", place, "the line is cut short", RECOVER)
            continue
        try:
            msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            report.problem("totals", place, "the line is not JSON", "remove the line; its counts are lost")
    dot.close()


def check_deletion(report: Report, root: Folder) -> None:
    """Report a deletion that something interrupted."""
    dot = inner(root, DOT)
    if dot is None:
        return
    if dot.exists(NOTE):
        report.problem("deletion", f"{DOT}/{NOTE}", "a deletion is not finished", RECOVER)
    dot.close()
