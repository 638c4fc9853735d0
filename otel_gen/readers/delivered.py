"""Which generations have a record: asked of the index, and of the lines that it may not know yet."""

from __future__ import annotations

from collections.abc import Iterable

from otel_gen import history
from otel_gen.files import Folder
from otel_gen.history import History, Part
from otel_gen.index import Index
from otel_gen.lines import HISTORY
from otel_gen.readers.indexed import usable_index
from otel_gen.tombs import tomb_id


def delivered(root: Folder, ids: Iterable[str]) -> set[str]:
    """Tell which of these generations have a record, or had one that was deleted."""
    wanted = set(ids)
    with usable_index(root) as index, history.opened(root) as files:
        done = {id_ for id_ in wanted if index is not None and index.is_delivered(id_)}
        lines = {id_: id_ for id_ in wanted - done} | {tomb_id(id_): id_ for id_ in wanted - done}
        for part, start in unknown_to(index, files) if lines else ():
            for _, line in part.lines(start):
                done |= {lines[found] for found in {_id(line)} & lines.keys()}
    return done


def is_deleted(root: Folder, generation_id: str) -> bool:
    """Tell whether a generation was deleted."""
    return bool(delivered(root, [tomb_id(generation_id)]))


def unknown_to(index: Index | None, files: History) -> list[tuple[Part, int]]:
    """List the stretches of the history that an index does not cover."""
    if index is None:
        return [(part, 0) for part in files.months]
    current = [part for part in files.months if part.name == HISTORY]
    same = [part for part in current if str(part.inode) == index.meta("history_inode")]
    return [(part, int(index.meta("history_size", "0")) if same else 0) for part in current]


def _id(line: bytes) -> str:
    record = history.parsed(line)
    return str(record["metadata"]["generation_id"]) if history.is_record(record) else ""
