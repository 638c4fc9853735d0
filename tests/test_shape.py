"""Lines of another shape keep nobody from recovering: each is passed over, and the rest counts."""

from __future__ import annotations

import copy
import json

import pytest

import otel_gen
from otel_gen.recover import recover
from otel_gen.restore import is_amendment, is_ours
from tests.importing import corpus
from tests.support import AMENDMENTS, HISTORY, lines, until

WRONG = [
    ("metadata task_id", [1]),
    ("metadata attempt", 10**30),
    ("metadata validator_uid", {}),
    ("metadata timestamp", "9999-12-31T23:59:59+00:00"),
    ("task image_file_path", 5),
    ("generation stages", [{"name": "a", "status": [], "duration_seconds": 1.0}]),
    ("generation timing", {"total_time": 1.0, "queue_time": "x"}),
    ("generation output ply_file_path", {"a": 1}),
    ("generation output ply_file_path", "y" * 70_000),
    ("generation output ply_file_path", "ply_files/\0"),
    ("generation output ply_file_hash", True),
    ("generation output quality_metrics", "x"),
    ("generation submission submission_time", "soon"),
    ("validator_feedback verdict", []),
    ("validator_feedback event_id", {}),
    ("validator_feedback validator_uid", []),
    ("validator_feedback score", "high"),
    ("failure_analysis error_type", [1]),
    ("outcome", {}),
]


@pytest.fixture
def record(configured):
    """A record with an output and a verdict, and the amendment of a later one."""
    with otel_gen.generation(task_type="TEXT-TO-3D", task_id="t") as gen:
        with gen.stage("sdxl"):
            pass
        gen.output(ply=corpus.PLY, clip_score=0.2)
        gen.submitted()
    assert otel_gen.feedback(gen.id, score=0.7)
    until(lambda: lines(configured))
    assert otel_gen.feedback(gen.id, score=0.8)
    assert otel_gen.shutdown()
    return lines(configured)[0]


def spoiled(record, path, value):
    found = copy.deepcopy(record)
    *parts, last = path.split()
    at = found
    for part in parts:
        at = at[part]
    assert last in at
    at[last] = value
    return found


def recovers_and_records(data_dir, rebuild):
    """Recover, then record one generation more: nothing of it is in the way."""
    recover(str(data_dir), rebuild=rebuild)
    otel_gen.configure(data_dir=data_dir, registry=None)
    with otel_gen.generation() as gen:
        gen.withheld("x")
    assert otel_gen.shutdown()
    assert lines(data_dir)[-1]["metadata"]["generation_id"] == gen.id


@pytest.mark.parametrize("rebuild", [False, True])
def test_lines_of_another_shape_stop_neither_recovery_nor_recording(configured, record, rebuild):
    with (configured / HISTORY).open("a") as file:
        for number, (path, value) in enumerate(WRONG):
            line = spoiled(record, path, value)
            line["metadata"]["generation_id"] = corpus.id_of(f"wrong {number}")
            file.write(json.dumps(line) + "\n")
    recovers_and_records(configured, rebuild)
    assert len(lines(configured)) == len(WRONG) + 2


@pytest.mark.parametrize(("path", "value"), WRONG, ids=lambda part: str(part)[:40])
def test_a_record_is_ours_and_not_with_anything_else_in_it(record, path, value):
    assert is_ours(record)
    assert not is_ours(spoiled(record, path, value))


@pytest.mark.parametrize(
    ("path", "value"), [("event_id", 5), ("score", "x"), ("validator_uid", 10**30), ("applied", "yes")]
)
def test_an_amendment_counts_and_not_with_anything_else_in_it(configured, record, path, value):
    (amendment,) = lines(configured, AMENDMENTS)
    assert is_amendment(amendment)
    assert not is_amendment(spoiled(amendment, path, value))


VERDICT = {"received": True, "accepted": True, "score": 0.5, "feedback_time": "2026-01-01T00:00:00+00:00"}
CHANGES = [
    ("feedback", {}),
    ("feedback", {"outcome": "accepted"}),
    ("feedback", {"outcome": "accepted", "validator_feedback": None}),
    ("feedback", {"outcome": None, "validator_feedback": VERDICT | {"feedback_delay_seconds": 1.0}}),
    ("feedback", {"outcome": "accepted", "validator_feedback": VERDICT}),
    ("said", {}),
    ("said", {"feneration": {}}),
    ("said", {"generation": None}),
    ("said", {"generation": {}, "outcome": None}),
    ("output", {"generation": None}),
]


def amendments(record, changes):
    for number, (kind, changed) in enumerate(changes):
        yield {
            "event_id": f"e{number}", "generation_id": record["metadata"]["generation_id"], "kind": kind,
            "time": "2026-01-01T00:00:00+00:00", "applied": True, "verdict": None, "score": None,
            "validator_uid": None, "fields": {}, "changes": changed,
        }  # fmt: skip


@pytest.mark.parametrize("rebuild", [False, True])
def test_amendments_that_change_nothing_they_could_stop_neither_recovery_nor_recording(
    configured, record, rebuild
):
    whole = {"outcome": "accepted", "validator_feedback": VERDICT | {"feedback_delay_seconds": 1.0}}
    assert all(map(is_amendment, amendments(record, [("feedback", whole), ("said", {"generation": {}})])))
    broken = list(amendments(record, CHANGES))
    assert not any(map(is_amendment, broken))
    with (configured / AMENDMENTS).open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in broken)
    recovers_and_records(configured, rebuild)
