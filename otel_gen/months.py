"""Months: which history files there are, and how they are read and replaced as one."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator

import msgspec

from otel_gen.files import Folder
from otel_gen.lines import HISTORY
from otel_gen.record import Record
from otel_gen.tree import Tree

INTENT = "intent.json"
_MONTH = re.compile(r"generation_history_(\d{4}-\d{2})\.jsonl(\.gz)?")
_loads = msgspec.json.Decoder().decode


def history_files(root: Folder) -> list[tuple[Folder | None, str]]:
    """List history files, oldest month first, the current one last; archive/ is `archive`."""
    found = [(name, None) for name in root.names() if _MONTH.fullmatch(name)]
    places: list[tuple[Folder | None, str]] = [(None, name) for name, _ in found]
    if root.exists("archive"):
        archive = root.sub("archive", create=False)
        places += [(archive, name) for name in archive.names() if _MONTH.fullmatch(name)]
    places.sort(key=lambda place: place[1])
    return [*places, (None, HISTORY)] if root.exists(HISTORY) else places


def read_lines(folder: Folder, name: str) -> Iterator[tuple[int, bytes]]:
    """Read a history file, compressed or not: offset, line with its newline (if it has one)."""
    with folder.opened(name) as fd, os.fdopen(os.dup(fd), "rb") as raw:
        stream = gzip.GzipFile(fileobj=raw) if name.endswith(".gz") else raw
        offset = 0
        for line in stream:
            yield offset, line
            offset += len(line)


def records(root: Folder) -> Iterator[Record]:
    """Read all records as written, oldest file first; lines that are no JSON are passed over."""
    for folder, name in history_files(root):
        for _, line in read_lines(folder or root, name):
            try:
                yield _loads(line)
            except msgspec.DecodeError:
                continue


def replace_files(tree: Tree, contents: dict[str, bytes | None]) -> None:
    """Replace several files of data_dir as one; after a crash all are new or all are old. None removes one."""
    for name, data in contents.items():
        if data is not None:
            tree.root.replace(f".{name}.new", data)
    tree.dot.replace(INTENT, msgspec.json.encode({name: data is not None for name, data in contents.items()}))
    finish_intent(tree)


def finish_intent(tree: Tree) -> None:
    """Carry out what an intent says, as often as needed; without one, remove what a broken replace left."""
    if tree.dot.exists(INTENT):
        for name, stays in _loads(tree.dot.read(INTENT)).items():
            if stays and tree.root.exists(f".{name}.new"):
                tree.root.rename(f".{name}.new", name)
            elif not stays:
                tree.root.unlink(name)
        tree.root.sync()
        tree.dot.unlink(INTENT)
        tree.dot.sync()
    for name in tree.root.names():
        if name.startswith(".generation_") and name.endswith((".new", ".tmp")):
            tree.root.unlink(name)
