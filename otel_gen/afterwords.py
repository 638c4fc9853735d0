"""Afterwords: what an application says of a generation whose record is written becomes an amendment.

Content (prompts, timing, output, attributes) always applies. How it ended was settled with the record: a
submission, a withholding or a failure changes only what was `unsubmitted`; a failure after a submission is
kept as `error_after_submission`. Whatever does not apply is kept with `applied: false`.
"""

from __future__ import annotations

from typing import Any

from otel_gen import semconv as sc
from otel_gen.clock import iso, parse_iso
from otel_gen.endings import SUBMITTED, failure_part
from otel_gen.events import Said
from otel_gen.record import Record, output_part
from otel_gen.retain import Placed
from otel_gen.stages import custom, reported
from otel_gen.tables import AmendmentRow, Delivered

KIND = "said"
_PROMPTS = {"enhanced_prompt": sc.ENHANCED_PROMPT, "negative_prompt": sc.NEGATIVE_PROMPT}
_PLACES = (
    "ply_file_path",
    "spz_file_path",
    "image_file_path",
    "rejected_sample_path",
    "rejected_sample_hash",
)


def amendment(row: Delivered, event_id: str, said: Said) -> tuple[Record, AmendmentRow]:
    """Make the amendment of what was said too late; an applied one also renews the row."""
    changes = _changes(row, said)
    found: Record = {
        "event_id": event_id,
        "generation_id": row.id,
        "time": iso(said.wall),
        "kind": KIND,
        "applied": changes is not None,
    }
    if changes is None:
        found["fields"] = {key: value for key, value in said.attributes.items() if value is not None}
    else:
        found["changes"] = changes
        renew(row, changes)
    return found, AmendmentRow(event_id, row.id, KIND, None, None, None, applied=changes is not None)


def renew(row: Delivered, changes: Record) -> None:
    """Take over what later verdicts go by."""
    row.outcome = changes.get("outcome", row.outcome)
    submitted = (changes["generation"].get("submission") or {}).get("submission_time")
    row.submitted = parse_iso(submitted) if submitted else row.submitted


def _changes(row: Delivered, said: Said) -> Record | None:
    attributes = said.attributes
    if sc.SAID in attributes:
        return _ending(row.outcome, attributes)
    parts = {
        **{name: attributes[key] for name, key in _PROMPTS.items() if attributes.get(key) is not None},
        "timing": reported(attributes),
        "output": _output(said),
        "attributes": custom(attributes),
    }
    return {"generation": {name: part for name, part in parts.items() if part}}


def _output(said: Said) -> Record:
    """Describe an output; where the record has none yet, with all keys that a record gives."""
    found = output_part(said.attributes, Placed())
    if said.whole:
        return found
    return {key: value for key, value in found.items() if value not in (None, {}) and key not in _PLACES}


def _ending(outcome: str, attributes: dict[str, Any]) -> Record | None:
    word, got = attributes[sc.SAID], attributes.get
    if word == "failed" and outcome in SUBMITTED:
        later = {"error_type": got(sc.ERROR_TYPE), "error_message": got(sc.ERROR_MESSAGE), "stage": None}
        return {"generation": {"error_after_submission": later}}
    if outcome != "unsubmitted":
        return None
    if word == "failed":
        failure = failure_part(got(sc.ERROR_TYPE), got(sc.ERROR_MESSAGE), got(sc.ERROR_STACK), None)
        return _as("failed", None, None) | {"failure_analysis": failure}
    if word == "withheld":
        return _as("withheld", None, got(sc.REJECTION_REASON))
    return _as("unscored", got(sc.SUBMISSION_TIME), None)


def _as(outcome: str, submitted: int | None, reason: str | None) -> Record:
    submission = {
        "submitted": outcome == "unscored",
        "submission_time": iso(submitted) if submitted else None,
        "pre_submission_rejection": outcome == "withheld",
        "rejection_reason": reason,
    }
    return {"outcome": outcome, "generation": {"submission": submission}}
