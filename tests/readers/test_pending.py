"""Pending tells what waits, for what, and whether somebody sees to it."""

from __future__ import annotations

from otel_gen import semconv as sc
from otel_gen.readers.pending import AWAITING, ENDED, INTERRUPTED, RUNNING, pending
from otel_gen.tree import LeaderLock


def states(world):
    return {one.id: one.state for one in pending(world.path, world.clock).waiting}


def test_each_state_is_told_from_files(world):
    alive, dying = world.worker(), world.worker()
    running = alive.start().stage("sdxl", 1.0)
    awaiting = alive.start().submitted().end()
    ended = alive.start().withheld().end()
    died = dying.start()
    dying.die()
    wanted = {running.id: RUNNING, awaiting.id: AWAITING, ended.id: ENDED, died.id: INTERRUPTED}
    assert states(world) == wanted


def test_what_is_delivered_waits_no_more(world):
    worker = world.worker()
    worker.start().withheld().end()
    running = worker.start()
    world.step()
    assert states(world) == {running.id: RUNNING}


def test_what_is_in_the_files_and_not_in_the_index_waits_no_more(world):
    worker = world.worker()
    worker.start().withheld().end()
    gen = worker.start().submitted().end()
    world.step()
    world.restart()
    (world.path / ".otel_gen" / "index").unlink()
    assert states(world) == {gen.id: AWAITING}


def test_ages_go_by_the_clock_and_the_oldest_comes_first(world):
    worker = world.worker(feedback_timeout=100.0)
    worker.start(**{sc.TASK_ID: "first"}).submitted().end()
    world.now += 40
    worker.start(**{sc.TASK_ID: "second"})
    first, second = pending(world.path, world.clock).waiting
    assert (first.task_id, first.age_seconds, first.left_seconds) == ("first", 40.0, 60.0)
    assert (second.task_id, second.age_seconds, second.left_seconds) == ("second", 0.0, None)
    assert first.worker_alive


def test_bad_news_is_what_has_ended_and_nobody_delivers(world):
    worker = world.worker()
    worker.start()
    assert pending(world.path, world.clock).ok
    worker.start().withheld().end()
    assert not pending(world.path, world.clock).ok
    lock = LeaderLock(world.tree.dot)
    assert lock.take()
    lock.beat(world.clock.boot())
    found = pending(world.path, world.clock)
    assert found.ok
    assert found.leader
    lock.release()


def test_a_directory_without_records_has_nothing_that_waits(tmp_path):
    assert pending(tmp_path).waiting == []
    assert not list(tmp_path.iterdir())
