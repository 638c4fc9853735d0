"""uvicorn with one and two workers, stopped and killed under load: every answer that came has its record."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import otel_gen
from otel_gen.readers.verify import verify
from otel_gen.recover import recover
from tests.integrations.server import Served
from tests.support import until

CLIENTS = 6


class Load:
    """Clients that ask one after the other; `answered` maps task ids to the generation id of a whole answer."""

    def __init__(self, service):
        self.service, self.answered, self.asked = service, {}, set()
        self._end = threading.Event()
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._running = [self._pool.submit(self._ask, n) for n in range(CLIENTS)]

    def _ask(self, number):
        kinds = ("a chair", "streamed", "skipped", "caught", "bad", "later")
        turn = number
        while not self._end.is_set():
            task_id = str(uuid.uuid4())
            self.asked.add(task_id)
            turn += 1
            try:
                answer = self.service.post(kinds[turn % len(kinds)], {"X-Task-Id": task_id})
            except httpx.TransportError:
                continue
            if answer.status_code != 202 and "x-generation-id" in answer.headers:
                self.answered[task_id] = answer.headers["x-generation-id"]

    def end(self):
        self._end.set()
        for one in self._running:
            one.result(60)
        self._pool.shutdown()


def check(service, answered):
    """Each answer has one record, no record came of nothing, and all is as promised."""
    records = service.records()  # one record a task, or it fails
    found = {task: r["metadata"]["generation_id"] for task, r in records.items()}
    assert {task: found.get(task) for task in answered} == answered
    assert verify(service.data_dir).problems == []
    return records


@pytest.mark.crash
@pytest.mark.parametrize("workers", [1, 2])
def test_a_sigterm_under_load_loses_nothing_and_takes_less_than_10_s(tmp_path, workers):
    with Served(tmp_path, workers=workers, OTEL_GEN_FEEDBACK_TIMEOUT="0") as service:
        load = Load(service)
        until(lambda: len(load.answered) >= 24, 60)
        took = service.stop()
        load.end()
        assert took < 10
        records = check(service, load.answered)
        assert set(records) <= load.asked
        # All was delivered before the end: a recovery finds nothing to do.
        before = (service.data_dir / "generation_history.jsonl").read_bytes()
        recover(str(service.data_dir), today={"feedback_timeout": 0})
        assert (service.data_dir / "generation_history.jsonl").read_bytes() == before
        assert "Traceback" not in service.log.read_text().split("Shutting down")[-1]


@pytest.mark.crash
@pytest.mark.parametrize(
    "env", [{}, {"TEST_MIDDLEWARE": "inside"}, {"TEST_MIDDLEWARE": "around"}, {"TEST_CANCELS": "1"}]
)
def test_a_request_that_the_end_of_the_service_cuts_off_is_cancelled(tmp_path, env):
    with Served(tmp_path, **env) as service, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(service.post, "held", {"X-Task-Id": "held"})
        until(service.working)
        assert service.stop() < 10
        assert asked.result(30).status_code == 500  # uvicorn's own, for a task that it cancelled
        assert service.records()["held"]["outcome"] == "cancelled"


@pytest.mark.crash
def test_so_is_one_whose_thread_works_on_beyond_the_end(tmp_path):
    """The task group of a middleware waits for a thread, and with it the request that was cut off."""
    with Served(tmp_path, TEST_MIDDLEWARE="around") as service, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(service.post, "threaded", {"X-Task-Id": "threaded", "X-Hold": "5"})
        until(service.working)
        assert service.stop() < 10
        asked.exception(30)
        record = service.records()["threaded"]
        assert (record["outcome"], record["failure_analysis"]["error_message"]) == (
            "cancelled", "the server ended before the answer was whole",
        )  # fmt: skip


@pytest.mark.crash
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_kill_9_under_load_loses_no_answer(tmp_path, workers):
    with Served(tmp_path, workers=workers, OTEL_GEN_FEEDBACK_TIMEOUT="0") as service:
        load = Load(service)
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(service.post, "held", {"X-Task-Id": "held"})
            until(service.working, 60)
            until(lambda: len(load.answered) >= 24, 60)
            service.kill()
            load.end()
            with pytest.raises(httpx.TransportError):
                held.result(30)
        first = dict(load.answered)
        service.start()
        answer = service.post("a chair", {"X-Task-Id": "after"})
        until(lambda: {"after", "held", *first} <= set(service.records()))
        assert service.stop() < 10
        records = check(service, first | {"after": answer.headers["x-generation-id"]})
        assert records["held"]["outcome"] == "interrupted"


@pytest.mark.crash
@pytest.mark.parametrize("workers", [1, 2])
def test_a_service_that_starts_again_without_work_sees_to_what_was_left(tmp_path, workers):
    with Served(tmp_path, workers=workers) as service, ThreadPoolExecutor(1) as pool:
        held = pool.submit(service.post, "held", {"X-Task-Id": "held"})
        until(service.working, 60)
        service.kill()
        with pytest.raises(httpx.TransportError):
            held.result(30)
        assert service.records() == {}
        service.start()
        assert service.record("held")["outcome"] == "interrupted"


@pytest.mark.crash
def test_a_killed_worker_is_replaced_and_the_other_sees_to_its_records(tmp_path):
    with Served(tmp_path, workers=2, OTEL_GEN_FEEDBACK_TIMEOUT="0") as service, ThreadPoolExecutor(1) as pool:
        load = Load(service)
        held = pool.submit(service.post, "held", {"X-Task-Id": "held"})
        (pid,) = until(service.working, 60)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            held.result(30)
        assert service.record("held")["outcome"] == "interrupted"
        until(lambda: httpx.get(f"{service.url}/health", timeout=20).json()["pid"] not in service.pids, 60)
        load.end()
        assert service.stop() < 10
        assert len(load.answered) > 0
        check(service, load.answered)


def test_the_spans_of_the_applications_own_pipeline_go_out_before_the_end(tmp_path):
    with Served(tmp_path, TEST_SPANS=str(tmp_path / "spans"), OTEL_GEN_FEEDBACK_TIMEOUT="0") as service:
        for n in range(3):
            service.post("a chair", {"X-Task-Id": f"task-{n}"})
        assert (tmp_path / "spans").read_text() == ""
        assert service.stop() < 10
        said = (tmp_path / "spans").read_text()
        assert [said.count(f'"name": "{name}"') for name in ("POST /generate/", "generation", "trellis")] == [
            3
        ] * 3
        traces = {f"0x{record['metadata']['trace_id']}" for record in service.records().values()}
        assert len(traces) == 3
        assert all(trace in said for trace in traces)


def test_wrong_settings_are_the_reason_why_it_does_not_start(tmp_path):
    service = Served(tmp_path, OTEL_GEN_DURABILITY="perhaps")
    with pytest.raises(AssertionError):
        service.start()
    assert service.process.wait(30) != 0
    assert "OTEL_GEN_DURABILITY: 'perhaps' is not 'full' or 'process'" in service.log.read_text()


def test_both_workers_show_the_same_counts(tmp_path):
    with Served(tmp_path, workers=2, OTEL_GEN_FEEDBACK_TIMEOUT="0") as service:
        for n in range(10):
            service.post("a chair", {"X-Task-Id": f"task-{n}"})
        line = 'gen3d_generations_total{outcome="unscored",task_type="TEXT-TO-3D"} 10.0'
        until(lambda: line in httpx.get(f"{service.url}/metrics").text)
        for _ in range(8):
            assert until(lambda: line in httpx.get(f"{service.url}/metrics").text, 3)
        assert len(list(otel_gen.read(service.data_dir))) == 10
