"""Fold: events of one generation, in any process, become its state.

A whole root span replaces what its start and notes said, one that was too large adds to them; notes behind it
add to it. A stage that began and has no span counts as interrupted once its worker is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from otel_gen import semconv as sc
from otel_gen.events import Began, Feedback, Noted, Span, Started


@dataclass(frozen=True, slots=True)
class Verdict:
    """A feedback event with its place in the journal."""

    event_id: str
    boot_id: str
    feedback: Feedback

    def follows(self, wall: int, boot: int, boot_id: str) -> bool:
        """Tell whether it came after something, or with it; by boot time within one boot."""
        if boot and self.feedback.boot and boot_id == self.boot_id:
            return self.feedback.boot >= boot
        return self.feedback.wall >= wall


def chronology(verdicts: Iterable[Verdict]) -> Callable[[Verdict], tuple[int, str, int]]:
    """Make the sort key of these verdicts: by boot time within one boot, boots by wall time; then by place."""
    begun: dict[str, tuple[int, int]] = {}
    for one in verdicts:
        mark = (one.feedback.boot, one.feedback.wall)
        begun[one.boot_id] = min(begun.get(one.boot_id, mark), mark)

    def key(one: Verdict) -> tuple[int, str, int]:
        boot, wall = begun[one.boot_id]
        at = wall + one.feedback.boot - boot if boot else one.feedback.wall
        worker, _, number = one.event_id.rpartition("-")
        return (at, worker, int(number)) if number.isdecimal() else (at, one.event_id, 0)

    return key


def in_order(verdicts: Collection[Verdict]) -> list[Verdict]:
    """Sort verdicts by the time at which they came, whatever the wall clock did."""
    return sorted(verdicts, key=chronology(verdicts))


class Generation:
    """The state of one generation; `apply` is its only change."""

    __slots__ = (
        "attributes", "begun", "boot_id", "heard", "id", "last_wall", "root", "stages",
        "started", "submitted_boot", "verdicts", "worker",
    )  # fmt: skip

    def __init__(self, generation_id: str, worker: str, boot_id: str) -> None:
        self.id, self.worker, self.boot_id = generation_id, worker, boot_id
        self.started: Started | None = None
        self.root: Span | None = None
        self.attributes: dict[str, Any] = {}
        self.begun: dict[str, Began] = {}
        self.stages: dict[str, Span] = {}
        self.verdicts: list[Verdict] = []
        self.heard: list[str] = []
        """Event ids of what was said after the end, in time for the record."""
        self.last_wall = 0
        self.submitted_boot = 0

    def apply(self, event: Started | Noted | Began | Span) -> None:
        """Take one event; a span or start that was seen before changes nothing."""
        if isinstance(event, Span):
            self._span(event)
        elif isinstance(event, Noted):
            self.attributes.update(event.attributes)
            self._seen(event.wall)
            if sc.SUBMISSION_TIME in event.attributes:
                self.submitted_boot = event.boot
        elif isinstance(event, Began):
            self.begun.setdefault(event.span_id, event)
            self._seen(event.wall)
        elif self.started is None and self.root is None:
            self.started = event
            self.attributes = {**event.attributes, **self.attributes}
            self._seen(event.wall)

    def _span(self, span: Span) -> None:
        if span.name != sc.GENERATION_SPAN or sc.STAGE_NAME in span.attributes:
            self.stages.setdefault(span.span_id, span)
        elif self.root is None:
            self.root = span
            if sc.PARTIAL in span.attributes:  # too large for one frame: what it leaves out was said before
                self.attributes.update(span.attributes)
                del self.attributes[sc.PARTIAL]
            else:
                self.attributes = dict(span.attributes)
        self._seen(span.end)

    def _seen(self, wall: int) -> None:
        if wall > self.last_wall:
            self.last_wall = wall

    @property
    def known(self) -> bool:
        """Tell whether the generation really began: a start or its whole root span is on record."""
        return self.started is not None or self.root is not None

    @property
    def ended(self) -> bool:
        """Tell whether the caller has ended it, or left it behind: what is unsaid then stays so."""
        return self.root is not None or self.attributes.get(sc.LEFT) is True

    @property
    def head(self) -> Started | Span:
        """The event that holds the identity: the root span, else the start."""
        head = self.root or self.started
        assert head is not None  # noqa: S101 - callers ask `known` first
        return head

    @property
    def start(self) -> int:
        """Wall nanoseconds of the beginning."""
        head = self.head
        return head.start if isinstance(head, Span) else head.wall

    @property
    def said(self) -> str | None:
        """What was said last: submitted, withheld, failed, cancelled or None."""
        return self.attributes.get(sc.SAID)

    @property
    def task_id(self) -> str | None:
        """The task that this generation answers."""
        return self.attributes.get(sc.TASK_ID)

    @property
    def submitted_wall(self) -> int | None:
        """Wall nanoseconds of the submission; None where none was said."""
        return self.attributes.get(sc.SUBMISSION_TIME) if self.said == "submitted" else None

    @property
    def source(self) -> str:
        """Where the generation comes from when it is not live."""
        return self.attributes.get(sc.SOURCE) or ""

    @property
    def pending(self) -> list[str]:
        """Kinds of artifacts whose staging has not ended."""
        return [kind for kind in (self.attributes.get(sc.PENDING) or "").split(",") if kind]

    def unended(self) -> list[Began]:
        """Stages that began and never ended."""
        return [began for span_id, began in self.begun.items() if span_id not in self.stages]
