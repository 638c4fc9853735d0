"""The door by itself: what a service that dies in the middle leaves, and what a service that cannot answer says."""

from __future__ import annotations

import json
import time
from datetime import datetime

import pytest

import otel_gen
from otel_gen import door as module
from otel_gen.door import Door
from tests.support import AMENDMENTS, lines, settled

HEADERS = {"host": "127.0.0.1:8093", "content-type": "application/json"}
EVENT = "event-of-the-sender"


def take(said, door=None):
    return (door or Door(None)).take(HEADERS, "127.0.0.1", json.dumps(said).encode())


def submitted(**keywords):
    with otel_gen.generation(**keywords) as gen:
        gen.submitted()
    return gen


@pytest.fixture
def waiting(data_dir):
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=600)
    return data_dir


class Killed(BaseException):
    """Stands for kill -9."""


@pytest.mark.parametrize("recorded", [False, True])
def test_an_event_whose_service_died_goes_to_the_same_attempt_when_it_comes_again(
    waiting, monkeypatch, recorded
):
    first = submitted(task_id="t")
    said = {"task_id": "t", "score": 0.8, "event_id": EVENT}
    record = otel_gen.feedback

    def die(*args, **keywords):
        if recorded:
            assert record(*args, **keywords)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module.runtime, "feedback", die)
        with pytest.raises(Killed):
            take(said)
    second = submitted(task_id="t")
    assert [(r.status, r.id) for r in (take(said), take(said))] == [(200, first.id)] * 2
    assert take({"id": second.id, "score": 0.0}).status == 200
    records = settled(waiting)
    assert [records[gen.id]["outcome"] for gen in (first, second)] == ["accepted", "rejected"]
    assert lines(waiting, AMENDMENTS) == []


def test_an_opposite_verdict_under_an_event_that_is_known_changes_nothing(waiting):
    gen = submitted()
    assert take({"id": gen.id, "score": 0.8, "event_id": EVENT}).reason == "recorded"
    assert take({"id": gen.id, "score": 0.0, "event_id": EVENT}).reason == "known already"
    assert settled(waiting)[gen.id]["outcome"] == "accepted"
    assert lines(waiting, AMENDMENTS) == []


def test_a_verdict_for_what_still_runs_is_taken(waiting):
    with otel_gen.generation(validator_uid=3) as gen:
        assert take({"id": gen.id, "score": 0.8, "validator_uid": 4}).reason == "wrong validator"
        assert take({"id": gen.id, "score": 0.8, "validator_uid": 3}).status == 200
    assert settled(waiting)[gen.id]["outcome"] == "accepted"


def test_a_validator_is_known_of_records_of_any_age(data_dir):
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0)
    gen = submitted(validator_uid=3, task_id="t")
    assert otel_gen.shutdown()
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0)
    for whom in ({"id": gen.id}, {"task_id": "t"}):
        assert take(whom | {"score": 0.8, "validator_uid": 4}).reason == "wrong validator"
    for index in (data_dir / ".otel_gen").glob("index*"):
        index.unlink()
    for whom in ({"id": gen.id}, {"task_id": "t"}):
        assert take(whom | {"score": 0.8, "validator_uid": 4}).reason == "wrong validator"


def test_an_application_that_is_not_configured_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert take({"id": "01990000-0000-7000-8000-000000000000", "score": 1}).status == 503
    assert list(tmp_path.iterdir()) == []


def test_a_data_dir_that_cannot_be_used_is_503_and_no_exception(waiting):
    gen = submitted()
    seen = waiting / ".otel_gen" / "feedback-seen.lock"
    seen.mkdir()
    reply = take({"id": gen.id, "score": 0.5, "event_id": EVENT})
    assert (reply.status, reply.final) == (503, False)
    assert "feedback-seen" not in reply.reason


@pytest.mark.parametrize("peer", [None, "", "testclient", "10.0.0.1", "::ffff:10.0.0.1", "0.0.0.0"])  # noqa: S104
def test_only_this_machine_is_local(waiting, peer):
    assert Door(None).take(HEADERS, peer, b"{}").reason == "only from this machine"
    assert Door(None).take(HEADERS, "::1", b"{}").status == 400


@pytest.mark.parametrize(("age", "which"), [(None, 1), (-5.0, 1), (1e300, 1), (3.0, 0)])
def test_a_verdict_that_waited_to_be_sent_is_for_the_attempt_of_its_time(waiting, age, which):
    first = submitted(task_id="t")
    now = time.time() + 5
    time.sleep(0.05)
    between = time.time()
    time.sleep(0.05)
    attempts = (first, submitted(task_id="t"))
    door = Door(None, lambda: now)
    waited = now - between if age == 3.0 else age
    reply = take({"task_id": "t", "score": 0.8} | ({} if age is None else {"age": waited}), door)
    assert (reply.status, reply.id) == (200, attempts[which].id)
    found = settled(waiting)[attempts[which].id]
    assert found["outcome"] == "accepted"
    came = datetime.fromisoformat(found["validator_feedback"]["feedback_time"]).timestamp()
    assert came == pytest.approx(between, abs=0.01) if which == 0 else came >= between


def test_a_time_alone_says_nothing(waiting):
    gen = submitted()
    assert (
        take({"id": gen.id, "feedback_time": 1_790_000_000, "age": 3}).reason == "malformed: nothing is said"
    )
