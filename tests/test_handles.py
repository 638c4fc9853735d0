"""Handles: what is said of a generation and its stages, how it ends, and when it is durable."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
import time
import uuid
from enum import Enum

import pytest

import otel_gen
from otel_gen.install import active
from otel_gen.journal import Journal
from otel_gen.recover import recover
from tests.support import lines, python, settled, the_record, until

PLY = b"ply\nformat binary_little_endian 1.0\nelement vertex 0\nend_header\n"


def test_an_id_is_a_uuid_of_version_7_and_ids_sort_by_time(configured):
    ids = []
    for _ in range(50):
        with otel_gen.generation() as gen:
            ids.append(gen.id)
    assert [uuid.UUID(id_).version for id_ in ids] == [7] * 50
    assert len(set(ids)) == 50
    assert [id_[:13] for id_ in ids] == sorted(id_[:13] for id_ in ids)


def test_what_is_said_returns_none_and_is_on_record(configured):
    with otel_gen.generation(
        task_type="text-to-3d", prompt="a red chair", task_id="t", validator_uid="57"
    ) as gen:
        said = [
            gen.enhanced_prompt("better", negative="worse"),
            gen.output(num_gaussians=5, clip_score="0.5", gaussian_count_pass=True, file_size_mb=1.5),
            gen.output(clip_threshold_pass=True, validation_pass=False, render_stats={"views": 4}),
            gen.set(seed=7),
            gen.submitted(),
        ]
        assert said == [None] * 5
        assert gen.durable
    record = the_record(configured)
    assert (record["task"]["task_type"], record["metadata"]["validator_uid"]) == ("TEXT-TO-3D", 57)
    generation, output = record["generation"], record["generation"]["output"]
    assert (generation["enhanced_prompt"], generation["negative_prompt"]) == ("better", "worse")
    assert (output["num_gaussians"], output["file_size_mb"]) == (5, 1.5)
    quality = {
        "clip_score": 0.5,
        "clip_threshold_pass": True,
        "gaussian_count_pass": True,
        "validation_pass": False,
    }
    assert output["quality_metrics"] == quality
    assert output["render_stats"] == {"views": 4}
    assert record["outcome"] == "unscored"


WORDS = {
    "submitted": lambda gen: gen.submitted(),
    "withheld": lambda gen: gen.withheld("too sparse", value=3),
    "failed": lambda gen: gen.failed("oom", "no room"),
}
OUTCOMES = {"submitted": "unscored", "withheld": "withheld", "failed": "failed"}


@pytest.mark.parametrize("first", WORDS)
@pytest.mark.parametrize("last", WORDS)
def test_the_last_word_wins_and_nothing_of_the_first_stays(configured, first, last):
    with otel_gen.generation() as gen:
        WORDS[first](gen)
        WORDS[last](gen)
    record = the_record(configured)
    submission, failure = record["generation"]["submission"], record["failure_analysis"]
    assert record["outcome"] == OUTCOMES[last]
    assert submission["submitted"] is (last == "submitted")
    assert (submission["rejection_reason"] is not None) == (last == "withheld")
    assert (failure["error_type"], failure["error_message"]) == (
        ("oom", "no room") if last == "failed" else (None, None)
    )


def test_an_exception_fails_the_generation_and_the_innermost_stage_is_named(configured):
    error = RuntimeError("CUDA out of memory. Tried to allocate")
    generation, outer, inner = otel_gen.generation(), otel_gen.stage("outer"), otel_gen.stage("inner")
    with pytest.raises(RuntimeError) as caught, generation as gen, outer, inner:
        raise error
    assert caught.value is error
    record = the_record(configured)
    failure = record["failure_analysis"]
    assert record["outcome"] == "failed"
    assert (failure["error_type"], failure["stage"]) == ("oom", "inner")
    assert failure["error_message"] == str(error)
    assert "test_handles.py" in failure["stack_trace"]
    assert [s["status"] for s in record["generation"]["stages"]] == ["error", "error"]
    assert gen.durable


def test_a_failed_stage_that_the_application_handled_fails_nothing_else(configured):
    with otel_gen.generation() as gen:
        with contextlib.suppress(TimeoutError), gen.stage("first try"):
            raise TimeoutError("slow")
        with gen.stage("second try"):
            gen.submitted()
    record = the_record(configured)
    assert (record["outcome"], record["failure_analysis"]["failed"]) == ("unscored", False)
    first, second = record["generation"]["stages"]
    assert (first["status"], first["attributes"]["error_type"], second["status"]) == (
        "error",
        "timeout",
        "ok",
    )


def test_a_callers_own_words_stay_when_an_exception_follows(configured):
    with pytest.raises(LookupError), otel_gen.generation() as gen:
        gen.failed("weights missing", stage="load")
        raise LookupError("http 503")
    failure = the_record(configured)["failure_analysis"]
    assert (failure["error_type"], failure["stage"]) == ("weights missing", "load")
    assert "test_handles.py" in failure["stack_trace"]


def test_an_exception_after_the_submission_leaves_it_standing(configured):
    with pytest.raises(ConnectionResetError), otel_gen.generation() as gen:
        gen.submitted()
        assert otel_gen.feedback(gen.id, score=0.5)
        with gen.stage("answer"):
            raise ConnectionResetError("gone")
    record = the_record(configured)
    assert (record["outcome"], record["failure_analysis"]["failed"]) == ("accepted", False)
    later = record["generation"]["error_after_submission"]
    assert later == {"error_type": "connection", "error_message": "gone", "stage": "answer"}


@pytest.mark.parametrize(
    "error", [GeneratorExit(), asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(3)], ids=repr
)
def test_what_ends_a_program_or_task_is_cancelled_and_goes_on(configured, error):
    with pytest.raises(type(error)) as caught, otel_gen.generation() as gen, gen.stage("a"):
        raise error
    assert caught.value is error
    record = the_record(configured)
    assert (record["outcome"], record["failure_analysis"]["error_type"]) == ("cancelled", "cancelled")
    assert [s["status"] for s in record["generation"]["stages"]] == ["cancelled"]


def test_a_task_that_times_out_is_cancelled_inside_and_times_out_outside(configured):
    async def work():
        async with otel_gen.generation() as gen, gen.stage("slow"):
            await asyncio.sleep(60)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(asyncio.wait_for(work(), 0.05))
    assert the_record(configured)["outcome"] == "cancelled"


def test_things_that_are_no_values_cost_nothing_but_themselves(configured):
    class Reason(Enum):
        SPARSE = "sparse"

    with otel_gen.generation(
        task_type=5, prompt=object(), task_id=uuid.UUID(int=1), validator_uid=-1, config=object()
    ) as gen:
        gen.stage(5, bad=object())(lambda: None)()
        gen.output(ply=5, spz="/nowhere/at.spz", num_gaussians=-1, clip_score=float("nan"))
        gen.withheld(Reason.SPARSE, value="x")
    record = the_record(configured)
    assert record["outcome"] == "withheld"
    assert record["metadata"]["task_id"] == str(uuid.UUID(int=1))
    assert record["generation"]["submission"]["rejection_reason"] == "withheld"
    assert record["generation"]["output"]["shed"] == "unreadable"


@pytest.mark.parametrize("where", ["tracing.start", "exporter.own"])
def test_what_goes_wrong_in_capture_is_counted_and_the_application_goes_on(configured, monkeypatch, where):
    capture = active()
    counted, done = [], []
    part, name = where.split(".")
    with monkeypatch.context() as patch:
        patch.setattr(capture.journal, "count", lambda *what: counted.append(what))
        patch.setattr(getattr(capture, part), name, None)
        with otel_gen.generation() as gen, gen.stage("sdxl"):
            done.append("work")
    assert done == ["work"]
    assert set(counted) == {("capture_errors", "api")}
    with otel_gen.generation() as gen:
        gen.submitted()
    assert settled(configured)[gen.id]["outcome"] == "unscored"


def test_what_is_said_after_the_end_is_counted_and_changes_nothing(configured):
    with otel_gen.generation() as gen:
        gen.withheld("sparse")
    gen.submitted()
    gen.output(ply=b"late")
    with gen.stage("late"):
        pass
    record = the_record(configured)
    assert (record["outcome"], record["generation"]["stages"]) == ("withheld", [])
    assert not gen.capture.stager._threads


def test_a_stage_that_outlives_its_generation_harms_nothing(configured):
    with otel_gen.generation() as gen:
        stage = otel_gen.stage("background")
        stage.__enter__()
    stage.__exit__(None, None, None)
    until(lambda: gen.durable)
    (part,) = the_record(configured)["generation"]["stages"]
    assert part["name"] == "background"


# --- durable --------------------------------------------------------------------------------------------
class SlowDisk:
    """Holds every fdatasync of this process until it is let go."""

    def __init__(self, monkeypatch):
        self.free = threading.Event()
        real = Journal._sync
        monkeypatch.setattr(Journal, "_sync", lambda journal: self.free.wait(30) and real(journal))


def test_durable_is_written_inside_and_synced_outside(data_dir, monkeypatch):
    disk = SlowDisk(monkeypatch)
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0, deadline=0.01)
    with otel_gen.generation() as gen:
        gen.submitted()
        assert gen.durable
    assert not gen.durable
    disk.free.set()
    until(lambda: gen.durable)


def test_with_durability_process_durable_is_written(data_dir, monkeypatch):
    disk = SlowDisk(monkeypatch)
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0, durability="process")
    with otel_gen.generation() as gen:
        gen.submitted()
    assert gen.durable
    disk.free.set()


def test_artifacts_are_part_of_durable_and_statistics_are_not(configured):
    with otel_gen.generation() as gen:
        gen.output(ply=PLY)
    assert gen.durable
    until(lambda: all(job.complete for job in gen.jobs))
    assert gen.durable


def test_no_plain_call_waits_on_an_event_loop_and_durable_comes_later(data_dir, monkeypatch):
    disk = SlowDisk(monkeypatch)
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0, deadline=30)
    buffer = bytearray(PLY)

    @otel_gen.generation()
    def decorated():
        return otel_gen.current_generation()

    async def main():
        with otel_gen.generation() as gen:
            with gen.stage("a"):
                pass
            gen.output(ply=buffer)
            gen.submitted()
        result = otel_gen.feedback(gen.id, score=1)
        assert (bool(result), result.reason) == (False, "not durable yet")
        return gen, decorated(), result

    *gens, result = asyncio.run(main())
    assert not any(gen.durable for gen in gens)
    disk.free.set()
    until(lambda: all(gen.durable for gen in gens) and result)
    records = settled(data_dir)
    output = records[gens[0].id]["generation"]["output"]
    assert (output["file_size_bytes"], output.get("shed")) == (len(PLY), None)


def test_async_with_awaits_durability_and_lets_the_loop_run(data_dir, monkeypatch):
    disk = SlowDisk(monkeypatch)
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0, deadline=30)

    async def main():
        async def release():
            disk.free.set()

        async with otel_gen.generation() as gen:
            gen.output(ply=PLY)
            gen.submitted()
            task = asyncio.ensure_future(release())
        assert gen.durable
        await task
        assert await otel_gen.feedback_async(gen.id, score=1)

    asyncio.run(main())
    assert the_record(data_dir)["outcome"] == "accepted"


def test_cancellation_while_async_with_waits_changes_nothing(data_dir, monkeypatch):
    disk = SlowDisk(monkeypatch)
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0, deadline=30)
    held = []

    async def work():
        async with otel_gen.generation() as gen:
            held.append(gen)
            gen.submitted()

    async def main():
        task = asyncio.ensure_future(work())
        while not (held and held[0].over):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    disk.free.set()
    record = the_record(data_dir)
    assert (record["outcome"], record["failure_analysis"]["failed"]) == ("unscored", False)
    assert "error_after_submission" not in record["generation"]


def test_the_exit_waits_no_longer_than_its_deadline(data_dir, monkeypatch):
    disk = SlowDisk(monkeypatch)
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0, deadline=0.01)
    began = time.monotonic()
    for _ in range(3):
        with otel_gen.generation() as gen:
            gen.submitted()
    assert not gen.durable
    assert time.monotonic() - began < 5

    async def main():
        async with otel_gen.generation() as gen:
            gen.submitted()
        return gen, await otel_gen.feedback_async(gen.id, score=1)

    gen, result = asyncio.run(main())
    assert (gen.durable, bool(result), result.reason) == (False, False, "not durable yet")
    disk.free.set()
    assert len(settled(data_dir)) == 4
    assert result


def test_everything_said_inside_survives_kill_9(data_dir):
    code = """
