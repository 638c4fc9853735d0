"""Pending: generations without a record, and what each of them waits for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from otel_gen import semconv as sc
from otel_gen.clock import Clock, boot_id, iso
from otel_gen.events import Started
from otel_gen.files import Folder
from otel_gen.fold import Generation
from otel_gen.readers.delivered import delivered
from otel_gen.readers.journal import Journal, leader, read_journal
from otel_gen.settings import Policy
from otel_gen.settle import Now

RUNNING, AWAITING = "running", "awaiting feedback"
INTERRUPTED, ENDED = "interrupted, not recovered", "ended, not delivered"


@dataclass(frozen=True)
class Waiting:
    """One generation without a record; `left_seconds` until it is written without a verdict."""

    id: str
    task_id: str | None
    task_type: str | None
    state: str
    started: str
    age_seconds: float
    left_seconds: float | None
    worker_alive: bool


@dataclass(frozen=True)
class Pending:
    """All that waits, oldest first; `leader` names the process that delivers, None where none does."""

    waiting: list[Waiting]
    leader: str | None

    @property
    def ok(self) -> bool:
        """Tell whether somebody sees to what has ended."""
        return self.leader is not None or all(w.state in (RUNNING, AWAITING) for w in self.waiting)


def pending(data_dir: Any, clock: Clock | None = None) -> Pending:
    """List what waits, from files only: nothing is written, whatever runs."""
    clock = clock or Clock()
    root = Folder.root(os.fspath(data_dir), create=False)
    try:
        journal = read_journal(root)  # before the records: what is delivered meanwhile is then found there
        open_ones = journal.without(delivered(root, journal.generations))
        now = Now(clock.wall(), clock.boot(), boot_id())
        waiting = [_describe(journal, gen, now) for gen in open_ones.values()]
        return Pending(sorted(waiting, key=lambda one: (one.started, one.id)), leader(root))
    finally:
        root.close()


def _describe(journal: Journal, gen: Generation, now: Now) -> Waiting:
    state = _state(journal, gen, now)
    began = gen.started.boot if isinstance(gen.started, Started) else 0
    return Waiting(
        gen.id, gen.task_id, gen.attributes.get(sc.TASK_TYPE), state, iso(gen.start),
        round(max(now.age(gen.start, began, gen.boot_id), 0.0), 3),
        _left(journal, gen, now) if state == AWAITING else None, gen.worker in journal.living,
    )  # fmt: skip


def _state(journal: Journal, gen: Generation, now: Now) -> str:
    settled = journal.settled(gen, now)
    if settled is not None:
        return INTERRUPTED if settled.outcome == "interrupted" else ENDED
    ended = gen.root is not None or gen.worker not in journal.living
    return AWAITING if ended and gen.said == "submitted" else RUNNING


def _left(journal: Journal, gen: Generation, now: Now) -> float:
    policy = journal.policies.get(gen.worker, Policy())
    age = now.age(gen.submitted_wall or gen.last_wall, gen.submitted_boot, gen.boot_id)
    return round(max(policy.feedback_timeout - age, 0.0), 3)
