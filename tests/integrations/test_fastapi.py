"""FastAPI by one line: each way to answer ends as the right outcome, on a real server."""

from __future__ import annotations

import base64
import socket
import uuid

import httpx
import pytest

from tests.integrations.server import Served
from tests.integrations.service import PLY
from tests.support import until

PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR\0\0\0\x04\0\0\0\x04\x08\x06\0\0\0" + bytes(40)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    (folder / "made.ply").write_bytes(PLY)
    with Served(folder, OTEL_GEN_FEEDBACK_TIMEOUT="0", TEST_FILE=str(folder / "made.ply")) as served:
        yield served


def ask(service, prompt, **headers):
    """Ask with a task id of its own; gives the answer and the record."""
    task_id = str(uuid.uuid4())
    answer = service.post(prompt, {"X-Task-Id": task_id, **headers})
    return answer, service.record(task_id)


def test_an_answer_with_a_body_is_a_submission_with_all_that_the_request_says(service):
    answer, record = ask(service, "a red chair", **{"X-Validator-Uid": "57", "X-Validator-Hotkey": "5F"})
    assert (answer.status_code, answer.content) == (200, PLY)
    assert record["outcome"] == "unscored"
    metadata = record["metadata"]
    assert metadata["generation_id"] == answer.headers["x-generation-id"]
    assert (metadata["validator_uid"], metadata["validator_hotkey"], metadata["miner_uid"]) == (57, "5F", 226)
    assert record["task"] == record["task"] | {"task_type": "TEXT-TO-3D", "prompt": "a red chair"}
    assert record["miner_config"] == {"steps": 60}
    assert [stage["name"] for stage in record["generation"]["stages"]] == ["trellis"]
    assert record["generation"]["output"]["num_gaussians"] == 2
    path = service.data_dir / record["generation"]["output"]["ply_file_path"]
    assert path.read_bytes() == PLY


def test_the_trace_of_the_request_goes_on_and_comes_back(service):
    trace_id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    answer, record = ask(service, "a chair", traceparent=f"00-{trace_id}-{parent}-01")
    assert record["metadata"]["trace_id"] == trace_id
    span_id = record["metadata"]["span_id"]
    assert answer.headers["traceparent"] == f"00-{trace_id}-{span_id}-01"
    assert answer.headers["server-timing"].startswith("gen;dur=")


@pytest.mark.parametrize(
    ("prompt", "status", "error_type", "message", "stage"),
    [
        ("bad", 400, "bad_request", "no image that can be read", None),
        ("caught", 503, "connection", "refused on port 8096", "trellis"),
        ("handled", 500, "oom", "CUDA out of memory", "sdxl"),
        ("crashed", 500, "crash", "a bug", None),
    ],
)
def test_a_failure_is_a_record_with_its_reason(service, prompt, status, error_type, message, stage):
    answer, record = ask(service, prompt)
    assert (answer.status_code, record["outcome"]) == (status, "failed")
    failure = record["failure_analysis"]
    assert (failure["error_type"], failure["error_message"], failure["stage"]) == (error_type, message, stage)
    assert "service.py" in failure["stack_trace"]


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [("refused", "validation_failed"), ("skipped", "sparse"), ("empty", "empty_answer")],
)
def test_an_empty_answer_is_withheld_for_the_reason_in_its_headers(service, prompt, reason):
    answer, record = ask(service, prompt)
    assert (answer.status_code, answer.content, record["outcome"]) == (200, b"", "withheld")
    assert record["generation"]["submission"]["rejection_reason"] == reason


def test_what_the_handler_says_wins(service):
    _, record = ask(service, "said")
    assert record["outcome"] == "withheld"
    assert record["generation"]["submission"]["rejection_reason"] == "too_plain"
    assert record["generation"]["output"]["quality_metrics"]["clip_score"] == 0.25
    answer, _ = ask(service, "own_headers")
    assert answer.headers.get_list("x-generation-id") == ["mine"]


@pytest.mark.parametrize("prompt", ["streamed", "filed"])
def test_a_streamed_answer_is_one_output(service, prompt):
    answer, record = ask(service, prompt)
    assert (answer.content, record["outcome"]) == (PLY, "unscored")
    assert record["generation"]["output"]["file_size_bytes"] == len(PLY)


def test_a_stream_that_breaks_is_a_failure(service):
    task_id = str(uuid.uuid4())
    with pytest.raises(httpx.RemoteProtocolError):
        service.post("broken", {"X-Task-Id": task_id})
    record = service.record(task_id)
    assert (record["outcome"], record["failure_analysis"]["error_message"]) == ("failed", "the disk is gone")


def test_a_task_in_the_background_changes_nothing_about_an_answer_that_went_out(service):
    answer, record = ask(service, "followed")
    assert (answer.content, record["outcome"]) == (PLY, "unscored")
    assert record["generation"]["stages"] == []


def test_after_a_202_the_task_in_the_background_is_the_generation(service):
    answer, record = ask(service, "later")
    assert (answer.status_code, record["outcome"]) == (202, "unscored")
    assert [stage["name"] for stage in record["generation"]["stages"]] == ["trellis"]
    assert record["generation"]["timing"]["total_time"] >= 0.05
    assert record["generation"]["output"]["ply_file_path"]


