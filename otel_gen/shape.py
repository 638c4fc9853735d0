"""Shape: the types of what the index and the counters take from a line; another line is damaged, and passed over."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from otel_gen.clock import parse_iso

Integer = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Path = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[!-~]+$")]


def _check(*times: str | None) -> None:
    for one in times:
        if one is not None:
            parse_iso(one)


class Metadata(msgspec.Struct):
    """Who and when."""

    generation_id: str
    timestamp: str
    attempt: Integer
    task_id: str | None = None
    validator_uid: Integer | None = None
    trace_id: str | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is no time."""
        _check(self.timestamp)


class Task(msgspec.Struct):
    """What was asked."""

    task_type: str | None
    image_file_path: Path | None = None
    base64_image_hash: str | None = None


class Stage(msgspec.Struct):
    """One stage."""

    name: str
    status: str
    duration_seconds: float | None


class Timing(msgspec.Struct):
    """What of the times is counted with."""

    total_time: float | None = None
    queue_time: float | None = None


class Undecided(msgspec.Struct):
    """How long an output waits."""

    until: str

    def __post_init__(self) -> None:
        """Refuse what is no time."""
        _check(self.until)


class Output(msgspec.Struct):
    """What was made, as a record or an amendment says it."""

    ply_file_path: Path | None = None
    ply_file_hash: str | None = None
    spz_file_path: Path | None = None
    spz_file_hash: str | None = None
    image_file_path: Path | None = None
    image_file_hash: str | None = None
    rejected_sample_path: Path | None = None
    rejected_sample_hash: str | None = None
    quality_metrics: dict[str, Any] = {}
    undecided: Undecided | None = None


class Submission(msgspec.Struct):
    """When it was handed over."""

    submission_time: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is no time."""
        _check(self.submission_time)


class Generation(msgspec.Struct):
    """How it went."""

    timing: Timing
    output: Output
    submission: Submission
    stages: list[Stage]
    said_late: list[str] = []


class Feedback(msgspec.Struct):
    """A verdict."""

    received: bool
    feedback_time: str | None = None
    score: float | None = None
    feedback_delay_seconds: float | None = None
    verdict: str | None = None
    validator_uid: Integer | None = None
    event_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is no time."""
        _check(self.feedback_time)


class Failure(msgspec.Struct):
    """Why it failed."""

    failed: bool
    error_type: str | None
    stage: str | None = None


class Line(msgspec.Struct):
    """A record."""

    metadata: Metadata
    task: Task
    generation: Generation
    validator_feedback: Feedback
    failure_analysis: Failure
    outcome: str
    miner_config_hash: str | None = None
    settled_outcome: str | None = None
    settled_feedback: Feedback | None = None
    settled_failure: Failure | None = None
    settled_generation: Generation | None = None


class Changed(msgspec.Struct):
    """What an amendment changes of a generation."""

    output: Output | None = None
    submission: Submission | None = None


class Changes(msgspec.Struct):
    """What an amendment changes."""

    outcome: str | None = None
    generation: Changed | None = None
    validator_feedback: Feedback | None = None


class Amendment(msgspec.Struct):
    """What came later."""

    event_id: str
    generation_id: str
    kind: str
    applied: bool
    verdict: str | None = None
    score: float | None = None
    validator_uid: Integer | None = None
    changes: Changes | None = None


def fits(line: dict[str, Any], shape: type[Line | Amendment]) -> bool:
    """Tell whether a line has a shape."""
    try:
        msgspec.convert(line, shape)
    except (msgspec.ValidationError, RecursionError):
        return False
    return True
