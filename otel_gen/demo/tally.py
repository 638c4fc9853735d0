"""What the counters must say, counted over the records alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from otel_gen.failures import label

Record = dict[str, Any]
Labels = tuple[str, ...]
Series = tuple[str, Labels]

COMPARED: dict[str, Labels] = {
    "gen3d_records_total": (),
    "gen3d_generations_started_total": ("task_type",),
    "gen3d_generations_total": ("task_type", "outcome"),
    "gen3d_failures_total": ("error_type",),
    "gen3d_withheld_total": ("reason",),
    "gen3d_submissions_total": ("validator_uid",),
    "gen3d_feedback_total": ("validator_uid", "verdict"),
    "gen3d_task_redeliveries_total": (),
    "gen3d_repeated_outputs_total": (),
    "gen3d_wasted_seconds_total": ("cause",),
    "gen3d_generation_duration_seconds_count": ("task_type",),
    "gen3d_generation_duration_seconds_sum": ("task_type",),
    "gen3d_queue_wait_seconds_count": ("task_type",),
    "gen3d_queue_wait_seconds_sum": ("task_type",),
    "gen3d_stage_duration_seconds_count": ("stage", "status"),
    "gen3d_stage_duration_seconds_sum": ("stage", "status"),
    "gen3d_gaussians_sum": ("task_type",),
    "gen3d_clip_score_count": ("task_type",),
    "gen3d_output_bytes_sum": ("task_type",),
    "gen3d_validator_score_count": ("validator_uid",),
    "gen3d_validator_score_sum": ("validator_uid",),
}
"""Each series that follows from the records, with the labels by which it is compared."""

WASTED = ("withheld", "unsubmitted", "failed", "cancelled", "interrupted")


def tally(records: Iterable[Record]) -> Counter[Series]:
    """Count every compared series over the records, in the order in which they were written."""
    counted: Counter[Series] = Counter()
    hashes: set[str] = set()
    for record in records:
        digest = record["generation"]["output"].get("ply_file_hash")
        repeated = digest in hashes
        hashes |= {digest} if digest else set()
        for name, labels, amount in _all(record, repeated):
            counted[name, labels] += amount
    return counted


def first_outcome(record: Record) -> str:
    """The outcome as first written, which counters count; a late verdict changes only the one shown."""
    return str(record.get("settled_outcome") or record["outcome"])


def work_seconds(record: Record) -> float:
    """Seconds of work: the whole without the waiting."""
    timing = record["generation"]["timing"]
    return float(timing["total_time"] - timing.get("queue_time", 0.0))


def _all(record: Record, repeated: bool) -> Iterator[tuple[str, Labels, Any]]:
    yield from _counts(record, repeated)
    yield from _durations(record)
    yield from _output(record)
    yield from _feedback(record)


def _counts(record: Record, repeated: bool) -> Iterator[tuple[str, Labels, Any]]:
    kind, outcome = record["task"]["task_type"], first_outcome(record)
    submission = record["generation"]["submission"]
    yield "gen3d_records_total", (), 1
    yield "gen3d_generations_started_total", (kind,), 1
    yield "gen3d_generations_total", (kind, outcome), 1
    if submission["submitted"]:
        yield "gen3d_submissions_total", (str(record["metadata"]["validator_uid"]),), 1
    if outcome == "withheld":
        yield "gen3d_withheld_total", (submission["rejection_reason"],), 1
    if record["failure_analysis"]["failed"]:
        yield "gen3d_failures_total", (label(record["failure_analysis"]["error_type"]),), 1
    yield "gen3d_task_redeliveries_total", (), int(record["metadata"]["attempt"] > 1)
    yield "gen3d_repeated_outputs_total", (), int(repeated)
    if repeated and submission["submitted"]:
        yield "gen3d_wasted_seconds_total", ("repeated",), work_seconds(record)
    elif outcome in WASTED:
        yield "gen3d_wasted_seconds_total", (outcome,), work_seconds(record)


def _durations(record: Record) -> Iterator[tuple[str, Labels, Any]]:
    kind, timing = record["task"]["task_type"], record["generation"]["timing"]
    yield from _observed("gen3d_generation_duration_seconds", (kind,), work_seconds(record))
    yield from _observed("gen3d_queue_wait_seconds", (kind,), timing.get("queue_time"))
    for stage in record["generation"]["stages"]:
        if stage["name"] != "queue":
            labels = (stage["name"], stage["status"])
            yield from _observed("gen3d_stage_duration_seconds", labels, stage["duration_seconds"])


def _output(record: Record) -> Iterator[tuple[str, Labels, Any]]:
    kind, output = record["task"]["task_type"], record["generation"]["output"]
    quality = output.get("quality_metrics") or {}
    yield "gen3d_gaussians_sum", (kind,), output.get("num_gaussians") or 0
    yield "gen3d_output_bytes_sum", (kind,), output.get("file_size_bytes") or 0
    yield "gen3d_clip_score_count", (kind,), int(quality.get("clip_score") is not None)


def _feedback(record: Record) -> Iterator[tuple[str, Labels, Any]]:
    feedback = record["validator_feedback"]
    if feedback["received"]:
        uid = str(feedback["validator_uid"])
        yield "gen3d_feedback_total", (uid, feedback["verdict"]), 1
        if feedback["accepted"]:
            yield from _observed("gen3d_validator_score", (uid,), feedback["score"])


def _observed(name: str, labels: Labels, value: float | None) -> Iterator[tuple[str, Labels, Any]]:
    if value is not None:
        yield f"{name}_count", labels, 1
        yield f"{name}_sum", labels, value
