"""Findings: what a verification says, each with its place and what to do."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import NamedTuple

RECOVER = "run: otel-gen recover --data-dir {dir}"
REBUILD = "run: otel-gen recover --rebuild --data-dir {dir}"
RESTORE = "restore it from a backup; the rest of the file is unharmed"


def literal(hint: str, data_dir: str) -> str:
    """Write a hint so that it can be run as it stands, from wherever."""
    return hint.replace("{dir}", shlex.quote(data_dir))


class Finding(NamedTuple):
    """One thing found; two looks that give the same `kind` and `place` have found the same thing."""

    kind: str
    """One word, for programs."""
    place: str
    """Path below data_dir, with an offset or an id where that tells more."""
    text: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" + (f"; {self.hint}" if self.hint else "")


@dataclass
class Report:
    """What one look found and how much it looked at."""

    data_dir: str
    problems: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    records: int = 0
    deleted: int = 0
    """How many of the records are tombstones."""
    amendments: int = 0
    files: int = 0
    artifacts: int = 0
    artifact_bytes: int = 0
    waiting: int = 0
    counters: int = 0
    leader: str | None = None

    def problem(self, kind: str, place: str, text: str, hint: str = "") -> None:
        """Say what is wrong."""
        self.problems.append(Finding(kind, place, text, literal(hint, self.data_dir)))

    def note(self, kind: str, place: str, text: str, hint: str = "") -> None:
        """Say what an operator may want to know."""
        self.notes.append(Finding(kind, place, text, literal(hint, self.data_dir)))

    @property
    def ok(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.problems