import os, signal, sys, otel_gen
otel_gen.configure(data_dir=sys.argv[1], registry=None)
gen = otel_gen.generation(task_type="TEXT-TO-3D", prompt="p").__enter__()
with gen.stage("done", n=1): pass
gen.stage("open", n=2).__enter__()
gen.set(a=1); gen.output(num_gaussians=3)
assert gen.durable
print(gen.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(data_dir)], capture_output=True, text=True, check=False
    )
    recover(str(data_dir))
    (record,) = lines(data_dir)
    assert record["metadata"]["generation_id"] == done.stdout.strip()
    assert record["outcome"] == "interrupted"
    ended = [s for s in record["generation"]["stages"] if s["status"] != "interrupted"]
    assert [(s["name"], s["attributes"]) for s in ended] == [("done", {"n": 1})]
    assert record["generation"]["attributes"] == {"a": 1}
    assert record["generation"]["output"]["num_gaussians"] == 3


def test_a_later_word_wipes_what_an_earlier_one_left_also_where_the_process_dies(data_dir):
    code = """
import os, sys, otel_gen
otel_gen.configure(data_dir=sys.argv[1], registry=None, feedback_timeout=0)
with otel_gen.generation() as gen:
    gen.failed("oom", "no room", stage="sdxl")
    gen.withheld("sparse", value=3)
    gen.submitted()
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code, str(data_dir)], check=False).returncode == -9
    recover(str(data_dir))
    (record,) = lines(data_dir)
    assert record["outcome"] == "unscored"
    assert record["generation"]["submission"]["rejection_reason"] is None
    assert record["failure_analysis"]["error_type"] is None


@pytest.mark.parametrize(
    ("values", "last"),
    [((1, None, 2), 2), ((1, [1], 3), 3), (([1], 2, {"a": 1}), {"a": 1}), ((1, None), None)],
)
@pytest.mark.parametrize("ends", [True, False])
def test_of_an_attribute_the_last_value_counts_whatever_its_kind(data_dir, values, last, ends):
    code = """
