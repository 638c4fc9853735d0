"""Months: several history files replaced as one, whatever comes between."""

from __future__ import annotations

import re

import msgspec

from otel_gen.history import INTENT, decided, records
from otel_gen.tree import Tree

_LEFT = re.compile(r"\.{1,2}generation_[a-z0-9_.-]+\.(new|tmp)")
__all__ = ["finish_intent", "records", "replace_files"]


def replace_files(tree: Tree, contents: dict[str, bytes | None]) -> None:
    """Replace files of data_dir; after a crash all are new, or all are old. None removes one."""
    for name, data in contents.items():
        if data is not None:
            tree.root.replace(f".{name}.new", data)
    tree.dot.replace(INTENT, msgspec.json.encode({name: data is not None for name, data in contents.items()}))
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
    for name in tree.root.names():
        if _LEFT.fullmatch(name):
            tree.root.unlink(name)
