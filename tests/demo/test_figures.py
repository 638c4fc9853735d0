"""The figures are right, and the comparison of metrics with records notices every difference."""

from collections import Counter

import pytest

from otel_gen.demo.figures import quantile, wilson
from otel_gen.demo.scrape import differences, parse
from otel_gen.demo.tally import COMPARED, tally


def record(outcome="accepted", digest="sha256:aa", score=0.8, **metadata):
    """A record with all that is counted."""
    submitted = outcome in ("accepted", "rejected", "unscored")
    stages = [("queue", "ok", 0.5), ("trellis", "ok", 2.0), ("validation", "interrupted", None)]
    return {
        "metadata": {"validator_uid": 57, "attempt": 1, **metadata},
        "task": {"task_type": "TEXT-TO-3D"},
        "outcome": outcome,
        "generation": {
            "timing": {"queue_time": 0.5, "total_time": 3.0},
            "output": {
                "num_gaussians": 60_000,
                "file_size_bytes": 100,
                "ply_file_hash": digest,
                "quality_metrics": {"clip_score": 0.9},
            },
            "submission": {
                "submitted": submitted,
                "rejection_reason": "sparse" if outcome == "withheld" else None,
            },
            "stages": [{"name": name, "status": status, "duration_seconds": s} for name, status, s in stages],
        },
        "validator_feedback": {
            "received": submitted,
            "validator_uid": 57,
            "score": score,
            "accepted": outcome == "accepted",
            "verdict": outcome,
        },
        "failure_analysis": {
            "failed": outcome == "failed",
            "error_type": "oom" if outcome == "failed" else None,
        },
    }


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 0, 0, 1),
        (0, 10, 0, 0.2775),
        (10, 10, 0.7225, 1),
        (12, 28, 0.2651, 0.6093),
        (450, 1000, 0.4194, 0.4810),
    ],
)
def test_wilson_bounds_are_those_of_the_textbook(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=1e-4)


def test_a_quantile_is_one_of_the_values():
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile(list(range(1, 101)), 0.95) == 95
    assert quantile([7.0], 0.95) == 7.0


def test_the_tally_counts_what_the_contract_says():
    again = record("withheld", attempt=2)
    late = record("accepted", "sha256:bb") | {"settled_outcome": "unscored"}
    counted = tally([record(), again, record("failed", None), late])
    kind = "TEXT-TO-3D"
    assert counted["gen3d_records_total", ()] == 4
    assert counted["gen3d_generations_total", (kind, "unscored")] == 1
    assert counted["gen3d_generations_total", (kind, "accepted")] == 1
    assert counted["gen3d_feedback_total", ("57", "accepted")] == 2
    assert counted["gen3d_withheld_total", ("sparse",)] == 1
    assert counted["gen3d_failures_total", ("oom",)] == 1
    assert counted["gen3d_task_redeliveries_total", ()] == 1
    assert counted["gen3d_repeated_outputs_total", ()] == 1
    assert counted["gen3d_wasted_seconds_total", ("withheld",)] == 2.5
    assert counted["gen3d_stage_duration_seconds_sum", ("trellis", "ok")] == 8
    assert ("gen3d_stage_duration_seconds_count", ("queue", "ok")) not in counted
    assert ("gen3d_stage_duration_seconds_count", ("validation", "interrupted")) not in counted


def test_a_submitted_repeat_is_wasted_as_repeated():
    counted = tally([record(), record("rejected")])
    assert counted["gen3d_wasted_seconds_total", ("repeated",)] == 2.5


def exposition(counted):
    """The text that a scrape would give, an unrelated label added."""
    lines = []
    for (name, values), amount in counted.items():
        pairs = zip(COMPARED[name], values, strict=True)
        labels = ",".join([*(f'{label}="{value}"' for label, value in pairs), 'unrelated="x"'])
        lines.append(f"{name}{{{labels}}} {amount!r}\n")
    return "".join(sorted(lines))


def test_equal_metrics_have_no_difference_and_one_more_is_named():
    counted = Counter({(name, ("a",) * len(labels)): 3.0 for name, labels in COMPARED.items()})
    exposed = parse(exposition(counted))
    assert list(differences(exposed, counted)) == []
    exposed["gen3d_withheld_total", ("a",)] += 1
    assert list(differences(exposed, counted)) == ["gen3d_withheld_total{a} is 4, the records say 3"]
    del exposed["gen3d_records_total", ()]
    assert "gen3d_records_total{} is 0, the records say 3" in list(differences(exposed, counted))
