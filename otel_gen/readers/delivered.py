"""Which generations have a record: asked of the index, and of the lines that it may not know yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from otel_gen import history
from otel_gen import semconv as sc
from otel_gen.files import Folder
from otel_gen.fold import Generation
from otel_gen.history import History, Part
from otel_gen.index import Index
from otel_gen.lines import HISTORY
from otel_gen.readers.indexed import usable_index
from otel_gen.readers.journal import read_journal
from otel_gen.record import Record
from otel_gen.rows import from_record
from otel_gen.tombs import tomb_id


def delivered(root: Folder, ids: Iterable[str]) -> set[str]:
    """Tell which of these generations have a record, or had one that was deleted."""
    wanted = set(ids)
    with usable_index(root) as index, history.opened(root) as files:
        done = {id_ for id_ in wanted if index is not None and index.is_delivered(id_)}
        lines = {id_: id_ for id_ in wanted - done} | {tomb_id(id_): id_ for id_ in wanted - done}
        for part, start in _unknown_to(index, files) if lines else ():
            for _, line in part.lines(start):
                done |= {lines[found] for found in {_id(line)} & lines.keys()}
    return done


def is_deleted(root: Folder, generation_id: str) -> bool:
    """Tell whether a generation was deleted."""
    return bool(delivered(root, [tomb_id(generation_id)]))


def _unknown_to(index: Index | None, files: History) -> list[tuple[Part, int]]:
    """List the stretches of the history that an index does not cover."""
    if index is None:
        return [(part, 0) for part in files.months]
    current = [part for part in files.months if part.name == HISTORY]
    same = [part for part in current if str(part.inode) == index.meta("history_inode")]
    return [(part, int(index.meta("history_size", "0")) if same else 0) for part in current]


def _id(line: bytes) -> str:
    record = history.parsed(line)
    return str(record["metadata"]["generation_id"]) if history.is_record(record) else ""


@dataclass(frozen=True, slots=True)
class Known:
    """A generation on record or under way; `validator`: who asked for it, None where nobody said."""

    submitted: bool
    start: int
    id: str
    validator: int | None

    @property
    def order(self) -> tuple[bool, int, str]:
        """Sort key: a verdict for a task means its latest submitted attempt."""
        return self.submitted, self.start, self.id


def known(root: Folder, generation_id: str | None = None, task_id: str | None = None) -> Known | None:
    """Find a generation, or the attempt that a verdict for a task means; None for an unknown or deleted one."""
    generations = read_journal(root).generations  # before the records: what leaves here has one
    if generation_id is not None:
        if is_deleted(root, generation_id):
            return None
        one = generations.get(generation_id)
        return _open(one) if one is not None and one.known else _written(root, generation_id)
    attempts = [_open(gen) for gen in generations.values() if gen.known and gen.task_id == task_id]
    return max([*attempts, *_attempts(root, task_id or "")], key=lambda one: one.order, default=None)


def _open(gen: Generation) -> Known:
    return Known(gen.said == "submitted", gen.start, gen.id, gen.attributes.get(sc.VALIDATOR_UID))


def _written(root: Folder, generation_id: str) -> Known | None:
    with usable_index(root) as index:
        row = index.delivered(generation_id) if index is not None else None
    if row is not None:
        return Known(row.submitted is not None, row.start, row.id, row.validator)
    if not delivered(root, [generation_id]):
        return None
    wanted = (r for r in history.records(root) if r["metadata"]["generation_id"] == generation_id)
    return next(map(_of_record, wanted), None)


def _of_record(record: Record) -> Known:
    row = from_record(record)
    return Known(row.submitted is not None, row.start, row.id, row.validator)


def _attempts(root: Folder, task_id: str) -> list[Known]:
    with usable_index(root) as index:
        if index is not None:
            rows = [index.delivered(id_) for _, _, id_ in index.last_attempts(task_id)]
            return [Known(row.submitted is not None, row.start, row.id, row.validator) for row in rows if row]
    return [_of_record(r) for r in history.records(root) if r["metadata"].get("task_id") == task_id]