import json, os, sys, otel_gen
otel_gen.configure(data_dir=sys.argv[1], registry=None, feedback_timeout=0)
with otel_gen.generation() as gen:
    with gen.stage("s") as stage:
        for value in json.loads(sys.argv[2]):
            gen.set(x=value)
            stage.set(x=value)
    if sys.argv[3] == "False":
        os.kill(os.getpid(), 9)
assert otel_gen.shutdown()
"""
    command = [sys.executable, "-c", code, str(data_dir), json.dumps(values), str(ends)]
    assert subprocess.run(command, check=False, timeout=60).returncode == (0 if ends else -9)
    recover(str(data_dir))
    (record,) = lines(data_dir)
    assert record["generation"]["attributes"] == {"x": last}
    assert record["generation"]["stages"][0]["attributes"] == {"x": last}


@pytest.mark.parametrize("ends", [True, False])
def test_words_that_fit_one_by_one_are_all_on_record_however_many(data_dir, ends):
    code = """
import os, sys, otel_gen
otel_gen.configure(data_dir=sys.argv[1], registry=None, feedback_timeout=0)
with otel_gen.generation(prompt="p" * 60_000, task_id="t") as gen:
    for n in range(40):
        gen.set(**{f"k{n}": f"{n} " + "v" * 12_000})
    gen.set(k0="last")
    gen.withheld("clip_below_threshold", value=0.1)
    if sys.argv[2] == "False":
        os.kill(os.getpid(), 9)
