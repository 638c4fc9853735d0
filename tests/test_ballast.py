"""Ballast: on a full disk artifacts go first, records get the room that was held back, nothing said is lost."""

from __future__ import annotations

import errno
import os
import sqlite3

import pytest

import otel_gen
from otel_gen import ballast, index, room
from otel_gen.errors import StorageError
from otel_gen.readers.verify import verify
from otel_gen.tree import Tree
from tests.support import HISTORY, lines, small_disk, until


@pytest.fixture
def disk(tmp_path):
    """A file system of 48 MB."""
    with small_disk(tmp_path / "disk", 48) as place:
        yield place
        otel_gen.shutdown()


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
    held, free = 3 << 20, room.space(tree.dot)[0]
    assert os.stat(disk / "data/.otel_gen/ballast").st_blocks * 512 == held
    assert ballast.release(tree.dot)
    assert not ballast.release(tree.dot)
    assert room.space(tree.dot)[0] == free + held
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
