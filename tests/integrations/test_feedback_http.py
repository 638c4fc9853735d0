"""The feedback endpoint takes what its validator signed, once, and refuses everything else."""

from __future__ import annotations

import json
import time
import uuid

import httpx
import pytest

from otel_gen import signing
from otel_gen.readers.verify import verify
from tests.integrations.server import Served
from tests.support import AMENDMENTS, lines, until

KEY = "a key that only the miner has"
UNKNOWN = "01990000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with Served(tmp_path_factory.mktemp("signed"), workers=2, TEST_KEY=KEY) as served:
        yield served


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    with Served(tmp_path_factory.mktemp("local"), TEST_KEY="loopback") as served:
        yield served


def submitted(service, uid="57"):
    """A generation that awaits its verdict: id, task id."""
    task_id = str(uuid.uuid4())
    answer = service.post("a chair", {"X-Task-Id": task_id, "X-Validator-Uid": uid})
    return answer.headers["x-generation-id"], task_id


def send(service, said, key=KEY, now=None, headers=None):
    """Sign and send; gives the answer."""
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    signed = signing.signed(key.encode(), body, time.time() if now is None else now)
    return raw(service, body, signed | (headers or {}))


def raw(service, body, headers):
    headers = {"Content-Type": "application/json"} | headers
    return httpx.post(f"{service.url}/otel-gen/feedback", content=body, headers=headers, timeout=20)


def refused(answer, status, reason):
    """It was refused so, and says so."""
    found = answer.json()
    assert (answer.status_code, found["ok"]) == (status, False)
    assert reason in found["reason"]
    return found["final"]


def verdict(service, id_):
    return next(iter(r for r in service.records().values() if r["metadata"]["generation_id"] == id_), None)


def test_a_signed_verdict_is_recorded_by_id_or_by_task(service):
    by_id, by_task = submitted(service), submitted(service)
    one = send(service, {"id": by_id[0], "score": 0.8, "validator_uid": 57, "current_duel_rating": 1510})
    assert (one.status_code, one.json()["reason"]) == (200, "recorded")
    two = send(service, {"task_id": by_task[1], "score": 0.0, "validator_uid": 57})
    assert two.json() == {"ok": True, "reason": "recorded", "final": False, "id": by_task[0]}
    accepted, rejected = (until(lambda id_=id_: verdict(service, id_)) for id_, _ in (by_id, by_task))
    assert (accepted["outcome"], rejected["outcome"]) == ("accepted", "rejected")
    assert accepted["validator_feedback"]["current_duel_rating"] == 1510


def test_what_is_forged_changed_or_stale_is_not_believed(service):
    id_, _ = submitted(service)
    said = {"id": id_, "score": 0.8, "validator_uid": 57}
    body = json.dumps(said).encode()
    assert not refused(send(service, said, key="another key, of sb else"), 401, "bad signature")
    assert not refused(raw(service, body, {}), 401, "bad signature")
    headers = signing.signed(KEY.encode(), body, time.time())
    refused(raw(service, body.replace(b"0.8", b"0.9"), headers), 401, "bad signature")
    refused(raw(service, body, headers | {signing.TIMESTAMP: "1"}), 401, "bad signature")
    refused(send(service, said, now=time.time() - 310), 401, "stale")
    refused(send(service, said, now=time.time() + 310), 401, "stale")
    assert send(service, said).status_code == 200
    record = until(lambda: verdict(service, id_))
    assert record["validator_feedback"]["score"] == 0.8
    assert id_ not in {a["generation_id"] for a in lines(service.data_dir, AMENDMENTS)}


def test_a_request_is_taken_once_by_all_workers_and_after_a_kill(tmp_path):
    with Served(tmp_path, workers=2, TEST_KEY=KEY) as service:
        id_, _ = submitted(service)
        body = json.dumps({"id": id_, "score": 0.8, "validator_uid": 57}).encode()
        headers = signing.signed(KEY.encode(), body, time.time())
        assert raw(service, body, headers).status_code == 200
        for _ in range(12):
            assert not refused(raw(service, body, headers), 409, "replayed")
        service.kill()
        service.start()
        refused(raw(service, body, headers), 409, "replayed")
        until(lambda: verdict(service, id_))
        assert lines(service.data_dir, AMENDMENTS) == []
        assert service.stop() < 10
        found = verify(service.data_dir)
        assert (found.problems, [note for note in found.notes if note.kind == "foreign"]) == ([], [])


