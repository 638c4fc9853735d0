"""Findings: what an import was told, mended, passed over or could not read, with the first places of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

SHOWN: Final = 5
LOST, MENDED, PASSED = "lost", "mended", "passed over"
"""Not imported though it should be; imported after a repair; not to be imported."""

KINDS: Final = {
    "not JSON": LOST,
    "cut short": LOST,
    "too long": LOST,
    "not a record": LOST,
    "file cannot be read": LOST,
    "archive is damaged": LOST,
    "artifact is not what its hash says": LOST,
    "artifact path leads outside": LOST,
    "stands in this data_dir, unreadable": LOST,
    "finalised after it was imported": LOST,
    "not UTF-8": MENDED,
    "NaN or Infinity": MENDED,
    "null where an object belongs": MENDED,
    "timestamp cannot be read": MENDED,
    "timestamp without zone": MENDED,
    "id is no UUID": MENDED,
    "no total_time": MENDED,
    "flags contradict each other": MENDED,
    "score is no number in 0..1": MENDED,
    "artifact is missing": MENDED,
    "duplicate id": PASSED,
    "pending, and finalised elsewhere": PASSED,
    "test fixture": PASSED,
    "written by otel_gen": PASSED,
    "stands in this data_dir": PASSED,
    "imported before": PASSED,
}
"""Everything that is told of a line, and what it means."""


@dataclass(slots=True)
class Finding:
    """How often one thing was found, and where first: `file:line`."""

    kind: str
    n: int = 0
    places: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ImportReport:
    """What an import did."""

    files: int = 0
    lines: int = 0
    records: int = 0
    """Written by this import."""
    artifacts: int = 0
    """Files brought along."""
    found: dict[str, Finding] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)

    def note(self, what: str, place: str) -> None:
        """Take note of one thing that was found."""
        found = self.found.setdefault(what, Finding(KINDS[what]))
        found.n += 1
        if len(found.places) < SHOWN:
            found.places.append(place)

    @property
    def ok(self) -> bool:
        """Tell whether nothing was lost."""
        return all(found.kind != LOST for found in self.found.values())
