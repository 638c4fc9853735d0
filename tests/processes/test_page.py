"""docs/processes.md: its example runs, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

from otel_gen import miner, propagation
from tests.support import lines, python

PAGE = Path(__file__).parents[2] / "docs" / "processes.md"
TEXT = PAGE.read_text()
(EXAMPLE,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_the_example_gives_one_record_with_the_verdict_and_hands_the_trace_on(tmp_path):
    shown = (
        "\notel_gen.shutdown()\nprint(onward['traceparent'], onward['X-Generation-Id'], onward['X-Task-Id'])"
    )
    out = python(f"import os, sys; os.chdir(sys.argv[1])\n{EXAMPLE}{shown}", tmp_path).split()
    (record,) = lines(tmp_path / "data")
    metadata = record["metadata"]
    (stage,) = record["generation"]["stages"]
    assert out == [f"00-{metadata['trace_id']}-{stage['span_id']}-00", metadata["generation_id"], "task-1"]
    assert (metadata["task_id"], metadata["validator_uid"], record["outcome"]) == ("task-1", 57, "accepted")
    assert record["validator_feedback"]["cooldown_until"] == 0


def test_it_is_short_enough_to_be_read():
    assert len([line for line in EXAMPLE.splitlines() if line.strip()]) <= 15


def test_the_reasons_are_those_that_the_page_explains():
    named = {name: value for name, value in vars(miner).items() if name.isupper() and name[0] != "_"}
    reasons = {value for value in named.values() if isinstance(value, str)}
    listed = re.findall(r"^\| `([a-z_]+)` \| (?:0|`validation|no verdict)", TEXT, re.MULTILINE)
    assert set(listed) == reasons
    assert len(listed) == len(reasons) == 6


def test_every_name_of_the_page_exists():
    calls = re.findall(r"^\| `(\w+)\(", TEXT, re.MULTILINE)
    assert set(calls) == {"headers", "continued", "read"}
    assert all(callable(getattr(propagation, name)) for name in calls)
    asked = re.findall(r"`(?:await )?miner\.(\w+)\(?", TEXT)
    assert len(asked) >= 3
    assert all(callable(getattr(miner, name)) for name in asked)
