"""Replacement: the line files made anew, with a tombstone where a generation's record stands."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from otel_gen import history, months
from otel_gen.aggregate import output_digest
from otel_gen.errors import DamageError
from otel_gen.history import ARCHIVE, Part
from otel_gen.lines import AMENDMENTS, CONFIG_HISTORY
from otel_gen.record import Record, seal
from otel_gen.restore import is_amendment, is_ours
from otel_gen.tombs import tomb_id
from otel_gen.tombstone import entomb, repeat_key

if TYPE_CHECKING:
    from otel_gen.leader import Leader

_VERIFY = "run otel-gen verify, then mend or cut the line"


@dataclass
class Replacement:
    """The files that have a line of a generation, as they will be, by name."""

    tombstone: Record | None = None
    parts: dict[str, bytes] = field(default_factory=dict)
    trace_id: str = ""
    amendments: int = 0


def replacement(leader: Leader, generation_id: str, wall: int) -> Replacement:
    """Make the files anew that have a line of the generation. Raises DamageError for one that cannot be read."""
    found = Replacement()
    with history.opened(leader.tree.root) as files:
        amendments = _amendments(files.amendments, generation_id, found)
        for part in _having(leader, files.months, generation_id):
            line = b""  # a second line of it, which must not be, goes without a tombstone
            if found.tombstone is None:
                offset, record = _record(part, generation_id)
                repeated = _is_repeated(leader, files.months, record)
                with _shaped(part, offset):
                    found.tombstone = entomb(record, amendments, wall=wall, repeated=repeated)
                found.trace_id = record["metadata"].get("trace_id", "")
                line = seal(found.tombstone)
            data = _with(part, generation_id, line)
            found.parts[part.name] = gzip.compress(data) if part.compressed else data
    _config(leader, generation_id, found)
    return found


def _having(leader: Leader, parts: list[Part], id_: str) -> Iterator[Part]:
    for part in parts:
        for _, line in part.lines():
            leader.breathe()
            if _is_of(line, id_):
                yield part
                break


@contextmanager
def _shaped(part: Part, offset: int) -> Iterator[None]:
    """Name the line whose parts are not what a record's are."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"is not shaped like a record ({error!r})"
        raise DamageError(part.name, offset, reason, _VERIFY) from error


def _record(part: Part, id_: str) -> tuple[int, Record]:
    offset, record = next((at, history.parsed(line)) for at, line in part.lines() if _is_of(line, id_))
    if not is_ours(record):
        raise DamageError(part.name, offset, "is not shaped like a record", _VERIFY)
    return offset, record


def _is_of(line: bytes, id_: str) -> bool:
    if id_.encode() not in line:
        return False
    record = history.parsed(line)
    return history.is_record(record) and record["metadata"]["generation_id"] == id_


def _is_repeated(leader: Leader, parts: list[Part], record: Record) -> bool:
    """Tell whether an earlier live line has the same output."""
    key, digest, id_ = repeat_key(record), output_digest(record), record["metadata"]["generation_id"]
    if key is None or digest is None:
        return False
    for part in parts:
        for _, line in part.lines():
            leader.breathe()
            if digest.encode() not in line and key.encode() not in line:
                continue
            found = history.parsed(line)
            if history.is_record(found) and repeat_key(found) == key:
                return bool(found["metadata"]["generation_id"] != id_)
    return False


def _with(part: Part, id_: str, tombstone: bytes) -> bytes:
    return b"".join(tombstone if _is_of(line, id_) else line for _, line in part.lines())


def _amendments(part: Part | None, id_: str, found: Replacement) -> list[Record]:
    if part is None:
        return []
    mine: list[tuple[Record, bytes]] = []
    others: list[tuple[Record, bytes]] = []
    for _, line in part.lines():
        record = history.parsed(line) if id_.encode() in line else {}
        (mine if record.get("generation_id") == id_ else others).append((record, line))
    if mine:
        found.parts[AMENDMENTS] = b"".join(line for _, line in others)
        found.amendments = len(mine)
    return [record for record, _ in mine if is_amendment(record)]


def _config(leader: Leader, id_: str, found: Replacement) -> None:
    """The history of settings stays, without the id of the generation that brought a change."""
    root, out = leader.tree.root, []
    data = root.read(CONFIG_HISTORY) if root.exists(CONFIG_HISTORY) else b""
    if id_.encode() not in data:
        return
    for line in data.splitlines(keepends=True):
        record = history.parsed(line)
        if record.get("event_id") == f"config-{id_}":
            record["event_id"] = f"config-{tomb_id(id_)}"
            line = seal({key: value for key, value in record.items() if key != "checksum"})
        out.append(line)
    found.parts[CONFIG_HISTORY] = b"".join(out)


def put(leader: Leader, lines: Replacement) -> None:
    """Put the new files in place of the old ones."""
    root = leader.tree.root
    for name in [name for name in lines.parts if name.startswith(f"{ARCHIVE}/")]:
        archive = root.sub(ARCHIVE)
        archive.replace(name.rpartition("/")[2], lines.parts.pop(name))
        archive.close()
    if CONFIG_HISTORY in lines.parts:
        root.replace(CONFIG_HISTORY, lines.parts.pop(CONFIG_HISTORY))
    if lines.parts:
        months.replace_files(leader.tree, dict(lines.parts))
        leader.delivery.ledger.remember_places()
