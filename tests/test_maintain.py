"""Fold and rotate change where things stand and nothing of what they say, killed or not."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys

import pytest

import otel_gen
from otel_gen import commands, maintain
from otel_gen import semconv as sc
from otel_gen.commands import carry_out, take_answer
from otel_gen.errors import LeaderBusyError, StorageError
from otel_gen.events import Command
from otel_gen.history import INTENT
from otel_gen.readers.verify import verify
from otel_gen.recover import recover
from otel_gen.request import fold, rotate
from otel_gen.tree import LeaderLock
from tests.readers.conftest import _private, past  # noqa: F401 - fixtures
from tests.support import python, until

HISTORY, AMENDMENTS = "generation_history.jsonl", "generation_amendments.jsonl"
MONTH = 31 * 86_400


def read(path):
    """The overlaid records by id, without what only a folded record has."""
    own = ("amendments", "settled_outcome", "settled_feedback", "settled_failure", "checksum")
    found = list(otel_gen.read(path))
    by_id = {r["metadata"]["generation_id"]: {k: v for k, v in r.items() if k not in own} for r in found}
    assert len(by_id) == len(found)
    return by_id


def lines_at(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def months(past):  # noqa: F811
    """A world with records of two months, late verdicts, one that lost, and an output whose wait is over."""
    past.now += MONTH
    worker = past.worker(feedback_timeout=0.0)
    late = [worker.start(**{sc.VALIDATOR_UID: 3}).submitted().end() for _ in range(3)]
    past.step(later=1)
    worker.feedback(late[0], 0.7, validator_uid=3)
    worker.feedback(late[1], 0.0, validator_uid=3)
    past.step(later=1)
    worker.feedback(late[0], 0.1, validator_uid=4)
    worker.die()
    past.step(later=1)
    assert [a["applied"] for a in past.amendments()] == [True, True, True, True, False]
    return past


def test_folding_keeps_what_is_read_and_what_is_counted(months):
    before, counted = read(months.path), months.counters()
    assert maintain.fold(months.leader) == {"folded": 5, "files": 1, "left": 0}
    assert (months.path / AMENDMENTS).read_bytes() == b""
    assert (read(months.path), months.counters()) == (before, counted)
    months.restart()
    assert (read(months.path), months.counters()) == (before, counted)
    assert verify(months.path, months.clock).ok


def test_a_folded_record_says_how_it_was_settled_first(months):
    maintain.fold(months.leader)
    folded = next(r for r in months.lines() if r["metadata"]["generation_id"] == months.gens[4].id)
    assert (folded["outcome"], folded["settled_outcome"]) == ("rejected", "unscored")
    assert folded["settled_feedback"]["received"] is False
    assert [a["applied"] for a in folded["amendments"]] == [True]


def test_rotation_moves_past_months_and_keeps_what_is_counted(months):
    before, counted = read(months.path), months.counters()
    assert maintain.rotate(months.leader) == {"months": {"2026-09": 9}, "folded": 5, "files": 1, "left": 0}
    assert len(lines_at(months.path / "generation_history_2026-09.jsonl")) == 9
    assert len(lines_at(months.path / HISTORY)) == 3
    assert (read(months.path), months.counters()) == (before, counted)
    assert maintain.rotate(months.leader) == {"months": {}, "folded": 0, "files": 0, "left": 0}
    assert verify(months.path, months.clock).ok


def test_counters_are_the_same_made_anew_after_fold_and_rotation(months):
    counted = months.counters()
    maintain.rotate(months.leader)
    months.restart()
    (months.path / ".otel_gen" / "index").unlink()
    months.step()
    assert months.counters() == counted


def test_a_late_verdict_reaches_a_rotated_record(months):
    maintain.rotate(months.leader)
    worker = months.worker()
    worker.feedback(months.gens[5], 0.9, validator_uid=57)
    worker.die()
    months.step(later=1)
    assert read(months.path)[months.gens[5].id]["outcome"] == "accepted"
    assert maintain.fold(months.leader) == {"folded": 1, "files": 1, "left": 0}
    assert verify(months.path, months.clock).ok


def test_an_amendment_to_an_archived_month_waits(months):
    maintain.rotate(months.leader)
    worker = months.worker()
    worker.feedback(months.gens[5], 0.9, validator_uid=57)
    worker.die()
    months.step(later=1)
    month = months.path / "generation_history_2026-09.jsonl"
    (months.path / "archive").mkdir(mode=0o700)
    (months.path / "archive" / f"{month.name}.gz").write_bytes(gzip.compress(month.read_bytes()))
    month.unlink()
    before = read(months.path)
    assert maintain.fold(months.leader) == {"folded": 0, "files": 0, "left": 1}
    assert read(months.path) == before
    assert verify(months.path, months.clock).ok


# --- damaged, or none of ours ------------------------------------------------------------------------------
DAMAGE = {
    "another letter": lambda line: line.replace(b'"TEXT-TO-3D"', b'"TEXT-TO-3E"'),
    "no JSON": lambda line: b"{" + line,
    "no UTF-8": lambda line: line.replace(b"TEXT", b"TE\xd8T"),
    "too deep": lambda line: line.replace(
        b'"miner_config":{}', b'"miner_config":' + b"[" * 5000 + b"]" * 5000
    ),
    "no metadata": lambda line: line.replace(b'"metadata":', b'"netadata":'),
}


def damaged(path, of, change):
    """Change the line that has some bytes; returns it as it is now, and its file's other lines."""
    lines = path.read_bytes().splitlines(keepends=True)
    (at,) = [n for n, line in enumerate(lines) if of.encode() in line]
    before, lines[at] = lines[at], change(lines[at])
    assert lines[at] != before
    path.write_bytes(b"".join(lines))
    return lines[at]


