"""Restore: bring the index in line with the line files, by id, after a crash or from nothing."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from otel_gen import rows
from otel_gen.aggregate import Aggregates
from otel_gen.index import Index
from otel_gen.lines import Lines
from otel_gen.record import Record
from otel_gen.shape import Amendment, Line, fits
from otel_gen.store import Store, is_place
from otel_gen.tables import ArtifactRow, Delivered
from otel_gen.tombstone import was_repeated
from otel_gen.verdicts import PATH_KEYS, SAMPLE_KEY

_loads = msgspec.json.Decoder().decode
_VERDICT = {"accepted", "feedback_delay_seconds", "score"}


def parsed(lines: Lines, offset: int = 0) -> Iterator[Record]:
    """Read the objects of a line file; a line that is none stays where it is, and verify names it."""
    for _, line in lines.read_from(offset):
        try:
            found = _loads(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if isinstance(found, dict):
            yield found


def is_ours(record: Record) -> bool:
    """Tell whether a line is a record that can be counted: not damaged, not of an older logger."""
    return fits(record, Line) and _is_feedback(record["validator_feedback"])


def _is_feedback(feedback: Record) -> bool:
    if not feedback["received"]:
        return True
    return feedback.get("feedback_time") is not None and feedback.keys() >= _VERDICT


def is_amendment(line: Record) -> bool:
    """Tell whether a line is an amendment that can be counted."""
    if not fits(line, Amendment):
        return False
    if not line["applied"]:
        return True
    changes = line.get("changes") or {}
    if line["kind"] == "feedback":
        return _is_verdict(changes)
    return isinstance(changes.get("generation"), dict) and isinstance(changes.get("outcome", ""), str)


def _is_verdict(changes: Record) -> bool:
    feedback = changes.get("validator_feedback")
    return isinstance(changes.get("outcome"), str) and isinstance(feedback, dict) and _is_feedback(feedback)


class Restore:
    """Take lines into an index and its aggregates; the caller holds the transaction."""

    def __init__(self, index: Index, aggregates: Aggregates, store: Store) -> None:
        self._index, self._aggregates, self._store = index, aggregates, store
        self.config_hash = ""

    def record(self, record: Record) -> None:
        """Take a record, with the amendments that are folded into it."""
        row = rows.from_record(record)
        repeated = row.digest is not None and self._index.repeats(row.digest)
        self._aggregates.record(record, repeated=repeated or was_repeated(record))
        for amendment in filter(is_amendment, record.get("amendments", ())):
            self._index.add_amendments([rows.from_amendment(amendment)])
            self._aggregates.amendment(amendment, record["metadata"])
        self._index.add_delivered([row])
        self._index.add_amendments([*rows.said_late(record), *rows.replaced_before(record)])
        kept = [one for one in rows.artifacts_of(record) if is_place(one.path)]
        for one in kept:
            one.size = self._store.size(one.path)
        self._index.add_artifacts(kept)
        if not row.source:
            self.config_hash = record.get("miner_config_hash") or self.config_hash

    def amendment(self, amendment: Record) -> None:
        """Take an amendment."""
        row = self._index.delivered(amendment["generation_id"])
        self._index.add_amendments([rows.from_amendment(amendment)])
        if row is None:
            return
        self._aggregates.amendment(amendment, {"validator_uid": row.validator, "source": row.source})
        self._index.add_amendments(rows.apply_amendment(row, amendment))
        self._index.add_delivered([row])
        if amendment["applied"]:
            self._move_references(row, amendment)

    def _move_references(self, row: Delivered, amendment: Record) -> None:
        """An amendment may have taken paths back, or named a sample; decided outputs wait no longer."""
        output = (amendment["changes"].get("generation") or {}).get("output") or {}
        if output.get(SAMPLE_KEY, "") is None:
            self._drop_sample(row)
        if "undecided" not in output:
            return
        for one in self._index.artifacts_of(row.id):
            key = PATH_KEYS.get(one.kind)
            if key is None:
                continue
            self._index.drop_artifacts([(one.id, one.kind)])
            if key in output:
                self._index.doom([one.path])
            elif amendment["kind"] == "feedback":
                self._index.add_artifacts([ArtifactRow(one.id, one.kind, one.digest, one.path, one.size)])
            else:
                self._index.add_artifacts([one])
        self._add_sample(row, output)

    def _drop_sample(self, row: Delivered) -> None:
        for one in self._index.artifacts_of(row.id):
            if one.kind == "rejected_sample":
                self._index.drop_artifacts([(one.id, one.kind)])
                self._index.doom([one.path])

    def _add_sample(self, row: Delivered, output: Record) -> None:
        path = output.get(SAMPLE_KEY)
        if is_place(path):
            digest = str(output.get("rejected_sample_hash")).rpartition(":")[2]
            size = self._store.size(path)
            self._index.add_artifacts([ArtifactRow(row.id, "rejected_sample", digest, path, size)])
