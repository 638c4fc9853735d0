"""The calls of the former logger: every method, keyword and position, and what becomes of each."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import os
import signal
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

import otel_gen
from otel_gen import install, legacy
from otel_gen.clock import Clock
from otel_gen.errors import SettingsError
from otel_gen.legacy.book import Book, book_of
from otel_gen.readers.verify import verify
from otel_gen.recover import recover
from otel_gen.request import fold
from tests.support import AMENDMENTS, lines, python, settled, until
from tests.world import validator

PLY = b"ply\nformat binary_little_endian 1.0\nelement vertex 1\nproperty float x\nend_header\n\0\0\0\0"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(600)
STATS = {"opacity_mean": 0.4, "opacity_std": 0.1}
VIEWS = {"num_views_rendered": 4, "render_clip_scores": [0.2] * 4}


def by_name(logger):
    """One generation, every keyword named."""
    id_ = logger.start_generation(
        task_type="TEXT-TO-3D",
        prompt="a chair",
        validator_uid=57,
        validator_hotkey="5V",
        miner_config={"s": 1},
    )
    logger.log_enhanced_prompt(generation_id=id_, enhanced_prompt="better", negative_prompt="worse")
    logger.log_timing(generation_id=id_, component="sdxl_time", duration=2.5)
    logger.log_timing(generation_id=id_, component="total_time", duration=20.25)
    logger.log_output(
        generation_id=id_, num_gaussians=10, file_size_mb=1.5, ply_file_path=None, ply_data=PLY, clip_score=0.2,
        clip_threshold_pass=True, gaussian_count_pass=False, validation_pass=True, gaussian_stats=STATS,
        render_stats=VIEWS,
    )  # fmt: skip
    logger.log_submission(generation_id=id_, submitted=True, rejection_reason=None, ply_data=None)
    logger.log_validator_feedback(generation_id=id_, score=0.81234, feedback_time="2030-01-02T03:04:05Z")
    logger.finalize_generation(generation_id=id_)
    return id_


def by_position(logger):
    """The same by position."""
    id_ = logger.start_generation("TEXT-TO-3D", "a chair", 57, "5V", {"s": 1})
    logger.log_enhanced_prompt(id_, "better", "worse")
    logger.log_timing(id_, "sdxl_time", 2.5)
    logger.log_timing(id_, "total_time", 20.25)
    logger.log_output(id_, 10, 1.5, None, PLY, 0.2, True, False, True, STATS, VIEWS)
    logger.log_submission(id_, True, None, None)
    logger.log_validator_feedback(id_, 0.81234, "2030-01-02T03:04:05Z")
    logger.finalize_generation(id_)
    return id_


def sound(data_dir):
    """Shut down; the overlaid records by id, after lines, files and counters were looked at."""
    settled(data_dir)
    for name, kind in (("generation_history.jsonl", "record"), (AMENDMENTS, "amendment")):
        for line in lines(data_dir, name):
            validator(kind).validate(line)
    for line in lines(data_dir, "miner_config_history.jsonl"):
        validator("config_change").validate(line)
    assert verify(data_dir).problems == []
    return {record["metadata"]["generation_id"]: record for record in otel_gen.read(data_dir)}


@pytest.mark.parametrize("say", [by_name, by_position])
def test_every_call_with_every_keyword_is_in_the_record(logger, data_dir, spans, say):
    id_ = say(logger)
    record = sound(data_dir)[id_]
    assert record["outcome"] == "accepted"
    metadata = record["metadata"]
    assert (metadata["validator_uid"], metadata["validator_hotkey"]) == (57, "5V")
    assert (metadata["miner_uid"], metadata["miner_version"]) == (226, "phase1_phase2_v1.0")
    assert metadata["network"] == "mainnet"
    generation = record["generation"]
    assert (generation["enhanced_prompt"], generation["negative_prompt"]) == ("better", "worse")
    assert generation["timing"] == {"sdxl_time": 2.5, "total_time": 20.25}
    assert [(one["name"], one["duration_seconds"]) for one in generation["stages"]] == [("sdxl", 2.5)]
    output = generation["output"]
    assert (output["num_gaussians"], output["file_size_mb"]) == (10, 1.5)
    assert list(output["quality_metrics"].values()) == [0.2, True, False, True]
    assert output["gaussian_stats"] == STATS
    assert output["render_stats"] == VIEWS
    assert output["ply_file_hash"] == f"sha256:{hashlib.sha256(PLY).hexdigest()}"
    assert (data_dir / output["ply_file_path"]).read_bytes() == PLY
    assert generation["submission"]["submitted"] is True
    feedback = record["validator_feedback"]
    assert (feedback["score"], feedback["feedback_time"]) == (0.8123, "2030-01-02T03:04:05.000000+00:00")
    assert record["miner_config"] == {"s": 1}
    exported = {span.name: span for span in spans.get_finished_spans()}
    assert exported.keys() == {"generation", "sdxl", "feedback"}
    assert exported["sdxl"].end_time - exported["sdxl"].start_time == 2_500_000_000
    assert exported["sdxl"].parent.span_id == exported["generation"].context.span_id


def test_finalising_writes_at_once_and_a_later_verdict_of_another_process_joins(logger, data_dir):
    id_ = logger.start_generation("TEXT-TO-3D", "x", None)
    logger.log_submission(id_, True)
    logger.finalize_generation(id_)
    (record,) = until(lambda: lines(data_dir))
    assert record["outcome"] == "unscored"
    python(
        "import sys, otel_gen; assert otel_gen.feedback(sys.argv[1], score=0.7, data_dir=sys.argv[2])",
        id_,
        data_dir,
    )
    until(lambda: lines(data_dir, AMENDMENTS))
    record = sound(data_dir)[id_]
    assert (record["outcome"], record["validator_feedback"]["score"]) == ("accepted", 0.7)


def test_what_was_submitted_and_not_finalised_waits_for_its_verdict(logger, data_dir, monkeypatch):
    monkeypatch.setitem(Book.LIMITS, "said", 0)
    id_ = logger.start_generation("TEXT-TO-3D", "x", 3)
    logger.log_submission(id_, True)
    book = book_of(install.active())
    until(lambda: id_ in book.ended)
    assert lines(data_dir) == []
    logger.log_validator_feedback(id_, 0)
    (record,) = until(lambda: lines(data_dir))
    assert record["outcome"] == "rejected"
    assert sound(data_dir).keys() == {id_}


@pytest.mark.parametrize(
    ("say", "outcome"),
    [
        (lambda logger, id_: logger.log_submission(id_, False, "clip_score_too_low_0.093"), "withheld"),
        (lambda logger, id_: logger.log_failure(id_, "ValueError", "bad", "Traceback ..."), "failed"),
        (lambda logger, id_: logger.log_timing(id_, "sdxl_time", 1.0), "unsubmitted"),
    ],
)
def test_without_finalising_what_was_said_counts_at_shutdown(logger, data_dir, say, outcome):
    id_ = logger.start_generation("TEXT-TO-3D", "x", 3)
    say(logger, id_)
    record = sound(data_dir)[id_]
    assert record["outcome"] == outcome
    if outcome == "withheld":
        assert record["generation"]["submission"]["rejection_reason"] == "clip_score_too_low_0.093"
    if outcome == "failed":
        assert record["failure_analysis"]["stack_trace"] == "Traceback ..."


DIES = """
import os, signal, sys
from otel_gen.legacy import init_logger
log = init_logger(sys.argv[1], registry=None)
withheld, failed, running = (log.start_generation("TEXT-TO-3D", "x", 1) for _ in range(3))
log.log_submission(withheld, False, "bad")
log.log_failure(failed, "oom", "no room")
print(withheld, failed, running, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_how_it_ended_is_safe_from_kill_9_without_finalising(data_dir):
    done = subprocess.run(
        [sys.executable, "-c", DIES, str(data_dir)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    recover(str(data_dir))
    records = {record["metadata"]["generation_id"]: record["outcome"] for record in lines(data_dir)}
    assert [records[id_] for id_ in done.stdout.split()] == ["withheld", "failed", "interrupted"]


# --- early returns -----------------------------------------------------------------------------------------
def test_a_generation_whose_task_and_context_are_gone_is_closed(logger, data_dir, monkeypatch):
    monkeypatch.setitem(Book.LIMITS, "left", 0)

    async def handler():
        return logger.start_generation("TEXT-TO-3D", "early", 1)

    id_ = asyncio.run(handler())
    (record,) = until(lambda: lines(data_dir))
    assert (record["metadata"]["generation_id"], record["outcome"]) == (id_, "unsubmitted")


def test_a_thread_that_ends_leaves_its_generation_too(logger, data_dir, monkeypatch):
    monkeypatch.setitem(Book.LIMITS, "left", 0)
    thread = threading.Thread(target=logger.start_generation, args=("TEXT-TO-3D", "early", 1))
    thread.start()
    thread.join()
    (record,) = until(lambda: lines(data_dir))
    assert record["outcome"] == "unsubmitted"


def test_started_in_one_task_and_finalised_in_another_it_is_one_record(logger, data_dir):
    async def started():
        return logger.start_generation("TEXT-TO-3D", "x", 1)

    async def finished(id_):
        logger.log_timing(id_, "trellis_time", 1.5)
        logger.log_submission(id_, False, "later")
        logger.finalize_generation(id_)

    async def both():
        id_ = await asyncio.create_task(started())
        await asyncio.sleep(0)
        await asyncio.create_task(finished(id_))
        return id_

    id_ = asyncio.run(both())
    record = sound(data_dir)[id_]
    assert (record["outcome"], record["generation"]["timing"]["trellis_time"]) == ("withheld", 1.5)


def test_the_time_of_one_that_nobody_closed_ends_with_its_last_word(tmp_path):
    now = SimpleNamespace(boot=1_000_000_000_000)
    clock = Clock(lambda: 1_790_000_000_000_000_000 + now.boot, lambda: now.boot)
    data_dir = tmp_path / "data"
    logger = legacy.init_logger(data_dir, registry=None, clock=clock)
    id_ = logger.start_generation("TEXT-TO-3D", "x", 1)
    now.boot += 7_000_000_000
    logger.log_timing(id_, "sdxl_time", 2)
    now.boot += 900_000_000_000
    book_of(install.active()).close_due()
    record = sound(data_dir)[id_]
    assert (record["outcome"], record["generation"]["timing"]["total_time"]) == ("unsubmitted", 7.0)


def test_memory_is_bounded_where_nothing_is_ever_finalised(logger, data_dir, monkeypatch):
    monkeypatch.setattr(Book, "MOST_OPEN", 50)
    ids = [logger.start_generation("TEXT-TO-3D", "x", 1) for _ in range(300)]
    book = book_of(install.active())
    assert sum(map(len, book._shelves.values())) == 50
    logger.log_submission(ids[-1], False, "still open")
    records = sound(data_dir)
    assert len(records) == 300
    assert records[ids[-1]]["outcome"] == "withheld"


def test_many_open_at_once_under_threads_each_end_as_said(logger, data_dir):
    def one(number):
        id_ = logger.start_generation("TEXT-TO-3D", f"p{number}", number % 256)
        logger.log_timing(id_, "sdxl_time", number / 100)
        logger.log_output(id_, clip_score=number / 1000)
        return number, id_

    def end(pair):
        number, id_ = pair
        if number % 2:
            logger.log_submission(id_, True)
        else:
            logger.log_failure(id_, "oom", f"e{number}")
        logger.finalize_generation(id_)
        return pair

    with ThreadPoolExecutor(8) as pool:
        pairs = list(pool.map(end, list(pool.map(one, range(200)))))
    records = sound(data_dir)
    assert len(records) == 200
    for number, id_ in pairs:
        record = records[id_]
        assert record["task"]["prompt"] == f"p{number}"
        assert record["outcome"] == ("unscored" if number % 2 else "failed")
        assert record["generation"]["output"]["quality_metrics"]["clip_score"] == number / 1000


# --- after the end -----------------------------------------------------------------------------------------
def said_late(logger):
    """A generation that is finalised first and described afterwards."""
    id_ = logger.start_generation("TEXT-TO-3D", "x", 1)
    logger.finalize_generation(id_)
    until(lambda: lines(logger.data_dir))
    logger.log_enhanced_prompt(id_, "better")
    logger.log_timing(id_, "sdxl_time", 2.5)
    logger.log_output(id_, clip_score=0.25, ply_data=PLY)
    logger.log_output(id_, validation_pass=True)
    logger.log_submission(id_, True)
    return id_


def test_what_is_said_after_the_end_becomes_amendments(logger, data_dir):
    id_ = said_late(logger)
    record = sound(data_dir)[id_]
    (first,) = lines(data_dir)
    assert first["outcome"] == "unsubmitted"
    assert first["generation"]["output"] == {}
    assert {line["kind"] for line in lines(data_dir, AMENDMENTS)} == {"said"}
    validator("record").validate(record)
    assert record["outcome"] == "unscored"
    generation = record["generation"]
    assert (generation["enhanced_prompt"], generation["timing"]["sdxl_time"]) == ("better", 2.5)
    assert generation["output"]["quality_metrics"]["clip_score"] == 0.25
    assert generation["output"]["quality_metrics"]["validation_pass"] is True
    assert generation["output"]["ply_file_hash"] == f"sha256:{hashlib.sha256(PLY).hexdigest()}"
    assert generation["output"]["shed"] == "late"


def test_amendments_of_words_fold_into_a_valid_record_and_counters_still_agree(logger, data_dir):
    id_ = said_late(logger)
    assert otel_gen.shutdown()
    before = {r["metadata"]["generation_id"]: r for r in otel_gen.read(data_dir)}[id_]
    said = len(lines(data_dir, AMENDMENTS))
    assert said >= 5
    assert fold(data_dir)["folded"] == said
    (line,) = lines(data_dir)
    validator("record").validate(line)
    assert line["generation"] == before["generation"]
    assert line["settled_generation"]["output"] == {}
    assert (line["outcome"], line["settled_outcome"]) == ("unscored", "unsubmitted")
    assert verify(data_dir).problems == []
    recover(str(data_dir), rebuild=True)
    assert verify(data_dir).problems == []


def test_words_that_come_while_a_verdict_is_awaited_are_in_the_record_and_told_once(
    logger, data_dir, monkeypatch
):
    monkeypatch.setitem(Book.LIMITS, "said", 0)
    other = logger.start_generation("TEXT-TO-3D", "pins the segment", 1)
    id_ = logger.start_generation("TEXT-TO-3D", "x", 1)
    logger.log_submission(id_, True)
    until(lambda: id_ in book_of(install.active()).ended)
    logger.log_output(id_, clip_score=0.5)
    logger.log_validator_feedback(id_, 0.9)
    (record,) = until(lambda: lines(data_dir))
    assert record["generation"]["output"]["quality_metrics"]["clip_score"] == 0.5
    assert len(record["generation"]["said_late"]) == 1
    logger.log_submission(other, True)
    assert otel_gen.shutdown()
    legacy.init_logger(data_dir, registry=None)
    logger.finalize_generation(logger.start_generation("TEXT-TO-3D", "next", 1))
    assert sound(data_dir)[id_]["outcome"] == "accepted"
    assert lines(data_dir, AMENDMENTS) == []


def test_a_word_after_the_end_wipes_what_an_earlier_one_left_in_a_record_that_waits(
    logger, data_dir, monkeypatch
):
    monkeypatch.setitem(Book.LIMITS, "said", 0)
    id_ = logger.start_generation("TEXT-TO-3D", "x", 1)
    logger.log_submission(id_, True)
    until(lambda: id_ in book_of(install.active()).ended)
    logger.log_submission(id_, False, "changed my mind")
    logger.log_validator_feedback(id_, 0.9)
    record = until(lambda: sound(data_dir).get(id_))
    assert record["outcome"] == "withheld"
    assert record["generation"]["submission"]["submission_time"] is None


def test_a_failure_after_a_finalised_submission_leaves_it_standing(logger, data_dir):
    id_ = logger.start_generation("TEXT-TO-3D", "x", 1)
    logger.log_submission(id_, True)
    logger.finalize_generation(id_)
    until(lambda: lines(data_dir))
    logger.log_failure(id_, "BrokenPipeError", "gone")
    logger.log_submission(id_, False, "changed my mind")
    record = sound(data_dir)[id_]
    assert record["outcome"] == "unscored"
    assert record["generation"]["error_after_submission"]["error_type"] == "BrokenPipeError"
    assert [line["applied"] for line in lines(data_dir, AMENDMENTS)] == [True, False]


# --- whatever is passed --------------------------------------------------------------------------------------
class Hostile:
    def __str__(self):
        raise RuntimeError("never called")

    __repr__ = __float__ = __bool__ = __str__


STRANGE = [
    None,
    {},
    [],
    float("nan"),
    float("inf"),
    -1,
    1e308,
    "",
    "x" * 5000,
    "\ud800",
    b"\0",
    object(),
    Hostile(),
]


@pytest.mark.parametrize("value", STRANGE, ids=lambda value: type(value).__name__)
def test_no_value_anywhere_raises_and_each_start_is_a_valid_record(logger, data_dir, value):
    made = [logger.start_generation(value, value, value, value, value) for _ in range(2)]
    for id_ in [*made, value]:
        logger.log_enhanced_prompt(id_, value, value)
        logger.log_timing(id_, value, value)
        logger.log_timing(id_, "sdxl_time", value)
        logger.log_timing(id_, value, 1.0)
        logger.log_output(id_, value, value, value, value, value, value, value, value, value, value)
        logger.log_submission(id_, value, value, value)
        logger.log_failure(id_, value, value, value)
        logger.log_validator_feedback(id_, value, value)
        logger.finalize_generation(id_)
        logger.log_output(id_, value, value, value, value, value, value, value, value, value, value)
        logger.log_submission(id_, value, value, value)
    logger.log_config_change(value, value)
    logger.log_startup_config(value, value)
    records = sound(data_dir)
    assert records.keys() == set(made)
    assert len(made) == 2


@pytest.mark.parametrize(
    "call", ["log_timing", "log_output", "log_submission", "log_failure", "finalize_generation"]
)
def test_an_unknown_id_is_a_warning_and_nothing_else(logger, data_dir, caplog, call):
    arguments = {"log_timing": ("sdxl_time", 1.0)}.get(call, ())
    for id_ in ("nonsense", str(uuid.uuid4())):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "otel_gen"):
            getattr(logger, call)(id_, *arguments)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "unknown generation" in caplog.text
    logger.log_validator_feedback("nonsense", 0.5)
    assert not data_dir.exists()


def test_images_are_told_by_their_signature_and_never_by_length(logger, data_dir):
    image = base64.b64encode(PNG).decode()
    long = "a very detailed chair " * 60 + "=="
    ids = [
        logger.start_generation("IMAGE-TO-3D", image, 1),
        logger.start_generation("TEXT-TO-3D", long, 1),
        logger.start_generation("TEXT-TO-3D", image, 1),
    ]
    records = sound(data_dir)
    tasks = [records[id_]["task"] for id_ in ids]
    assert [task["is_base64_image"] for task in tasks] == [True, False, False]
    assert tasks[0]["prompt"] == f"[BASE64_IMAGE_HASH:sha256:{hashlib.sha256(PNG).hexdigest()}]"
    assert tasks[0]["prompt_length"] == len(image)
    assert (data_dir / tasks[0]["image_file_path"]).read_bytes() == PNG
    assert tasks[1]["prompt"] == long


def test_without_storage_the_hashes_stay_and_no_file_and_no_base64(data_dir):
    logger = legacy.init_logger(data_dir, registry=None, store_images=False, store_ply_files=False)
    image = base64.b64encode(PNG).decode()
    id_ = logger.start_generation("IMAGE-TO-3D", image, 1)
    logger.log_output(id_, ply_data=PLY)
    logger.log_submission(id_, True)
    logger.log_validator_feedback(id_, 0.9)
    logger.finalize_generation(id_)
    record = sound(data_dir)[id_]
    assert record["task"]["base64_image_hash"] == f"sha256:{hashlib.sha256(PNG).hexdigest()}"
    assert record["generation"]["output"]["ply_file_hash"] == f"sha256:{hashlib.sha256(PLY).hexdigest()}"
    assert record["task"]["image_file_path"] is record["generation"]["output"]["ply_file_path"] is None
    assert image not in (data_dir / "generation_history.jsonl").read_text()


def test_a_rejected_sample_may_come_with_the_submission_or_by_path(data_dir, tmp_path):
    logger = legacy.init_logger(data_dir, registry=None, store_rejected_sample_rate=1.0)
    one = logger.start_generation("TEXT-TO-3D", "x", 1)
    logger.log_submission(one, False, "bad", PLY)
    (tmp_path / "made.ply").write_bytes(PLY + b"1")
    two = logger.start_generation("TEXT-TO-3D", "x", 1)
    logger.log_output(two, ply_file_path=str(tmp_path / "made.ply"))
    logger.log_submission(two, False, "bad")
    records = sound(data_dir)
    for id_, data in ((one, PLY), (two, PLY + b"1")):
        assert (data_dir / records[id_]["generation"]["output"]["rejected_sample_path"]).read_bytes() == data


# --- settings, figures, the config history -----------------------------------------------------------------
def test_options_of_the_former_logger_are_settings(data_dir):
    legacy.init_logger(
        data_dir, 7, "v9", network="test", store_images=False, store_ply_files=False, ply_min_score_threshold=0.7,
        store_rejected_sample_rate=0.5, disk_space_alert_threshold=0.1, ply_storage_alert_gb=2,
        stats_log_interval=5, feedback_timeout=3, registry=None,
    )  # fmt: skip
    found = install.active().settings
    assert (found.miner_uid, found.miner_version, found.network) == (7, "v9", "test")
    assert (found.store_images, found.store_ply, found.ply_min_score) == (False, False, 0.7)
    assert (found.rejected_sample_rate, found.disk_free_alert_ratio) == (0.5, 0.1)
    assert (found.ply_storage_alert_bytes, found.stats_interval, found.feedback_timeout) == (2e9, 5, 3)


def test_variables_stand_where_no_option_does(data_dir, monkeypatch):
    monkeypatch.setenv("OTEL_GEN_DATA_DIR", str(data_dir))
    monkeypatch.setenv("OTEL_GEN_MINER_UID", "5")
    monkeypatch.setenv("OTEL_GEN_NETWORK", "testnet")
    logger = legacy.init_logger(miner_version="given", registry=None)
    found = install.active().settings
    assert (logger.data_dir, found.miner_uid, found.network) == (str(data_dir), 5, "testnet")
    assert found.miner_version == "given"
    assert legacy.get_logger() is logger


def test_a_wrong_option_says_the_nearest_one(data_dir):
    with pytest.raises(SettingsError, match="store_ply_files"):
        legacy.init_logger(data_dir, store_ply_file=True)
    with pytest.raises(SettingsError, match="true or false"):
        legacy.init_logger(data_dir, store_images="perhaps")


def test_before_init_there_is_no_logger():
    code = "from otel_gen import legacy; print(legacy.get_logger()); legacy.log_startup_config({'a': 1})"
    assert python(code) == "None\n"


def test_after_shutdown_calls_do_nothing(logger, data_dir):
    assert otel_gen.shutdown()
    assert logger.start_generation("TEXT-TO-3D", "x", 1) == ""
    logger.log_timing("", "a", 1)
    logger.finalize_generation("")
    assert logger.get_stats() == {"total_generations": 0}


def test_a_forked_worker_has_generations_of_its_own(logger, data_dir):
    before = logger.start_generation("TEXT-TO-3D", "parent", 1)
    pid = os.fork()
    if pid == 0:
        try:
            logger.finalize_generation(before)  # not its own: no effect
            id_ = logger.start_generation("TEXT-TO-3D", "child", 1)
            logger.log_submission(id_, False, "child")
            os._exit(0 if otel_gen.shutdown() else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    logger.log_submission(before, True)
    logger.finalize_generation(before)
    outcomes = {record["task"]["prompt"]: record["outcome"] for record in sound(data_dir).values()}
    assert outcomes == {"parent": "unscored", "child": "withheld"}


def test_stats_count_what_was_finalised_before_they_were_asked(logger, data_dir):
    assert logger.get_stats() == {"total_generations": 0}
    for clip, score in ((0.2, 0.8), (0.3, 0), (None, None)):
        id_ = logger.start_generation("TEXT-TO-3D", "x", 1)
        logger.log_output(id_, clip_score=clip)
        if score is None:
            logger.log_failure(id_, "oom", "")
        else:
            logger.log_submission(id_, True)
            logger.log_validator_feedback(id_, score)
        logger.finalize_generation(id_)
    assert logger.get_stats() == {
        "total_generations": 3, "accepted": 1, "acceptance_rate": 33.3, "average_clip": 0.25,
    }  # fmt: skip


def test_storage_figures_measure_the_files(data_dir):
    logger = legacy.init_logger(data_dir, registry=None, store_rejected_sample_rate=1.0)
    for data, score in ((PLY, 0.9), (PLY + b"1", 0)):
        id_ = logger.start_generation("IMAGE-TO-3D", "", 1, image=PNG)
        logger.log_output(id_, ply_data=data)
        logger.log_submission(id_, True)
        logger.log_validator_feedback(id_, score)
        logger.finalize_generation(id_)
    sound(data_dir)
    found = logger._get_storage_stats()
    assert found["images_gb"] == len(PNG) / 1e9
    assert found["ply_accepted_gb"] == len(PLY) / 1e9
    assert found["ply_rejected_gb"] == (len(PLY) + 1) / 1e9
    assert found["ply_total_gb"] == pytest.approx((2 * len(PLY) + 1) / 1e9)
    assert (found["images_count"], found["ply_rejected_count"], found["ply_count"]) == (1, 1, 2)
    assert found["disk_free_gb"] > 0
    assert 0 < found["disk_free_percent"] <= 100


def test_changes_of_settings_are_told_with_their_reason_and_only_once(logger, data_dir):
    legacy.log_startup_config({"steps": 60, "model": "trellis"})
    logger.log_config_change({"steps": {"old": 60, "new": 70}, "cfg": 7.5}, "faster")
    assert otel_gen.shutdown()
    legacy.init_logger(data_dir, registry=None)
    legacy.log_startup_config({"steps": 60, "model": "trellis"})
    legacy.log_startup_config({"steps": 70, "model": "trellis"}, reason="restart")
    sound(data_dir)
    told = [(line["reason"], line["changes"]) for line in lines(data_dir, "miner_config_history.jsonl")]
    assert told == [
        ("Miner startup", {"steps": {"old": None, "new": 60}, "model": {"old": None, "new": "trellis"}}),
        ("faster", {"steps": {"old": 60, "new": 70}, "cfg": {"old": None, "new": 7.5}}),
        ("restart", {"steps": {"old": 60, "new": 70}}),
    ]
