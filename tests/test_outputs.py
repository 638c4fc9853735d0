"""Outputs: what was handed over last is the output, whatever the stager ends first; nothing stays behind."""

from __future__ import annotations

import hashlib
import os
import struct
import time

import pytest

import otel_gen
from tests.support import lines, until

BIG = os.urandom(20_000_000)
FIXED = b"ply\nthe fixed result"


def cloud(count):
    """A PLY of so many points."""
    names = "".join(f"property float {name}\n" for name in "xyz")
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {count}\n{names}end_header\n"
    return head.encode() + struct.pack("<3f", 1, 2, 3) * count


def staged(data_dir):
    return os.listdir(data_dir / ".otel_gen" / "staging")


def accepted(data_dir, *outputs, pause=0.0):
    """Hand these over one after the other, have the result accepted, and give what the record says of it."""
    with otel_gen.generation(task_type="TEXT-TO-3D") as gen:
        for output in outputs:
            gen.output(**output)
            if pause:
                until(lambda: gen.durable)
                time.sleep(pause)
        gen.submitted()
    assert gen.durable
    assert otel_gen.feedback(gen.id, score=0.9)
    (record,) = until(lambda: lines(data_dir))
    until(lambda: not staged(data_dir))
    return record["generation"]["output"]


def is_kept(data_dir, output, data):
    digest = hashlib.sha256(data).hexdigest()
    assert output["ply_file_hash"] == f"sha256:{digest}"
    assert (data_dir / output["ply_file_path"]).read_bytes() == data
    assert [name for name in os.listdir(data_dir / "ply_files") if name.endswith(".ply")] == [f"{digest}.ply"]
    return True


@pytest.mark.parametrize("pause", [0.0, 0.3])
def test_the_output_that_was_handed_over_last_is_the_one_that_counts(waiting, pause):
    output = accepted(waiting, {"ply": BIG}, {"ply": FIXED}, pause=pause)
    assert is_kept(waiting, output, FIXED)
    assert output["file_size_bytes"] == len(FIXED)
    assert "shed" not in output


@pytest.mark.parametrize("pause", [0.0, 0.3])
@pytest.mark.parametrize(("last", "count"), [(cloud(3), 3), (FIXED, None)])
def test_statistics_are_those_of_the_output_that_counts(waiting, last, count, pause):
    output = accepted(waiting, {"ply": cloud(9)}, {"ply": last}, pause=pause)
    assert is_kept(waiting, output, last)
    assert (output["num_gaussians"], output["gaussian_stats"].get("n")) == (count, count)


def test_what_the_application_counted_itself_stays(waiting):
    output = accepted(
        waiting, {"ply": cloud(9)}, {"ply": cloud(3), "num_gaussians": 5}, {"ply": cloud(4)}, pause=0.3
    )
    assert output["num_gaussians"] == 5
    assert is_kept(waiting, output, cloud(4))


def test_the_same_output_twice_is_one_file(waiting):
    assert is_kept(waiting, accepted(waiting, {"ply": FIXED}, {"ply": FIXED}), FIXED)


def test_a_path_that_leads_nowhere_is_forgotten_once_an_output_is_there(waiting, tmp_path):
    output = accepted(waiting, {"ply": tmp_path / "nowhere.ply"}, {"ply": FIXED})
    assert is_kept(waiting, output, FIXED)
    assert "shed" not in output


def test_an_empty_output_is_kept_as_any_other(waiting):
    assert is_kept(waiting, accepted(waiting, {"ply": b""}), b"")
