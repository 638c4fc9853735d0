"""Threads and descriptors: one that cannot be had today is asked for again, and nothing stays behind."""

from __future__ import annotations

import os
import signal
import threading

import pytest

import otel_gen
from otel_gen import leader as leader_module
from otel_gen.clock import Clock
from otel_gen.errors import StorageError
from otel_gen.leading import LeaderThread
from otel_gen.process import process
from otel_gen.tree import Tree
from tests.support import lines, python, settled, the_record, until


@pytest.fixture
def refused(monkeypatch):
    """Names of threads that the system refuses to start."""
    names, real = set(), threading.Thread.start

    def start(thread):
        if thread.name in names:
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    return names


def one(**output):
    with otel_gen.generation() as gen:
        if output:
            gen.output(**output)
        gen.submitted()
    return gen


def test_artifacts_that_found_no_thread_are_staged_by_the_next_that_does(configured, refused):
    refused.add("otel_gen-stager")
    first = threading.Thread(target=one, kwargs={"ply": b"one"})
    first.start()
    until(lambda: process.configured.stager._queue.qsize())
    refused.clear()
    one(ply=b"two")
    first.join(30)
    assert {r["generation"]["output"]["file_size_bytes"] for r in settled(configured).values()} == {3}


def test_artifacts_that_never_found_a_thread_are_staged_at_shutdown(data_dir, refused):
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0, deadline=0.05)
    refused.add("otel_gen-stager")
    gen = one(ply=b"three")
    assert otel_gen.feedback(gen.id, score=0.5)
    output = the_record(data_dir)["generation"]["output"]
    assert (data_dir / output["ply_file_path"]).read_bytes() == b"three"


def test_a_leader_that_found_no_thread_begins_when_there_is_one(data_dir, refused):
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0)
    journal = process.configured.journal
    journal.IDLE = 0.02
    refused.add("otel_gen-leader")
    one()
    until(lambda: journal._thread and journal.durable(journal.last))
    assert lines(data_dir) == []
    refused.clear()
    until(lambda: len(lines(data_dir)) == 1)
    assert otel_gen.shutdown()


def test_without_a_thread_of_the_leader_shutdown_delivers(configured, refused):
    refused.add("otel_gen-leader")
    one()
    assert the_record(configured)["outcome"] == "unscored"


def test_shutdown_beside_a_slow_pass_leaves_no_leader(configured, monkeypatch):
    one()
    until(lambda: lines(configured))
    leading = process.configured.leading
    inside, gate, real = threading.Event(), threading.Event(), leader_module.Leader.step

    def step(leader, now=None):
        inside.set()
        assert gate.wait(30)
        return real(leader, now)

    monkeypatch.setattr(leader_module.Leader, "step", step)
    assert inside.wait(30)
    one()
    assert not otel_gen.shutdown(0.2)
    gate.set()
    until(lambda: not leading._thread.is_alive())
    assert not leading.leads
    monkeypatch.undo()
    otel_gen.configure(data_dir=configured, registry=None, feedback_timeout=0)
    one()
    assert len(settled(configured)) == 3


def test_a_signal_handler_may_hand_over_an_artifact_while_one_is_handed_over(configured):
    stager = process.configured.stager
    handed = []

    def handler(*_):
        handed.append(one(ply=b"from a handler"))

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with stager._lock:
            os.kill(os.getpid(), signal.SIGUSR1)
            until(lambda: handed)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert the_record(configured)["generation"]["output"]["file_size_bytes"] == 14


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("name", ["segments", "staging", "quarantine"])
def test_a_folder_that_cannot_be_opened_leaves_no_descriptor_open(tmp_path, name):
    (tmp_path / ".otel_gen").mkdir()
    (tmp_path / ".otel_gen" / name).write_text("a file where the folder belongs")
    before = descriptors()
    for _ in range(10):
        with pytest.raises(StorageError):
            Tree(str(tmp_path))
    assert descriptors() == before


LOOP = """
import os, sys, otel_gen
counts = []
for _ in range(3):
    otel_gen.configure(data_dir=sys.argv[1], registry=None, feedback_timeout=0)
    with otel_gen.generation() as gen:
        gen.output(ply=b"x" * 1000)
        gen.withheld("x")
    assert otel_gen.shutdown()
    counts.append(len(os.listdir("/proc/self/fd")))
print(counts)
"""


def test_shutdown_closes_every_descriptor(data_dir):
    first, *others = eval(python(LOOP, data_dir))  # noqa: S307 - our own output
    assert others == [first] * 2


UNWRITABLE = """
import os, sys, time, otel_gen
from otel_gen.process import process
os.makedirs(sys.argv[1] + "/.otel_gen")
open(sys.argv[1] + "/.otel_gen/segments", "w").close()
otel_gen.configure(data_dir=sys.argv[1], registry=None)
leading = process.configured.leading
leading._idle = lambda: False
leading.PASS = leading.TRY = leading.WORST = 0.01
counts = []
for _ in range(2):
    for _ in range(20):
        with otel_gen.generation() as gen:
            gen.output(ply=b"x")
            gen.withheld("x")
        time.sleep(0.02)
    seen = []
    for _ in range(50):  # some are open while a thread tries again
        seen.append(len(os.listdir("/proc/self/fd")))
        time.sleep(0.003)
    counts.append(min(seen))
print(counts)
"""


def test_a_data_dir_that_cannot_be_written_costs_no_descriptors(tmp_path):
    first, last = eval(python(UNWRITABLE, tmp_path / "data", OTEL_GEN_DEADLINE="0.01"))  # noqa: S307 - our own output
    assert last == first


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), False),
        (StorageError("data", "is full", "make room"), False),
        (KeyError("of our own"), True),
    ],
)
def test_a_leader_that_cannot_deliver_says_why_and_shows_where_unless_the_disk_is_to_blame(
    caplog, error, told
):
    def refuse():
        raise error

    thread = LeaderThread(refuse, Clock())
    thread.start()
    try:
        (record,) = until(lambda: caplog.records)
    finally:
        thread.stop(10)
    assert (record.levelname, str(error) in record.getMessage()) == ("ERROR", True)
    assert bool(record.exc_info) is told
