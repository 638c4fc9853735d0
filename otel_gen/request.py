"""Request: have the history folded, rotated or a generation deleted by whoever delivers for the data_dir."""

from __future__ import annotations

import os
import time
import uuid
from typing import Any

from otel_gen import commands
from otel_gen.clock import Clock
from otel_gen.errors import LeaderBusyError, OtelGenError, UnknownGenerationError
from otel_gen.events import Command, encode
from otel_gen.foreign import valid_id
from otel_gen.leader import Leader
from otel_gen.refusals import refusals
from otel_gen.runtime import runtime_for
from otel_gen.tree import LeaderLock, Tree

_PAUSE = 0.05


def fold(data_dir: Any, *, timeout: float = 10.0) -> dict[str, Any]:
    """Fold amendments into their records; returns how many, and into how many files. Raises as `rotate`."""
    return _request(os.fspath(data_dir), "fold", timeout)


def rotate(data_dir: Any, *, timeout: float = 10.0) -> dict[str, Any]:
    """Move past months to their files, amendments folded in; returns how many records by month.

    Raises LeaderBusyError where a living process delivers and does not answer within `timeout` seconds,
    OtelGenError where it answers that it could not.
    """
    return _request(os.fspath(data_dir), "rotate", timeout)


def delete(data_dir: Any, generation_id: str, *, timeout: float = 60.0) -> dict[str, Any]:
    """Remove a generation and all that was kept of it; a tombstone goes on counting what it counted.

    Returns how many records, amendments, files and journal events went, and how many files stay because
    another record refers to them. Raises UnknownGenerationError for an id that nothing in data_dir has,
    OtelGenError for one that is still running, and as `rotate`.
    """
    id_ = generation_id.strip().lower()
    if not valid_id(id_):
        raise UnknownGenerationError(f"{generation_id[:80]!r} is no generation id: it has the form of a UUID")
    return _request(os.fspath(data_dir), "delete", timeout, id_)


def _request(data_dir: str, command: str, timeout: float, argument: str = "") -> dict[str, Any]:
    with refusals(data_dir, f"the {command} is not finished"):
        tree = Tree(data_dir)
        lock = LeaderLock(tree.dot)
        try:
            answer = _asked(tree, lock, command, timeout, argument)
            return _led(tree, lock, command, argument) if answer is None else answer
        finally:
            lock.release()
            tree.close()


def _asked(
    tree: Tree, lock: LeaderLock, command: str, timeout: float, argument: str
) -> dict[str, Any] | None:
    """Ask the living leader; None where there is none any more, and the lock is ours."""
    asked, until = "", time.monotonic() + timeout
    while not lock.take():
        asked = asked or _ask(tree.path, command, argument)
        answer = _answer(tree, asked)
        if answer is not None:
            return answer
        if time.monotonic() > until:
            who = f"process {lock.holder()} delivers for this data_dir"
            then = f"it will {command} when it goes on, or end it and try again"
            raise LeaderBusyError(f"{who} and did not answer within {timeout:g} s; {then}")
        time.sleep(_PAUSE)
    return None


def _ask(data_dir: str, command: str, argument: str) -> str:
    """Put a command into this process' own segment; returns the id under which the answer will stand."""
    command_id = uuid.uuid4().hex
    runtime = runtime_for(data_dir)
    assert runtime is not None  # noqa: S101 - a data_dir was given
    runtime.journal.append(encode(Command(command, command_id, argument)))
    return command_id


def _answer(tree: Tree, command_id: str) -> dict[str, Any] | None:
    folder = tree.dot.sub(commands.FOLDER)
    try:
        answer = commands.take_answer(folder, command_id)
    finally:
        folder.close()
    if answer is not None and not answer["ok"]:
        raise OtelGenError(answer["error"])
    return None if answer is None else dict(answer["result"])


def _led(tree: Tree, lock: LeaderLock, command: str, argument: str) -> dict[str, Any]:
    clock = Clock()
    lock.beat(clock.boot())
    leader = Leader(tree, clock)
    try:
        if command == "delete":
            leader.step()  # what waits in the journal can be deleted as well
        return commands.do(leader, command, argument)
    finally:
        leader.close()
