"""Figures are worked out from records as amendments make them, and are honest about small numbers."""

from __future__ import annotations

import json

import pytest

from otel_gen.history import is_kept, parsed
from otel_gen.lines import HISTORY
from otel_gen.maintain import fold
from otel_gen.older import completed
from otel_gen.readers.ratio import quantile, ratio
from otel_gen.readers.stats import of, stats


def test_all_figures_of_a_small_history(past):
    found = stats(past.path)
    assert found.records == 9
    assert found.outcomes == {
        "accepted": 3, "rejected": 2, "unscored": 1, "withheld": 1, "failed": 1, "interrupted": 1,
    }  # fmt: skip
    assert (found.acceptance.acceptance.hits, found.acceptance.acceptance.n) == (3, 5)
    assert not found.acceptance.acceptance.enough
    assert found.acceptance.median_score == 0.8
    assert list(found.by_validator) == ["57"]
    assert list(found.by_task_type) == ["TEXT-TO-3D"]
    assert (found.stages["sdxl"].n, found.stages["sdxl"].p50) == (8, 2.0)
    assert found.failures == {"oom in trellis": 1, "interrupted in trellis": 1}
    assert found.withheld == {"clip_below_threshold": 1}
    assert found.wasted_seconds == {"interrupted": 3.0, "withheld": 1.0, "failed": 0.0}


def test_waiting_is_no_work(past):
    assert stats(past.path).total.p95 == 3.0


def test_nothing_recorded_gives_no_figures(tmp_path):
    found = stats(tmp_path)
    assert (found.records, found.first, found.total) == (0, None, None)
    assert found.acceptance.acceptance.ratio is None


ODD = [
    {"metadata": {"timestamp": None}},
    {"metadata": {"timestamp": 1700000000.5, "validator_uid": [1]}, "task": {"task_type": ["a"]}},
    {
        "generation": {
            "timing": {"total_time": "x", "queue_time": "a"},
            "output": 5,
            "stages": 5,
            "submission": [1],
        }
    },
    {
        "outcome": ["a"],
        "generation": {"timing": {"total_time": 5, "queue_time": "a"}, "stages": [5, {"name": [1]}]},
    },
    {"outcome": "withheld", "generation": {"output": {"ply_file_hash": ["a"]}, "settled_generation": 5}},
    {"outcome": "failed", "failure_analysis": {"failed": 1, "error_type": [2], "stage": {"a": 1}}},
    {"outcome": "accepted", "validator_feedback": {"received": True, "score": "a", "verdict": ["x"]}},
    {"validator_feedback": {"received": True, "score": [1], "accepted": "yes", "validator_uid": [1]}},
]


@pytest.mark.parametrize("odd", ODD)
def test_a_line_with_odd_parts_counts_with_the_others(past, odd):
    parts = ("metadata", "task", "generation", "validator_feedback", "failure_analysis")
    line = {name: odd.get(name, {}) for name in parts} | odd
    line["metadata"] = {"generation_id": "0e0e0e0e-0000-4000-8000-000000000000"} | line["metadata"]
    with (past.path / HISTORY).open("a") as file:
        file.write(json.dumps(line) + "\n")
    found = stats(past.path)
    assert found.records == 10
    assert found.acceptance.acceptance.hits >= 3


def test_no_flipped_bit_of_a_line_ends_them(past):
    fold(past.leader)
    (line,) = [
        line for line in (past.path / HISTORY).read_bytes().splitlines(keepends=True) if b'"settled_' in line
    ]
    places = ((at, 1 << bit) for at in range(len(line)) for bit in range(8))
    flipped = (line[:at] + bytes([line[at] ^ bit]) + line[at + 1 :] for at, bit in places)
    read = [completed(record) for record in map(parsed, flipped) if is_kept(record)]
    assert of(read).records == len(read) > 1000


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(0, 0, 0.0, 1.0), (0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (42, 100, 0.3280, 0.5179)],
)
def test_the_interval_is_wilsons(hits, n, low, high):
    found = ratio(hits, n)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert found.enough == (n >= 10)


def test_a_quantile_is_one_of_the_values():
    assert [quantile([3, 1, 2, 4], share) for share in (0.0, 0.5, 0.75, 0.95)] == [1, 2, 3, 4]
