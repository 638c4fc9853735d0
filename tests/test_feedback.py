"""Feedback: the rules of verdicts, from the call to the record and its amendments."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import otel_gen
from otel_gen.clock import Clock
from tests.support import AMENDMENTS, lines, python, settled, submitted, the_record, until

UNKNOWN = "019a206d-e9ba-7353-9a0c-de3a3c69c974"


def read(data_dir):
    return {r["metadata"]["generation_id"]: r for r in otel_gen.read(data_dir)}


@pytest.mark.parametrize(
    ("given", "score"),
    [
        (0.81, 0.81),
        ("0.81", 0.81),
        (" 0.81 ", 0.81),
        (Decimal("0.81"), 0.81),
        (Fraction(1, 4), 0.25),
        (1, 1.0),
        (np.float32(0.5), 0.5),
        (np.float64(0.123456), 0.1235),
        (np.array([0.5]), 0.5),
        (0, 0.0),
        (0.00004, 0.0),
        (1e-300, 0.0),
    ],
)
def test_a_number_counts_by_value_rounded_to_4_decimals(waiting, given, score):
    gen = submitted()
    assert otel_gen.feedback(gen.id, score=given)
    feedback = the_record(waiting)["validator_feedback"]
    assert (feedback["score"], feedback["accepted"]) == (score, score > 0)
    assert feedback["verdict"] == ("accepted" if score else "rejected")


@pytest.mark.parametrize(
    "given",
    [
        float("nan"),
        float("inf"),
        1e308,
        -1,
        1.0001,
        True,
        np.bool_(True),
        "high",
        "",
        [0.5],
        {},
        object(),
        10**400,
    ],
)
def test_what_is_no_finite_number_in_0_to_1_is_invalid_and_never_accepted(waiting, given):
    gen = submitted()
    assert otel_gen.feedback(gen.id, score=given, validator_uid=3)
    record = the_record(waiting)
    feedback = record["validator_feedback"]
    assert (record["outcome"], feedback["verdict"], feedback["score"]) == ("rejected", "invalid", None)
    assert not feedback["accepted"]


@pytest.mark.parametrize("late", [False, True])
def test_a_later_finite_score_replaces_an_invalid_one(data_dir, late):
    otel_gen.configure(data_dir=data_dir, registry=None)
    gen = submitted()
    assert otel_gen.feedback(gen.id, score="?")
    if late:
        until(lambda: lines(data_dir))
    assert otel_gen.feedback(gen.id, score=0.4)
    assert otel_gen.shutdown()
    feedback = read(data_dir)[gen.id]["validator_feedback"]
    assert (feedback["score"], feedback["verdict"]) == (0.4, "accepted")


def test_task_fidelity_score_stands_in_for_a_missing_score(waiting):
    one, two = submitted(), submitted()
    otel_gen.feedback(one.id, task_fidelity_score="0.6")
    otel_gen.feedback(two.id, score=0.2, task_fidelity_score=0.6)
    records = settled(waiting)
    assert [records[gen.id]["validator_feedback"]["score"] for gen in (one, two)] == [0.6, 0.2]


def test_validation_failed_is_rejected_and_invalid_whatever_the_score(waiting):
    gen = submitted()
    otel_gen.feedback(gen.id, score=0.9, validation_failed=True)
    otel_gen.feedback(gen.id, score=0.8)
    record = the_record(waiting)
    feedback = record["validator_feedback"]
    assert (record["outcome"], feedback["verdict"], feedback["accepted"]) == ("rejected", "invalid", False)
    assert [a["applied"] for a in lines(waiting, AMENDMENTS)] == [False]


def test_the_first_verdict_wins_and_a_later_one_is_an_amendment_that_does_not_apply(waiting):
    gen = submitted()
    assert otel_gen.feedback(gen.id, score=0.5, validator_uid=1)
    assert otel_gen.feedback(gen.id, score=0, validator_uid=2)
    until(lambda: lines(waiting, AMENDMENTS))
    assert otel_gen.feedback(gen.id, score=0.9, validator_uid=1)
    record = the_record(waiting)
    assert record["validator_feedback"]["score"] == 0.5
    assert [(a["score"], a["applied"]) for a in lines(waiting, AMENDMENTS)] == [(0.0, False), (0.9, False)]


def test_the_same_verdict_again_is_acknowledged_and_writes_nothing(waiting):
    gen = submitted()
    for _ in range(3):
        assert otel_gen.feedback(gen.id, score=0.50001, validator_uid=1)
    until(lambda: lines(waiting))
    assert otel_gen.feedback(gen.id, score=0.5, validator_uid=1)
    assert the_record(waiting)["validator_feedback"]["score"] == 0.5
    assert lines(waiting, AMENDMENTS) == []


def test_a_note_closes_nothing(waiting):
    gen = submitted()
    assert otel_gen.feedback(gen.id, current_duel_rating=1200, cooldown_until="soon")
    assert otel_gen.feedback(gen.id, score=0.5)
    assert the_record(waiting)["outcome"] == "accepted"
    (note,) = lines(waiting, AMENDMENTS)
    assert (note["kind"], note["applied"]) == ("note", False)
    assert note["fields"] == {"current_duel_rating": 1200, "cooldown_until": "soon"}


def test_a_verdict_proves_the_submission_of_what_said_nothing(waiting):
    with otel_gen.generation() as during:
        otel_gen.feedback(during.id, score=0.5)
    with otel_gen.generation() as after:
        pass
    until(lambda: len(lines(waiting)) == 2)
    otel_gen.feedback(after.id, score=0.6)
    assert otel_gen.shutdown()
    records = read(waiting)
    assert [records[gen.id]["outcome"] for gen in (during, after)] == ["accepted", "accepted"]
    assert [records[gen.id]["generation"]["submission"]["submitted"] for gen in (during, after)] == [
        True,
        True,
    ]


@pytest.mark.parametrize("late", [False, True])
def test_a_verdict_does_not_apply_to_what_was_withheld_failed_or_cancelled(waiting, late):
    gens = []
    for word in (lambda gen: gen.withheld("x"), lambda gen: gen.failed("oom")):
        with otel_gen.generation() as gen:
            word(gen)
            late or otel_gen.feedback(gen.id, score=0.5)
        gens.append(gen)
    until(lambda: len(lines(waiting)) == 2)
    if late:
        assert all(otel_gen.feedback(gen.id, score=0.5) for gen in gens)
    records = settled(waiting)
    assert [records[gen.id]["outcome"] for gen in gens] == ["withheld", "failed"]
    assert [a["applied"] for a in lines(waiting, AMENDMENTS)] == [False, False]


def test_task_id_means_the_latest_submitted_attempt(waiting):
    first, second = submitted(task_id="t"), submitted(task_id="t")
    with otel_gen.generation(task_id="t") as third:
        third.withheld("sparse")
    assert otel_gen.feedback(task_id="t", score=0.5)
    assert otel_gen.feedback(first.id, score=0.1)
    records = settled(waiting)
    found = [(records[g.id]["metadata"]["attempt"], records[g.id]["outcome"]) for g in (first, second, third)]
    assert found == [(1, "accepted"), (2, "accepted"), (3, "withheld")]
    assert records[second.id]["validator_feedback"]["score"] == 0.5


@pytest.mark.parametrize(
    "id_", ["", "x", "../../etc/passwd", UNKNOWN + "\n", UNKNOWN[:-1], 5, b"x", object()]
)
def test_a_malformed_id_is_refused_and_nothing_is_touched(configured, id_):
    result = otel_gen.feedback(id_, score=0.5)
    assert (bool(result), result.reason) == (False, "malformed id")
    assert not configured.exists()
    assert not otel_gen.feedback(score=0.5)


def test_an_id_is_taken_in_capitals_too(waiting):
    gen = submitted()
    assert otel_gen.feedback(gen.id.upper(), score=0.5)
    assert the_record(waiting)["outcome"] == "accepted"


class Shifted:
    """A clock that can be put forward."""

    def __init__(self):
        self.seconds = 0
        real = Clock()
        self.clock = Clock(
            wall=lambda: real.wall() + self.seconds * 10**9, boot=lambda: real.boot() + self.seconds * 10**9
        )


def test_feedback_for_what_nobody_knows_is_set_aside_after_the_wait_and_never_a_record(data_dir):
    time = Shifted()
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=100, clock=time.clock)
    assert otel_gen.feedback(UNKNOWN, score=0.5, validator_uid=4)
    assert otel_gen.feedback(task_id="nowhere", score=0.5)
    aside = data_dir / ".otel_gen" / "quarantine"
    time.seconds = 99
    gen = submitted()
    otel_gen.feedback(gen.id, score=1)
    until(lambda: lines(data_dir))
    assert list(aside.iterdir()) == []
    time.seconds = 101
    until(lambda: list(aside.iterdir()))
    assert list(settled(data_dir)) == [gen.id]
    assert UNKNOWN in "".join(path.read_text() for path in aside.iterdir())


def test_feedback_that_comes_first_is_kept_until_its_generation_turns_up(waiting):
    assert otel_gen.feedback(task_id="early", score=0.5)
    submitted(task_id="early")
    assert the_record(waiting)["outcome"] == "accepted"


def test_without_feedback_a_submission_is_unscored_after_the_wait_and_a_later_verdict_amends_it(data_dir):
    time = Shifted()
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=600, clock=time.clock)
    gen, other = submitted(), submitted()
    time.seconds = 599
    otel_gen.feedback(other.id, score=0.3)
    until(lambda: lines(data_dir))
    time.seconds = 601
    until(lambda: len(lines(data_dir)) == 2)
    assert otel_gen.feedback(gen.id, score=0.7, validator_uid=5)
    records = settled(data_dir)
    assert records[gen.id]["outcome"] == "unscored"
    (amendment,) = lines(data_dir, AMENDMENTS)
    assert (amendment["generation_id"], amendment["applied"]) == (gen.id, True)
    assert read(data_dir)[gen.id]["outcome"] == "accepted"
    assert read(data_dir)[gen.id]["validator_feedback"]["feedback_delay_seconds"] == pytest.approx(601, abs=5)


def test_feedback_comes_from_any_process_without_configure(waiting):
    gen = submitted()
    code = """
import otel_gen, sys
result = otel_gen.feedback(sys.argv[2], score=0.5, data_dir=sys.argv[1])
assert result and result.reason == "", result
"""
    python(code, waiting, gen.id)
    until(lambda: lines(waiting))
    assert the_record(waiting)["outcome"] == "accepted"


def test_unknown_fields_are_kept_and_bounded(waiting):
    gen = submitted()
    otel_gen.feedback(
        gen.id,
        score=1,
        comment="x" * 10_000,
        nested={"a": [1]},
        average_fidelity_score="0.5",
        validator_uid=2,
    )
    feedback = the_record(waiting)["validator_feedback"]
    assert (feedback["nested"], feedback["average_fidelity_score"]) == ({"a": [1]}, 0.5)
    assert len(feedback["comment"]) <= 4096
    assert feedback["validator_uid"] == 2


def test_unconfigured_feedback_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = otel_gen.feedback(UNKNOWN, score=1)
    assert (bool(result), "not configured" in result.reason) == (False, True)
    assert "not configured" in asyncio.run(otel_gen.feedback_async(UNKNOWN, score=1)).reason
    assert list(tmp_path.iterdir()) == []
