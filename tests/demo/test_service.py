"""The service keeps its contract: each kind of request has its status code, its headers and its record."""

import base64
import itertools
import re
import time
import uuid
from pathlib import Path

import httpx
import pytest

import otel_gen
from otel_gen.demo import faults, service
from otel_gen.demo.splats import count, load
from otel_gen.demo.workload import picture

CUT_SHORT = picture("a brown robot")[:20_000]
JUNK = base64.b64encode(b"GIF89a but no picture at all, and long enough").decode()


def post(server, prompt, fault="", **headers):
    headers = {"X-Demo-Fault": fault, "X-Validator-Uid": "57", "X-Validator-Hotkey": "5Test"} | headers
    return httpx.post(
        f"{server.url}/generate/", files={"prompt": (None, prompt)}, headers=headers, timeout=60
    )


def record_of(server, answer, patience=15):
    """The record of an answer, as soon as it is written."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        for record in otel_gen.read(server.data_dir):
            if record["metadata"]["generation_id"] == answer.headers["x-generation-id"]:
                return record
        time.sleep(0.1)
    pytest.fail(f"no record of {answer.headers['x-generation-id']}")


@pytest.mark.parametrize(
    ("prompt", "kind"), [("a red chair", "TEXT-TO-3D"), (picture("a red cup"), "IMAGE-TO-3D")]
)
def test_a_text_or_a_picture_becomes_a_ply(server, prompt, kind):
    task_id = str(uuid.uuid4())
    answer = post(server, prompt, **{"X-Task-Id": task_id})
    assert answer.status_code == 200
    assert count(answer.content) == len(load(answer.content)) >= 50_000
    record = record_of(server, answer)
    assert record["outcome"] == "unscored"
    assert record["task"]["task_type"] == kind
    assert record["metadata"]["task_id"] == task_id
    assert (record["metadata"]["validator_uid"], record["metadata"]["validator_hotkey"]) == (57, "5Test")
    assert record["generation"]["output"]["num_gaussians"] == count(answer.content)
    stages = ["queue", "sdxl", "background_removal", "depth_estimation", "trellis", "validation"]
    wanted = [name for name in stages if kind == "TEXT-TO-3D" or name != "sdxl"]
    assert [stage["name"] for stage in record["generation"]["stages"]] == wanted


@pytest.mark.parametrize(
    ("prompt", "fault", "header", "reason"),
    [
        ("a white ghost", "", "x-validation-failed", "similarity_below_threshold"),
        ("a blue ball", "sparse", "x-skip-reason", "sparse"),
    ],
)
def test_what_the_service_keeps_back_is_200_empty_with_the_reason(server, prompt, fault, header, reason):
    answer = post(server, prompt, fault)
    assert (answer.status_code, answer.content, answer.headers[header]) == (200, b"", reason)
    record = record_of(server, answer)
    assert record["outcome"] == "withheld"
    assert record["generation"]["submission"]["rejection_reason"] == reason
    assert record["generation"]["output"]["ply_file_path"] is None
    assert record["generation"]["output"]["ply_file_hash"]


@pytest.mark.parametrize(
    ("prompt", "fault", "status", "error_type", "stage"),
    [
        ("a red table", "down", 503, "connection", "trellis"),
        ("a red lamp", "oom", 500, "oom", "trellis"),
        (CUT_SHORT, "", 400, "bad_image", None),
        (JUNK, "", 400, "bad_image", None),
        ("data:image/png;base64,????", "", 400, "bad_image", None),
    ],
)
def test_a_failure_is_a_status_code_and_a_record(server, prompt, fault, status, error_type, stage):
    answer = post(server, prompt, fault)
    assert answer.status_code == status
    record = record_of(server, answer)
    assert record["outcome"] == "failed"
    assert record["failure_analysis"]["error_type"] == error_type
    assert record["failure_analysis"]["stage"] == stage


def test_a_long_text_is_a_text(server):
    record = record_of(server, post(server, "a very long red chair " * 60))
    assert record["task"]["task_type"] == "TEXT-TO-3D"


def test_an_odd_header_changes_nothing(server):
    answer = post(server, "a red vase", **{"X-Validator-Uid": "not a number"})
    assert answer.status_code == 200
    assert record_of(server, answer)["metadata"]["validator_uid"] is None


def test_a_client_that_hangs_up_is_a_cancelled_generation(server):
    task_id = str(uuid.uuid4())
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{server.url}/generate/",
            data={"prompt": "a blue car"},
            headers={"X-Demo-Fault": "hold", "X-Task-Id": task_id},
            timeout=httpx.Timeout(10, read=2),
        )
    for _ in range(100):
        found = [r for r in otel_gen.read(server.data_dir) if r["metadata"]["task_id"] == task_id]
        if found:
            break
        time.sleep(0.1)
    assert [record["outcome"] for record in found] == ["cancelled"]


def test_both_workers_answer_health_and_metrics(server):
    workers = server.wait_for_workers()
    seen = set()
    for attempt in itertools.count():
        answer = httpx.get(f"{server.url}/metrics")
        assert answer.status_code == 200
        assert "gen3d_generations_total" in answer.text
        seen.add(int(answer.headers["x-worker-pid"]))
        if seen == set(workers):
            break
        assert attempt < 500
    assert httpx.get(f"{server.url}/health").json() == {"status": "ok"}


def test_metrics_are_openmetrics_on_request(server):
    answer = httpx.get(
        f"{server.url}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_faults_are_off_unless_the_demo_started_the_service(monkeypatch):
    monkeypatch.delenv(faults.CONTROL, raising=False)
    assert faults.wanted("oom") == ""
    monkeypatch.setenv(faults.CONTROL, "/somewhere")
    assert faults.wanted("oom") == "oom"


def test_the_service_is_instrumented_in_at_most_15_lines():
    lines = Path(service.__file__).read_text().splitlines()
    ours = [line for line in lines if re.search(r"\bgen\.|\botel_gen\.(?!demo)|^import otel_gen", line)]
    assert 10 <= len(ours) <= 15
