"""Recover: settle what dead processes left, without a service: one leader, once, to its end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from otel_gen import index
from otel_gen.clock import Clock, boot_id
from otel_gen.errors import LeaderBusyError
from otel_gen.leader import Leader
from otel_gen.refusals import refusals
from otel_gen.settings import explicit
from otel_gen.settle import Now
from otel_gen.tree import LeaderLock, Tree


@dataclass(frozen=True)
class Recovery:
    """What a recovery did and what still waits."""

    records: int
    waiting: int
    aside: dict[str, int]
    rebuilt: bool


def recover(
    data_dir: str, *, now: int | None = None, rebuild: bool = False, today: dict[str, Any] | None = None,
    clock: Clock | None = None, timeout: float = 10.0,
) -> Recovery:  # fmt: skip
    """Deliver everything that is settled by now (wall nanoseconds) and today's settings.

    Raises LeaderBusyError where a living process delivers for this data_dir and does not step down in time,
    StorageError where the disk refuses.
    """
    clock, today = clock or Clock(), explicit() if today is None else today
    with refusals(data_dir, "the recovery is not finished"):
        tree = Tree(data_dir)
        lock = LeaderLock(tree.dot)
        try:
            _take(lock, timeout)
            lock.beat(clock.boot())  # whoever waits for the lock is told whom to ask
            if rebuild:
                _forget_index(tree)
            return _lead(tree, clock, today, now, rebuilt=rebuild)
        finally:
            lock.release()
            tree.close()


def _lead(tree: Tree, clock: Clock, today: dict[str, Any], now: int | None, *, rebuilt: bool) -> Recovery:
    leader = Leader(tree, clock, today=today)
    try:
        moment = Now(clock.wall() if now is None else now, clock.boot(), boot_id(), fixed=now is not None)
        records = leader.step(moment)
        aside = {label: n for (_, label), n in leader.delivery.aside_counts.items() if n}
        return Recovery(records, len(leader.open), aside, rebuilt)
    finally:
        leader.close()


def _take(lock: LeaderLock, timeout: float) -> None:
    until = time.monotonic() + timeout
    while not lock.take():
        if time.monotonic() > until:
            raise LeaderBusyError(
                f"process {lock.holder()} delivers for this data_dir; stop it, or let it do the work"
            )
        time.sleep(0.05)


def _forget_index(tree: Tree) -> None:
    name = index.current_name(tree.dot)
    tree.dot.unlink(index.POINTER)
    for suffix in ("", "-wal", "-shm"):
        if name is not None:
            tree.dot.unlink(name + suffix)
