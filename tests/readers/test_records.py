"""Reading gives every record once, as of one moment, whatever a leader does meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import otel_gen
from otel_gen.errors import StorageError
from otel_gen.request import rotate
from tests.support import until

HISTORY = "generation_history.jsonl"


def ids(data_dir):
    return [record["metadata"]["generation_id"] for record in otel_gen.read(data_dir)]


def test_amendments_are_laid_over(past):
    first = {line["metadata"]["generation_id"]: line["outcome"] for line in past.lines()}
    read = {r["metadata"]["generation_id"]: r["outcome"] for r in otel_gen.read(past.path)}
    late = past.gens[4].id
    assert (first[late], read[late]) == ("unscored", "rejected")
    assert first | {late: "rejected"} == read


def test_a_history_cut_at_any_byte_gives_its_whole_lines(past):
    path = past.path / HISTORY
    data = path.read_bytes()
    whole = ids(past.path)
    for end in range(len(data) - 1, data.rindex(b"\n", 0, -1), -1):
        os.truncate(path, end)
        assert ids(past.path) == whole[:-1], end


def test_lines_that_are_no_records_are_passed_over(past):
    whole = ids(past.path)
    with (past.path / HISTORY).open("ab") as file:
        file.write(b'5\n{}\nnull\n\xff\n{"metadata":{}}\n{"metadata":{"generation_id":1}}\n[[[\n')
    with (past.path / "generation_amendments.jsonl").open("ab") as file:
        file.write(b'5\n{}\n{"generation_id":"x"}\n{"generation_id":"x","applied":tr')
    assert ids(past.path) == whole


def test_history_files_alone_are_enough(past, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "generation_history_2026-08.jsonl").write_bytes((past.path / HISTORY).read_bytes())
    assert ids(alone) == ids(past.path)


def test_a_missing_directory_is_said(tmp_path):
    with pytest.raises(StorageError, match="nowhere"):
        list(otel_gen.read(tmp_path / "nowhere"))


def test_a_link_in_the_place_of_a_history_is_refused(past, tmp_path):
    (past.path / HISTORY).rename(tmp_path / "elsewhere")
    (past.path / HISTORY).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=HISTORY):
        list(otel_gen.read(past.path))


WRITER = """
import sys, time, otel_gen
otel_gen.configure(data_dir=sys.argv[1], registry=None, durability="process")
while True:
    with otel_gen.generation(task_type="TEXT-TO-3D", prompt="x" * 3000) as gen:
        gen.withheld("no")
    time.sleep(0.003)  # faster than a leader delivers, its passes and so its answers grow longer and longer
"""


def test_no_line_comes_twice_or_torn_while_a_leader_writes_and_rotates(past):
    old = set(ids(past.path))
    writer = subprocess.Popen([sys.executable, "-c", WRITER, past.path])
    try:
        until(lambda: len(ids(past.path)) > len(old) + 20)
        seen = len(old)
        for n in range(40):
            if n == 10:
                rotate(past.path)
            found = ids(past.path)
            assert len(found) == len(set(found))
            assert old <= set(found)
            assert len(found) >= seen
            seen = len(found)
    finally:
        writer.kill()
        writer.wait()
    assert (past.path / "generation_history_2026-09.jsonl").exists()


def test_a_replacement_under_way_reads_as_done(past):
    """The intent is written, no name is changed yet: the new files count."""
    path, whole = past.path, ids(past.path)
    lines = (path / HISTORY).read_bytes().splitlines(keepends=True)
    (path / ".generation_history_2026-09.jsonl.new").write_bytes(b"".join(lines[:5]))
    (path / f".{HISTORY}.new").write_bytes(b"".join(lines[5:]))
    assert ids(path) == whole
    intent = path / ".otel_gen" / "intent.json"
    intent.write_text(json.dumps({"generation_history_2026-09.jsonl": True, HISTORY: True}))
    assert ids(path) == whole
    (path / ".generation_history_2026-09.jsonl.new").rename(path / "generation_history_2026-09.jsonl")
    assert ids(path) == whole
    intent.write_bytes(b"{torn")
    assert ids(path) == whole
