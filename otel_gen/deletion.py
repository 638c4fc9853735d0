"""Deletion: take one generation out of everything that is kept, and leave a tombstone that goes on counting.

    note -> index row becomes the tombstone's -> lines replaced -> files, staging, journal, quarantine -> index
    written anew -> note removed

Every step can be repeated. The note holds what a later leader needs to go on after a crash at any of them.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import msgspec

from otel_gen import history, rows, scrub
from otel_gen.clock import boot_id
from otel_gen.errors import OtelGenError, StorageError, UnknownGenerationError
from otel_gen.guard import log
from otel_gen.history import INTENT, NOTE
from otel_gen.ledger import ASIDE
from otel_gen.record import Record
from otel_gen.replacement import Replacement, put, replacement
from otel_gen.settle import Now
from otel_gen.tables import Delivered
from otel_gen.tombs import MARK, tomb_id

if TYPE_CHECKING:
    from otel_gen.leader import Leader

_AGAIN = "see to it and run the deletion again"


class Note(msgspec.Struct):
    """What is being deleted, and the frames that are being written over: a torn one is written again."""

    id: str
    wall: int
    patches: list[scrub.Patch] = []


def delete(leader: Leader, generation_id: str) -> dict[str, Any]:
    """Delete a generation. Raises UnknownGenerationError, or OtelGenError for one that is still running."""
    if generation_id in leader.open:
        _settle(leader, generation_id)
    _go_on(leader)
    index = leader.delivery.index
    if index.delivered(generation_id) is None:
        if index.is_deleted(generation_id):
            return {"already": True, "records": 0, "amendments": 0, "files": 0, "shared": 0, "events": 0}
        raise UnknownGenerationError(
            f"{leader.tree.path} knows no generation {generation_id}; nothing was deleted"
        )
    note = Note(generation_id, leader.clock.wall())
    lines = replacement(leader, note.id, note.wall)  # what is damaged says so before anything is changed
    return {"already": False, **_carry_out(leader, note, lines)}


def _settle(leader: Leader, generation_id: str) -> None:
    now = Now(leader.clock.wall(), leader.clock.boot(), boot_id())
    if not leader.settle_now(generation_id, now):
        raise OtelGenError(f"generation {generation_id} is still running; delete it once it has ended")


def finish(leader: Leader) -> None:
    """Go on with a deletion that something interrupted; where that cannot be, say so and let records flow."""
    try:
        _go_on(leader)
    except (OtelGenError, OSError, sqlite3.Error) as error:
        log.error("otel_gen could not finish a deletion, and will try again: %s", error)
        if leader.tree.dot.exists(INTENT):
            raise


def _go_on(leader: Leader) -> None:
    note = _noted(leader)
    if note is not None:
        scrub.apply(leader.tree.segments, note.patches)
        _carry_out(leader, note, replacement(leader, note.id, note.wall))


def _noted(leader: Leader) -> Note | None:
    if not leader.tree.dot.exists(NOTE):
        return None
    try:
        return msgspec.json.decode(leader.tree.dot.read(NOTE), type=Note)
    except msgspec.MsgspecError:
        leader.tree.set_aside(NOTE, b"could not be read; run the deletion again\n")
        leader.tree.dot.unlink(NOTE)
        return None


def _carry_out(leader: Leader, note: Note, lines: Replacement) -> dict[str, int]:
    in_journal = scrub.find(leader.tree.segments, note.id, _event_ids(leader, note.id))
    note.patches = in_journal.patches
    leader.tree.dot.replace(NOTE, msgspec.json.encode(note))
    paths = _index(leader, note, lines)
    put(leader, lines)
    shared = sum(leader.delivery.index.at_path(path) is not None for path in paths)
    leader.delivery.ledger.bury()
    leader.delivery.ledger.forget_buried()
    leader.delivery.refresh()
    for name in in_journal.staged:
        leader.tree.staging.unlink(name)
    scrub.apply(leader.tree.segments, note.patches)
    _quarantine(leader, note.id)
    _rewrite_index(leader)
    leader.tree.dot.unlink(NOTE)
    leader.tree.dot.sync()
    return {
        "records": int(lines.tombstone is not None), "amendments": lines.amendments, "files": len(paths) - shared,
        "shared": shared, "events": len(note.patches),
    }  # fmt: skip


# --- the index -----------------------------------------------------------------------------------------------
def _event_ids(leader: Leader, id_: str) -> list[str]:
    """List the verdicts that the generation got, also those that named its task only."""
    index = leader.delivery.index
    row = index.delivered(id_)
    of_amendments = [one.event_id for one in index.amendments_of(id_)]
    return [*of_amendments, *([row.event_id] if row is not None and row.event_id else [])]


def _index(leader: Leader, note: Note, lines: Replacement) -> list[str]:
    """Put the tombstone's row in place of the generation's; returns the paths it referred to."""
    index, ledger = leader.delivery.index, leader.delivery.ledger
    old, paths = index.delivered(note.id), [one.path for one in index.artifacts_of(note.id)]
    if old is None:
        return []
    with index.transaction():
        index.forget(note.id)
        index.add_delivered([_row(old, lines.tombstone)])
        told = (lines.tombstone or {}).get("amendments", ())
        index.add_amendments(rows.from_amendment(one) for one in told)
        ledger.doom(paths)
        ledger.forget_exemplars(lines.trace_id)
    return paths


def _row(old: Delivered, tombstone: Record | None) -> Delivered:
    if tombstone is not None:
        return rows.from_record(tombstone)
    return Delivered(
        tomb_id(old.id), None, old.attempt, old.start, old.outcome, event_id=MARK, source=old.source
    )


def _rewrite_index(leader: Leader) -> None:
    index = leader.delivery.index
    if not index.rewrite():
        raise StorageError(index.name, "is held open by a reader", _AGAIN)


# --- quarantine ----------------------------------------------------------------------------------------------
def _quarantine(leader: Leader, id_: str) -> None:
    """Empty what was set aside of the generation; that something was still counts."""
    folder, mine = leader.tree.quarantine, id_.encode()
    if folder.exists(f"{id_}.record"):
        folder.rename(f"{id_}.record", f"{tomb_id(id_)}.record")
    if folder.exists(f"{tomb_id(id_)}.record"):
        folder.replace(f"{tomb_id(id_)}.record", b"")
    for name in folder.names():
        if mine in folder.read(name):
            folder.replace(name, _aside(folder.read(name), id_) if name == ASIDE else b"")


def _aside(data: bytes, id_: str) -> bytes:
    out = []
    for line in data.splitlines(keepends=True):
        if id_.encode() in line:
            kind = history.parsed(line).get("kind", "spans")
            line = msgspec.json.encode({"event_id": tomb_id(id_), "kind": kind, "reason": MARK}) + b"\n"
        out.append(line)
    return b"".join(out)
