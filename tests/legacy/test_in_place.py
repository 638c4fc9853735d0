"""A data_dir in which the former logger's files stand: they are read where they are, beside what is new."""

from __future__ import annotations

import json
import subprocess

import pytest
from typer.testing import CliRunner

import otel_gen
from otel_gen import legacy
from otel_gen.cli.app import app
from otel_gen.importing.run import import_legacy
from otel_gen.older import completed
from otel_gen.readers.stats import stats
from otel_gen.readers.tail import tail
from otel_gen.readers.verify import verify
from tests.importing import corpus
from tests.support import HISTORY

ODD = [
    {"generation": {"output": "text"}},
    {"generation": {"output": {"quality_metrics": [1], "ply_file_hash": [2]}, "timing": [1], "stages": "x"}},
    {"generation": {"timing": {"total_time": 3.5, "queue_time": "y"}, "submission": "x", "stages": [1]}},
    {"validator_feedback": {"received": 1, "score": "high", "accepted": "yes", "validator_uid": []}},
    {"task": {"task_type": [1]}, "failure_analysis": {"failed": "yes", "error_type": [1], "stage": {}}},
    {"metadata": {"generation_id": "generation-17", "timestamp": 5, "validator_uid": "five"}},
]


@pytest.fixture
def stand(data_dir):
    """Put records of the former logger into the data_dir, as it wrote them."""

    def write(*records):
        data_dir.mkdir(0o700)
        (data_dir / HISTORY).write_text("".join(json.dumps(record) + "\n" for record in records))
        (data_dir / HISTORY).chmod(0o600)

    return write


def record_one(data_dir):
    """A generation of now, withheld; the figures that the logger gives with it."""
    logger = legacy.init_logger(data_dir, registry=None)
    id_ = logger.start_generation("TEXT-TO-3D", "new", 1)
    logger.log_submission(id_, False, "no")
    logger.finalize_generation(id_)
    found = logger.get_stats()
    assert otel_gen.shutdown()
    return found


def old_records():
    """One of each outcome, with artifacts that are kept elsewhere."""
    found = corpus.good()
    for record in found.values():
        record["generation"]["output"] = corpus.generation()["output"]
    return found


def test_a_service_goes_on_where_the_former_logger_stopped_and_every_reader_sees_both(stand, data_dir):
    old = old_records()
    stand(*old.values())
    before = (data_dir / HISTORY).read_bytes()
    assert record_one(data_dir) == {
        "total_generations": 6, "accepted": 1, "acceptance_rate": 16.7, "average_clip": 0.2,
    }  # fmt: skip
    assert (data_dir / HISTORY).read_bytes().startswith(before)
    assert [record["outcome"] for record in otel_gen.read(data_dir)] == [*old, "withheld"]
    assert [record["outcome"] for record in tail(data_dir, 3)] == ["withheld", "failed", "withheld"]
    assert stats(data_dir).outcomes == dict.fromkeys(old, 1) | {"withheld": 2}
    assert verify(data_dir).problems == []
    for command in (
        ["stats"],
        ["tail", "-n", "9"],
        ["rotate"],
        ["stats"],
        ["verify"],
        ["recover", "--rebuild"],
    ):
        done = CliRunner().invoke(app, [*command, "--data-dir", str(data_dir)])
        assert (command, done.exit_code) == (command, 0), done.output
    assert len(list(otel_gen.read(data_dir))) == 6


