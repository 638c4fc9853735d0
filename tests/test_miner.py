"""Miner: the protocol's answer, in any shape, becomes the right feedback of the right attempt."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timezone
from types import SimpleNamespace

import pytest
from pydantic import BaseModel, ConfigDict

import otel_gen
from otel_gen import miner
from tests.support import AMENDMENTS, lines, submitted, the_record, until

NOW = 1_790_000_000.0
FULL = {
    "validation_failed": False, "task_fidelity_score": 0.812345, "average_fidelity_score": 0.71,
    "generations_within_the_window": 41, "current_duel_rating": 1512.5, "current_miner_reward": 0.0123,
}  # fmt: skip


class Feedback(BaseModel):
    """The protocol's own kind of object, from a version that knows one field more."""

    model_config = ConfigDict(extra="allow")
    validation_failed: bool = False
    task_fidelity_score: float = 0.0
    average_fidelity_score: float = 0.0
    generations_within_the_window: int = 0
    current_duel_rating: float = 0.0
    current_miner_reward: float = 0.0


class Answer(BaseModel):
    task: object = None
    results: str = "x" * 100_000
    feedback: Feedback | None = None
    cooldown_until: int = 0


@dataclass
class Plain:
    task_fidelity_score: float
    average_fidelity_score: float = 0.5


class Slotted:
    __slots__ = ("task_fidelity_score", "validation_failed")

    def __init__(self):
        self.task_fidelity_score, self.validation_failed = 0.7, False


class Hostile:
    @property
    def feedback(self):
        raise RuntimeError("no")

    def __getattribute__(self, name):
        raise ValueError(name)


def zero(cooldown, **more):
    return {"feedback": {"task_fidelity_score": 0.0, **more}, "cooldown_until": cooldown}


@pytest.mark.parametrize(
    "answer",
    [
        {"feedback": FULL, "cooldown_until": 7},
        {**FULL, "cooldown_until": 7},
        SimpleNamespace(feedback=SimpleNamespace(**FULL), cooldown_until=7),
        Answer(feedback=Feedback(**FULL), cooldown_until=7),
        Answer(feedback=Feedback(**FULL), cooldown_until="7"),
        SimpleNamespace(feedback=FULL, cooldown_until=datetime.fromtimestamp(7, timezone.utc)),
        SimpleNamespace(feedback=FULL, cooldown_until=datetime(1970, 1, 1, 0, 0, 7)),  # noqa: DTZ001
    ],
    ids=["dicts", "flat", "objects", "pydantic", "coerced", "moment", "moment without zone"],
)
def test_every_field_of_the_protocol_is_read_from_any_kind_of_object(answer):
    assert miner.fields(answer, now=0) == {**FULL, "cooldown_until": 7}


def test_fields_that_are_not_known_yet_come_along():
    found = miner.fields(Answer(feedback=Feedback(task_fidelity_score=0.9, current_miner_stake=5)))
    assert (found["current_miner_stake"], found["task_fidelity_score"]) == (5, 0.9)
    assert miner.fields(Plain(0.9))["average_fidelity_score"] == 0.5
    assert miner.fields(Slotted()) == {"task_fidelity_score": 0.7, "validation_failed": False}


def test_the_answer_cannot_say_whose_feedback_it_is():
    found = miner.fields({"id": "x", "validator_uid": 9, "data_dir": "/", "_own": 1, "score": 0.5})
    assert found == {"score": 0.5}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (zero(NOW + 870), miner.BELOW_THRESHOLD),
        (zero(NOW + 900), miner.BELOW_THRESHOLD),
        (zero(NOW + 270), miner.EMPTY_RESULT),
        (zero(NOW + 300), miner.EMPTY_RESULT),
        (zero(NOW - 5), miner.NOT_JUDGED),
        (zero(0), miner.NOT_JUDGED),
        (zero(NOW + 600), miner.UNDISCLOSED),
        (zero(None), miner.UNDISCLOSED),
        (zero("soon"), miner.UNDISCLOSED),
        (zero(NOW + 880, validation_failed=True), miner.VALIDATOR_FAILED),
        ({"feedback": None, "cooldown_until": NOW + 60}, miner.NO_FEEDBACK),
        (None, miner.NO_FEEDBACK),
        ({"feedback": {"task_fidelity_score": 0.7}, "cooldown_until": NOW + 880}, None),
        (zero(NOW + 880, rejection_reason="their own"), "their own"),
        (zero(NOW + 880, score=0.7), None),
        ({"score": 0, "task_fidelity_score": 0.7, "cooldown_until": NOW + 880}, miner.BELOW_THRESHOLD),
    ],
)
def test_what_a_zero_meant_is_told_by_the_cooldown(answer, reason):
    assert miner.fields(answer, now=NOW).get("rejection_reason") == reason


