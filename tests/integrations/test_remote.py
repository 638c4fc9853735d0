"""Feedback from another machine: nothing is lost when the service is down or the sender dies, nothing is doubled."""

from __future__ import annotations

import http.server
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import uuid

import pytest

from otel_gen import message
from otel_gen import remote as module
from otel_gen.door import MAX_BODY
from otel_gen.errors import SettingsError
from otel_gen.events import canonical
from otel_gen.remote import Remote
from otel_gen.spool import Spool
from tests.integrations.server import Served
from tests.support import AMENDMENTS, lines, until

KEY = "a key that only the miner has"
UNKNOWN = "01990000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with Served(tmp_path_factory.mktemp("service"), TEST_KEY=KEY) as served:
        yield served


@pytest.fixture
def remote(service, tmp_path):
    made = Remote(endpoint(service), KEY, spool=tmp_path / "spool")
    yield made
    made.close(0)


def endpoint(service):
    return f"{service.url}/otel-gen/feedback"


def submitted(service):
    answer = service.post("a chair", {"X-Task-Id": str(uuid.uuid4()), "X-Validator-Uid": "57"})
    return answer.headers["x-generation-id"]


def verdicts(service):
    """What the records say of their verdicts, by generation id."""
    return {r["metadata"]["generation_id"]: r["validator_feedback"] for r in service.records().values()}


def test_a_verdict_reaches_the_record_in_the_background(service, remote):
    id_ = submitted(service)
    kept = remote.feedback(
        id_.upper(),
        score="0.81",
        validator_uid="57",
        current_duel_rating=1510.5,
        cooldown_until=1_790_000_000,
    )
    assert kept
    until(lambda: id_ in verdicts(service))
    found = verdicts(service)[id_]
    assert (found["score"], found["validator_uid"], found["current_duel_rating"]) == (0.81, 57, 1510.5)
    assert found["cooldown_until"] == 1_790_000_000
    until(lambda: remote.fate(kept.event_id) == "")


def test_a_score_that_is_no_number_is_an_invalid_verdict_here_too(service, remote):
    id_ = submitted(service)
    assert remote.feedback(id_, score=float("nan"), validator_uid=57)
    assert remote.flush()
    assert until(lambda: verdicts(service).get(id_))["verdict"] == "invalid"


def test_what_the_service_will_never_take_is_set_aside_and_holds_nothing_up(service, remote):
    id_ = submitted(service)
    strange = remote.feedback(UNKNOWN, score=1, validator_uid=57)
    wrong = remote.feedback(id_, score=1, validator_uid=58)
    right = remote.feedback(id_, score=0.5, validator_uid=57)
    assert remote.flush()
    assert [remote.fate(one.event_id) for one in (strange, wrong, right)] == [
        "refused: unknown generation", "refused: wrong validator", "",
    ]  # fmt: skip
    assert until(lambda: verdicts(service).get(id_))["score"] == 0.5


def test_a_wrong_key_loses_nothing(service, tmp_path):
    id_ = submitted(service)
    with Remote(endpoint(service), "another key, of sb else", spool=tmp_path / "spool") as wrong:
        kept = wrong.feedback(id_, score=0.5, validator_uid=57)
        assert not wrong.flush(0.5)
        assert "bad signature" in wrong.fate(kept.event_id)
        assert not wrong.close(0)
    with Remote(endpoint(service), KEY, spool=tmp_path / "spool") as right:
        assert right.flush()
    assert until(lambda: verdicts(service).get(id_))["score"] == 0.5


def test_why_feedback_waits_is_said_once_and_again_after_some_went_through(service, tmp_path, caplog):
    id_ = submitted(service)
    with Remote(endpoint(service), "another key, of sb else", spool=tmp_path / "spool") as remote:
        for _ in range(2):
            assert remote.feedback(id_, score=0.5, validator_uid=57)
        assert not remote.flush(1)
        assert [m for m in caplog.messages if "waits" in m] == [
            f"otel_gen: feedback waits in {remote.spool.path}: bad signature"
        ]
        remote._key = KEY.encode()
        assert remote.flush()
        remote._key = b"another key, of sb else"
        assert remote.feedback(id_, score=0.5, validator_uid=57)
        assert not remote.flush(0.5)
        assert sum("waits" in m for m in caplog.messages) == 2
        remote.close(0)


