"""Maintenance of the history by the leader: amendments folded in, past months moved to their files."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from otel_gen import history, months
from otel_gen.clock import iso
from otel_gen.errors import DamageError
from otel_gen.history import Part
from otel_gen.lines import AMENDMENTS, HISTORY
from otel_gen.overlay import fold_into
from otel_gen.record import Record, seal

if TYPE_CHECKING:
    from otel_gen.leader import Leader

_loads = msgspec.json.Decoder().decode


def fold(leader: Leader) -> dict[str, int]:
    """Fold all amendments into their records; returns how many, and into how many files."""
    waiting = _amendments(leader)
    if not waiting:
        return {"folded": 0, "files": 0}
    contents: dict[str, bytes | None] = {}
    done: set[str] = set()
    with history.opened(leader.tree.root) as found:
        for part in found.months:
            if "/" in part.name or part.compressed:
                continue
            data, ids = _folded(part, waiting)
            if ids:
                contents[part.name] = data
                done |= ids
    if not done:
        return {"folded": 0, "files": 0}
    left = [a for rows in waiting.values() for a in rows if a["generation_id"] not in done]
    contents[AMENDMENTS] = b"".join(seal(_unsealed(a)) for a in left)
    _replace(leader, contents)
    return {
        "folded": sum(len(rows) for id_, rows in waiting.items() if id_ in done),
        "files": len(contents) - 1,
    }


def _amendments(leader: Leader) -> dict[str, list[Record]]:
    found: defaultdict[str, list[Record]] = defaultdict(list)
    for offset, line in leader.delivery.ledger.amendments.read_from():
        found[_parse(AMENDMENTS, offset, line)["generation_id"]].append(_loads(line))
    return found


def _folded(part: Part, waiting: dict[str, list[Record]]) -> tuple[bytes, set[str]]:
    out, found = [], set()
    for offset, line in part.lines():
        record = _parse(part.name, offset, line)
        id_ = record["metadata"]["generation_id"]
        if id_ in waiting:
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
    root = leader.tree.root
    for offset, line in leader.delivery.ledger.history.read_from():
        month = _parse(HISTORY, offset, line)["metadata"]["timestamp"][:7]
        (stays if month >= this_month else past[month]).append(line)
    contents: dict[str, bytes | None] = {}
    for month, lines in past.items():
        name = f"generation_history_{month}.jsonl"
        contents[name] = (root.read(name) if root.exists(name) else b"") + b"".join(lines)
    if contents:
        contents[HISTORY] = b"".join(stays)
        _replace(leader, contents)
    return {"months": {month: len(lines) for month, lines in sorted(past.items())}, **folded}


def _replace(leader: Leader, contents: dict[str, bytes | None]) -> None:
    months.replace_files(leader.tree, contents)
    leader.delivery.ledger.remember_places()


def _parse(name: str, offset: int, line: bytes) -> Record:
    try:
        record: Record = _loads(line)
    except msgspec.DecodeError as error:
        raise DamageError(
            name, offset, "not a JSON line", "run otel-gen verify, then mend or cut the line"
        ) from error
    return record


def _unsealed(record: Record) -> Record:
    return {key: value for key, value in record.items() if key != "checksum"}