def problems(world):
    return [(one.kind, one.text) for one in verify(world.path, world.clock).problems if one.kind == "line"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_line_stays_as_it_is_and_keeps_its_amendments(months, damage):
    line = damaged(months.path / HISTORY, months.gens[4].id, DAMAGE[damage])
    found = problems(months)
    assert found
    assert maintain.rotate(months.leader) == {"months": {"2026-09": 8}, "folded": 4, "files": 1, "left": 1}
    assert line in (months.path / HISTORY).read_bytes().splitlines(keepends=True)
    assert [a["generation_id"] for a in months.amendments()] == [months.gens[4].id]
    assert problems(months) == found


def test_a_damaged_amendment_stays_as_it_is_and_keeps_back_those_of_its_record(months):
    path = months.path / AMENDMENTS
    line = damaged(path, '"score":0.7', lambda line: line.replace(b'"score":0.7', b'"score":0.9'))
    late = json.loads(line)["generation_id"]
    of_late = [one for one in path.read_bytes().splitlines(keepends=True) if late.encode() in one]
    before, found = read(months.path), problems(months)
    assert found
    assert maintain.rotate(months.leader) == {"months": {"2026-09": 9}, "folded": 3, "files": 1, "left": 2}
    assert path.read_bytes() == b"".join(of_late)
    assert (read(months.path), problems(months)) == (before, found)


OLDER = {
    "metadata": {"generation_id": "0e0e0e0e-0000-4000-8000-000000000000"},
    "task": {"prompt": "of the former logger"}, "generation": {}, "validator_feedback": {}, "failure_analysis": {},
}  # fmt: skip
NO_MONTH = [
    "20251001T120000Z", "1696118400", " 2025-10-01", "2025/10/01", "2025-1-2 00:00:00", "2025-13-01", "2025-100", "",
    "\u0662\u0660\u0662\u0665-10-01", "../../../x", None, 1696118400.5, ["2025-10"],
]  # fmt: skip


def of_the_former_logger(path, *lines):
    """Put lines in front of a history."""
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    path.write_bytes(data + (path.read_bytes() if path.exists() else b""))
    return data


@pytest.mark.parametrize("stamp", NO_MONTH)
def test_an_older_line_without_a_month_stays_where_it_is(months, stamp):
    line = OLDER | {"metadata": OLDER["metadata"] | {"timestamp": stamp}}
    data = of_the_former_logger(months.path / HISTORY, line)
    assert maintain.rotate(months.leader)["months"] == {"2026-09": 9}
    assert (months.path / HISTORY).read_bytes().startswith(data)
    assert sorted(p.name for p in months.path.glob("*generation_history*")) == [
        "generation_history.jsonl", "generation_history_2026-09.jsonl",
    ]  # fmt: skip


def test_lines_that_are_no_records_stay_and_older_ones_move_with_their_month(months):
    strange = of_the_former_logger(months.path / HISTORY, {"metadata": None}, {}, [], 5)
    older = OLDER | {"metadata": OLDER["metadata"] | {"timestamp": "2025-10-01 12:00"}}
    moved = of_the_former_logger(months.path / HISTORY, older)
    found = maintain.rotate(months.leader)
    assert (found["months"], found["folded"]) == ({"2025-10": 1, "2026-09": 9}, 5)
    assert (months.path / "generation_history_2025-10.jsonl").read_bytes() == moved
    assert (months.path / HISTORY).read_bytes().startswith(strange)


def test_a_month_whose_last_line_has_no_end_gets_one_before_more_is_added(months):
    month = months.path / "generation_history_2026-09.jsonl"
    older = OLDER | {"metadata": OLDER["metadata"] | {"timestamp": "2026-09-01"}}
    month.write_bytes(json.dumps(older).encode())
    before = set(read(months.path))
    maintain.rotate(months.leader)
    assert set(read(months.path)) == before | {older["metadata"]["generation_id"]}
    assert verify(months.path, months.clock).ok


def test_what_stands_behind_the_last_newline_stays(months):
    leader = months.leader  # a new one would set it aside
    with (months.path / HISTORY).open("ab") as file:
        file.write(b'{"written":"by an edit')
    maintain.rotate(leader)
    assert (months.path / HISTORY).read_bytes().endswith(b'\n{"written":"by an edit')


# --- killed ------------------------------------------------------------------------------------------------
KILLED = """
import os, sys
from otel_gen.request import rotate
path, left = sys.argv[1], int(sys.argv[2])
def hook(event, args):
    global left
    if event in ("os.rename", "os.remove", "os.truncate"):
        left -= 1
        if left < 0:
            os._exit(9)
sys.addaudithook(hook)
rotate(path)
"""


@pytest.mark.parametrize("index", ["index stays", pytest.param("index lost", marks=pytest.mark.slow)])
def test_killed_before_any_step_everything_is_old_or_new_and_recovery_ends_it(months, tmp_path, index):
    before, counted = read(months.path), months.counters()
    months.restart()
    steps, done = 0, False
    while not done:
        copy = tmp_path / f"killed-{steps}"
        shutil.copytree(months.path, copy)
        done = subprocess.run([sys.executable, "-c", KILLED, copy, str(steps)], check=False).returncode == 0
        assert read(copy) == before, steps
        for path in (copy / ".otel_gen").glob("index-*.db*") if index == "index lost" else ():
            path.unlink()
        recover(str(copy), clock=months.clock)
        assert read(copy) == before, steps
        report = verify(copy, months.clock)
        assert report.ok, (steps, report.problems)
        assert not [p.name for p in copy.iterdir() if p.name.startswith(".gen")], steps
        steps += 1
    assert steps > 15
    assert lines_at(copy / "generation_history_2026-09.jsonl")
    months.path = copy
    assert months.counters() == counted


# --- asked for ---------------------------------------------------------------------------------------------
def test_a_living_leader_is_asked_and_answers(data_dir):
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0)
    with otel_gen.generation(task_type="TEXT-TO-3D", prompt="p") as gen:
        gen.submitted()
    until(lambda: data_dir.exists())
    until(lambda: list(otel_gen.read(data_dir)))
    assert otel_gen.feedback(gen.id, score=0.8)
    until((data_dir / AMENDMENTS).exists)
    code = "import sys; from otel_gen.request import fold; print(fold(sys.argv[1])['folded'])"
    assert python(code, data_dir) == "1\n"
    assert not (data_dir / AMENDMENTS).read_bytes()
    assert not os.listdir(data_dir / ".otel_gen" / "commands")
    (record,) = otel_gen.read(data_dir)
    assert record["outcome"] == "accepted"


