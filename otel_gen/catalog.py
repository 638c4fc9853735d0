"""The catalogue of metrics: names, types, labels, buckets and closed label sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from otel_gen import semconv as sc

SECONDS: Final = (
    0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 12.5, 15, 20, 25, 30, 35, 45, 60, 90, 120, 300,
)  # fmt: skip
DELAY: Final = (0.5, 1, 2, 3, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
GAUSSIANS: Final = (7e3, 50e3, 100e3, 150e3, 200e3, 300e3, 400e3, 600e3, 800e3, 1e6, 1.5e6, 2.5e6)
CLIP: Final = (0.05, 0.10, 0.105, 0.12, 0.15, 0.18, 0.20, 0.22, 0.25, 0.30, 0.35)
SCORE: Final = (0, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 1)
BYTES: Final = tuple(x * 1e6 for x in (1, 2.5, 5, 10, 20, 35, 50, 75, 100, 200, 500))

TASK_TYPES: Final = (*sc.TASK_TYPES, sc.OTHER)
CAUSES: Final = ("withheld", "unsubmitted", "failed", "cancelled", "interrupted", "repeated")
KINDS: Final = ("image", "ply", "spz", "rejected_sample")
FAULTS: Final = ("api", "after_end", "fsync", "unknown_feedback", "damage", "quarantined", sc.OTHER)
SHED: Final = ("event", "image", "output_image", "ply", "spz", "rejected_sample", sc.OTHER)
ERRORS: Final = (*sc.ERROR_TYPES, sc.OTHER)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family; `known` holds the values of each label that are known beforehand."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    known: tuple[tuple[str, ...], ...] | None = None


def _counter(name: str, text: str, labels: tuple[str, ...] = (), *known: tuple[str, ...]) -> Metric:
    return Metric(name, "counter", text, labels, (), known if len(known) == len(labels) else None)


def _histogram(
    name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = (), *known: tuple[str, ...]
) -> Metric:
    return Metric(name, "histogram", text, labels, buckets, known if len(known) == len(labels) else None)


def _gauge(name: str, text: str, labels: tuple[str, ...] = (), *known: tuple[str, ...]) -> Metric:
    return Metric(name, "gauge", text, labels, (), known if len(known) == len(labels) else None)


_TYPE = ("task_type",)

METRICS: Final = {
    metric.name: metric
    for metric in (
        _counter("gen3d_generations_started", "Generations that began.", _TYPE, TASK_TYPES),
        _counter(
            "gen3d_generations", "Records by outcome as first written.",
            ("task_type", "outcome"), TASK_TYPES, sc.OUTCOMES,
        ),
        _histogram(
            "gen3d_generation_duration_seconds", "Work of a generation: total time less queue wait.",
            SECONDS, _TYPE, TASK_TYPES,
        ),
        _histogram("gen3d_queue_wait_seconds", "Wait in the stage `queue`.", SECONDS, _TYPE, TASK_TYPES),
        _histogram("gen3d_stage_duration_seconds", "Duration of a stage.", SECONDS, ("stage", "status")),
        _counter(
            "gen3d_failures", "Records whose generation failed.", ("error_type", "stage"), ERRORS, (sc.NONE,)
        ),
        _counter("gen3d_withheld", "Generations that the own gate kept back.", ("reason",)),
        _counter("gen3d_submissions", "Results handed to a validator.", ("validator_uid",)),
        _counter("gen3d_feedback", "Verdicts that count, by validator.", ("validator_uid", "verdict")),
        _histogram("gen3d_feedback_delay_seconds", "Time from submission to verdict.", DELAY),
        _histogram("gen3d_validator_score", "Scores of accepted results only.", SCORE, ("validator_uid",)),
        _histogram("gen3d_clip_score", "CLIP score of outputs.", CLIP, _TYPE, TASK_TYPES),
        _histogram("gen3d_gaussians", "Gaussians of outputs.", GAUSSIANS, _TYPE, TASK_TYPES),
        _histogram("gen3d_output_bytes", "Bytes of outputs.", BYTES, _TYPE, TASK_TYPES),
        _counter("gen3d_task_redeliveries", "Records with an attempt above 1."),
        _counter("gen3d_repeated_outputs", "Outputs whose hash an earlier record has."),
        _counter("gen3d_wasted_seconds", "Seconds of work for nothing, by cause.", ("cause",), CAUSES),
        _counter("gen3d_records", "Lines of the history."),
        _counter("gen3d_capture_errors", "Faults inside otel_gen, by place.", ("place",), FAULTS),
        _counter("gen3d_not_durable", "Calls that returned before their events were durable."),
        _counter("gen3d_shed", "What was given up for lack of space or time, by kind.", ("kind",), SHED),
        _gauge("gen3d_in_flight", "Generations that began and have not ended."),
        _gauge("gen3d_awaiting_feedback", "Submitted generations without a verdict, within the window."),
        _gauge("gen3d_oldest_undelivered_seconds", "Age of the oldest ended generation without a record."),
        _gauge("gen3d_snapshot_age_seconds", "Age of the numbers on this page."),
        _gauge("gen3d_artifact_bytes", "Bytes of kept artifacts.", ("kind",), KINDS),
        _gauge("gen3d_artifacts", "Kept artifacts.", ("kind",), KINDS),
        _gauge("gen3d_data_dir_free_ratio", "Free share of the file system of data_dir."),
        _gauge("gen3d_data_dir_free_bytes", "Free bytes of the file system of data_dir."),
        _gauge("gen3d_last_feedback_timestamp_seconds", "Unix time of the last verdict; 0: never."),
        _gauge("gen3d_config_info", "Hash of the miner's settings in force.", ("hash",)),
        _gauge("gen3d_build_info", "Version of otel_gen.", ("version",)),
    )
}  # fmt: skip

GPU_METRICS: Final = {
    metric.name: metric
    for metric in (
        _gauge("gen3d_gpu_memory_used_bytes", "Memory in use on a GPU, by all processes.", ("gpu",)),
        _gauge("gen3d_gpu_memory_total_bytes", "Memory of a GPU.", ("gpu",)),
        _gauge("gen3d_gpu_utilization_ratio", "Share of time in which a GPU computed.", ("gpu",)),
        _gauge("gen3d_gpu_sample_age_seconds", "Age of these figures of GPUs."),
    )
}
"""Of the process that is scraped, and shown only where it has seen a GPU."""


def key(name: str, label: str) -> tuple[str, tuple[str, ...]] | None:
    """Give the series of an event's count: an unknown label is `other`, an unknown metric has none."""
    metric = METRICS.get(name)
    if metric is None:
        return None
    if not metric.labels:
        return name, ()
    known = metric.known[0] if metric.known else (label,)
    return name, (label if label in known else sc.OTHER,)
