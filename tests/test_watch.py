"""What a leader's process says in the log: running totals, and where space runs short."""

from __future__ import annotations

import contextlib
import logging
from types import SimpleNamespace

import pytest

import otel_gen
from otel_gen import semconv as sc
from otel_gen.clock import Clock
from otel_gen.leader import Leader
from otel_gen.leading import LeaderThread
from otel_gen.settings import Settings
from otel_gen.snapshot import Snapshot
from otel_gen.tree import Tree
from otel_gen.watch import Watch
from tests.support import until

HOUR = 3600.0
RECORDS = ("gen3d_records", ())


@pytest.fixture(autouse=True)
def _heard(caplog):
    caplog.set_level(logging.INFO, "otel_gen")


class Numbers(SimpleNamespace):
    """What a snapshot shows, set by hand."""

    def __init__(self):
        super().__init__(counters={}, free=(500 * 10**9, 10**12))

    def outputs(self, **sizes):
        self.counters |= {("gen3d_artifact_bytes", (kind,)): size for kind, size in sizes.items()}


def watching(world, numbers, **settings):
    return Watch(Settings(data_dir=str(world.path), **settings), numbers, world.clock)


def said(caplog, level):
    found = [record.getMessage() for record in caplog.records if record.levelno == level]
    caplog.clear()
    return found


def test_the_totals_of_real_records_are_said_at_each_multiple_of_the_interval(world, caplog):
    snapshot = Snapshot(str(world.path), world.clock)
    watch = watching(world, snapshot, stats_interval=4)
    worker = world.worker()

    def deliver(score=None, said=None):
        gen = worker.start(**{sc.VALIDATOR_UID: 57})
        (getattr(gen, said) if said else gen.submitted)()
        gen.end()
        if score is not None:
            worker.feedback(gen, score)
        world.step()
        snapshot.refresh()
        watch.look(leads=True)

    deliver(0.8)
    deliver(0.7)
    deliver(0.0)
    assert said(caplog, logging.INFO) == []
    deliver(said="withheld")
    assert said(caplog, logging.INFO) == [
        f"otel_gen: 4 records in {world.path}: 2 accepted (66.7% of n = 3 verdicts), 0 failed, 1 withheld"
    ]
    for _ in range(3):
        deliver(said="failed")
    assert said(caplog, logging.INFO) == []
    deliver(said="failed")
    assert "8 records" in said(caplog, logging.INFO)[0]


def test_before_the_first_verdict_no_ratio_is_made_up(world, caplog):
    numbers = Numbers()
    watch = watching(world, numbers, stats_interval=1)
    watch.look(leads=True)
    numbers.counters[RECORDS] = 1
    watch.look(leads=True)
    assert "0 accepted (no verdict yet)" in said(caplog, logging.INFO)[0]


def test_who_takes_over_goes_on_where_the_last_leader_stopped(world, caplog):
    numbers = Numbers()
    watch = watching(world, numbers)
    for records, leads, lines in ((99, False, 0), (250, False, 0), (299, True, 0), (301, True, 1)):
        numbers.counters[RECORDS] = records
        watch.look(leads=leads)
        assert len(said(caplog, logging.INFO)) == lines


def test_an_interval_of_0_says_nothing(world, caplog):
    numbers = Numbers()
    watch = watching(world, numbers, stats_interval=0)
    for records in range(0, 1000, 100):
        numbers.counters[RECORDS] = records
        watch.look(leads=True)
    assert said(caplog, logging.INFO) == []


def test_little_free_space_is_a_warning_with_place_figure_and_remedy_once_an_hour(world, caplog):
    numbers = Numbers()
    watch = watching(world, numbers)
    numbers.free = (150 * 10**9, 10**12)
    for _ in range(100):
        watch.look(leads=True)
        world.now += 35
    (warning,) = said(caplog, logging.WARNING)
    assert f"15.0 % (150.0 GB) of the file system of {world.path} is free" in warning
    assert "disk_free_alert_ratio = 0.2" in warning
    assert "make room" in warning
    world.now += HOUR
    watch.look(leads=True)
    assert len(said(caplog, logging.WARNING)) == 1


