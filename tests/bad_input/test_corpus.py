"""Bad input gives one valid record or a clear refusal, soon, in bounded memory, and never an exception."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from otel_gen.readers.strict import fault
from otel_gen.readers.verify import verify
from tests.bad_input.corpus import CASES
from tests.world import validator

pytest.importorskip("numpy", reason="some of the numbers are numpy's")
pytest.importorskip("PIL", reason="some of the images are drawn")

SECONDS, MEGABYTES = 1.0, 400
_schema = validator("record")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The corpus in a process of its own, with everything open to others that a umask can open."""
    data_dir = tmp_path_factory.mktemp("bad") / "data"
    env = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    env["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-m", "tests.bad_input.corpus", str(data_dir)],
        capture_output=True, text=True, timeout=110, env=env, check=False, umask=0, cwd=data_dir.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    *told, metrics = map(json.loads, done.stdout.splitlines())
    return data_dir, {one["name"]: one for one in told}, metrics["metrics"], done.stderr


@pytest.fixture(scope="module")
def records(ran):
    """All records by id, each line strict JSON and valid by the schema."""
    found = {}
    for line in (ran[0] / "generation_history.jsonl").read_bytes().splitlines(keepends=True):
        record, wrong = fault(line)
        assert not wrong, wrong
        _schema.validate(record)
        assert record["metadata"]["generation_id"] not in found
        found[record["metadata"]["generation_id"]] = record
    return found


def test_the_corpus_is_large_and_no_case_was_left_out(ran):
    assert len(CASES) >= 200
    assert ran[1].keys() == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_one_valid_record_or_a_clear_refusal(ran, records, name):
    case, told = CASES[name], ran[1][name]
    assert told["error"] == ""
    assert told["seconds"] < SECONDS
    assert told["megabytes"] < MEGABYTES
    assert told["reason"] == case.refused
    case.expect(records[told["id"]])


def test_metrics_equal_the_records_after_all_of_them(ran, records):
    counted = Counter((r["task"]["task_type"], r["outcome"]) for r in records.values())
    known = ("TEXT-TO-3D", "IMAGE-TO-3D")
    for (kind, outcome), n in counted.items():
        if kind in known:
            assert f'gen3d_generations_total{{outcome="{outcome}",task_type="{kind}"}} {n:.1f}\n' in ran[2]
    assert f"gen3d_records_total {len(records)}.0\n" in ran[2]
    report = verify(ran[0])
    assert report.counters > 20
    assert report.problems == []


def test_nothing_of_it_is_open_to_others(ran):
    paths = [ran[0], *ran[0].rglob("*")]
    assert len(paths) > 50
    assert {oct(path.stat().st_mode & 0o777) for path in paths} == {"0o700", "0o600"}


def test_nothing_was_made_outside(ran):
    assert os.listdir(ran[0].parent) == ["data"]
