"""Verify tells every kind of damage by its place, and nothing that is only on its way."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest

from otel_gen import semconv as sc
from otel_gen.deletion import delete
from otel_gen.readers.stats import stats
from otel_gen.readers.verify import verify
from otel_gen.record import seal
from otel_gen.recover import recover
from tests.support import until

HISTORY = "generation_history.jsonl"


def look(world):
    return verify(world.path, world.clock)


def found(report):
    return {(one.kind, one.place) for one in report.problems}


def kinds(report):
    return {one.kind for one in report.problems}


def tree(path):
    """Names, sizes, modes and times of everything in a directory."""
    states = {p.relative_to(path): p.lstat() for p in path.rglob("*")}
    return {name: (s.st_size, s.st_mode, s.st_mtime_ns, s.st_ino) for name, s in states.items()}


def test_a_data_dir_at_rest_is_well_and_stays_as_it_is(past):
    before = tree(past.path)
    report = look(past)
    assert report.ok, report.problems
    assert (report.records, report.amendments) == (9, 1)
    assert report.artifacts == 4
    assert report.counters > 20
    assert tree(past.path) == before


def test_a_live_output_that_an_imported_record_has_too_is_no_repeat(world):
    def made(**attributes):
        worker = world.worker(feedback_timeout=0.0)
        gen = worker.start(**attributes).stage("sdxl", 2.0).staged("ply", b"the same").submitted().end()
        worker.die()
        world.step(later=1)
        return gen

    def repeats():
        counted = world.counters()
        wasted = counted.get(("gen3d_wasted_seconds", ("repeated",)), 0)
        assert stats(world.path).wasted_seconds.get("repeated", 0) == wasted
        return counted.get(("gen3d_repeated_outputs", ()), 0), wasted

    imported = made(**{sc.SOURCE: "legacy"})
    made()
    assert (repeats(), look(world).problems) == ((0, 0), [])
    made()
    assert (repeats(), look(world).problems) == ((1, 2.0), [])
    delete(world.leader, imported.id)
    assert (repeats(), look(world).problems) == ((1, 2.0), [])
    world.restart()
    recover(str(world.path), clock=world.clock, rebuild=True)
    assert (repeats(), look(world).problems) == ((1, 2.0), [])


def first_ply(world):
    return next((world.path / "ply_files").glob("*.ply"))


def cut_ply(world):
    ply = first_ply(world)
    ply.write_bytes(ply.read_bytes()[:-1])
    return ply.name


def flip_ply(world):
    ply = first_ply(world)
    data = ply.read_bytes()
    ply.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    return ply.name


def drop_ply(world):
    ply = first_ply(world)
    ply.unlink()
    return ply.name


def link_ply(world):
    ply = first_ply(world)
    ply.rename(world.path.parent / "elsewhere")
    ply.symlink_to(world.path.parent / "elsewhere")
    return ply.name


def cut_history(world):
    path = world.path / HISTORY
    os.truncate(path, path.stat().st_size - 10)
    return "offset "


def flip_history(world):
    path = world.path / HISTORY
    data = bytearray(path.read_bytes())
    start = data.index(b"\n") + 1
    data[start + 200] ^= 1
    path.write_bytes(data)
    return f"{HISTORY}, offset {start}"


def drop_line(world):
    path = world.path / HISTORY
    lines, amended = (
        path.read_bytes().splitlines(keepends=True),
        {a["generation_id"] for a in world.amendments()},
    )
    ids = [json.loads(line)["metadata"]["generation_id"] for line in lines]
    at = next(n for n, id_ in enumerate(ids) if id_ not in amended)
    path.write_bytes(b"".join(lines[:at] + lines[at + 1 :]))
    return ids[at]


def double_line(world):
    path = world.path / HISTORY
    data = path.read_bytes()
    path.write_bytes(data + data[: data.index(b"\n") + 1])
    return f"{HISTORY}, offset {len(data)}"


def copy_month(world):
    shutil.copy(world.path / HISTORY, world.path / "generation_history_2026-08.jsonl")
    return f"{HISTORY}, offset 0"


def no_record(world):
    path = world.path / HISTORY
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(seal({"schema_version": 1, "metadata": {}}))
    return f"{HISTORY}, offset {size}"


def stray_amendment(world):
    amendment = {"event_id": "e-1", "generation_id": "nobody", "kind": "note", "applied": False}
    with (world.path / "generation_amendments.jsonl").open("ab") as file:
        file.write(seal(amendment))
    return "nobody"


def flip_config(world):
    path = world.path / "miner_config_history.jsonl"
    path.write_bytes(seal({"timestamp": "x"}).replace(b"x", b"y", 1))
    return "miner_config_history.jsonl, offset 0"


def cut_archive(world):
    import gzip

    (world.path / "archive").mkdir()
    data = gzip.compress((world.path / HISTORY).read_bytes())
    (world.path / "archive" / "generation_history_2026-01.jsonl.gz").write_bytes(data[:-20])
    return "archive/generation_history_2026-01.jsonl.gz"


def open_mode(world):
    (world.path / HISTORY).chmod(0o644)
    return HISTORY


def open_folder(world):
    (world.path / "ply_files").chmod(0o755)
    return "ply_files"


def refused_still_there(world):
    rejected = next(line for line in world.lines() if line["outcome"] == "rejected")
    digest = rejected["generation"]["output"]["ply_file_hash"].rpartition(":")[2]
    (world.path / "ply_files" / f"{digest}.ply").write_bytes(b"ply")
    return f"{digest}.ply"


def index(world):
    (path,) = (world.path / ".otel_gen").glob("index-*.db")
    return path


def change_counter(world):
    with sqlite3.connect(index(world)) as db:
        db.execute("UPDATE aggregates SET value = '99' WHERE key LIKE '%gen3d_records%'")
    db.close()
    return "gen3d_records"


def break_index(world):
    index(world).write_bytes(b"no database")
    return "index"


def drop_pointer(world):
    (world.path / ".otel_gen" / "index").unlink()
    return "index"


def flip_totals(world):
    path = world.path / ".otel_gen" / "totals.jsonl"
    path.write_bytes(b"{" + path.read_bytes())
    return "totals.jsonl, offset 0"


DAMAGE = {
    cut_ply: "artifact", flip_ply: "artifact", drop_ply: "artifact", link_ply: "link", cut_history: "line",
    flip_history: "line", drop_line: "missing", double_line: "duplicate", copy_month: "duplicate",
    no_record: "shape", stray_amendment: "amendment", flip_config: "line", cut_archive: "line",
    open_mode: "mode", open_folder: "mode", refused_still_there: "kept", change_counter: "counter",
    break_index: "index", drop_pointer: "index", flip_totals: "totals",
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_damage_is_a_problem_with_its_place(past, damage):
    place = damage(past)
    report = look(past)
    assert any(one.kind == DAMAGE[damage] and place in one.place for one in report.problems), report.problems


def test_a_segment_that_was_deleted_twice_counts_once(past):
    path = past.path / ".otel_gen" / "totals.jsonl"
    path.write_bytes(path.read_bytes() * 2)  # as after a power loss that undid the deletion
    past.restart()
    past.step()
    assert look(past).problems == []


@pytest.mark.parametrize("damage", [cut_ply, flip_history, drop_line, change_counter])
def test_one_cause_gives_one_problem(past, damage):
    damage(past)
    assert len(look(past).problems) == 1


def test_a_line_cut_at_any_byte_is_a_problem(past):
    path = past.path / HISTORY
    data = path.read_bytes()
    start = data.rindex(b"\n", 0, -1) + 1
    for end in [start, *range(start + 1, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:end])
        assert not look(past).ok, end


def test_a_file_that_no_record_names_is_a_note(past):
    (past.path / "images").mkdir()
    (past.path / "images" / "0123456789abcdef.png").write_bytes(b"?")
    report = look(past)
    assert report.ok
    assert [note.kind for note in report.notes] == ["unnamed"]


def test_a_generation_whose_process_died_is_a_problem_until_recovery(world):
    worker = world.worker()
    gen = worker.start().stage("sdxl", 1.0)
    assert look(world).ok
    assert look(world).waiting == 1
    worker.die()
    report = look(world)
    assert found(report) == {("open", f"generation {gen.id}")}
    assert "otel-gen recover" in report.problems[0].hint
    recover(str(world.path), clock=world.clock)
    assert look(world).ok


def test_a_submission_within_its_window_is_no_problem_and_behind_it_one(world):
    worker = world.worker(feedback_timeout=60.0)
    worker.start().submitted().end()
    worker.die()
    assert look(world).ok
    world.now += 61
    assert kinds(look(world)) == {"open"}


def test_a_verdict_that_no_record_shows_is_a_problem_until_recovery(past):
    worker = past.worker()
    worker.feedback(past.gens[5], 0.9, validator_uid=57)
    worker.die()
    assert kinds(look(past)) == {"feedback"}
    recover(str(past.path), clock=past.clock)
    assert look(past).ok


def test_the_same_verdict_again_is_no_problem(past):
    worker = past.worker()
    worker.feedback(past.gens[0], 0.8, validator_uid=57)
    worker.die()
    assert look(past).ok


def damaged_segment(world, *, at_end):
    """A dead worker's segment with wrong bytes; the generation in it still awaits its verdict."""
    worker = world.worker(feedback_timeout=1e6)
    worker.start().submitted().end()
    worker.start().withheld().end()
    (segment,) = (world.path / ".otel_gen" / "segments").glob("*.seg")
    data = bytearray(segment.read_bytes())
    end = len(data.rstrip(b"\0"))
    data[end - 5 if at_end else data.index(b"withheld")] ^= 1
    segment.write_bytes(data)
    worker.die()
    return segment.name


