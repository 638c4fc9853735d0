"""A wall clock that jumps by a day, either way and at any point, changes timestamps and nothing else."""

from __future__ import annotations

import time

import pytest

import otel_gen
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