assert gen.durable and otel_gen.shutdown()
"""
    command = [sys.executable, "-c", code, str(data_dir), str(ends)]
    assert subprocess.run(command, check=False, timeout=60).returncode == (0 if ends else -9)
    recover(str(data_dir))
    (record,) = lines(data_dir)
    assert record["task"]["prompt"] == "p" * 60_000
    own = record["generation"]["attributes"]
    assert own == {f"k{n}": f"{n} " + "v" * 12_000 for n in range(1, 40)} | {"k0": "last"}
    outcome = "withheld" if ends else "interrupted"
    assert (record["outcome"], record["metadata"]["task_id"]) == (outcome, "t")
    assert "truncated" not in record["metadata"]


@pytest.mark.parametrize(
    "say",
    [
        lambda gen: gen.enhanced_prompt("x" * 70_000),
        lambda gen: gen.enhanced_prompt("x", negative="é" * 40_000),
        lambda gen: gen.failed("crash", "m" * 5_000),
        lambda gen: gen.withheld("r" * 2_000),
        lambda gen: gen.stage("s", **{f"k{n}": "v" * 16_000 for n in range(20)}).__enter__().finish(None),
    ],
)
def test_what_is_cut_says_so(configured, say):
    with otel_gen.generation(prompt="x") as gen:
        say(gen)
    assert the_record(configured)["metadata"]["truncated"] is True


@pytest.mark.parametrize("attempt", [2**63, 1e300, 10**9 + 1, -1])
def test_a_number_that_no_index_holds_makes_one_line_and_no_more(data_dir, attempt):
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0, undecided_keep=1e300)
    for _ in range(2):
        with otel_gen.generation(task_id="t", attempt=attempt) as gen:
            gen.output(ply=PLY)
            gen.submitted()
    until(lambda: len(lines(data_dir)) == 2)
    records = settled(data_dir).values()
    assert len(lines(data_dir)) == 2
    assert [record["metadata"]["attempt"] for record in records] == [1, 2]
    assert all(record["generation"]["output"]["undecided"]["until"] > "2250" for record in records)


def test_unknown_and_other_keywords_raise_nothing_and_lose_nothing(configured):
    with otel_gen.generation(task_type="TEXT-TO-3D") as gen:
        with gen.stage(name="sdxl", steps=4), otel_gen.stage(name="inner"):
            pass
        gen.enhanced_prompt("better", negative_prompt="worse", model="t5")
    assert otel_gen.shutdown(None)
    (record,) = lines(configured)
    generation = record["generation"]
    assert sorted(stage["name"] for stage in generation["stages"]) == ["inner", "sdxl"]
    assert (generation["negative_prompt"], generation["attributes"]) == ("worse", {"model": "t5"})


@pytest.mark.parametrize("word", [True, 1, "true", "1", "Yes"])
def test_a_failed_validation_is_never_accepted_however_it_is_said(waiting, word):
    with otel_gen.generation(task_type="TEXT-TO-3D") as gen:
        gen.submitted()
    assert otel_gen.feedback(gen.id, score=0.9, validation_failed=word)
    record = the_record(waiting)
    assert (record["outcome"], record["validator_feedback"]["validation_failed"]) == ("rejected", True)


# In an interpreter of its own: what falls into a callback of the collector, a test library's for one, Python drops.
ALARMED = """
import functools, signal, sys, time, opentelemetry.context, otel_gen

