"""Rows: what the index keeps of records and amendments, from memory or from the files."""

from __future__ import annotations

from otel_gen import afterwords
from otel_gen.aggregate import output_digest
from otel_gen.clock import parse_iso
from otel_gen.fold import Generation
from otel_gen.record import Record
from otel_gen.retain import terms
from otel_gen.settle import Settled, replaceable, verdict_word
from otel_gen.tables import AmendmentRow, ArtifactRow, Delivered
from otel_gen.tombs import MARK

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


def apply_amendment(row: Delivered, amendment: Record) -> None:
    """Renew a row by an applied amendment."""
    if amendment["applied"] and amendment["kind"] == afterwords.KIND:
        afterwords.renew(row, amendment["changes"])
    if amendment["applied"] and amendment["kind"] == "feedback":
        row.outcome = amendment["changes"]["outcome"]
        _take_feedback(row, amendment["changes"]["validator_feedback"])


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