def test_a_leader_that_does_not_answer_is_named(world):
    lock = LeaderLock(world.tree.dot)
    assert lock.take()
    lock.beat(world.clock.boot())
    with pytest.raises(LeaderBusyError, match=f"process {os.getpid()} delivers"):
        rotate(world.path, timeout=0.2)
    lock.release()
    otel_gen.shutdown()


def test_without_a_leader_it_is_done_here(months):
    months.restart()
    assert rotate(months.path)["months"] == {"2026-09": 9, "2026-10": 3}
    assert fold(months.path) == {"folded": 0, "files": 0, "left": 0}


def broken(error):
    def do(leader, argument):
        raise error

    return do


@pytest.mark.parametrize(
    "error", [ValueError("odd"), KeyError("metadata"), TypeError("odd"), OSError(28, "full")]
)
def test_an_error_that_nobody_foresaw_is_the_answer(world, monkeypatch, error):
    monkeypatch.setitem(commands.DO, "fold", broken(error))
    world.leader.commands = [Command("fold", "1" * 32)]
    carry_out(world.leader)
    folder = world.tree.dot.sub("commands")
    answer = take_answer(folder, "1" * 32)
    folder.close()
    told = f"{world.tree.path}: the fold is not finished ({error!r}); see to it and try again"
    assert answer == {"ok": False, "error": told}
    world.restart()
    with pytest.raises(StorageError, match="the fold is not finished"):
        fold(world.path)


def test_what_is_half_done_is_a_new_leaders(world, monkeypatch):
    monkeypatch.setitem(commands.DO, "fold", broken(OSError(28, "No space left on device")))
    world.leader.commands = [Command("fold", "1" * 32)]
    world.tree.dot.replace(INTENT, b"{}")
    with pytest.raises(OSError, match="No space"):
        carry_out(world.leader)
    world.tree.dot.unlink(INTENT)
    world.leader.delivery.plan.history.append(b"a line that may have been appended\n")
    world.leader.commands = [Command("fold", "1" * 32)]
    with pytest.raises(OSError, match="No space"):
        carry_out(world.leader)
    assert not os.listdir(world.path / ".otel_gen" / "commands")


def test_answers_that_nobody_came_for_are_swept(world):
    folder = world.tree.dot.sub("commands")
    folder.replace("0" * 32 + ".json", b"{}")
    os.utime(world.path / ".otel_gen" / "commands" / ("0" * 32 + ".json"), (1, 1))
    world.leader.commands = [Command("nonsense", "1" * 32)]
    carry_out(world.leader)
    assert folder.names() == ["1" * 32 + ".json"]
    assert take_answer(folder, "1" * 32) == {"ok": False, "error": "unknown command 'nonsense'"}
    folder.close()