class Late(Exception):
    pass

class Alarm:
    fired = 0

    def ring(self, _, frame):
        self.fired += 1
        self.met_detach = self.is_in_detach(frame)
        raise Late

    def is_in_detach(self, frame):  # the one of OpenTelemetry drops whatever is raised in it
        while frame is not None:
            if frame.f_code is opentelemetry.context.detach.__code__:
                return True
            frame = frame.f_back
        return False

    __call__ = ring

alarm, dropped = Alarm(), 0
handlers = {
    "function": lambda *a: alarm.ring(*a), "method": alarm.ring,
    "partial": functools.partial(alarm.ring), "object": alarm,
}
signal.signal(signal.SIGALRM, handlers[sys.argv[2]])
otel_gen.configure(data_dir=sys.argv[1], registry=None, feedback_timeout=0)
for n in range(1000):
    try:
        signal.setitimer(signal.ITIMER_REAL, 2e-5 * (n % 30 + 1))
        with otel_gen.generation(prompt="x") as gen, gen.stage("s"):
            gen.withheld("x")
        while alarm.fired <= n:
            time.sleep(0.001)
        dropped += not alarm.met_detach
    except Late:
        pass
signal.signal(signal.SIGALRM, signal.SIG_IGN)
with otel_gen.generation(prompt="last") as gen:
    gen.withheld("x")
print(alarm.fired, dropped, gen.durable, otel_gen.shutdown(), gen.id)
"""


@pytest.mark.parametrize("kind", ["function", "method", "partial", "object"])
def test_what_a_signal_handler_raises_reaches_the_application_wherever_it_falls(data_dir, kind):
    *told, last = python(ALARMED, data_dir, kind).split()
    assert told == ["1000", "0", "True", "True"]
    assert last in {line["metadata"]["generation_id"] for line in lines(data_dir)}
