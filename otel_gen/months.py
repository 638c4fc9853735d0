"""Months: several history files replaced as one, whatever comes between."""

from __future__ import annotations

import re

import msgspec

from otel_gen.errors import StorageError
from otel_gen.history import INTENT, decided, is_line_file, records
from otel_gen.tree import Tree

_LEFT = re.compile(r"\.{1,2}generation_[a-z0-9_.-]+\.(new|tmp)")
__all__ = ["finish_intent", "records", "replace_files"]


def replace_files(tree: Tree, contents: dict[str, bytes | None]) -> None:
    """Replace line files of data_dir; after a crash all are new, or all are old. None removes one.

    Raises StorageError, and replaces nothing, where a name is no line file's: no intent could speak of it.
    """
    for name in contents:
        if not is_line_file(name):
            raise StorageError(
                tree.path, f"{name!r} is no line file; nothing was replaced", "please report it"
            )
    try:
        for name, data in contents.items():
            if data is not None:
                tree.root.replace(f".{name}.new", data)
        intent = {name: data is not None for name, data in contents.items()}
        tree.dot.replace(INTENT, msgspec.json.encode(intent))
    except OSError:
        if not tree.dot.exists(INTENT):
            _sweep(tree)
        raise
    finish_intent(tree)


def finish_intent(tree: Tree) -> None:
    """Carry out what an intent says, as often as needed; without one, remove what a broken replace left."""
    if tree.dot.exists(INTENT):
        for name, stays in decided(tree.root, tree.dot.read(INTENT)).items():
            if stays and tree.root.exists(f".{name}.new"):
                tree.root.rename(f".{name}.new", name)
            elif not stays:
                tree.root.unlink(name)
        tree.root.sync()
        tree.dot.unlink(INTENT)
        tree.dot.sync()
    _sweep(tree)


def _sweep(tree: Tree) -> None:
    """Remove new files that nothing decided on: the old ones go on, and no later intent may find these."""
    for name in tree.root.names():
        if _LEFT.fullmatch(name):
            tree.root.unlink(name)