@pytest.mark.crash
def test_service_down_and_sender_killed_with_9_nothing_is_lost_or_doubled(tmp_path):
    with Served(tmp_path, TEST_KEY=KEY) as service:
        ids = [submitted(service) for _ in range(20)]
        service.stop()
        code = """
import sys
from otel_gen.remote import Remote
remote = Remote(sys.argv[1], sys.argv[2], spool=sys.argv[3], timeout=0.5)
for line in sys.stdin:
    assert remote.feedback(line.strip(), score=0.5, validator_uid=57)
    print("kept", flush=True)
"""
        command = [sys.executable, "-c", code, endpoint(service), KEY, str(tmp_path / "spool")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sender:
            for id_ in ids:
                sender.stdin.write(f"{id_}\n")
                sender.stdin.flush()
                assert sender.stdout.readline() == "kept\n"
            sender.send_signal(signal.SIGKILL)
        service.start()
        with Remote(endpoint(service), KEY, spool=tmp_path / "spool") as again:
            assert len(again.spool.waiting()) > 0
            assert again.flush(20)
        until(lambda: len(service.records()) == 20)
        assert {id_: found["score"] for id_, found in verdicts(service).items()} == dict.fromkeys(ids, 0.5)
        assert lines(service.data_dir, AMENDMENTS) == []


class Lossy(http.server.ThreadingHTTPServer):
    """Passes requests on to a service and loses the first answer to each, after `busy` that it turns away."""

    def __init__(self, target, busy=0):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.answers, self.lost, self.busy = target, [], set(), busy
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/otel-gen/feedback"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.busy:
            self.server.busy -= 1
            self.send_error(503)
            return
        headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
        request = urllib.request.Request(self.server.target, body, headers)  # noqa: S310 - our own http URL
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            found = answer.read()
        event = json.loads(body)["event_id"]
        self.server.answers.append(json.loads(found)["reason"])
        if event not in self.server.lost:
            self.server.lost.add(event)
            self.close_connection = True
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(found)

    def log_message(self, *_):
        pass


def test_an_answer_that_is_lost_is_asked_for_again_and_applied_once(service, tmp_path):
    id_ = submitted(service)
    lossy = Lossy(endpoint(service))
    try:
        with Remote(lossy.url, KEY, spool=tmp_path / "spool") as remote:
            assert remote.feedback(id_, score=0.5, validator_uid=57)
            assert remote.feedback(id_, current_duel_rating=1500, validator_uid=57)
            assert remote.flush()
    finally:
        lossy.shutdown()
        lossy.server_close()
    assert sorted(lossy.answers) == ["known already"] * 2 + ["recorded"] * 2
    until(lambda: verdicts(service).get(id_))
    amended = until(lambda: [a for a in lines(service.data_dir, AMENDMENTS) if a["generation_id"] == id_])
    assert [a["kind"] for a in amended] == ["note"]


def test_what_answers_in_place_of_the_service_decides_nothing(service, tmp_path):
    class Wrong(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            status, more = answers.pop(0) if answers else (502, {})
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.end_headers()

        def do_GET(self):
            followed.append(self.path)
            self.send_error(500)

        def log_message(self, *_):
            pass

    followed, answers = [], [(404, {}), (200, {}), (302, {"Location": "/elsewhere"})]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Wrong)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        remote = Remote(f"http://127.0.0.1:{server.server_port}/", KEY, spool=tmp_path / "spool")
        kept = remote.feedback(submitted(service), score=0.5, validator_uid=57)
        until(lambda: remote.flush(0.2) or not answers)
        assert "not from a feedback endpoint" in remote.fate(kept.event_id)
        remote.close(0)
        assert followed == []
    finally:
        server.shutdown()
        server.server_close()


def test_what_was_said_first_goes_first_though_it_had_to_wait(service, tmp_path):
    """The first answer is a 503 of somebody in between; nothing overtakes it on the way to its generation."""
    id_, other = submitted(service), submitted(service)
    lossy = Lossy(endpoint(service), busy=1)
    try:
        with Remote(lossy.url, KEY, spool=tmp_path / "spool") as remote:
            with remote._sending:  # nothing goes out before all is said
                for whom, score in ((id_, 0.8), (id_, 0), (other, 0.6)):
                    assert remote.feedback(whom, score=score, validator_uid=57)
            assert remote.flush()
    finally:
        lossy.shutdown()
        lossy.server_close()
    until(lambda: {id_, other} <= set(verdicts(service)))
    assert [verdicts(service)[one]["score"] for one in (id_, other)] == [0.8, 0.6]


@pytest.mark.parametrize("id_", ["", "x", "../../etc/passwd", 5, None])
def test_a_malformed_id_is_refused_here(remote, id_):
    kept = remote.feedback(id_, score=1)
    assert (bool(kept), kept.reason, remote.spool.waiting()) == (False, "malformed id", [])


def test_a_spool_that_cannot_be_written_is_said_and_nothing_is_raised(remote, monkeypatch):
    monkeypatch.setattr(module.Spool, "put", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    kept = remote.feedback(UNKNOWN, score=1)
    assert (bool(kept), "No space left" in kept.reason) == (False, True)


@pytest.mark.parametrize(
    "url", ["", "service:8000", "ftp://service/", "file:///etc/passwd", "http://u:p@service/"]
)
def test_a_url_that_is_none_is_a_wrong_setting(tmp_path, url):
    with pytest.raises(SettingsError):
        Remote(url, KEY, spool=tmp_path / "spool")


def program(*args, **env):
    command = [sys.executable, "-m", "otel_gen.cli", "feedback", *map(str, args), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def test_the_command_line_sends_and_says_what_became_of_it(service, tmp_path):
    (tmp_path / "key").write_text(f"{KEY}\n")
    id_ = submitted(service)
    where = ("--url", endpoint(service), "--spool", tmp_path / "spool")
    said = (id_, "--score", "0.6", "--validator-uid", "57")
    assert program(*said, *where, "--key-file", tmp_path / "key") == (
        0, {"ok": True, "id": id_, "task_id": None, "reason": ""},
    )  # fmt: skip
    assert until(lambda: verdicts(service).get(id_))["score"] == 0.6
    code, found = program(UNKNOWN, "--score", "1", *where, OTEL_GEN_FEEDBACK_KEY=KEY)
    assert (code, found["reason"]) == (1, "refused: unknown generation")


@pytest.mark.parametrize("value", [True, 1, "true", "yes", 1.0])
def test_a_failed_validation_is_sent_however_it_is_said(value):
    assert message.said(UNKNOWN, {"score": 0.8, "validation_failed": value})["validation_failed"] is True
    assert "validation_failed" not in message.said(UNKNOWN, {"score": 0.8, "validation_failed": 0})


def test_words_that_the_endpoint_would_not_take_are_cut_or_left_out():
    said = message.said(UNKNOWN, {"score": 1, "cooldown_until": [1], "rejection_reason": "\1" * 5000})
    assert "cooldown_until" not in said
    assert 0 < len(canonical(said)) < MAX_BODY
    assert message.said(UNKNOWN, {"score": 1, "cooldown_until": True}).keys() == {"id", "score"}


def test_a_damaged_file_of_the_spool_is_put_aside_and_the_rest_is_sent(service, tmp_path):
    spool = Spool(tmp_path / "spool")
    name = spool.put("event-of-0001", bytes(100))
    spool.close()
    id_ = submitted(service)
    with Remote(endpoint(service), KEY, spool=tmp_path / "spool") as remote:
        assert remote.feedback(id_, score=0.5, validator_uid=57)
        assert remote.flush()
        assert remote.spool.refused() == [name]
        assert "malformed" in remote.spool.why(name)
    assert until(lambda: verdicts(service).get(id_))["score"] == 0.5


def test_what_waited_says_for_how_long_and_a_callers_time_goes_with_it(service, tmp_path, monkeypatch):
    id_ = submitted(service)
    real = time.time_ns
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: real() - 90 * 10**9)
        remote = Remote("http://127.0.0.1:9/otel-gen/feedback", KEY, spool=tmp_path / "spool")
        assert remote.feedback(id_, score=0.5, validator_uid=57, feedback_time=1_790_000_000)
        remote.close(0)
    (name,) = Spool(tmp_path / "spool").waiting()
    body = (tmp_path / "spool" / name).read_bytes()
    assert json.loads(message.aged(body, name))["age"] == pytest.approx(90, abs=5)
    with Remote(endpoint(service), KEY, spool=tmp_path / "spool") as again:
        assert again.flush()
    assert until(lambda: verdicts(service).get(id_))["feedback_time"].startswith("2026-09-21T")
