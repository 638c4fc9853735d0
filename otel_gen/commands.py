"""Commands: what another process asks the leader to do, through the journal, and the answer."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from otel_gen import deletion, maintain
from otel_gen.errors import OtelGenError, StorageError
from otel_gen.history import INTENT

if TYPE_CHECKING:
    from otel_gen.events import Command
    from otel_gen.files import Folder
    from otel_gen.leader import Leader

FOLDER = "commands"
_KEPT = 3600 * 10**9  # ns; an asker waits for seconds
_ID = re.compile(r"[0-9a-f]{32}")


def carry_out(leader: Leader) -> None:
    """Do what was asked; the answer is a file that the asker waits for.

    A leader that begins reads the commands of living segments again and does those whose answer was taken once
    more: done twice, each is as done once.
    """
    waiting, leader.commands = leader.commands, []
    for command in waiting:
        if not _ID.fullmatch(command.id):
            continue
        folder = leader.tree.dot.sub(FOLDER)
        name = f"{command.id}.json"
        if not folder.exists(name):
            folder.replace(name, msgspec.json.encode(_answer(leader, command)))
        folder.close()
    if waiting:
        _sweep(leader)


def _sweep(leader: Leader) -> None:
    """Remove answers that nobody came for."""
    folder = leader.tree.dot.sub(FOLDER)
    for name in folder.names():
        state = folder.stat(name)
        if state is not None and leader.clock.wall() - state.st_mtime_ns > _KEPT:
            folder.unlink(name)
    folder.close()


DO: dict[str, Callable[[Leader, str], dict[str, Any]]] = {
    "fold": lambda leader, _: maintain.fold(leader),
    "rotate": lambda leader, _: maintain.rotate(leader),
    "delete": deletion.delete,
}


def _answer(leader: Leader, asked: Command) -> dict[str, Any]:
    if asked.command not in DO:
        return {"ok": False, "error": f"unknown command {asked.command!r}"}
    try:
        return {"ok": True, "result": do(leader, asked.command, asked.argument)}
    except OtelGenError as error:
        return {"ok": False, "error": str(error)}


def do(leader: Leader, command: str, argument: str = "") -> dict[str, Any]:
    """Do a command. Raises OtelGenError, whatever was in its way, so that no other leader falls over it.

    What left something half done is raised as it is: a new leader begins from disk before anything is appended.
    """
    try:
        return DO[command](leader, argument)
    except OtelGenError:
        raise
    except (OSError, sqlite3.Error, ValueError, TypeError, LookupError, AttributeError) as error:
        if leader.tree.dot.exists(INTENT) or not leader.delivery.plan.empty:
            raise
        text = f"the {command} is not finished ({error!r})"
        raise StorageError(leader.tree.path, text, "see to it and try again") from error


def take_answer(folder: Folder, command_id: str) -> dict[str, Any] | None:
    """Read and remove the answer to a command; None while there is none."""
    name = f"{command_id}.json"
    if not folder.exists(name):
        return None
    answer: dict[str, Any] = msgspec.json.decode(folder.read(name))
    folder.unlink(name)
    return answer
