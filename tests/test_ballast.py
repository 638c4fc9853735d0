"""Ballast: on a full disk artifacts go first, records get the room that was held back, nothing said is lost."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess

import pytest

import otel_gen
from otel_gen import ballast, index
from otel_gen.errors import StorageError
from otel_gen.readers.verify import verify
from otel_gen.tree import Tree
from tests.support import HISTORY, lines, until
from tests.world import World


@pytest.fixture
def disk(tmp_path):
    """A file system of 48 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", place], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield place
    otel_gen.shutdown()
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (OSError(errno.EIO, "x"), False),
        (ValueError("full"), False),
    ],
)
def test_a_full_disk_is_told_from_other_errors(error, full):
    assert ballast.is_full(error) is full
    outer = StorageError("/x", "cannot be opened")
    outer.__cause__ = error
    assert ballast.is_full(outer) is full
    assert index.is_full(sqlite3.OperationalError("database or disk is full"))
    assert not index.is_full(sqlite3.OperationalError("disk I/O error"))


def test_it_is_held_where_there_is_room_and_given_back(disk):
    tree = Tree(str(disk / "data"))
    ballast.hold(tree.dot)
    held, free = ballast.reserve(tree.dot.fd)
    assert os.stat(disk / "data/.otel_gen/ballast").st_blocks * 512 == held == 3 << 20
    assert ballast.release(tree.dot)
    assert not ballast.release(tree.dot)
    assert ballast.reserve(tree.dot.fd)[1] == free + held
    (disk / "filler").write_bytes(bytes(free))
    ballast.hold(tree.dot)
    assert not tree.dot.exists(ballast.NAME)
    tree.close()


def fill(path, leave=0):
    """Write a file until the disk is full, then give some bytes back."""
    with path.open("wb", buffering=0) as file:
        with pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        file.truncate(file.tell() - leave)


def generate(n, body=b"ply"):
    made = []
    for _ in range(n):
        with otel_gen.generation(task_type="TEXT-TO-3D", prompt="a chair " * 40) as gen:
            gen.output(ply=body)
            gen.submitted()
        made.append(gen)
    return made


def test_on_a_full_disk_artifacts_go_first_and_records_are_written_into_the_ballast(disk):
    data_dir = disk / "data"
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0)
    generate(1)
    until((data_dir / ".otel_gen/ballast").exists)
    until(lambda: (data_dir / HISTORY).exists() and lines(data_dir))
    fill(disk / "filler", leave=64 << 10)
    made = generate(100)
    assert all(gen.durable for gen in made), "the journal has room of its own"
    until(lambda: (data_dir / HISTORY).read_bytes().count(b"\n") == 101)
    assert not (data_dir / ".otel_gen/ballast").exists()
    outputs = [line["generation"]["output"] for line in lines(data_dir)]
    assert [one.get("shed") for one in outputs] == [None] + ["disk full"] * 100
    assert all(one["ply_file_hash"] for one in outputs)
    (disk / "filler").unlink()
    generate(1)
    assert otel_gen.shutdown()
    assert "shed" not in lines(data_dir)[-1]["generation"]["output"]
    assert verify(data_dir).problems == []


def test_outputs_that_wait_for_a_verdict_go_oldest_first_while_space_is_short(disk):
    world = World(disk / "data")
    worker = world.worker(feedback_timeout=0)
    gens = []
    for n in range(30):
        gens.append(worker.start().staged("ply", bytes([n]) * 300_000).submitted().end())
        world.step(later=1)
    assert len(world.files("ply_files")) == 30
    fill(disk / "filler", leave=1 << 20)
    world.step(later=1)
    given_up = [gen.id for gen in gens if gen.record["generation"]["output"].get("shed") == "disk full"]
    assert given_up == [gen.id for gen in gens[:20]], "and with 6 MB there is room enough"
    assert [one["reason"] for one in world.amendments()] == ["disk_full"] * 20
    world.step(later=1)
    assert len(world.files("ply_files")) == 10
    counted, rows = world.counters(), world.rows()
    world.restart()
    (disk / "data/.otel_gen/index").unlink()
    world.step()
    assert (world.counters(), world.rows()) == (counted, rows), "also in an index that is made anew"
    worker.feedback(gens[-1], 0.9, validator_uid=57)
    world.step(later=1)
    assert gens[-1].record["generation"]["output"]["ply_file_path"]
    world.close()
