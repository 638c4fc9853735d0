"""The pages in docs/ say what is: settings, tests that exist, links that lead somewhere."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

from otel_gen.settings import Policy, Settings

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
CITING = [
    DOCS / "contract.md",
    DOCS / "faults.md",
    DOCS / "guarantees.md",
    DOCS / "legacy.md",
    DOCS / "security.md",
    *sorted((DOCS / "decisions").glob("*.md")),
]
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))


def rows(text):
    """The cells of every table row of a page."""
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def anchor(heading):
    """The fragment that leads to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page):
    return {anchor(heading) for heading in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)}


def name(page):
    return str(page.relative_to(ROOT))


def test_settings_are_listed_with_their_defaults_and_no_other():
    page = (DOCS / "settings.md").read_text()
    shown = {row[0].strip("`| "): ast.literal_eval(row[1].strip("`")) for row in rows(page) if "`" in row[0]}
    assert shown == {field.name: field.default for field in fields(Settings)}
    assert list(shown) == [field.name for field in fields(Settings)]


def test_the_settings_that_travel_with_the_journal_are_those_of_the_policy():
    part = (DOCS / "settings.md").read_text().split("## Which settings decide")[1]
    listed = re.findall(r"^`.+`$", part, re.MULTILINE)
    assert [word.strip("`") for line in listed for word in line.split()] == list(Policy.__struct_fields__)


@pytest.mark.parametrize("page", CITING, ids=name)
def test_every_test_that_is_named_exists(page):
    text = page.read_text()
    files = set(re.findall(r"`(tests/[^` ]+)`", text))
    assert files
    assert [file for file in sorted(files) if not (ROOT / file).exists()] == []
    for file, test in re.findall(r"`(tests/[^` ]+\.py)`\s+\(`(test_\w+)`\)", text):
        assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE), test


def test_each_of_the_13_promises_names_its_tests():
    sections = re.split(r"^### ", (DOCS / "guarantees.md").read_text(), flags=re.MULTILINE)[1:]
    assert [section.split(".")[0] for section in sections] == [f"I{n}" for n in range(1, 14)]
    assert [section for section in sections if "`tests/" not in section] == []


def test_each_point_of_the_contract_names_its_tests():
    points = re.split(r"^\*\*(?=\d+\.)", (DOCS / "contract.md").read_text(), flags=re.MULTILINE)[1:]
    assert [int(point.split(".")[0]) for point in points] == list(range(1, 21))
    assert [point for point in points if "`tests/" not in point] == []


def test_decisions_are_numbered_in_their_order_and_titled_by_their_number():
    assert DECISIONS
    for number, page in enumerate(DECISIONS, 1):
        assert re.fullmatch(rf"{number:04d}-[a-z0-9-]+\.md", page.name)
        assert page.read_text().startswith(f"# {number}. ")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_a_file_and_a_heading(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not fragment or fragment in anchors(file), target
