"""The index is derived: whatever becomes of it, the files bring back the same rows and numbers."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3

import pytest

from otel_gen import maintain
from otel_gen import semconv as sc


def busy(world, seed=1):
    """A mixed history with files, amendments and restarts."""
    dice = random.Random(seed)
    worker = world.worker(feedback_timeout=20.0, rejected_sample_rate=0.5, undecided_keep=200.0)
    waiting = []
    for at in range(24):
        gen = worker.start(**{sc.VALIDATOR_UID: dice.choice([27, 57, 142]), sc.TASK_ID: f"t{at // 2}"})
        gen.stage("queue", dice.random()).stage(dice.choice(["sdxl", "trellis"]), dice.random() * 9)
        gen.staged("ply", b"bytes %d" % dice.randrange(20))
        gen = dice.choice([gen.submitted, gen.submitted, gen.withheld, gen.failed, lambda gen=gen: gen])()
        waiting.append(gen.end())
        if dice.random() < 0.4:
            chosen = waiting.pop(dice.randrange(len(waiting)))
            worker.feedback(chosen, dice.choice([0.0, 0.61, 0.8]), validator_uid=57)
        world.step(later=dice.random() * 20)
        if dice.random() < 0.2:
            world.restart()
    world.step(later=100)
    for gen in waiting[:6]:
        worker.feedback(gen, 0.7, validator_uid=27)
    worker.die()
    world.step(later=30)
    return worker


def delete(world):
    (world.path / ".otel_gen" / "index").unlink()


def overwrite(world):
    for path in (world.path / ".otel_gen").glob("index-*.db"):
        path.write_bytes(b"no database at all" * 1000)


def flip(world):
    for path in (world.path / ".otel_gen").glob("index-*.db"):
        data = bytearray(path.read_bytes())
        for at in range(0, len(data), 4096):
            data[at + 100 : at + 120] = b"\xff" * 20
        path.write_bytes(data)


def truncate(world):
    for path in (world.path / ".otel_gen").glob("index-*.db"):
        path.write_bytes(path.read_bytes()[:5000])


def empty(world):
    for path in (world.path / ".otel_gen").glob("index-*.db"):
        path.write_bytes(b"")


def spoil_numbers(world):
    for path in (world.path / ".otel_gen").glob("index-*.db"):
        db = sqlite3.connect(path)
        db.execute(
            "UPDATE aggregates SET value = '{\"row\": [1], \"exemplars\": {}}' WHERE key LIKE '%clip%' OR 1"
        )
        db.commit()
        db.close()


def vanish(world):
    for path in (world.path / ".otel_gen").glob("index*"):
        path.unlink()


@pytest.mark.parametrize("spoil", [delete, vanish, overwrite, flip, truncate, empty, spoil_numbers])
def test_an_index_that_is_lost_or_damaged_comes_back_with_the_same_numbers_and_rows(world, spoil):
    busy(world)
    aggregates = world.leader.delivery.aggregates
    counters, histograms, rows = world.counters(), dict(aggregates.histograms), world.rows()
    world.restart()
    spoil(world)
    world.step()
    found = world.leader.delivery.aggregates
    known = {key: n for key, n in world.counters().items() if key[0] != "gen3d_capture_errors"}
    assert known == {key: n for key, n in counters.items() if key[0] != "gen3d_capture_errors"}
    assert {k: pytest.approx(v) for k, v in histograms.items()} == found.histograms
    assert world.rows() == rows
    assert len(list((world.path / ".otel_gen").glob("index-*.db"))) == 1


def test_what_damage_was_found_is_counted(world):
    busy(world)
    world.restart()
    overwrite(world)
    world.step()
    world.restart()
    world.step()
    assert world.counters()["gen3d_capture_errors", ("damage",)] == 1


@pytest.mark.parametrize("change", [maintain.fold, maintain.rotate])
def test_folded_and_rotated_files_give_the_same_numbers(world, change):
    busy(world)
    counters, rows = world.counters(), world.rows()
    world.now += 40 * 86_400
    change(world.leader)
    world.restart()
    vanish(world)
    world.leader.step()
    found = {key: n for key, n in world.counters().items() if key[0] != "gen3d_capture_errors"}
    assert found == pytest.approx({key: n for key, n in counters.items() if key[0] != "gen3d_capture_errors"})
    assert [row[:8] for row in world.rows()["delivered"]] == [row[:8] for row in rows["delivered"]]


@pytest.mark.parametrize("cut", [1, 7, 400])
def test_a_torn_tail_of_the_history_is_cut_and_kept_aside_and_its_record_comes_again(world, cut):
    busy(world)
    path = world.path / "generation_history.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    world.restart()
    with path.open("ab") as file:
        file.write(lines[-1][:cut])
    world.step()
    assert path.read_bytes() == b"".join(lines)
    kept = [name for name in world.files(".otel_gen/quarantine") if name.endswith(".torn")]
    assert [(world.path / ".otel_gen" / "quarantine" / name).read_bytes() for name in kept] == [
        lines[-1][:cut]
    ]
    assert world.counters()["gen3d_capture_errors", ("damage",)] == 1


def test_a_line_that_was_written_and_not_committed_is_counted_once(world):
    worker = world.worker()
    world.step()
    worker.start().end()
    ledger = world.leader.delivery.ledger
    real, ledger.commit = ledger.commit, lambda *_: (_ for _ in ()).throw(RuntimeError("power"))
    with pytest.raises(RuntimeError):
        world.leader.step()
    ledger.commit = real
    world.restart()
    world.step()
    assert len(world.lines()) == 1
    assert world.counters()["gen3d_records", ()] == 1


def test_a_history_that_a_foreign_program_renamed_is_gone_on_with(world):
    worker = world.worker()
    first = worker.start().end()
    world.step()
    (world.path / "generation_history.jsonl").rename(world.path / "generation_history.jsonl.1")
    second = worker.start().end()
    world.step()
    world.restart()
    world.step()
    ids = [line["metadata"]["generation_id"] for line in world.lines()]
    assert ids == [second.id]
    moved = world.lines("generation_history.jsonl.1")
    assert [line["metadata"]["generation_id"] for line in moved] == [first.id]
    assert world.counters()["gen3d_records", ()] == 2


def test_a_rename_between_line_and_commit_repeats_nothing(world):
    worker = world.worker()
    worker.start().end()
    world.step()
    gen = worker.start().end()
    ledger = world.leader.delivery.ledger
    ledger.commit = lambda *_: (_ for _ in ()).throw(RuntimeError("power"))
    with pytest.raises(RuntimeError):
        world.leader.step()
    world.restart()
    (world.path / "generation_history.jsonl").rename(world.path / "generation_history.jsonl.1")
    world.step()
    assert world.lines() == []
    assert world.lines("generation_history.jsonl.1")[-1]["metadata"]["generation_id"] == gen.id
    assert world.counters()["gen3d_records", ()] == 2


def test_lines_that_are_no_records_of_ours_stop_nothing(world):
    history = world.path / "generation_history.jsonl"
    old = {"metadata": {"generation_id": "x", "timestamp": "2025-01-01T00:00:00+00:00"}, "task": {}}
    lines = [
        b"{}",
        b"5",
        b"null",
        b"not json",
        b'{"metadata": 3}',
        json.dumps(old).encode(),
        b"\xff\xfe",
        b"",
    ]
    history.write_bytes(b"\n".join(lines) + b"\n")
    (world.path / "generation_amendments.jsonl").write_bytes(b'{}\n[]\n{"event_id": 3}\n\xff\n')
    (world.path / "miner_config_history.jsonl").write_bytes(b'{"changes": 5}\n{}\n[]\n')
    aside = world.path / ".otel_gen" / "quarantine" / "aside.jsonl"
    aside.write_bytes(b"{}\nnonsense\n")
    (world.path / ".otel_gen" / "totals.jsonl").write_bytes(b"{}\nnonsense\n")
    worker = world.worker()
    worker.start().end()
    world.leader.step()
    assert len(history.read_bytes().splitlines()) == len(lines) + 1
    assert world.counters()["gen3d_records", ()] == 1


def test_damage_in_a_dead_segment_is_set_aside_and_the_rest_is_delivered(world):
    worker = world.worker()
    made = [worker.start().end() for _ in range(20)]
    worker.die()
    (segment,) = (world.path / ".otel_gen" / "segments").glob("*.seg")
    data = bytearray(segment.read_bytes())
    at = data.find(made[10].id.encode())
    data[at] ^= 0xFF
    segment.write_bytes(data)
    world.step()
    assert len(world.lines()) == 20  # only the start is damaged: the whole span stands
    assert [name for name in world.files(".otel_gen/quarantine") if name.endswith(".corrupt")]
    assert world.counters()["gen3d_capture_errors", ("damage",)] == 1
    world.restart()
    world.step()
    assert world.counters()["gen3d_capture_errors", ("damage",)] == 1
    assert world.counters()["gen3d_generations_started", ("TEXT-TO-3D",)] == 19


def test_a_segment_that_was_cut_is_delivered_up_to_the_cut(world):
    worker = world.worker()
    made = [worker.start().end() for _ in range(20)]
    worker.die()
    (segment,) = (world.path / ".otel_gen" / "segments").glob("*.seg")
    data = segment.read_bytes()
    segment.write_bytes(data[: data.find(made[10].id.encode()) + 5])
    world.step()
    assert len(world.lines()) == 10
    assert world.counters()["gen3d_capture_errors", ("damage",)] == 1


def test_a_segment_that_is_retired_twice_counts_once(world):
    worker = world.worker()
    for _ in range(3):
        worker.start(**{sc.VALIDATOR_UID: 5}).submitted().end()
    worker.die()
    (segment,) = (world.path / ".otel_gen" / "segments").glob("*.seg")
    kept = world.path.parent / "kept"
    shutil.copy(segment, kept)
    world.step(later=1000)
    assert not segment.exists()
    for _ in range(2):  # as if the crash came between the line in totals.jsonl and the deletion
        world.restart()
        shutil.copy(kept, segment)
        world.step()
    world.restart()
    world.step()
    assert world.counters()["gen3d_generations_started", ("TEXT-TO-3D",)] == 3
    assert world.counters()["gen3d_submissions", ("5",)] == 3


def test_old_lines_of_totals_are_added_up_and_the_numbers_stay(world, monkeypatch):
    monkeypatch.setattr("otel_gen.recall._COMPACT", 5)
    monkeypatch.setattr("otel_gen.recall._APART", 2)
    for _ in range(8):
        worker = world.worker()
        worker.start().end()
        worker.die()
        world.step()
    for _ in range(2):
        world.restart()
        world.step()
        assert world.counters()["gen3d_generations_started", ("TEXT-TO-3D",)] == 8
    assert len((world.path / ".otel_gen" / "totals.jsonl").read_text().splitlines()) == 3


def test_an_older_segment_that_waits_for_a_verdict_outlives_the_retirement_of_later_ones(world):
    worker = world.worker()
    worker.journal.chain.size = 4096
    first = worker.start().submitted().end()
    for _ in range(40):
        worker.start().withheld().end()
    worker.die()
    world.step()
    assert len(list((world.path / ".otel_gen" / "segments").glob("*.seg"))) == 1
    world.restart()
    world.step(later=1000)
    assert first.record["outcome"] == "unscored"
    assert len(world.lines()) == 41
    assert world.counters()["gen3d_generations_started", ("TEXT-TO-3D",)] == 41
    assert not list((world.path / ".otel_gen" / "segments").glob("*.seg"))


def test_a_link_where_a_segment_should_be_is_named_and_stops_nothing(world):
    (world.path / ".otel_gen" / "segments" / "planted.seg").symlink_to("/etc/passwd")
    worker = world.worker()
    worker.start().end()
    world.step()
    world.step()
    assert len(world.lines()) == 1
    assert [name for name in world.files(".otel_gen/quarantine") if name.startswith("planted")]
