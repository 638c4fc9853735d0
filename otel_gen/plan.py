"""Plan: what one delivery will write and delete, gathered before anything outside the journal changes."""

from __future__ import annotations

from dataclasses import dataclass, field

from otel_gen.index import AmendmentRow, ArtifactRow, Delivered


@dataclass(slots=True)
class Plan:
    """Lines to append, rows to commit, files to remove after the commit."""

    history: list[bytes] = field(default_factory=list)
    amendments: list[bytes] = field(default_factory=list)
    config: list[bytes] = field(default_factory=list)
    aside: list[bytes] = field(default_factory=list)
    delivered: dict[str, Delivered] = field(default_factory=dict)
    amended: dict[str, AmendmentRow] = field(default_factory=dict)
    artifacts: list[ArtifactRow] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)
    staged: list[str] = field(default_factory=list)
    """Staged names to remove."""
    paths: list[str] = field(default_factory=list)
    """Kept paths to remove where no record refers to them any more."""
    sample_bytes: int = 0

    @property
    def empty(self) -> bool:
        """Tell whether nothing is to be done."""
        return not (self.history or self.amendments or self.aside or self.delivered or self.dropped)