def test_large_outputs_are_a_warning_of_their_own(world, caplog):
    numbers = Numbers()
    watch = watching(world, numbers, ply_storage_alert_bytes=200e9)
    numbers.outputs(ply=150e9, spz=40e9, image=900e9)
    watch.look(leads=True)
    assert said(caplog, logging.WARNING) == []
    numbers.outputs(rejected_sample=11e9)
    numbers.free = (1, 10**12)
    world.now += 61
    watch.look(leads=True)
    space, outputs = said(caplog, logging.WARNING)
    assert "of the file system" in space
    assert f"{world.path}/ply_files take 201.0 GB, above ply_storage_alert_bytes = 200.0 GB" in outputs
    assert "raise the limit" in outputs


def test_space_is_looked_at_once_a_minute(world, caplog):
    numbers = Numbers()
    watch = watching(world, numbers)
    watch.look(leads=True)
    numbers.free = (0, 10**12)
    world.now += 59
    watch.look(leads=True)
    assert said(caplog, logging.WARNING) == []
    world.now += 2
    watch.look(leads=True)
    assert len(said(caplog, logging.WARNING)) == 1


@pytest.mark.parametrize("limits", [{"disk_free_alert_ratio": 0}, {"ply_storage_alert_bytes": 1e18}])
def test_limits_that_nothing_reaches_and_space_that_is_not_known_say_nothing(world, caplog, limits):
    numbers = Numbers()
    numbers.free = (0, 10**12) if "disk_free_alert_ratio" in limits else (0, 0)
    numbers.outputs(ply=1e11)
    watching(world, numbers, **limits).look(leads=True)
    assert said(caplog, logging.WARNING) == []


def test_only_a_leader_speaks(world, caplog):
    numbers = Numbers()
    numbers.free = (0, 10**12)
    numbers.outputs(ply=1e15)
    watching(world, numbers).look(leads=False)
    assert caplog.records == []


def test_what_is_raised_after_a_pass_does_not_end_the_leaders_thread(tmp_path):
    passes = []

    def after(leads):
        passes.append(leads)
        raise ValueError("a log handler of the application")

    thread = LeaderThread(lambda: Tree(str(tmp_path / "data")), Clock(), after=after)
    thread.start()
    try:
        until(lambda: len(passes) > 1)
    finally:
        thread.stop(5)
    assert all(passes)


def test_a_leader_that_fails_and_cannot_even_be_closed_is_followed_by_another(tmp_path, monkeypatch):
    steps, closed = [], []

    def step(self):
        steps.append(self)
        if len(steps) == 1:
            raise ValueError("a pass that fails")

    real_close = Leader.close

    def close(self):
        closed.append(self)
        real_close(self)
        raise OSError("a file that cannot be closed")

    class Loud(logging.Handler):
        def emit(self, record):
            raise RuntimeError("a log handler of the application")

    monkeypatch.setattr(Leader, "step", step)
    monkeypatch.setattr(Leader, "close", close)
    loud = Loud()
    logging.getLogger("otel_gen").addHandler(loud)
    thread = LeaderThread(lambda: Tree(str(tmp_path / "data")), Clock())
    thread.start()
    try:
        until(lambda: len(steps) > 2)
        assert closed == steps[:1]
        assert steps[1] is not steps[0]
        assert steps[2] is steps[1]
    finally:
        logging.getLogger("otel_gen").removeHandler(loud)
        with contextlib.suppress(OSError):
            thread.stop(5)


def test_a_configured_process_says_its_totals_and_warnings(data_dir, caplog):
    otel_gen.configure(
        data_dir=data_dir, registry=None, stats_interval=2, disk_free_alert_ratio=1, feedback_timeout=0
    )
    for _ in range(2):
        with otel_gen.generation() as gen:
            gen.withheld("x")
        until(lambda: [r for r in caplog.records if r.levelno == logging.WARNING])
    until(
        lambda: f"2 records in {data_dir}: 0 accepted (no verdict yet), 0 failed, 2 withheld" in caplog.text
    )
    (warning,) = said(caplog, logging.WARNING)
    assert f"the file system of {data_dir} is free, below disk_free_alert_ratio = 1" in warning
