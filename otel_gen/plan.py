"""Plan: what one delivery will write and delete, gathered before anything outside the journal changes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from otel_gen.tables import AmendmentRow, ArtifactRow, Delivered


@dataclass(slots=True)
class Plan:
    """Lines to append, rows to commit, files to remove after the commit."""

    history: list[bytes] = field(default_factory=list)
    amendments: list[bytes] = field(default_factory=list)
    config: list[bytes] = field(default_factory=list)
    aside: list[bytes] = field(default_factory=list)
    delivered: dict[str, Delivered] = field(default_factory=dict)
    amended: defaultdict[str, list[AmendmentRow]] = field(default_factory=lambda: defaultdict(list))
    """What is to be known of feedback beside the records, by generation."""
    artifacts: dict[tuple[str, str], ArtifactRow] = field(default_factory=dict)
    """References to add, by generation and kind."""
    dropped: set[tuple[str, str]] = field(default_factory=set)
    """References to remove, before those of `artifacts` are added."""
    digests: set[str] = field(default_factory=set)
    staged: list[str] = field(default_factory=list)
    """Staged names to remove."""
    paths: list[str] = field(default_factory=list)
    """Kept paths to remove where no record refers to them any more."""
    sample_bytes: int = 0

    @property
    def empty(self) -> bool:
        """Tell whether nothing is to be done."""
        lines = self.history or self.amendments or self.aside or self.config
        return not (lines or self.delivered or self.dropped or any(self.amended.values()))

    def drop(self, row: ArtifactRow) -> None:
        """Remove a reference, planned or stored."""
        self.artifacts.pop((row.id, row.kind), None)
        self.dropped.add((row.id, row.kind))

    def at_path(self, path: str) -> ArtifactRow | None:
        """One of the planned references to a file, if there is any."""
        return next((row for row in self.artifacts.values() if row.path == path), None)