def test_a_torn_end_of_a_segment_is_a_note(world):
    name = damaged_segment(world, at_end=True)
    report = look(world)
    assert any(note.kind == "torn" and name in note.place for note in report.notes)
    assert "segment" not in kinds(report)


def test_wrong_bytes_in_a_segment_are_a_problem_until_they_are_set_aside(world):
    name = damaged_segment(world, at_end=False)
    assert any(one.kind == "segment" and name in one.place for one in look(world).problems)
    recover(str(world.path), clock=world.clock)
    report = look(world)
    assert report.ok, report.problems
    assert {note.kind for note in report.notes} == {"quarantine"}


def test_files_alone_are_enough(past, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in (HISTORY, "generation_amendments.jsonl"):
        shutil.copy(past.path / name, alone / name)
    shutil.copytree(past.path / "ply_files", alone / "ply_files")
    report = verify(alone)
    assert report.ok, report.problems
    assert report.records == 9
    assert {p.name for p in alone.iterdir()} == {HISTORY, "generation_amendments.jsonl", "ply_files"}


def test_an_empty_directory_is_well_and_stays_empty(tmp_path):
    assert verify(tmp_path).ok
    assert not list(tmp_path.iterdir())


def test_lines_of_an_older_logger_are_a_note(past):
    with (past.path / HISTORY).open("ab") as file:
        file.write(b'{"metadata":{"generation_id":"old-1"},"outcome":"accepted"}\n')
    report = look(past)
    assert report.ok, report.problems
    assert [note.kind for note in report.notes] == ["older"]


BUSY = """
import os, sys, threading, otel_gen
otel_gen.configure(data_dir=sys.argv[1], registry=None, feedback_timeout=0.2, durability="process")
print("ready", flush=True)
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
n = 0
while not done.wait(0.003):
    n += 1
    with otel_gen.generation(task_type="TEXT-TO-3D", prompt="p", validator_uid=n % 3) as gen:
        with gen.stage("sdxl"):
            gen.output(ply=os.urandom(500))
        gen.submitted()
    if n % 3:
        otel_gen.feedback(gen.id, score=0.0 if n % 2 else 0.8)
    else:
        threading.Timer(0.4, otel_gen.feedback, (gen.id,), {"score": 0.0}).start()
otel_gen.shutdown()
"""


def test_nothing_is_wrong_beside_a_busy_service_and_after_it(data_dir):
    service = subprocess.Popen(
        [sys.executable, "-c", BUSY, data_dir], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        service.stdout.readline()
        until(lambda: (data_dir / "generation_amendments.jsonl").exists())
        for _ in range(6):
            report = verify(data_dir)
            assert report.ok, report.problems
            assert not report.notes
            assert report.leader == str(service.pid)
    finally:
        service.communicate(timeout=30)
    recover(str(data_dir))
    assert verify(data_dir).ok
