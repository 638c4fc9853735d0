"""Several files are replaced as one."""

from __future__ import annotations

import pytest

from otel_gen import history
from otel_gen.errors import StorageError
from otel_gen.months import finish_intent, replace_files

HISTORY, MONTH = "generation_history.jsonl", "generation_history_2026-01.jsonl"


@pytest.fixture
def tree(world):
    (world.path / HISTORY).write_bytes(b"old\n")
    return world.tree


def contents(tree):
    with history.opened(tree.root) as files:
        return {part.name: b"".join(line for _, line in part.lines()) for part in files.parts()}


def test_all_are_new_afterwards_and_nothing_else_is_left(tree):
    replace_files(tree, {HISTORY: b"new\n", MONTH: b"month\n"})
    assert contents(tree) == {MONTH: b"month\n", HISTORY: b"new\n"}
    assert not [name for name in tree.root.names() if name.startswith(".gen")]
    assert not tree.dot.exists(history.INTENT)


def test_none_removes_a_file(tree):
    replace_files(tree, {HISTORY: None, MONTH: b"month\n"})
    assert contents(tree) == {MONTH: b"month\n"}


def test_a_name_that_is_no_line_file_replaces_nothing(tree):
    with pytest.raises(StorageError, match="2025100"):
        replace_files(tree, {HISTORY: b"new\n", "generation_history_2025100.jsonl": b"month\n"})
    assert contents(tree) == {HISTORY: b"old\n"}
    assert not [name for name in tree.root.names() if name.startswith(".gen")]


def test_a_replacement_that_fails_before_it_is_decided_leaves_nothing(tree, monkeypatch):
    def full(name, data, replace=tree.root.replace):
        if MONTH in name:
            raise OSError(28, "No space left on device")
        replace(name, data)

    monkeypatch.setattr(tree.root, "replace", full)
    with pytest.raises(OSError, match="No space"):
        replace_files(tree, {HISTORY: b"new\n", MONTH: b"month\n"})
    assert contents(tree) == {HISTORY: b"old\n"}
    assert not [name for name in tree.root.names() if name.startswith(".gen")]


def test_new_files_without_an_intent_are_swept(tree):
    tree.root.replace(f".{HISTORY}.new", b"new\n")
    tree.root.replace(f"..{HISTORY}.new.tmp", b"ne")
    assert contents(tree) == {HISTORY: b"old\n"}
    finish_intent(tree)
    assert contents(tree) == {HISTORY: b"old\n"}
    assert not [name for name in tree.root.names() if name.startswith((".gen", ".."))]


@pytest.mark.parametrize("intent", [b'{"%s":true}' % HISTORY.encode(), b"", b"{", b"[]", b"\xff"])
def test_an_intent_that_stands_is_carried_out_readable_or_not(tree, intent):
    tree.root.replace(f".{HISTORY}.new", b"new\n")
    tree.dot.replace(history.INTENT, intent)
    assert contents(tree) == {HISTORY: b"new\n"}
    finish_intent(tree)
    finish_intent(tree)
    assert contents(tree) == {HISTORY: b"new\n"}
    assert not tree.dot.exists(history.INTENT)


def test_an_intent_names_only_files_that_are_ours(tree):
    tree.dot.replace(history.INTENT, b'{"../victim":false,"README.md":false}')
    tree.root.replace("README.md", b"mine\n")
    finish_intent(tree)
    assert tree.root.read("README.md") == b"mine\n"


def test_months_come_in_their_order_wherever_they_stand(tree):
    archive = tree.root.sub("archive")
    archive.replace("generation_history_2025-12.jsonl", b"a\n")
    archive.close()
    tree.root.replace(MONTH, b"b\n")
    assert list(contents(tree)) == ["archive/generation_history_2025-12.jsonl", MONTH, HISTORY]
