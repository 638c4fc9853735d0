"""Fork and spawn: a child records under its own name, and never finishes what its parent began."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time

import pytest

import otel_gen
from otel_gen import process as forks
from otel_gen import segment
from otel_gen.files import Folder
from otel_gen.flock import Flock
from otel_gen.leader import Leader
from otel_gen.process import process
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


# --- what a fork falls into ----------------------------------------------------------------------------------
def inherited():
    """What this process has open below a data_dir, as a child that must not outlive its parent's locks."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return [path for path in found if path.endswith((".seg", ".spare", "leader.lock"))]


def no_lock_is_inherited():
    assert inherited() == []


def free(lock):
    """Tell whether a lock can be had soon, from another thread than that which left it."""
    had = []

    def take():
        had.append(lock.acquire(timeout=20))
        lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return had == [True]


def test_two_threads_that_fork_at_once_let_everything_go_again(configured):
    with otel_gen.generation() as gen:
        gen.withheld("x")
    until(lambda: lines(configured))
    runtime, holds = process.configured, []
    real = runtime.snapshot.hold

    def hold(timeout):
        holds.append(timeout)
        return real(timeout)

    runtime.snapshot.hold = hold
    forks._before_fork()

    def other():
        forks._before_fork()
        forks._after_in_parent()

    thread = threading.Thread(target=other)
    thread.start()
    until(lambda: len(holds) == 2)  # it has waited for a pass in vain, and now for the journal
    time.sleep(0.1)
    forks._after_in_parent()
    thread.join(20)
    assert not thread.is_alive()
    assert all(map(free, (runtime.leading._step, runtime.snapshot._reading, runtime.journal._lock)))
    with otel_gen.generation() as gen:
        gen.withheld("x")
    assert len(settled(configured)) == 2


def test_a_shutdown_in_another_thread_while_this_one_forks_comes_to_its_end(configured):
    with otel_gen.generation() as gen:
        gen.withheld("x")
    forks._before_fork()
    done = []
    thread = threading.Thread(target=lambda: done.append(otel_gen.shutdown()))
    thread.start()
    until(lambda: process.configured is None)
    time.sleep(0.1)
    forks._after_in_parent()
    thread.join(30)
    assert done == [True]
    assert len(lines(configured)) == 1


@ignore_fork_warning
def test_a_child_of_a_process_that_shuts_down_inherits_no_lock(configured, monkeypatch):
    with otel_gen.generation() as gen:
        gen.withheld("x")
    until(lambda: lines(configured))
    inside, gate, real = threading.Event(), threading.Event(), Leader.step

    def step(leader, now=None):
        inside.set()
        assert gate.wait(30)
        return real(leader, now)

    monkeypatch.setattr(Leader, "step", step)
    assert inside.wait(30)
    thread = threading.Thread(target=otel_gen.shutdown)
    thread.start()
    until(lambda: process.closing)

    def work():
        no_lock_is_inherited()
        assert process.closing == []
        with otel_gen.generation():
            assert otel_gen.current_generation() is None

    assert inherited()
    assert in_child(work) == 0
    gate.set()
    thread.join(30)


@ignore_fork_warning
def test_a_child_inherits_no_lock_of_a_segment_that_is_being_made(configured, monkeypatch):
    inside, gate, real = threading.Event(), threading.Event(), segment._write_zeros

    def write_zeros(fd, size):
        if threading.current_thread().name == "otel_gen-syncer":
            inside.set()
            assert gate.wait(30)
        real(fd, size)

    monkeypatch.setattr(segment, "_write_zeros", write_zeros)
    with otel_gen.generation() as gen:
        gen.withheld("x")
        assert inside.wait(30)
        assert [path for path in inherited() if path.endswith(".spare")]
        assert in_child(no_lock_is_inherited) == 0
        gate.set()
    assert len(settled(configured)) == 1


@ignore_fork_warning
def test_a_lock_that_is_let_go_is_free_though_a_child_has_inherited_it(tmp_path):
    folder = Folder.root(str(tmp_path))
    held, other = Flock(folder, "a.lock"), Flock(folder, "a.lock")
    assert held.take()
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            assert not held.take()  # it is the parent's, whatever the descriptor says
            os.close(tell)
            os.read(told, 1)
            code = 0
        finally:
            os._exit(code)
    time.sleep(0.1)
    assert not other.take()  # the child has let its copy go, and not the lock
    held.release()
    assert other.take()
    os.close(tell)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    other.release()
    folder.close()


MANY = """
import os, sys, threading, otel_gen
from otel_gen.leader import Leader
real = Leader.step
def step(leader, now=None):
    threading.Event().wait(0.06)  # a slow disk: no fork can wait for a pass to end
    return real(leader, now)
Leader.step = step
otel_gen.configure(data_dir=sys.argv[1], registry=None, feedback_timeout=0)
def one():
    with otel_gen.generation() as gen, gen.stage("a"):
        gen.withheld("x")
def work():
    for _ in range(15):
        one()
        pid = os.fork()
        if pid == 0:
            one()
            os._exit(0)
        codes.append(os.waitpid(pid, 0)[1])
codes = []
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(60)
print(sum(thread.is_alive() for thread in threads), set(codes), len(codes), otel_gen.shutdown(30))
"""


def test_threads_that_fork_at_once_beside_slow_passes_lose_nothing(data_dir):
    assert python(MANY, data_dir, timeout=120).split() == ["0", "{0}", "45", "True"]
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0)
    until(lambda: len(lines(data_dir)) == 90)
