"""Rows: what the index keeps of records and amendments, from memory or from the files."""

from __future__ import annotations

from otel_gen import afterwords
from otel_gen.aggregate import output_digest
from otel_gen.clock import parse_iso
from otel_gen.fold import Generation, Verdict
from otel_gen.record import Record
from otel_gen.retain import terms
from otel_gen.settle import Settled, replaceable, verdict_word
from otel_gen.tables import AmendmentRow, ArtifactRow, Delivered
from otel_gen.tombs import MARK

REPLACED, ACKNOWLEDGED = "replaced", "acknowledged"
"""Kinds of rows that no line stands for."""
_OUTPUTS = {
    "ply": ("ply_file_path", "ply_file_hash"),
    "spz": ("spz_file_path", "spz_file_hash"),
    "rejected_sample": ("rejected_sample_path", "rejected_sample_hash"),
    "output_image": ("image_file_path", "image_file_hash"),
}


def from_settled(gen: Generation, settled: Settled, record: Record, digest: str | None) -> Delivered:
    """Make the row of a record that is being written."""
    verdict, metadata = settled.verdict, record["metadata"]
    row = Delivered(
        gen.id, gen.task_id, metadata["attempt"], gen.start, settled.outcome, digest, gen.submitted_wall,
        gen.submitted_boot, gen.boot_id, metadata["validator_uid"], source=metadata.get("source"),
    )  # fmt: skip
    if verdict is not None:
        row.verdict, row.score = verdict_word(verdict.feedback), verdict.feedback.score
        row.verdict_validator, row.event_id = verdict.feedback.validator_uid, verdict.event_id
        row.replaceable = replaceable(verdict.feedback)
    return row


def from_record(record: Record) -> Delivered:
    """Make the row of a record that stands in a file; folded amendments included."""
    metadata, feedback = record["metadata"], record["validator_feedback"]
    start, submitted = metadata["timestamp"], record["generation"]["submission"].get("submission_time")
    row = Delivered(
        metadata["generation_id"], metadata.get("task_id"), metadata["attempt"], parse_iso(start),
        record["outcome"], output_digest(record), parse_iso(submitted) if submitted else None,
        validator=metadata.get("validator_uid"), source=metadata.get("source"),
    )  # fmt: skip
    _take_feedback(row, feedback)
    if MARK in record:
        row.event_id = MARK
    return row


def _take_feedback(row: Delivered, feedback: Record) -> None:
    if feedback.get("received"):
        row.verdict, row.score = feedback.get("verdict"), feedback.get("score")
        row.verdict_validator, row.event_id = feedback.get("validator_uid"), feedback.get("event_id")
        row.replaceable = row.verdict == "invalid" and feedback.get("validation_failed") is not True


def apply_amendment(row: Delivered, amendment: Record) -> list[AmendmentRow]:
    """Renew a row by an applied amendment; gives the row of a verdict that it replaces."""
    if amendment["applied"] and amendment["kind"] == afterwords.KIND:
        afterwords.renew(row, amendment["changes"])
    if not amendment["applied"] or amendment["kind"] != "feedback":
        return []
    before = replaced(row)
    row.outcome = amendment["changes"]["outcome"]
    _take_feedback(row, amendment["changes"]["validator_feedback"])
    return before


def replaced(row: Delivered) -> list[AmendmentRow]:
    """Make the row of the verdict that a record had until another replaced it: it is known, and no news."""
    if row.event_id is None:
        return []
    return [
        AmendmentRow(
            row.event_id, row.id, REPLACED, row.verdict, row.score, row.verdict_validator, applied=False
        )
    ]


def acknowledged(row: Delivered, verdict: Verdict, earlier: list[AmendmentRow]) -> list[AmendmentRow]:
    """Make the row of a task's verdict that was the same again: whoever reads it anew must not take another attempt."""
    known = verdict.event_id == row.event_id or any(verdict.event_id == one.event_id for one in earlier)
    if known or verdict.feedback.id:
        return []
    return [AmendmentRow(verdict.event_id, row.id, ACKNOWLEDGED, None, None, None, applied=False)]


def from_amendment(amendment: Record) -> AmendmentRow:
    """Make the row of an amendment."""
    return AmendmentRow(
        amendment["event_id"], amendment["generation_id"], amendment["kind"], amendment.get("verdict"),
        amendment.get("score"), amendment.get("validator_uid"), amendment["applied"],
    )  # fmt: skip


def said_late(record: Record) -> list[AmendmentRow]:
    """Make the rows of what was said after the end and is in the record: it is not to be told again."""
    id_ = record["metadata"]["generation_id"]
    return [
        AmendmentRow(event_id, id_, afterwords.KIND, None, None, None, applied=False)
        for event_id in record["generation"].get("said_late", ())
    ]


def replaced_before(record: Record) -> list[AmendmentRow]:
    """Make the row of the verdict that a line had first, where an amendment with another is folded into it."""
    first = Delivered(record["metadata"]["generation_id"], None, 0, 0, "")
    _take_feedback(first, record.get("settled_feedback") or {})
    now = record["validator_feedback"].get("event_id")
    return [one for one in replaced(first) if one.event_id not in (now, MARK)]


def artifacts_of(record: Record) -> list[ArtifactRow]:
    """Make the rows of the files that a record names; sizes are filled in by whoever knows the store."""
    id_, task, output = record["metadata"]["generation_id"], record["task"], record["generation"]["output"]
    found = []
    if task.get("image_file_path"):
        found.append(ArtifactRow(id_, "image", _hex(task["base64_image_hash"]), task["image_file_path"], 0))
    for kind, (path, digest) in _OUTPUTS.items():
        if output.get(path):
            row = ArtifactRow(id_, kind, _hex(output.get(digest)), output[path], 0)
            if kind in ("ply", "spz") and output.get("undecided"):
                row.due = parse_iso(output["undecided"]["until"])
                row.terms = terms(output["undecided"])
            found.append(row)
    return found


def _hex(digest: str | None) -> str:
    return (digest or "").rpartition(":")[2]
