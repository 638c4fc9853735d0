"""The code blocks of the integration guide run with one import changed, and every start becomes a record."""

from __future__ import annotations

import base64
import contextlib
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from otel_gen.readers.pending import pending
from otel_gen.readers.verify import verify
from otel_gen.recover import recover
from tests.legacy.document import Running, block, feedback_script, imported
from tests.support import lines, python, until
from tests.world import validator

DATA = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(600)).decode()


def overlaid(data_dir):
    from otel_gen import read

    return {record["metadata"]["generation_id"]: record for record in read(data_dir)}


def checked(data_dir):
    """The records, after every line and every counter was looked at."""
    schema = validator("record")
    found = lines(data_dir)
    assert found
    for record in found:
        schema.validate(record)
    assert verify(data_dir).problems == []
    return overlaid(data_dir)


def test_the_guide_gives_a_record_for_each_start_and_feedback_of_another_process_joins(data_dir, start):
    service = start()
    asked = {kind: service.ask(kind) for kind in ("good", "bad", "early", "skipped", "oom")}
    asked["image"] = service.ask("image", DATA)
    asked["late"] = service.ask("good", "a blue chair")
    assert [status for status, _ in asked.values()] == [200, 200, 400, 200, 500, 200, 200]
    ids = {kind: id_ for kind, (_, id_) in asked.items()}
    assert len(set(ids.values())) == 7
    python(feedback_script(data_dir), ids["good"], 0.81234)
    python(feedback_script(data_dir), ids["image"], 0)
    until(lambda: ids["good"] in overlaid(data_dir))
    service.send(signal.SIGTERM)
    recover(str(data_dir), today={"feedback_timeout": 0})
    python(feedback_script(data_dir), ids["late"], 0.7)
    records = checked(data_dir)
    assert {kind: records[id_]["outcome"] for kind, id_ in ids.items()} == {
        "good": "accepted", "bad": "withheld", "early": "unsubmitted", "skipped": "unsubmitted",
        "oom": "failed", "image": "rejected", "late": "accepted",
    }  # fmt: skip
    assert len(records) == 7
    good = records[ids["good"]]
    assert good["validator_feedback"]["score"] == 0.8123
    assert good["generation"]["timing"]["sdxl_time"] == 2.5
    assert {stage["name"] for stage in good["generation"]["stages"]} == {
        "trellis", "sdxl", "background_removal", "depth_estimation", "validation",
    }  # fmt: skip
    assert good["generation"]["output"]["quality_metrics"]["clip_score"] == 0.21
    assert good["miner_config"]["trellis_sparse_steps"] == 45
    assert good["metadata"]["validator_uid"] == 57
    assert records[ids["oom"]]["failure_analysis"]["error_type"] == "oom"
    assert "Traceback" in records[ids["oom"]]["failure_analysis"]["stack_trace"]
    assert records[ids["bad"]]["generation"]["submission"]["rejection_reason"] == "validation_failed"
    image = records[ids["image"]]["task"]
    assert image["prompt"] == f"[BASE64_IMAGE_HASH:{image['base64_image_hash']}]"
    assert (data_dir / image["image_file_path"]).exists()


def test_the_example_of_the_page_runs_and_its_late_verdict_counts(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "legacy.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    out = python(
        f"import os, sys; os.chdir(sys.argv[1])\n{example}\nimport otel_gen; otel_gen.shutdown()", tmp_path
    )
    assert out == "1\n"
    (record,) = checked(tmp_path / "data").values()
    assert (record["outcome"], record["validator_feedback"]["score"]) == ("accepted", 0.81)
    assert record["miner_config"] == {"sdxl_turbo_steps": 4}
    (started,) = lines(tmp_path / "data", "miner_config_history.jsonl")[:1]
    assert started["reason"] == "Miner startup"


def ask_in_vain(service):
    with contextlib.suppress(httpx.TransportError):
        service.ask("stuck")


def test_kill_9_interrupts_what_ran_and_nothing_else(data_dir, start):
    service = start()
    ids = {kind: service.ask(kind)[1] for kind in ("good", "early", "bad")}
    threading.Thread(target=ask_in_vain, args=(service,), daemon=True).start()
    running = until(lambda: [w for w in pending(str(data_dir)).waiting if w.id not in ids.values()])
    service.send(signal.SIGKILL)
    recover(str(data_dir), today={"feedback_timeout": 0})
    records = checked(data_dir)
    outcomes = {kind: records[id_]["outcome"] for kind, id_ in ids.items()}
    assert outcomes == {"good": "unscored", "early": "unsubmitted", "bad": "withheld"}
    assert records[running[0].id]["outcome"] == "interrupted"
    assert "error_after_submission" not in records[ids["good"]]["generation"]


def test_a_service_that_is_started_again_delivers_what_the_one_before_left(data_dir, start):
    first = start()
    early, good = first.ask("early")[1], first.ask("good")[1]
    first.send(signal.SIGTERM)
    start(OTEL_GEN_FEEDBACK_TIMEOUT="0").ask("bad")
    records = until(lambda: (found := overlaid(data_dir)).get(early) and found)
    assert records[early]["outcome"] == "unsubmitted"
    assert good not in records
    until(lambda: [waiting.state for waiting in pending(str(data_dir)).waiting] == ["awaiting feedback"])


OUTCOMES = {
    "good": "unscored", "bad": "withheld", "early": "unsubmitted", "skipped": "unsubmitted", "oom": "failed",
}  # fmt: skip


def under_load(service, end, n=120):
    """Ask from 8 threads and end the service half-way; the kinds that were answered, by id."""
    answered = {}
    half = threading.Event()

    def ask(kind):
        with contextlib.suppress(httpx.TransportError):
            answered[service.ask(kind)[1]] = kind
        if len(answered) >= n // 2:
            half.set()

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, kind) for kind in list(OUTCOMES) * (n // len(OUTCOMES))]
        assert half.wait(60)
        end(service)
    assert all(one.exception() is None for one in asked)
    return answered


@pytest.mark.slow
@pytest.mark.crash
def test_what_two_workers_answered_is_recorded_once_when_they_are_killed_or_stopped_under_load(
    data_dir, start
):
    answered = {}
    for end in (Running.kill, lambda service: service.send(signal.SIGTERM)):
        answered |= under_load(start("--workers", "2"), end)
    assert len(answered) >= 120
    recover(str(data_dir), today={"feedback_timeout": 0})
    records = checked(data_dir)
    assert len(records) == len(lines(data_dir))
    found = {id_: records[id_]["outcome"] for id_ in answered}
    # Of an early return nothing was said: that it was left is noted a moment after its answer, maybe too late.
    cut_off = {id_ for id_, kind in answered.items() if OUTCOMES[kind] == "unsubmitted"}
    cut_off = {id_ for id_ in cut_off if found[id_] == "interrupted"}
    assert len(cut_off) <= 4
    assert found == {
        id_: "interrupted" if id_ in cut_off else OUTCOMES[kind] for id_, kind in answered.items()
    }
    assert {records[id_]["outcome"] for id_ in records.keys() - answered.keys()} <= {
        *OUTCOMES.values(), "interrupted",
    }  # fmt: skip


@pytest.mark.parametrize("option", ["Only store hashes, not files", "Only store hashes\n"])
def test_the_option_blocks_run_and_mean_the_directory_data(tmp_path, option):
    code = f"import os, sys; os.chdir(sys.argv[1])\n{imported()}\n{block(option)}"
    shown = python(code + "\nprint(get_logger().data_dir)", tmp_path)
    assert shown.strip() == str(tmp_path / "data")
