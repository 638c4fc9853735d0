"""Room: on a disk that fills up artifacts give way in their order; starts, ends, verdicts and records do not."""

from __future__ import annotations

import json
import os

import pytest

import otel_gen
from otel_gen import room
from otel_gen.files import Folder
from otel_gen.readers.verify import verify
from otel_gen.recover import recover
from tests.support import lines, settled, small_disk, until
from tests.world import World

MEGABYTE = 1 << 20


@pytest.fixture
def disk(tmp_path):
    """32 MB, of which 4 MB are the reserve."""
    with small_disk(tmp_path / "disk", 32) as path:
        yield path


def ply(at, megabytes=2):
    return b"%02d" % at + bytes(megabytes * MEGABYTE - 2)


def fill(disk, leave):
    """Take all room but so many megabytes."""
    with (disk / "filler").open("ab", buffering=0) as file:
        while free(disk) > leave * MEGABYTE:
            file.write(bytes(65536))


def free(disk):
    state = os.statvfs(disk)
    return state.f_bavail * state.f_frsize


def test_the_reserve_is_an_eighth_of_a_small_disk(disk):
    folder = Folder.root(str(disk))
    assert room.missing(folder) == 0
    assert room.missing(folder, 28 * MEGABYTE) == 0
    assert room.missing(folder, 29 * MEGABYTE) == MEGABYTE
    folder.close()


def test_an_artifact_that_would_take_the_reserve_is_shed_and_everything_else_recorded(disk):
    data_dir = disk / "data"
    otel_gen.configure(data_dir=data_dir, registry=None)
    for at in range(20):
        with otel_gen.generation(task_type="TEXT-TO-3D", prompt=f"chair {at}") as gen:
            gen.output(ply=ply(at))
            gen.submitted()
        otel_gen.feedback(gen.id, score=0.8)
    records = list(settled(data_dir).values())
    outputs = [record["generation"]["output"] for record in records]
    kept = [output for output in outputs if output["ply_file_path"]]
    shed = [output for output in outputs if output.get("shed") == "disk full"]
    assert (len(records), len(kept) + len(shed)) == (20, 20)
    assert len(kept) > 5
    assert len(shed) > 5
    assert all(output["ply_file_hash"] and output["ply_file_path"] is None for output in shed)
    assert {record["outcome"] for record in records} == {"accepted"}
    assert verify(data_dir).problems == []
    folder = Folder.root(str(disk))
    assert room.missing(folder) == 0
    folder.close()


def test_samples_go_before_what_waits_for_a_verdict_and_the_oldest_first(disk):
    world = World(disk / "data")
    worker = world.worker(rejected_sample_rate=1.0, feedback_timeout=10.0)
    rejected = sorted((worker.start().staged("ply", ply(at)).submitted().end() for at in range(3)), key=by_id)
    for gen in rejected:
        worker.feedback(gen, 0.0)
    accepted = worker.start().staged("ply", ply(3)).submitted().end()
    worker.feedback(accepted, 0.9)
    waiting = sorted((worker.start().staged("ply", ply(at)).submitted().end() for at in (4, 5)), key=by_id)
    world.step(later=20)
    assert [kept(gen) for gen in (*rejected, accepted, *waiting)] == [True] * 6
    for leave, gone in ((5, []), (3, rejected[:1]), (3, rejected[:2]), (1, rejected + waiting[:1])):
        fill(disk, leave)
        world.step(later=1)
        everybody = (*rejected, accepted, *waiting)
        assert [gen for gen in everybody if not kept(gen)] == gone
        assert all(shed(gen) == ("disk full" if gen in gone else None) for gen in everybody)
        assert len(world.amendments()) == len(gone)
        (disk / "filler").unlink()
        fill(disk, 5)
    worker.feedback(waiting[0], 0.7)
    world.step()
    assert waiting[0].record["outcome"] == "accepted"
    before = world.rows(), world.counters()
    (world.path / ".otel_gen" / "index").unlink()
    world.restart()
    world.step()
    assert (world.rows(), world.counters()) == before
    world.close()


def test_nothing_is_sampled_while_the_disk_is_full(disk):
    world = World(disk / "data")
    worker = world.worker(rejected_sample_rate=1.0)
    world.step()
    gen = worker.start().staged("ply", ply(0)).submitted().end()
    worker.feedback(gen, 0.0)
    fill(disk, 3)
    world.leader.delivery.expire(0)
    world.step()
    assert gen.record["generation"]["output"]["rejected_sample_path"] is None
    assert world.files("ply_files/rejected_samples") == set()
    world.close()


def test_a_rebuild_knows_what_was_shed(disk):
    data_dir = disk / "data"
    otel_gen.configure(data_dir=data_dir, registry=None, rejected_sample_rate=1.0, feedback_timeout=0)
    with otel_gen.generation(task_type="TEXT-TO-3D", prompt="x") as gen:
        gen.output(ply=ply(0))
        gen.withheld("clip_below_threshold")
    until(lambda: lines(data_dir))
    fill(disk, 3)
    until(lambda: lines(data_dir, "generation_amendments.jsonl"))
    settled(data_dir)
    (record,) = otel_gen.read(data_dir)
    assert record["generation"]["output"]["rejected_sample_path"] is None
    recover(str(data_dir), rebuild=True)
    report = verify(data_dir)
    assert (report.problems, report.records) == ([], 1)
    (amendment,) = map(json.loads, (data_dir / "generation_amendments.jsonl").read_bytes().splitlines())
    assert (amendment["kind"], amendment["reason"]) == ("output", "disk full")


def by_id(gen):
    return gen.id


def kept(gen):
    output = gen.record["generation"]["output"]
    return bool(output["ply_file_path"] or output["rejected_sample_path"])


def shed(gen):
    return gen.record["generation"]["output"].get("shed")
