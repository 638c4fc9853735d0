"""A wall clock that jumps by a day, either way and at any point, changes timestamps and nothing else."""

from __future__ import annotations

import time

import pytest

import otel_gen
from otel_gen import semconv as sc
from otel_gen.clock import Clock
from otel_gen.readers.verify import verify
from tests.crash.numbers import differences
from tests.support import the_record

DAY = 86400 * 10**9


@pytest.mark.parametrize("jump", [DAY, -DAY])
@pytest.mark.parametrize("where", ["stage", "block", "submission", "end"])
def test_a_jump_changes_no_duration_no_outcome_and_no_count(data_dir, where, jump):
    ahead = {"ns": 0}
    jumped = dict.fromkeys(("stage", "block", "submission", "end"), 0) | {where: jump}
    clock = Clock(lambda: time.time_ns() + ahead["ns"])
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=3600, clock=clock)
    with otel_gen.generation(task_type="TEXT-TO-3D", prompt="a red chair", validator_uid=57) as gen:
        with gen.stage("sdxl"):
            ahead["ns"] += jumped["stage"]
        ahead["ns"] += jumped["block"]
        gen.submitted()
        ahead["ns"] += jumped["submission"]
    ahead["ns"] += jumped["end"]
    assert otel_gen.feedback(gen.id, score=0.9, validator_uid=57)
    record = the_record(data_dir)
    assert record["outcome"] == "accepted"
    assert 0 <= record["generation"]["timing"]["total_time"] < 60
    assert 0 <= record["generation"]["stages"][0]["duration_seconds"] < 60
    assert differences(data_dir) == {}
    assert verify(data_dir, clock).problems == []


def waiting(world, **policy):
    worker = world.worker(feedback_timeout=1.0, undecided_keep=3600.0, **policy)
    gen = worker.start().staged("ply", b"ply\n" * 10).submitted().end()
    world.step(later=10)
    assert gen.record["outcome"] == "unscored"
    assert len(world.files("ply_files")) == 1
    return worker, gen


@pytest.mark.parametrize("seconds", [2 * 86400, -2 * 86400])
def test_an_output_waits_for_its_verdict_as_long_as_it_was_to_whatever_the_wall_clock_does(world, seconds):
    worker, gen = waiting(world)
    world.jumped = seconds
    world.step(later=3000)
    world.restart()
    world.step(later=1)
    assert len(world.files("ply_files")) == 1
    worker.feedback(gen, 0.9)
    world.step(later=1)
    path = gen.record["generation"]["output"]["ply_file_path"]
    assert (world.path / path).read_bytes() == b"ply\n" * 10


@pytest.mark.parametrize("seconds", [2 * 86400, -2 * 86400, 0])
def test_a_wait_ends_whatever_the_wall_clock_does(world, seconds):
    _, gen = waiting(world)
    world.step()
    world.jumped = seconds
    world.step(later=3700)
    assert world.files("ply_files") == set()
    assert gen.record["generation"]["output"]["ply_file_path"] is None


def test_the_first_of_two_verdicts_wins_though_the_clock_was_set_back_between_them(world):
    worker = world.worker()
    gen = worker.start().submitted().end()
    worker.feedback(gen, 0.8)
    world.jumped = -3600
    world.now += 1
    worker.feedback(gen, 0.0)
    world.step()
    assert gen.record["outcome"] == "accepted"


@pytest.mark.parametrize("seen", [True, False])
def test_a_task_means_its_latest_attempt_though_the_clock_was_set_back_since(world, seen):
    worker = world.worker(feedback_timeout=5.0 if seen else 100.0)
    first = worker.start(**{sc.TASK_ID: "t"}).submitted().end()
    world.now += 1
    second = worker.start(**{sc.TASK_ID: "t"})
    world.now += 9
    second.submitted().end()
    world.step(later=6)
    world.jumped = -10
    worker.feedback(None, 0.9, task_id="t")
    world.step(later=1)
    world.step(later=100)
    assert second.record["outcome"] == "accepted"
    assert first.record["outcome"] == "unscored"