def test_what_the_former_logger_left_open_to_others_is_one_note_and_what_otel_gen_made_a_problem(
    stand, data_dir
):
    stand(*old_records().values())
    for name in ("images", "ply_files", "archive"):
        (data_dir / name).mkdir()
    (data_dir / "ply_files" / "0123456789abcdef.ply").touch()
    (data_dir / "pending_generations.json").write_text("{}")
    (data_dir / "generation_history_2025-09.jsonl").write_text(json.dumps(corpus.old("month")) + "\n")
    record_one(data_dir)
    others = [path for path in data_dir.rglob("*") if path.name != ".otel_gen"]
    before = [path for path in others if path.stat().st_mode & 0o077]
    assert len(before) == 6
    report = verify(data_dir)
    assert report.problems == []
    (note,) = (note for note in report.notes if note.kind == "mode")
    assert "6 files and folders that the older logger left" in note.text
    (data_dir / HISTORY).chmod(0o644)
    (data_dir / ".otel_gen" / "index").chmod(0o640)
    assert {(one.kind, one.place) for one in verify(data_dir).problems} == {
        ("mode", HISTORY), ("mode", ".otel_gen/index"),
    }  # fmt: skip
    command = note.hint.removeprefix("run: ")
    assert command == f"chmod -R go= {data_dir}"
    subprocess.run(command.split(), check=True)
    assert not [note for note in verify(data_dir).notes if note.kind == "mode"]


@pytest.mark.parametrize("parts", ODD, ids=lambda parts: "-".join(parts))
def test_no_old_line_whatever_is_in_it_breaks_a_figure(stand, data_dir, parts):
    stand(corpus.old("odd", **parts))
    assert record_one(data_dir)["total_generations"] == 2
    found = stats(data_dir)
    assert sum(found.outcomes.values()) == 2
    for command in ("stats", "tail"):
        assert CliRunner().invoke(app, [command, "--data-dir", str(data_dir)]).exit_code == 0


def test_whatever_stands_in_the_lines_all_readers_go_on(stand, data_dir):
    stand(*corpus.strange(300, seed=7))
    shown = record_one(data_dir)["total_generations"]
    assert shown > 150
    assert sum(stats(data_dir).outcomes.values()) == shown
    assert CliRunner().invoke(app, ["tail", "-n", "400", "--data-dir", str(data_dir)]).exit_code == 0


def test_an_outcome_read_from_an_old_line_is_the_one_that_an_import_settles(data_dir, tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    corpus.write(folder)
    (folder / "pending_generations.json").unlink()
    read = {r["metadata"]["generation_id"]: r["outcome"] for r in reversed(list(otel_gen.read(folder)))}
    import_legacy(folder, data_dir, tests=True)
    settled = {r["metadata"]["generation_id"]: r["outcome"] for r in otel_gen.read(data_dir)}
    both = read.keys() & settled.keys()
    assert len(both) > 15
    assert {read[id_] for id_ in both} >= {"accepted", "rejected", "unscored", "withheld", "failed"}
    assert {id_: read[id_] for id_ in both} == {id_: settled[id_] for id_ in both}


def test_a_record_of_ours_is_given_as_it_is():
    record = {"schema_version": 1, "outcome": "failed"}
    assert completed(record) is record


def test_an_import_of_the_data_dir_into_itself_takes_only_what_was_pending_and_says_what_cannot_be_read(
    data_dir,
):
    data_dir.mkdir(0o700)
    corpus.write(data_dir)
    before = (data_dir / HISTORY).read_bytes()
    report = import_legacy(data_dir, data_dir)
    assert (report.records, report.outcomes) == (1, {"unsubmitted": 1})
    unreadable = report.found["stands in this data_dir, unreadable"]
    assert (unreadable.n, unreadable.kind) == (3, "lost")  # NaN, null parts, bytes that are no UTF-8
    assert len(list(otel_gen.read(data_dir))) == report.found["stands in this data_dir"].n + 3
    assert before.rpartition(b"\n")[0] in (data_dir / HISTORY).read_bytes()
    again = import_legacy(data_dir, data_dir)
    assert (again.records, again.ok) == (0, False)
    assert lines_of_ours(data_dir) == [corpus.id_of("left")]


def lines_of_ours(data_dir):
    whole = [line for line in (data_dir / HISTORY).read_bytes().splitlines() if line.endswith(b'"}')]
    return [json.loads(line)["metadata"]["generation_id"] for line in whole if b'"source":"legacy"' in line]