def test_another_validator_cannot_judge(service):
    id_, task_id = submitted(service)
    for said in ({"id": id_, "validator_uid": 58}, {"task_id": task_id, "validator_uid": 58}, {"id": id_}):
        assert refused(send(service, said | {"score": 0.9}), 403, "wrong validator")
    assert send(service, {"id": id_, "score": 0.0, "validator_uid": 57}).status_code == 200
    assert until(lambda: verdict(service, id_))["outcome"] == "rejected"


def test_a_generation_without_a_validator_takes_any(service):
    id_, _ = submitted(service, uid="")
    assert send(service, {"id": id_, "score": 0.7, "validator_uid": 3}).status_code == 200


def test_what_nobody_knows_is_refused_and_never_a_record(service):
    for said in ({"id": UNKNOWN}, {"id": str(uuid.uuid4())}, {"task_id": "no such task"}):
        assert refused(send(service, said | {"score": 0.9, "validator_uid": 57}), 404, "unknown")
    assert UNKNOWN not in {r["metadata"]["generation_id"] for r in service.records().values()}


def test_the_first_verdict_stands_and_an_opposite_one_is_an_amendment(service):
    id_, _ = submitted(service)
    assert send(service, {"id": id_, "score": 0.8, "validator_uid": 57}).status_code == 200
    assert send(service, {"id": id_, "score": 0.0, "validator_uid": 57}).status_code == 200
    (amendment,) = until(
        lambda: [a for a in lines(service.data_dir, AMENDMENTS) if a["generation_id"] == id_]
    )
    assert (amendment["verdict"], amendment["applied"]) == ("rejected", False)
    assert verdict(service, id_)["outcome"] == "accepted"


def test_an_event_that_is_sent_again_is_known_and_goes_to_no_other_attempt(service):
    task_id = str(uuid.uuid4())
    headers = {"X-Task-Id": task_id, "X-Validator-Uid": "57"}
    first = service.post("a chair", headers).headers["x-generation-id"]
    said = {"task_id": task_id, "score": 0.8, "validator_uid": 57, "event_id": uuid.uuid4().hex}
    assert send(service, said).json() == {"ok": True, "reason": "recorded", "final": False, "id": first}
    service.post("a chair", headers)
    for _ in range(3):
        again = send(service, said)
        assert (again.status_code, again.json()["reason"], again.json()["id"]) == (
            200,
            "known already",
            first,
        )
    note = {"id": first, "current_duel_rating": 1500, "validator_uid": 57, "event_id": uuid.uuid4().hex}
    assert [send(service, note).json()["reason"] for _ in range(3)] == ["recorded"] + ["known already"] * 2
    notes = until(lambda: [a for a in lines(service.data_dir, AMENDMENTS) if a["generation_id"] == first])
    assert [a["kind"] for a in notes] == ["note"]


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        (b"", 400, "malformed"),
        (b"[]", 400, "malformed"),
        (b'{"id": 5}', 400, "malformed"),
        (b'{"score": NaN}', 400, "malformed"),
        (b"[" * 10_000, 400, "malformed"),
        (b'{"id": "\xff"}', 400, "malformed"),
        ({"id": "../../etc/passwd", "score": 1}, 400, "malformed id"),
        ({"id": UNKNOWN, "task_id": "t", "score": 1}, 400, "either id or task_id"),
        ({"id": UNKNOWN}, 400, "nothing is said"),
        ({"id": UNKNOWN, "score": 1, "event_id": "../x"}, 400, "event_id"),
        ({"id": UNKNOWN, "score": 1, "data_dir": "/tmp/elsewhere"}, 400, "data_dir"),
        (b" " * 20_000, 413, "more than"),
    ],
)
def test_what_is_malformed_is_refused_for_good(service, said, status, reason):
    assert refused(send(service, said), status, reason)


def test_from_this_machine_without_a_key(local):
    id_, _ = submitted(local)
    body = json.dumps({"id": id_, "score": 0.8, "validator_uid": 57}).encode()
    for headers in (
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"Origin": "http://evil.example"},
        {"Host": "evil.example"},
    ):
        assert not refused(raw(local, body, headers), 403, "only from this machine")
    refused(raw(local, body, {"Content-Type": "text/plain"}), 415, "application/json")
    assert raw(local, body, {}).json()["reason"] == "recorded"
    assert until(lambda: verdict(local, id_))["outcome"] == "accepted"
