"""docs/zero-code.md says what is: its mapping is one, its tables name every key."""

from __future__ import annotations

import re

from otel_gen.zerocode.mapping import GenerationTable, Rule, StageTable, read
from tests.zerocode.world import ROOT

PAGE = (ROOT / "docs" / "zero-code.md").read_text()


def named(heading):
    """The keys in the first column of the table under a heading's words."""
    table = PAGE.split(heading)[1].split("\n\n")[1]
    rows = [row.strip("| ").split(" | ")[0] for row in table.splitlines()[2:]]
    return {key for row in rows for key in row.split(", ")}


def test_its_mapping_is_one(tmp_path):
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "mapping.toml"
    path.write_text(example)
    assert [plan.name for plan in read(path).plans] == [None, "queue", "sd35", "validation"]


def test_its_tables_name_every_key():
    assert named("outputs = { clip_score") == {
        *StageTable.__struct_fields__,
        *GenerationTable.__struct_fields__,
    }
    assert named("rule holds when") == {*Rule.__struct_fields__} - {"outcome"}


def test_its_tests_exist():
    files = re.findall(r"`(tests/[^`]+)`", PAGE)
    assert files
    assert [file for file in files if not (ROOT / file).is_file()] == []