def test_a_cooldown_that_was_there_before_says_that_nothing_was_judged():
    assert (
        miner.fields(zero(NOW + 880), now=NOW, cooldown_before=NOW + 880)["rejection_reason"]
        == miner.NOT_JUDGED
    )
    assert (
        miner.fields(zero(NOW + 880), now=NOW, cooldown_before=NOW + 20)["rejection_reason"]
        == miner.BELOW_THRESHOLD
    )


def test_all_that_an_answer_carries_is_in_the_record(waiting):
    gen = submitted(validator_uid=57)
    assert miner.feedback(
        Answer(feedback=Feedback(**FULL), cooldown_until=1_790_000_060), id=gen.id, validator_uid=57
    )
    record = the_record(waiting)
    feedback = record["validator_feedback"]
    assert record["outcome"] == "accepted"
    assert (feedback["score"], feedback["accepted"], feedback["validator_uid"]) == (0.8123, True, 57)
    assert {name: feedback[name] for name in FULL} == FULL
    assert feedback["cooldown_until"] == 1_790_000_060
    assert "rejection_reason" not in feedback


def test_a_censored_zero_is_a_rejection_with_its_reason(waiting):
    gen = submitted()
    until_ = datetime.now(timezone.utc).timestamp() + 880
    assert miner.feedback({"feedback": {"task_fidelity_score": 0.0}, "cooldown_until": until_}, id=gen.id)
    record = the_record(waiting)
    feedback = record["validator_feedback"]
    assert (record["outcome"], feedback["verdict"], feedback["score"]) == ("rejected", "rejected", 0.0)
    assert feedback["rejection_reason"] == miner.BELOW_THRESHOLD


def test_the_task_of_the_answer_finds_the_attempt_that_was_submitted(waiting):
    first = submitted(task_id="t")
    with otel_gen.generation(task_id="t") as second:
        second.withheld("sparse")
    answer = Answer(task=SimpleNamespace(id="t"), feedback=Feedback(task_fidelity_score=0.9))
    assert miner.feedback(answer)
    assert otel_gen.shutdown()
    found = {record["metadata"]["generation_id"]: record for record in lines(waiting)}
    assert [found[gen.id]["outcome"] for gen in (first, second)] == ["accepted", "withheld"]


def test_a_lost_answer_closes_nothing_and_is_kept_as_a_note(waiting):
    gen = submitted(task_id="t")
    assert miner.feedback(None, task_id="t", validator_uid=3)
    assert miner.feedback({"task_fidelity_score": 0.9}, id=gen.id, validator_uid=3)
    assert the_record(waiting)["outcome"] == "accepted"
    (note,) = lines(waiting, AMENDMENTS)
    assert (note["kind"], note["fields"]) == ("note", {"rejection_reason": miner.NO_FEEDBACK})


def test_it_works_on_an_event_loop_and_is_awaited_there(waiting):
    gen = submitted()
    result = asyncio.run(miner.feedback_async({"task_fidelity_score": 0.9}, id=gen.id))
    assert result
    until(lambda: lines(waiting))
    assert the_record(waiting)["outcome"] == "accepted"


class Unreadable(dict):
    def items(self):
        raise RuntimeError("no")


KINDS = {
    "hostile": Hostile,
    "object": object,
    "number": int,
    "text": str,
    "bytes": bytes,
    "unreadable": Unreadable,
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_of_no_known_form_never_raises_and_is_no_verdict(waiting, kind):
    gen = submitted(task_id="t")
    assert miner.feedback(KINDS[kind](), task_id="t")
    assert miner.feedback({"task_fidelity_score": 0.9}, id=gen.id)
    assert the_record(waiting)["outcome"] == "accepted"


def test_without_an_id_or_a_task_it_is_refused(waiting):
    result = miner.feedback({"task_fidelity_score": 0.9})
    assert (bool(result), result.reason) == (False, "malformed id")
    assert not waiting.exists()
