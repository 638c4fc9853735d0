"""docs/legacy.md: its example runs, and its tables name every call, option, time and finding that there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from otel_gen.importing.findings import KINDS
from otel_gen.legacy import GenerationDataLogger, options
from otel_gen.legacy.book import Book
from otel_gen.readers.records import read
from tests.support import python

PAGE = (Path(__file__).parents[2] / "docs" / "legacy.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
ROWS = [line for line in PAGE.splitlines() if line.startswith("|")]


def test_the_example_has_15_lines_at_most_runs_and_writes_what_it_says(tmp_path):
    assert len([line for line in EXAMPLE.splitlines() if line.strip()]) <= 15
    assert python(f"import os, sys; os.chdir(sys.argv[1])\n{EXAMPLE}", tmp_path) == "1\n"
    (record,) = read(tmp_path / "data")
    assert (record["outcome"], record["validator_feedback"]["score"]) == ("accepted", 0.81)
    assert record["generation"]["timing"]["sdxl_time"] == 2.5
    assert (tmp_path / "data" / "miner_config_history.jsonl").read_text().count("Miner startup") == 1


def test_every_call_has_a_row_with_its_parameters():
    calls = [
        (name, list(inspect.signature(method).parameters)[1:])
        for name, method in inspect.getmembers(GenerationDataLogger, inspect.isfunction)
        if not name.startswith("_") and name != "log_output"
    ]
    assert len(calls) > 8
    shown = {call.split("(")[0]: call for row in ROWS for call in re.findall(r"`(\w+\([\w, *]*\))`", row)}
    for name, parameters in calls:
        named = [parameter for parameter in parameters if parameter not in ("more", "generation_id")]
        assert [p for p in named if p not in shown[name]] == []
    assert "`log_output(id, ...)`" in PAGE


def test_every_option_that_was_renamed_stands_beside_its_setting():
    for old, setting in options._NAMES.items():
        (row,) = [row for row in ROWS if f"`{old}`" in row]
        assert f"`{setting}`" in row


def test_the_times_are_those_of_the_book():
    for seconds in Book.LIMITS.values():
        assert any(f" {seconds // 1_000_000_000} s " in row for row in ROWS)


def test_every_kind_of_finding_is_told():
    assert {kind for kind in KINDS.values() if not any(row.startswith(f"| {kind}") for row in ROWS)} == set()
