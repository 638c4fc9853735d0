"""Known: find one generation by its id, or the attempt at a task that a verdict would mean."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from otel_gen import history
from otel_gen import semconv as sc
from otel_gen.endings import SUBMITTED
from otel_gen.files import Folder
from otel_gen.fold import Generation
from otel_gen.readers.delivered import is_deleted, unknown_to
from otel_gen.readers.indexed import usable_index
from otel_gen.readers.journal import read_journal
from otel_gen.rows import from_record
from otel_gen.tables import Delivered


@dataclass(frozen=True, order=True)
class Known:
    """A generation on record or under way; they sort by which of a task's attempts a verdict means."""

    submitted: bool
    start: int
    id: str
    validator_uid: int | None = field(default=None, compare=False)
    """The validator that was named when it began."""


def find(
    root: Folder, generation_id: str | None = None, task_id: str | None = None, *, at: int | None = None
) -> Known | None:
    """Find a generation by its id, else the latest submitted attempt at a task; None where nobody knows it.

    at: wall nanoseconds; attempts that began later count only where there is no other.
    """
    if generation_id is None:
        then = time.time_ns() if at is None else at
        under_way = _under_way(root, task_id or "")  # before the records: what leaves here has one
        found = [*under_way, *_attempts(root, task_id or "", then)]
        return max([one for one in found if one.start <= then] or found, default=None)
    gen = read_journal(root, generation_id).generations.get(generation_id)
    if is_deleted(root, generation_id):
        return None
    return _of(gen) if gen is not None and gen.known else _delivered(root, generation_id)


def _under_way(root: Folder, task_id: str) -> list[Known]:
    """Find the attempts in the journal: first who they are, since only their starts name the task."""
    named = read_journal(root, task_id).generations.values()
    ids = [gen.id for gen in named if gen.known and gen.task_id == task_id]
    if not ids:
        return []
    generations = read_journal(root, ids[0] if len(ids) == 1 else "").generations
    return [_of(generations[id_]) for id_ in ids if id_ in generations]


def _of(gen: Generation) -> Known:
    started = gen.started.attributes if gen.started is not None else gen.attributes
    uid = started.get(sc.VALIDATOR_UID, gen.attributes.get(sc.VALIDATOR_UID))
    return Known(gen.said == "submitted", gen.start, gen.id, uid)


def _row(row: Delivered) -> Known:
    return Known(row.outcome in SUBMITTED, row.start, row.id, row.validator)


def _delivered(root: Folder, generation_id: str) -> Known | None:
    with usable_index(root) as index, history.opened(root) as files:
        row = index.delivered(generation_id) if index is not None else None
        if row is not None:
            return _row(row)
        for part, start in unknown_to(index, files):
            for _, line in part.lines(start):
                record = history.parsed(line)
                if history.is_record(record) and record["metadata"]["generation_id"] == generation_id:
                    return _row(from_record(record))
    return None


def _attempts(root: Folder, task_id: str, then: int) -> list[Known]:
    with usable_index(root) as index:
        if index is None:
            records = history.records(root)
            return [_row(from_record(r)) for r in records if r["metadata"].get("task_id") == task_id]
        rows = [index.delivered(attempt[-1]) for attempt in index.last_attempts(task_id, then)]
        return [_row(row) for row in rows if row is not None]
