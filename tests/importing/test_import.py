"""Importing what the former logger left: each generation once, whatever stands between them, and a report of it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from typer.testing import CliRunner

import otel_gen
from otel_gen.cli.app import app
from otel_gen.errors import StorageError
from otel_gen.importing.findings import KINDS, LOST
from otel_gen.importing.run import import_legacy
from otel_gen.readers.stats import stats
from otel_gen.readers.verify import verify
from otel_gen.recover import recover
from tests.importing import corpus
from tests.support import AMENDMENTS, HISTORY, lines, until
from tests.world import validator

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "trellis_service_events.csv"


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    return folder


def records(data_dir):
    """The records by id, after each line, file and counter was looked at."""
    schema = validator("record")
    for line in lines(data_dir):
        schema.validate(line)
    assert verify(data_dir).problems == []
    found = [(record["metadata"]["generation_id"], record) for record in otel_gen.read(data_dir)]
    assert len(found) == len(dict(found))
    return dict(found)


def written(data_dir, *, whole=False):
    """How many bytes, or whole lines, the history holds; a torn last line counts as none."""
    history = data_dir / HISTORY
    data = history.read_bytes() if history.exists() else b""
    return data.count(b"\n") if whole else len(data)


def contents(data_dir):
    return {name: (data_dir / name).read_bytes() for name in os.listdir(data_dir) if name.endswith(".jsonl")}


# --- what is read ------------------------------------------------------------------------------------------
def test_every_generation_of_every_file_is_a_record_and_everything_odd_is_told(source, data_dir):
    outcomes = corpus.write(source)
    report = import_legacy(source, data_dir)
    found = records(data_dir)
    named = set(found) - set(outcomes)
    assert {id_: record["outcome"] for id_, record in found.items() if id_ in outcomes} == outcomes
    assert [found[id_]["outcome"] for id_ in named] == ["unscored"]  # the one whose id was none
    assert report.records == len(outcomes) + 1
    told = {what for _, what in corpus.odd() if what}
    told |= {"not UTF-8", "cut short", "archive is damaged", "pending, and finalised elsewhere"}
    assert told == set(report.found)
    assert not report.ok
    assert {record["metadata"]["source"] for record in found.values()} == {"legacy"}


@pytest.mark.parametrize("n", [300, pytest.param(1000, marks=pytest.mark.slow)])
def test_whatever_stands_in_a_line_it_becomes_a_record_or_is_told(source, data_dir, n):
    (source / "ply_files").mkdir()
    (source / "ply_files" / "one.ply").write_bytes(corpus.PLY)
    (source / HISTORY).write_text("".join(json.dumps(one) + "\n" for one in corpus.strange(n, seed=n)))
    report = import_legacy(source, data_dir)
    passed = sum(report.found[what].n for what in ("duplicate id", "not a record") if what in report.found)
    assert report.records == n - passed
    assert report.records > 0.98 * n
    assert {"artifact is missing", "artifact path leads outside", "timestamp cannot be read"} <= set(
        report.found
    )
    found = records(data_dir)
    assert len(found) == len(lines(data_dir)) == report.records
    assert sum(stats(data_dir).outcomes.values()) == report.records
    assert import_legacy(source, data_dir).records == 0


def test_what_a_record_said_it_still_says(source, data_dir):
    corpus.write(source)
    import_legacy(source, data_dir)
    found = records(data_dir)
    accepted = found[corpus.id_of("accepted")]
    assert accepted["metadata"]["timestamp"] == "2025-10-07T12:00:00.123456+00:00"
    assert accepted["generation"]["timing"] == {"sdxl_time": 1.5, "trellis_time": 9.25, "total_time": 12.0}
    assert accepted["generation"]["output"]["quality_metrics"]["clip_score"] == 0.2
    assert accepted["generation"]["output"]["num_gaussians"] == 52_709
    verdict = accepted["validator_feedback"]
    assert (verdict["score"], verdict["feedback_delay_seconds"]) == (0.8123, 60.0)
    kept = data_dir / accepted["generation"]["output"]["ply_file_path"]
    assert kept.read_bytes() == corpus.PLY
    sample = found[corpus.id_of("rejected")]["generation"]["output"]["rejected_sample_path"]
    assert (data_dir / sample).read_bytes() == corpus.PLY + b"2"
    withheld = found[corpus.id_of("withheld")]["generation"]["submission"]
    assert withheld["rejection_reason"] == "clip_score_too_low_0.093"
    assert found[corpus.id_of("failed")]["failure_analysis"]["error_type"] == "oom"
    image = found[corpus.id_of("image")]["task"]
    assert image["prompt"] == f"[BASE64_IMAGE_HASH:{corpus.digest(corpus.PNG)}]"
    assert (data_dir / image["image_file_path"]).read_bytes() == corpus.PNG
    for lost in ("outside", "other", "gone"):
        assert found[corpus.id_of(lost)]["generation"]["output"]["ply_file_path"] is None


def test_a_single_file_can_be_imported_and_tests_too_when_asked(source, data_dir):
    corpus.write(source)
    report = import_legacy(source / "generation_history_2025-09.jsonl", data_dir)
    assert (report.files, report.records) == (1, 1)
    assert corpus.id_of("test") not in records(data_dir)
    import_legacy(source, data_dir, tests=True)
    assert corpus.id_of("test") in records(data_dir)


def test_a_directory_without_any_of_it_is_refused_with_what_to_do(source, data_dir):
    with pytest.raises(StorageError, match="holds nothing of the former logger"):
        import_legacy(source, data_dir)


def test_what_is_imported_is_outside_the_live_counters(source, data_dir):
    corpus.write(source)
    import_legacy(source, data_dir)
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0)
    with otel_gen.generation() as gen:
        gen.withheld("x")
    until(lambda: gen.id in {r["metadata"]["generation_id"] for r in otel_gen.read(data_dir)})
    otel_gen.shutdown()
    found = records(data_dir)
    live = [r for r in found.values() if not r["metadata"].get("source")]
    assert (len(live), len(found) > 10) == (1, True)


# --- once --------------------------------------------------------------------------------------------------
def test_a_second_import_writes_nothing_and_says_so(source, data_dir):
    corpus.write(source)
    first = import_legacy(source, data_dir)
    before = contents(data_dir)
    second = import_legacy(source, data_dir)
    assert contents(data_dir) == before
    assert (second.records, second.found["imported before"].n) == (0, first.records)


def test_a_verdict_that_came_after_the_first_import_is_an_amendment(source, data_dir):
    line = source / HISTORY
    line.write_text(json.dumps(corpus.old("one")) + "\n")
    import_legacy(source, data_dir)
    line.write_text(json.dumps(corpus.old("one", validator_feedback=corpus.feedback(0.9))) + "\n")
    assert import_legacy(source, data_dir).records == 0
    (record,) = records(data_dir).values()
    assert (record["outcome"], record["validator_feedback"]["score"]) == ("accepted", 0.9)


def test_a_verdict_that_comes_after_the_import_joins_the_imported_record(source, data_dir):
    (source / HISTORY).write_text(json.dumps(corpus.old("one")) + "\n")
    import_legacy(source, data_dir)
    assert otel_gen.feedback(corpus.id_of("one"), score=0.7, validator_uid=57, data_dir=data_dir)
    recover(str(data_dir))
    (record,) = records(data_dir).values()
    assert (record["outcome"], record["validator_feedback"]["score"]) == ("accepted", 0.7)
    assert len(lines(data_dir, AMENDMENTS)) == 1


@pytest.mark.crash
def test_an_import_that_is_killed_anywhere_is_finished_by_another(source, data_dir):
    names = [f"n{n}" for n in range(1200)]
    with (source / HISTORY).open("w") as file:
        for name in names:
            file.write(json.dumps(corpus.old(name, validator_feedback=corpus.feedback(0.5))) + "\n")
    code = "import sys; from otel_gen.importing.run import import_legacy as run; run(*sys.argv[1:])"
    left = [0]
    for comes in (
        (data_dir / ".otel_gen").exists,
        lambda: written(data_dir),
        lambda: written(data_dir) > left[-1],
    ):
        process = subprocess.Popen([sys.executable, "-c", code, source, data_dir])
        until(comes)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        left.append(written(data_dir))
    assert 0 < left[2] < left[3]
    assert written(data_dir, whole=True) < len(names)
    report = import_legacy(source, data_dir)
    assert report.ok
    found = records(data_dir)
    assert found.keys() == set(map(corpus.id_of, names))
    assert {record["outcome"] for record in found.values()} == {"accepted"}


def test_a_live_service_goes_on_beside_an_import(source, data_dir):
    corpus.write(source)
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0)
    ids = []
    for _ in range(20):
        with otel_gen.generation() as gen:
            gen.withheld("x")
        ids.append(gen.id)
    report = import_legacy(source, data_dir)
    otel_gen.shutdown()
    found = records(data_dir)
    assert set(ids) < set(found)
    assert len(found) == 20 + report.records


# --- how it is told ----------------------------------------------------------------------------------------
def test_the_command_says_what_was_imported_and_what_was_lost_and_where(source, data_dir):
    corpus.write(source)
    done = CliRunner().invoke(app, ["import-legacy", str(source), "--data-dir", str(data_dir)])
    assert done.exit_code == 1
    assert "22 records and" in done.output
    assert "generation_history.jsonl:" in done.output.replace("\n", "")
    again = CliRunner().invoke(app, ["import-legacy", str(source), "--data-dir", str(data_dir), "--json"])
    found = json.loads(again.stdout)
    assert found["records"] == 0
    assert all(KINDS[what] == one["kind"] for what, one in found["found"].items())
    assert any(one["kind"] == LOST for one in found["found"].values())


def test_thousands_of_real_generations_become_as_many_records(source, data_dir):
    if not REAL.exists():
        pytest.skip("the real generations are not beside this checkout")
    with REAL.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["gaussians"]]
    with (source / HISTORY).open("w") as file:
        for number, row in enumerate(rows):
            file.write(json.dumps(as_old(number, row)) + "\n")
    begin = time.monotonic()
    report = import_legacy(source, data_dir)
    print(f"{report.records} records in {time.monotonic() - begin:.1f} s")
    assert (report.records, report.found, len(rows) > 3000) == (len(rows), {}, True)
    assert len(records(data_dir)) == len(rows)


def as_old(number, row):
    """The record that the former logger would have written of an event of that service."""
    record = corpus.old(f"real {number}", when=row["ts_utc"].replace(" ", "T") + "+00:00")
    record["generation"]["timing"] = {
        "trellis_time": float(row["gen_or_load_s"]),
        "total_time": float(row["total_s"]),
    }
    record["generation"]["output"] |= {
        "num_gaussians": int(row["gaussians"]), "file_size_mb": float(row["file_mib"]),
    }  # fmt: skip
    return record


def test_what_was_imported_while_it_was_pending_and_is_finalised_since_is_told(tmp_path, data_dir):
    old = {
        "metadata": {"generation_id": str(uuid.uuid4()), "timestamp": "2026-10-01T10:00:00Z"},
        "task": {"task_type": "TEXT-TO-3D", "prompt": "x"},
        "generation": {"timing": {}, "output": {}, "submission": {}},
    }
    source = tmp_path / "old"
    source.mkdir()
    (source / "pending_generations.json").write_text(json.dumps({old["metadata"]["generation_id"]: old}))
    assert import_legacy(source, data_dir).ok
    assert import_legacy(source, data_dir).ok
    (source / "pending_generations.json").unlink()
    old["generation"]["submission"] = {"submitted": True, "submission_time": "2026-10-01T10:00:20Z"}
    (source / "generation_history.jsonl").write_text(json.dumps(old) + "\n")
    report = import_legacy(source, data_dir)
    assert (report.ok, list(report.found)) == (False, ["finalised after it was imported"])
