"""A service with no otel_gen in it gives traces, metrics and records, by a proposed mapping and a few edits."""

from __future__ import annotations

import base64
import difflib
import os
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

import otel_gen
from otel_gen.inspectors import image
from tests.support import until
from tests.zerocode.world import APP, BIN, Service, Sink, Trellis, free_port, serving

STAGES = ["queue", "prompt_enhancement", "sd35", "background_removal", "trellis", "ply_processing", "validation",
          "rendering", "clip", "clip", "clip", "clip"]  # fmt: skip
PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 8 + b"\0\0\2\0\0\0\2\0" + b"\0" * 60).decode()
EDITS = 10


def proposed(service="service:app"):
    """What `otel-gen discover` says, as an operator runs it."""
    done = subprocess.run(
        [BIN / "otel-gen", "discover", service],
        cwd=APP,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def edited(text):
    """The operator takes up one stage that was left to them, and says who mines."""
    text = text.replace("# [settings]", "[settings]").replace("# miner_uid = 0", "miner_uid = 226")
    unsure = re.search(r'# \[\[stage\]\]\n# target = ".*:ClipValidator.score"\n(# .*\n)+', text)
    assert unsure
    sure = unsure[0].replace("# ", "").replace('"validation"', '"clip"')
    return text.replace(unsure[0], re.sub("outputs = .*\n", 'results = { score = "result" }\n', sure))


def changed_lines(before, after):
    return sum(line.startswith("+ ") for line in difflib.ndiff(before.splitlines(), after.splitlines()))


def environment(mapping, data_dir, trellis, sink=None):
    found = {
        "OTEL_GEN_MAPPING": str(mapping), "OTEL_GEN_DATA_DIR": str(data_dir), "TRELLIS_URL": trellis.url,
        "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "none",
        "OTEL_GEN_DISK_FREE_ALERT_RATIO": "0",
    }  # fmt: skip
    if sink is not None:
        found |= {
            "OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": "health",
        }  # fmt: skip
    return found


UVICORN = ["opentelemetry-instrument", "uvicorn", "service:app", "--port", "{port}"]
SCRIPT = ["opentelemetry-instrument", "python", "service.py"]
REQUESTS = {
    "t-1": ("a red chair", 200), "t-2": (PICTURE, 200), "t-3": ("a sparse tree", 200), "t-4": ("an ugly dog", 200),
    "t-5": ("A" * 80, 400), "t-6": ("please explode", 500), "t-7": ("out of memory", 500),
    "t-8": ("a blue chair", 503),
}  # fmt: skip
OUTCOMES = {
    "t-1": "accepted", "t-2": "rejected", "t-3": "withheld", "t-4": "withheld", "t-5": "failed", "t-6": "failed",
    "t-7": "failed", "t-8": "failed",
}  # fmt: skip


class Shown:
    """What was asked for and what came of it."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory, sink):
    """Run the service, ask for eight generations, the last without a 3D service, give two verdicts, stop it."""
    home = tmp_path_factory.mktemp("service")
    found = Shown()
    found.before = proposed()
    found.after = edited(found.before)
    found.trellis = trellis = Trellis()
    (home / "mapping.toml").write_text(found.after)
    with ExitStack() as stack:
        with serving(trellis.handler) as trellis.url:
            environ = environment(home / "mapping.toml", home / "data", trellis, sink)
            environ["OTEL_GEN_METRICS_PORT"] = str(free_port())
            service = stack.enter_context(Service(UVICORN, APP, environ, home / "log"))
            found.answers = ask(service, [task for task in REQUESTS if task != "t-8"])
        found.answers |= ask(service, ["t-8"])
        for task, score in (("t-1", "0.81"), ("t-2", "0")):
            verdict(home / "data", task, score)
        found.metrics = metrics(
            environ["OTEL_GEN_METRICS_PORT"], 'outcome="rejected",task_type="IMAGE-TO-3D"} 1.0'
        )
        found.code = service.stop()
    found.said = [line for line in (home / "log").read_text().splitlines() if line.startswith("otel_gen")]
    found.records = {record["metadata"]["task_id"]: record for record in otel_gen.read(home / "data")}
    found.data_dir = home / "data"
    return found


def ask(service, tasks):
    return {task: service.ask(REQUESTS[task][0], X_Task_Id=task, X_Validator_Uid=57) for task in tasks}


def verdict(data_dir, task, score):
    subprocess.run(
        [BIN / "otel-gen", "feedback", "--task-id", task, "--score", score, "--data-dir", data_dir],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip


def metrics(port, wanted):
    """Scrape until a text is there: what is read is what the leader delivered last."""

    def scraped():
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
        return text if wanted in text else None

    return until(scraped)


def names(record):
    return [stage["name"] for stage in record["generation"]["stages"]]


def test_the_operator_edits_at_most_ten_lines_of_the_proposal(shown):
    assert 0 < changed_lines(shown.before, shown.after) <= EDITS


def test_the_service_answers_as_it_did(shown):
    assert {task: answer.status_code for task, answer in shown.answers.items()} == {
        task: status for task, (_, status) in REQUESTS.items()
    }
    assert shown.answers["t-1"].headers["x-gaussians"] == "8000"
    assert "otel_gen" not in "".join(path.read_text() for path in APP.rglob("*.py"))


def test_each_request_is_a_record_with_its_outcome(shown):
    assert {task: record["outcome"] for task, record in shown.records.items()} == OUTCOMES
    reasons = {
        task: record["generation"]["submission"]["rejection_reason"] for task, record in shown.records.items()
    }
    assert (reasons["t-3"], reasons["t-4"]) == ("sparse_100", "clip_score_too_low_0.090")
    errors = {task: record["failure_analysis"].get("error_type") for task, record in shown.records.items()}
    assert [errors[f"t-{n}"] for n in (5, 6, 7, 8)] == ["bad_input", "crash", "oom", "connection"]
    assert shown.records["t-6"]["failure_analysis"]["stage"] == "prompt_enhancement"


def test_every_stage_is_there(shown):
    assert sorted(names(shown.records["t-1"])) == sorted([*STAGES, "image_decoding"])
    assert sorted(names(shown.records["t-2"])) == sorted(
        name for name in [*STAGES, "image_decoding"] if name not in ("prompt_enhancement", "sd35")
    )
    assert names(shown.records["t-5"]) == ["image_decoding"]


def test_the_record_says_what_was_asked_made_and_judged(shown):
    record = shown.records["t-1"]
    assert (record["metadata"]["miner_uid"], record["metadata"]["validator_uid"]) == (226, 57)
    assert record["task"]["task_type"] == "TEXT-TO-3D"
    assert record["miner_config"]["clip_threshold"] == 0.12
    assert record["generation"]["enhanced_prompt"] == "a red chair, centered, white background, studio light"
    assert record["generation"]["output"]["num_gaussians"] == 8_000
    assert record["generation"]["output"]["quality_metrics"]["clip_score"] == 0.25
    assert (shown.data_dir / record["generation"]["output"]["ply_file_path"]).stat().st_size > 32_000
    assert shown.answers["t-1"].headers["x-generation-id"] == record["metadata"]["generation_id"]
    picture = shown.records["t-2"]
    assert picture["task"]["task_type"] == "IMAGE-TO-3D"
    assert image.sniff((shown.data_dir / picture["task"]["image_file_path"]).read_bytes()[:64]) is not None


def test_metrics_equal_records(shown):
    counts = {
        outcome: sum(float(n) for n in re.findall(
            rf'gen3d_generations_total{{outcome="{outcome}",task_type="[^"]+"}} (\S+)', shown.metrics))
        for outcome in ("accepted", "rejected", "withheld", "failed")
    }  # fmt: skip
    assert counts == {"accepted": 1, "rejected": 1, "withheld": 2, "failed": 4}
    done = subprocess.run(
        [BIN / "otel-gen", "verify", "--data-dir", shown.data_dir], capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_traces_reach_the_endpoint_with_one_trace_through_all(shown, sink):
    by_id = sink.by_id()
    record = shown.records["t-1"]
    ours = [s for s in sink.ours() if s.trace_id.hex() == record["metadata"]["trace_id"]]
    assert sorted(span.name for span in ours) == sorted(["generation", *names(record)])
    (root,) = (span for span in ours if span.name == "generation")
    scope, server = by_id[root.parent_span_id]
    assert "POST /generate/" in server.name
    assert scope != "otel_gen"
    (step,) = (span for span in ours if span.name == "trellis")
    clients = [span for scope, span in sink.spans if span.parent_span_id == step.span_id and "httpx" in scope]
    assert len(clients) == 1
    seen = f"00-{step.trace_id.hex()}-{clients[0].span_id.hex()}-"
    assert any(parent.startswith(seen) for parent in shown.trellis.parents)
    assert b"red chair" not in b"".join(span.SerializeToString() for span in ours)


def test_nothing_went_wrong_in_the_service(shown):
    assert shown.code in (0, -signal.SIGTERM)
    assert shown.said == []


def test_a_script_that_is_run_itself_is_recorded_too(tmp_path, trellis):
    (tmp_path / "mapping.toml").write_text(edited(proposed()))
    environ = environment(tmp_path / "mapping.toml", tmp_path / "data", trellis)
    with Service(SCRIPT, APP, environ | {"OTEL_GEN_FEEDBACK_TIMEOUT": "0"}, tmp_path / "log") as service:
        assert service.ask("a red chair").status_code == 200
        service.stop()
    (record,) = otel_gen.read(tmp_path / "data")
    assert sorted(names(record)) == sorted([*STAGES, "image_decoding"])


@pytest.mark.crash
def test_a_service_that_starts_again_without_work_sees_to_what_was_left(tmp_path, trellis):
    (tmp_path / "mapping.toml").write_text(edited(proposed()))
    environ = environment(tmp_path / "mapping.toml", tmp_path / "data", trellis)
    asked = len(trellis.parents)
    trellis.answers.clear()
    try:
        with ThreadPoolExecutor(1) as pool, Service(UVICORN, APP, environ, tmp_path / "log") as service:
            last = pool.submit(service.ask, "a chair")
            until(lambda: len(trellis.parents) > asked)
            service.process.kill()
            with suppress(httpx.TransportError):
                last.result()
    finally:
        trellis.answers.set()
    assert list(otel_gen.read(tmp_path / "data")) == []
    with Service(UVICORN, APP, environ, tmp_path / "log") as service:
        (record,) = until(lambda: list(otel_gen.read(tmp_path / "data")))
        service.stop()
    assert record["outcome"] == "interrupted"


@pytest.mark.slow
@pytest.mark.crash
def test_two_workers_and_a_kill_lose_nothing(tmp_path, trellis):
    (tmp_path / "mapping.toml").write_text(edited(proposed()))
    environ = environment(tmp_path / "mapping.toml", tmp_path / "data", trellis)
    command = [*UVICORN, "--workers", "2"]
    with (
        ThreadPoolExecutor(1) as pool,
        Service(command, APP, environ | {"OTEL_GEN_FEEDBACK_TIMEOUT": "0"}, tmp_path / "log") as service,
    ):
        answers = [service.ask(f"chair number {n}") for n in range(12)]
        assert {answer.status_code for answer in answers} == {200}
        asked = len(trellis.parents)
        trellis.answers.clear()
        last = pool.submit(service.ask, "the last chair")
        until(lambda: len(trellis.parents) > asked)
        for worker in workers(service.process.pid):
            os.kill(worker, signal.SIGKILL)
        trellis.answers.set()
        with suppress(httpx.TransportError):
            last.result()
        service.stop()
    subprocess.run([BIN / "otel-gen", "recover", "--data-dir", tmp_path / "data"], check=True, timeout=60)
    records = {record["metadata"]["generation_id"]: record for record in otel_gen.read(tmp_path / "data")}
    done = [answer.headers["x-generation-id"] for answer in answers]
    assert {id_: records.pop(id_)["outcome"] for id_ in done} == dict.fromkeys(done, "unscored")
    (record,) = records.values()
    assert (record["outcome"], record["task"]["prompt"]) == ("interrupted", "the last chair")
    assert {"queue", "sd35", "background_removal"} <= set(names(record))


def workers(parent):
    """The workers of a server: its children that serve."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    found = [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(found) == 2
    return found


def test_a_mistake_in_the_mapping_is_told_and_neither_service_nor_traces_suffer(tmp_path, trellis):
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[generation]\ntarget = "service:generate"\nargs = {}')
    sink = Sink()
    with serving(sink.handler) as sink.url:
        environ = environment(mapping, tmp_path / "data", trellis, sink) | {"OTEL_BSP_SCHEDULE_DELAY": "50"}
        with Service(UVICORN, APP, environ, tmp_path / "log") as service:
            assert service.ask("a red chair").status_code == 200
            until(lambda: {"httpx", "fastapi"} <= {scope.rpartition(".")[2] for scope, _ in sink.spans})
            service.stop()
    told = f"otel_gen records nothing: {mapping}: [generation]: args: unknown key"
    assert service.log.read_text().count(told) == 1
    assert not (tmp_path / "data").exists()
