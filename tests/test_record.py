"""The record, key by key, of everything that can become of a generation."""

from __future__ import annotations

import json

import pytest

from otel_gen import record
from otel_gen import semconv as sc

NEVER_NULL = (
    ("validator_feedback",), ("failure_analysis",), ("generation", "timing"), ("generation", "output"),
    ("generation", "submission"), ("miner_config",),
)  # fmt: skip


def outcomes(worker):
    """One generation of every outcome."""
    made = {
        "accepted": worker.start().submitted().end(),
        "rejected": worker.start().submitted().end(),
        "withheld": worker.start().withheld().end(),
        "unsubmitted": worker.start().end(),
        "failed": worker.start().failed("CUDA went away", "trellis").end(),
        "cancelled": worker.start().note(**{sc.SAID: "cancelled"}).end(),
        "unscored": worker.start().submitted().end(),
        "interrupted": worker.start().begin("sdxl"),
    }
    worker.feedback(made["accepted"], 0.8, validator_uid=57)
    worker.feedback(made["rejected"], 0.0, validator_uid=57)
    return made


@pytest.fixture
def one_of_each(world):
    worker = world.worker(feedback_timeout=10.0)
    made = outcomes(worker)
    worker.die()
    world.step(later=20)
    return {outcome: gen.record for outcome, gen in made.items()}


def test_each_outcome_is_written_under_its_name(one_of_each):
    assert {name: one["outcome"] for name, one in one_of_each.items()} == {n: n for n in one_of_each}
    assert set(one_of_each) == set(sc.OUTCOMES)


def test_what_was_not_submitted_carries_exactly_one_of_the_two_flags(one_of_each):
    for outcome, one in one_of_each.items():
        submission = one["generation"]["submission"]
        flags = submission["pre_submission_rejection"], one["failure_analysis"]["failed"]
        assert submission["submitted"] is (outcome in ("accepted", "rejected", "unscored"))
        assert sum(flags) == (0 if submission["submitted"] else 1)
        assert flags[1] is (outcome in ("failed", "cancelled", "interrupted"))


def test_what_readers_index_into_is_never_null(one_of_each):
    for one in one_of_each.values():
        for keys in NEVER_NULL:
            found = one
            for key in keys:
                found = found[key]
            assert isinstance(found, dict)


def test_a_failure_keeps_the_callers_own_word_and_its_stage(one_of_each):
    failure = one_of_each["failed"]["failure_analysis"]
    assert (failure["error_type"], failure["stage"]) == ("CUDA went away", "trellis")


def test_an_interrupted_record_has_the_ended_stages_and_the_running_one(world):
    worker = world.worker()
    gen = worker.start().stage("sdxl", 2.0).stage("background_removal", 1.0).begin("trellis")
    worker.die()
    world.step()
    generation = gen.record["generation"]
    shown = [(stage["name"], stage["status"], stage["duration_seconds"]) for stage in generation["stages"]]
    assert shown == [("sdxl", "ok", 2.0), ("background_removal", "ok", 1.0), ("trellis", "interrupted", None)]
    assert generation["timing"] == {"sdxl_time": 2.0, "background_removal_time": 1.0, "total_time": 3.0}
    assert gen.record["failure_analysis"]["stage"] == "trellis"
    assert gen.record["metadata"]["trace_id"] == gen.trace


def test_stage_names_become_timing_keys_and_repeats_add_up(world):
    worker = world.worker()
    gen = worker.start().stage("queue", 5.0).stage("sdxl", 1.0).stage("sdxl_time", 0.5).stage("validate", 1.0)
    gen.stage("validate", 2.0).stage("total_time", 1.0).end()
    world.step()
    assert gen.record["generation"]["timing"] == {
        "queue_time": 5.0, "sdxl_time": 1.5, "validate_time": 3.0, "total_stage_time": 1.0,
        "total_time": 10.5,
    }  # fmt: skip