def hang_up(service, prompt, started):
    """Ask over a plain socket, wait until `started`, and go."""
    task_id = str(uuid.uuid4())
    body = f"prompt={prompt}".encode()
    head = (
        f"POST /generate/ HTTP/1.1\r\nHost: x\r\nX-Task-Id: {task_id}\r\nX-Hold: 2\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(head.encode() + body)
        started(connection)
    return task_id


def test_a_client_that_hangs_up_is_cancelled_and_its_handler_goes_on(service):
    before = len(service.working())
    task_id = hang_up(service, "held", lambda _: until(lambda: len(service.working()) > before))
    record = service.record(task_id)
    assert (record["outcome"], record["failure_analysis"]["error_type"]) == ("cancelled", "cancelled")
    assert record["generation"]["timing"]["total_time"] >= 2


def test_the_handler_of_a_client_that_hangs_up_is_cancelled_where_that_is_wanted(tmp_path):
    with Served(tmp_path, TEST_CANCELS="1") as service:
        task_id = hang_up(service, "held", lambda _: until(service.working))
        record = service.record(task_id)
        assert record["outcome"] == "cancelled"
        assert record["generation"]["timing"]["total_time"] < 2


def test_a_client_that_goes_in_the_middle_of_a_stream_is_cancelled(service):
    task_id = hang_up(service, "endless", lambda connection: connection.recv(10_000))
    assert service.record(task_id)["outcome"] == "cancelled"


def test_a_request_that_ends_before_its_body_and_one_that_is_redirected_are_no_generations(service):
    before = len(service.records())
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(b"POST /generate/ HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nprompt=")
    assert httpx.post(f"{service.url}/generate", data={"prompt": "x"}).status_code == 307
    assert httpx.get(f"{service.url}/generate/").status_code == 405
    assert httpx.post(f"{service.url}/elsewhere").status_code == 404
    ask(service, "a chair")
    assert len(service.records()) == before + 1


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
@pytest.mark.parametrize("form", ["data", "files"])
def test_an_image_as_the_prompt_is_told_by_its_signature(service, prefix, form):
    task_id = str(uuid.uuid4())
    prompt = prefix + base64.b64encode(PNG).decode()
    content = {"prompt": prompt} if form == "data" else {"prompt": (None, prompt)}
    httpx.post(f"{service.url}/generate/", headers={"X-Task-Id": task_id}, **{form: content})
    record = service.record(task_id)
    assert record["task"]["task_type"] == "IMAGE-TO-3D"
    assert record["task"]["prompt"].startswith("[BASE64_IMAGE_HASH:sha256:")
    assert list((service.data_dir / "images").iterdir())


def test_odd_headers_and_bodies_change_nothing_for_the_service(service):
    answer, record = ask(service, "a chair", **{"X-Validator-Uid": "../../x"})
    assert (answer.status_code, record["metadata"]["validator_uid"]) == (200, None)
    task_id = str(uuid.uuid4())
    headers = {"X-Task-Id": task_id, "Content-Type": "multipart/form-data; boundary=x"}
    answer = httpx.post(f"{service.url}/generate/", content=b"no form", headers=headers)
    assert answer.status_code in (200, 400)
    assert service.record(task_id)["task"]["prompt"] is None


def test_metrics_are_shown_in_the_form_that_is_accepted(service):
    ask(service, "a chair")
    text = httpx.get(f"{service.url}/metrics")
    assert text.headers["content-type"].startswith("text/plain")
    assert "gen3d_generations_total" in text.text
    wanted = {"Accept": "application/openmetrics-text; version=1.0.0"}
    openmetrics = httpx.get(f"{service.url}/metrics", headers=wanted)
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")


def test_feedback_is_off_unless_asked_for(service):
    assert httpx.post(f"{service.url}/otel-gen/feedback", json={}).status_code == 404


@pytest.fixture(scope="module", params=["inside", "around"])
def passing(request, tmp_path_factory):
    """A service with a middleware in the framework's own style, which runs the application in another task."""
    folder = tmp_path_factory.mktemp(request.param)
    with Served(folder, OTEL_GEN_FEEDBACK_TIMEOUT="0", TEST_MIDDLEWARE=request.param) as served:
        yield served


def test_a_middleware_inside_or_around_changes_nothing(passing):
    outcomes = {}
    for prompt in ("a chair", "streamed", "bad", "caught", "handled", "crashed", "refused", "later"):
        answer, record = ask(passing, prompt)
        failure = record["failure_analysis"]
        outcomes[prompt] = (record["outcome"], failure["error_type"], failure["stage"])
        assert record["metadata"]["generation_id"] == answer.headers.get("x-generation-id", "") or (
            prompt == "crashed"  # the server's own answer
        )
    assert outcomes == {
        "a chair": ("unscored", None, None),
        "streamed": ("unscored", None, None),
        "bad": ("failed", "bad_request", None),
        "caught": ("failed", "connection", "trellis"),
        "handled": ("failed", "oom", "sdxl"),
        "crashed": ("failed", "crash", None),
        "refused": ("withheld", None, None),
        "later": ("unscored", None, None),
    }


def test_a_middleware_hides_no_client_that_hangs_up(passing):
    before = len(passing.working())
    held = hang_up(passing, "held", lambda _: until(lambda: len(passing.working()) > before))
    endless = hang_up(passing, "endless", lambda connection: connection.recv(10_000))
    assert [passing.record(task)["outcome"] for task in (held, endless)] == ["cancelled", "cancelled"]
