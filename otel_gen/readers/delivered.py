"""Which generations have a record: asked of the index, and of the lines that it may not know yet."""

from __future__ import annotations

from collections.abc import Iterable

from otel_gen import history
from otel_gen.files import Folder
from otel_gen.history import History, Part
from otel_gen.index import Index
from otel_gen.lines import HISTORY
from otel_gen.readers.indexed import usable_index
from otel_gen.readers.journal import read_journal


def delivered(root: Folder, ids: Iterable[str]) -> set[str]:
    """Tell which of these generations have a record."""
    wanted = set(ids)
    with usable_index(root) as known, history.opened(root) as files:
        done = {id_ for id_ in wanted if known is not None and known.is_delivered(id_)}
        for part, start in _unknown_to(known, files) if wanted - done else ():
            for _, line in part.lines(start):
                done |= {_id(line)} & wanted
    return done


def _unknown_to(known: Index | None, files: History) -> list[tuple[Part, int]]:
    """List the stretches of the history that an index does not cover."""
    if known is None:
        return [(part, 0) for part in files.months]
    current = [part for part in files.months if part.name == HISTORY]
    same = [part for part in current if str(part.inode) == known.meta("history_inode")]
    return [(part, int(known.meta("history_size", "0")) if same else 0) for part in current]


def _id(line: bytes) -> str:
    record = history.parsed(line)
    return str(record["metadata"]["generation_id"]) if history.is_record(record) else ""


def is_known(root: Folder, generation_id: str | None = None, task_id: str | None = None) -> bool:
    """Tell whether a generation, or any attempt at a task, is on record or under way."""
    generations = read_journal(root).generations  # before the records: what leaves here has one
    if generation_id is not None:
        open_one = generations.get(generation_id)
        return (open_one is not None and open_one.known) or bool(delivered(root, [generation_id]))
    if any(gen.known and gen.task_id == task_id for gen in generations.values()):
        return True
    with usable_index(root) as known:
        if known is not None:
            return bool(known.last_attempts(task_id or ""))
    return any(record["metadata"].get("task_id") == task_id for record in history.records(root))