def test_the_prompt_of_an_image_task_is_its_hash(world):
    worker = world.worker()
    digest = "[BASE64_IMAGE_HASH:sha256:" + "ab" * 32 + "]"
    gen = worker.start(**{sc.TASK_TYPE: "IMAGE-TO-3D"}).staged("image", b"\x89PNG picture", "png")
    gen.note(**{sc.PROMPT: digest}).end()
    world.step()
    task = gen.record["task"]
    assert task["prompt"] == digest
    assert task["is_base64_image"] is True
    assert task["image_file_path"] == f"images/{task['base64_image_hash'][7:23]}.png"


def test_quality_metrics_have_all_four_keys_or_are_left_out(world):
    worker = world.worker()
    graded = worker.start().note(**{sc.CLIP_SCORE: 0.23}).end()
    sized = worker.start().note(**{sc.NUM_GAUSSIANS: 300_000}).end()
    bare = worker.start().end()
    world.step()
    assert graded.record["generation"]["output"]["quality_metrics"] == {
        "clip_score": 0.23, "clip_threshold_pass": None, "gaussian_count_pass": None, "validation_pass": None,
    }  # fmt: skip
    assert "quality_metrics" not in sized.record["generation"]["output"]
    assert bare.record["generation"]["output"] == {}


def test_a_death_after_the_submission_leaves_it_standing(world):
    worker = world.worker(feedback_timeout=10.0)
    gen, judged = worker.start().submitted(), worker.start().submitted()
    worker.feedback(judged, 0.7, validator_uid=3)
    worker.die()
    world.step(later=20)
    assert (gen.record["outcome"], judged.record["outcome"]) == ("unscored", "accepted")
    for one in (gen.record, judged.record):
        assert one["generation"]["error_after_submission"]["error_type"] == "interrupted"
        assert one["failure_analysis"]["failed"] is False


def test_an_exception_after_the_submission_is_kept_beside_the_verdict(world):
    worker = world.worker()
    later = json.dumps({"error_type": "crash", "error_message": "boom", "stage": None})
    gen = worker.start().submitted().note(**{sc.LATER_ERROR: later}).end()
    worker.feedback(gen, 0.7)
    world.step()
    assert gen.record["outcome"] == "accepted"
    assert gen.record["generation"]["error_after_submission"]["error_message"] == "boom"


def test_the_word_said_last_wins(world):
    worker = world.worker(feedback_timeout=0.0)
    first = worker.start().submitted().withheld().end()
    second = worker.start().withheld().submitted().end()
    world.step()
    assert (first.record["outcome"], second.record["outcome"]) == ("withheld", "unscored")


def test_attempts_count_the_starts_of_a_task_over_processes_and_restarts(world):
    task = {sc.TASK_ID: "task-1"}
    first_worker, second_worker = world.worker(), world.worker()
    first = first_worker.start(**task)
    world.now += 1
    second = second_worker.start(**task).withheld().end()
    world.step()
    world.restart()
    world.now += 1
    third = second_worker.start(**task).withheld().end()
    world.step()
    first.withheld().end()
    world.step(later=1)
    assert [gen.record["metadata"]["attempt"] for gen in (first, second, third)] == [1, 2, 3]


def test_a_line_ends_with_the_checksum_of_what_comes_before():
    line = record.seal({"a": 1})
    assert line.startswith(b'{"a":1,"checksum":"')
    assert record.sound(line)
    for at in range(len(line) - 1):
        assert not record.sound(line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :])


def test_what_makes_no_record_goes_to_quarantine_and_blocks_no_other(world):
    worker = world.worker()
    worker.start(**{sc.MINER_UID: 1}).note(**{sc.PROMPT: "good"}).end()
    bad = worker.start()
    bad.note(**{sc.SUBMISSION_TIME: "yesterday", sc.SAID: "submitted"}).end()
    world.step(later=1000)
    assert len(world.lines()) == 1
    assert f"{bad.id}.record" in world.files(".otel_gen/quarantine")
    assert world.leader.delivery.aside_counts["gen3d_capture_errors", "quarantined"] == 1


def test_a_record_has_only_what_docs_record_schema_json_allows(one_of_each, world):
    assert len(world.lines()) == len(one_of_each)  # world.lines() holds every line against the schema
