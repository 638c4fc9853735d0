"""The lower rows of the Overview: losses, outputs, storage, the pipeline itself."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.models import units

from .panels import Query, bars, lines, n
from .promql import count, quantile, select


def losses_row() -> list[Any]:
    """What did not become an accepted result."""
    return [
        bars(
            "Outcomes (1 h)",
            "How the generations of the hour before ended, as first written; a late verdict does not move "
            "them.",
            units.Short,
            [Query(count("gen3d_generations_total", "1h", by="outcome"), "{{outcome}}")],
        ),
        bars(
            "Failures (1 h)",
            "Failed generations by kind of error and stage, cancelled and interrupted ones too.",
            units.Short,
            [
                Query(
                    count("gen3d_failures_total", "1h", by="error_type, stage"), "{{error_type}} in {{stage}}"
                )
            ],
        ),
        bars(
            "Withheld by the own gate (1 h)",
            "Finished work that was not submitted, by reason. A gate that is too strict throws good work "
            "away.",
            units.Short,
            [Query(count("gen3d_withheld_total", "1h", by="reason"), "{{reason}}")],
        ),
        bars(
            "Wasted work (1 h)",
            "Seconds of work on what nobody could accept: withheld, unsubmitted, failed, cancelled, "
            "interrupted, or the same bytes once more (repeated).",
            units.Seconds,
            [Query(count("gen3d_wasted_seconds_total", "1h", by="cause"), "{{cause}}")],
        ),
        lines(
            "Repeats (6 h)",
            "Tasks handed out again, and outputs whose bytes were seen before. Both rising together is a "
            "poisoned-task loop.",
            units.Short,
            [
                Query(count("gen3d_task_redeliveries_total", "6h"), "tasks again"),
                Query(count("gen3d_repeated_outputs_total", "6h"), "same output"),
            ],
        ),
    ]


def outputs_row() -> list[Any]:
    """What is being made."""
    return [
        _spread(
            "CLIP score (6 h)",
            "Similarity that the own gate measured.",
            "gen3d_clip_score",
            units.PercentUnit,
        ),
        _spread("Gaussians (6 h)", "Points per output.", "gen3d_gaussians", units.Short),
        _spread("Output size (6 h)", "Bytes per output file.", "gen3d_output_bytes", units.BytesSI),
        _spread(
            "Score given accepted (6 h)",
            "Scores of accepted results only.",
            "gen3d_validator_score",
            units.PercentUnit,
        ),
        _spread(
            "Queue wait (6 h)", "Waiting before the work began.", "gen3d_queue_wait_seconds", units.Seconds
        ),
        _spread(
            "Verdict delay (6 h)",
            "From submission to verdict.",
            "gen3d_feedback_delay_seconds",
            units.Seconds,
        ),
    ]


def storage_row() -> list[Any]:
    """What the data_dir holds and how much room is left."""
    return [
        bars(
            "Artifacts on disk",
            "Bytes kept, by kind (decimal units).",
            units.BytesSI,
            [Query(f"sum by (kind) ({select('gen3d_artifact_bytes')})", "{{kind}}")],
        ),
        bars(
            "Artifact files",
            "Files kept, by kind; equal bytes are one file.",
            units.Short,
            [Query(f"sum by (kind) ({select('gen3d_artifacts')})", "{{kind}}")],
        ),
        lines(
            "Free space",
            "Free bytes of the file system that holds the data_dir.",
            units.BytesSI,
            [Query(f"min by (instance) ({select('gen3d_data_dir_free_bytes')})", "{{instance}}")],
        ),
    ]


def pipeline_row() -> list[Any]:
    """Is otel_gen itself well?"""
    return [
        lines(
            "Under way",
            "Generations being made, and submitted ones whose verdict is awaited.",
            units.Short,
            [
                Query(f"sum({select('gen3d_in_flight')})", "in flight"),
                Query(f"sum({select('gen3d_awaiting_feedback')})", "awaiting a verdict"),
            ],
        ),
        lines(
            "Lag",
            "Age of the oldest settled generation without a record, and of the numbers shown here. Both "
            "stay under 2 s while a leader works.",
            units.Seconds,
            [
                Query(f"max({select('gen3d_oldest_undelivered_seconds')})", "oldest undelivered"),
                Query(f"max({select('gen3d_snapshot_age_seconds')})", "age of the numbers"),
            ],
        ),
        lines(
            "Trouble (1 h)",
            "Errors caught while capturing, calls that returned before their data was safe, artifacts given "
            "up for lack of space. All zero on a healthy machine.",
            units.Short,
            [
                Query(count("gen3d_capture_errors_total", "1h"), "capture errors"),
                Query(count("gen3d_not_durable_total", "1h"), "not durable"),
                Query(count("gen3d_shed_total", "1h"), "given up"),
            ],
        ),
        lines(
            "Started and recorded (6 h)",
            "Each start ends in one record: the lines follow each other, a lasting gap is a loss.",
            units.Short,
            [
                Query(count("gen3d_generations_started_total", "6h"), "started"),
                Query(count("gen3d_records_total", "6h"), "records"),
            ],
        ),
    ]


def _spread(title: str, what: str, histogram: str, unit: str) -> Any:
    """Median and p95 of a histogram with the n behind them."""
    queries = [
        Query(quantile(0.5, histogram, "6h"), "p50"),
        Query(quantile(0.95, histogram, "6h"), "p95"),
        n(count(f"{histogram}_count", "6h")),
    ]
    return lines(title, f"{what} Quantiles are interpolated inside the buckets.", unit, queries)
