"""Maintenance of the history by the leader: amendments folded in, past months moved to their files.

A line that is damaged, or that tells no month, stays where it stands, byte for byte: nothing seals it anew.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from otel_gen import history, months
from otel_gen.clock import iso
from otel_gen.files import Folder
from otel_gen.history import Part
from otel_gen.lines import AMENDMENTS, HISTORY
from otel_gen.older import part as object_of
from otel_gen.overlay import fold_into
from otel_gen.record import Record, seal, sound
from otel_gen.restore import is_amendment, is_ours

if TYPE_CHECKING:
    from otel_gen.leader import Leader

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])(?![0-9])")


def fold(leader: Leader) -> dict[str, int]:
    """Fold amendments into their records; returns how many, into how many files, and how many are left.

    Left are those whose record, or one of whose generation's amendments, is damaged, archived or compressed.
    """
    contents: dict[str, bytes | None] = {}
    done: set[str] = set()
    with history.opened(leader.tree.root) as found:
        lines = _amendments(found.amendments)
        waiting = _waiting(lines)
        for part in found.months if waiting else ():
            if "/" in part.name or part.compressed:
                continue
            data, ids = _folded(part, waiting)
            if ids:
                contents[part.name] = data
                done |= ids
    left = [line for id_, line in lines if id_ not in done]
    files = len(contents)
    if contents:
        contents[AMENDMENTS] = b"".join(left)
        _replace(leader, contents)
    return {"folded": len(lines) - len(left), "files": files, "left": len(left)}


def _amendments(part: Part | None) -> list[tuple[str, bytes]]:
    """Read all amendments: the generation's id, the line."""
    lines = part.lines() if part is not None else ()
    return [(str(history.parsed(line).get("generation_id")), line) for _, line in lines]


def _waiting(lines: list[tuple[str, bytes]]) -> dict[str, list[Record]]:
    """Gather amendments by generation. Their order counts: one that is damaged keeps the others back."""
    found: defaultdict[str, list[Record]] = defaultdict(list)
    damaged = set()
    for id_, line in lines:
        amendment = history.parsed(line)
        found[id_].append(amendment)
        if not (sound(line) and is_amendment(amendment)):
            damaged.add(id_)
    return {id_: rows for id_, rows in found.items() if id_ not in damaged}


def _folded(part: Part, waiting: dict[str, list[Record]]) -> tuple[bytes, set[str]]:
    out, found = [], set()
    for _, line in part.lines():
        record = history.parsed(line)
        id_ = object_of(record, "metadata").get("generation_id")
        if isinstance(id_, str) and id_ in waiting and sound(line) and is_ours(record):
            found.add(id_)
            line = seal(_unsealed(fold_into(record, waiting[id_])))
        out.append(line)
    return b"".join(out), found


def rotate(leader: Leader) -> dict[str, Any]:
    """Move records of past months to their month's file, amendments folded in."""
    folded = fold(leader)
    this_month = iso(leader.clock.wall())[:7]
    past: defaultdict[str, list[bytes]] = defaultdict(list)
    stays: list[bytes] = []
    with history.opened(leader.tree.root) as found:
        for _, line in next((part.lines() for part in found.months if part.name == HISTORY), ()):
            month = _month(line)
            (past[month] if month and month < this_month else stays).append(line)
    if past:
        root = leader.tree.root
        names = {month: f"generation_history_{month}.jsonl" for month in past}
        contents = {names[month]: _ended(root, names[month]) + b"".join(past[month]) for month in past}
        _replace(leader, {**contents, HISTORY: b"".join(stays)})
    return {"months": {month: len(lines) for month, lines in sorted(past.items())}, **folded}


def _month(line: bytes) -> str | None:
    """Tell the month of a line, ours or of the former logger; None where it has none, or may be damaged."""
    record = history.parsed(line)
    ours = "checksum" in record or "schema_version" in record
    stamp = object_of(record, "metadata").get("timestamp")
    found = _MONTH.match(stamp) if isinstance(stamp, str) and (sound(line) or not ours) else None
    return found and found[0]


def _ended(root: Folder, name: str) -> bytes:
    """Read what a file has; a last line without an end, as an editor leaves it, gets one."""
    data = root.read(name) if root.exists(name) else b""
    return data + b"\n" if data and not data.endswith(b"\n") else data


def _replace(leader: Leader, contents: dict[str, bytes | None]) -> None:
    months.replace_files(leader.tree, contents)
    leader.delivery.ledger.remember_places()


def _unsealed(record: Record) -> Record:
    return {key: value for key, value in record.items() if key != "checksum"}
