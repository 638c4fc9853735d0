"""Fork and spawn: a child records under its own name, and never finishes what its parent began."""

from __future__ import annotations

import multiprocessing
import os
import threading

import pytest

import otel_gen
from tests.support import lines, python, settled, the_record, until


def in_child(work):
    """Fork; gives the exit code of the child, which ends without clean-up."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def ignore_fork_warning(test):
    return pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")(test)


@ignore_fork_warning
def test_a_child_cannot_finish_its_parents_generation_and_makes_its_own(configured):
    block = otel_gen.generation(task_type="TEXT-TO-3D")
    gen = block.__enter__()
    stage = gen.stage("across")
    stage.__enter__()

    def work():
        stage.__exit__(None, None, None)
        gen.submitted()
        gen.set(child=True)
        gen.output(ply=b"x")
        with otel_gen.stage("child"), gen.stage("child"):
            pass
        block.__exit__(None, None, None)
        assert otel_gen.current_generation() is None
        with otel_gen.generation(kind="child") as own, own.stage("own"):
            own.withheld("x")
        assert own.durable
        assert own.id != gen.id

    assert in_child(work) == 0
    stage.__exit__(None, None, None)
    block.__exit__(None, None, None)
    until(lambda: len(lines(configured)) == 2)
    records = settled(configured)
    parent = records.pop(gen.id)
    assert (parent["outcome"], parent["generation"]["attributes"]) == ("unsubmitted", {})
    assert [s["name"] for s in parent["generation"]["stages"]] == ["across"]
    (child,) = records.values()
    assert (child["outcome"], child["generation"]["attributes"]) == ("withheld", {"kind": "child"})


@ignore_fork_warning
def test_a_fork_while_other_threads_work_leaves_the_child_able_to_record(configured):
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            with otel_gen.generation() as gen, gen.stage("a"):
                gen.withheld("busy")

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()

    def work():
        for _ in range(3):
            with otel_gen.generation() as gen, gen.stage("a"):
                gen.withheld("child")
            assert gen.durable

    codes = [in_child(work) for _ in range(5)]
    stop.set()
    for thread in threads:
        thread.join()
    assert codes == [0] * 5
    reasons = [r["generation"]["submission"]["rejection_reason"] for r in settled(configured).values()]
    until(lambda: len([1 for line in lines(configured)]) == len(reasons))
    assert reasons.count("child") == 15


def _one(data_dir=None):
    if data_dir is not None:
        otel_gen.configure(data_dir=data_dir, registry=None)
    with otel_gen.generation() as gen, otel_gen.stage("in a pool"):
        gen.withheld("x")
    return gen.id


@ignore_fork_warning
def test_a_forked_pool_needs_no_configure_and_ids_never_repeat(configured):
    with otel_gen.generation() as gen:
        gen.withheld("x")
    with multiprocessing.get_context("fork").Pool(2) as pool:
        ids = pool.map(_one, [None] * 20)
        pool.close()
        pool.join()
    assert len({*ids, gen.id}) == 21
    until(lambda: len(lines(configured)) == 21)


def test_a_spawned_pool_records_into_the_same_data_dir(configured):
    with otel_gen.generation() as gen:
        gen.withheld("x")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        ids = pool.map(_one, [str(configured)] * 6)
        pool.close()
        pool.join()
    until(lambda: len(lines(configured)) == 7)
    assert sorted(settled(configured)) == sorted([*ids, gen.id])


def test_a_master_that_forks_before_the_first_event_has_no_threads(data_dir):
    code = """
import os, sys, threading, otel_gen
otel_gen.configure(data_dir=sys.argv[1], registry=None)
assert threading.active_count() == 1
for _ in range(2):
    if not os.fork():
        with otel_gen.generation() as gen: gen.withheld("x")
        assert otel_gen.shutdown()
        os._exit(0)
codes = [os.wait()[1] for _ in range(2)]
print(codes)
"""
    assert python(code, data_dir).strip() == "[0, 0]"
    assert len(lines(data_dir)) == 2


@ignore_fork_warning
def test_feedback_from_a_forked_child_reaches_its_parents_generation(data_dir):
    otel_gen.configure(data_dir=data_dir, registry=None)
    with otel_gen.generation() as gen:
        gen.submitted()

    def work():
        assert otel_gen.feedback(gen.id, score=0.5)

    assert in_child(work) == 0
    until(lambda: lines(data_dir))
    assert the_record(data_dir)["outcome"] == "accepted"


FOLLOWER = """
import os, sys, threading, otel_gen
otel_gen.configure(data_dir=sys.argv[1], registry=None, feedback_timeout=0)
with otel_gen.generation(kind="parent") as gen:
    gen.withheld("x")
otel_gen.feedback(gen.id, score=0.5, data_dir=sys.argv[2])
from otel_gen.process import process
held = lambda: process.configured.leading._lock
while held() is None or held().fd >= 0:  # it has tried once, and another process leads
    assert held() is None
pid = os.fork()
if pid == 0:
    def work():
        with otel_gen.generation(kind="child") as own, own.stage("own"):
            own.withheld("x")
        assert own.durable
    worker = threading.Thread(target=work)
    worker.start()
    work()
    worker.join(10)
    assert not worker.is_alive()
    assert otel_gen.feedback(gen.id, score=0.6, data_dir=sys.argv[2])
    os._exit(0 if otel_gen.shutdown() else 2)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), otel_gen.shutdown())
"""


def test_a_child_of_a_process_that_does_not_lead_records_too(configured, tmp_path):
    with otel_gen.generation(kind="leader") as gen:
        gen.withheld("x")
    until(lambda: lines(configured))  # this process leads
    assert python(FOLLOWER, configured, tmp_path / "other").split() == ["0", "True"]
    kinds = [record["generation"]["attributes"]["kind"] for record in settled(configured).values()]
    assert sorted(kinds) == ["child", "child", "leader", "parent"]
