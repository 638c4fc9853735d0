"""Late verdicts: feedback for a record that is already written becomes an amendment, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from otel_gen.clock import iso
from otel_gen.endings import delay, failure_part, feedback_part, killed_after
from otel_gen.fold import Verdict
from otel_gen.settle import outcome_word, replaceable, verdict_word
from otel_gen.stages import Record
from otel_gen.tables import AmendmentRow, ArtifactRow, Delivered

PATH_KEYS: Final = {"ply": "ply_file_path", "spz": "spz_file_path"}
SAMPLE_KEY: Final = "rejected_sample_path"
DISK_FULL: Final = "disk full"
_CLOSED = ("withheld", "failed", "cancelled")


@dataclass(slots=True)
class Late:
    """What a late feedback does: whether it applies, its amendment and that one's row."""

    applied: bool
    amendment: Record
    row: AmendmentRow


def known_already(row: Delivered, verdict: Verdict, earlier: list[AmendmentRow]) -> bool:
    """Tell whether the same feedback (id, score, validator) is in the record or an amendment."""
    feedback = verdict.feedback
    if verdict.event_id == row.event_id or any(verdict.event_id == one.event_id for one in earlier):
        return True
    if not feedback.said:
        return False
    mine = (verdict_word(feedback), feedback.score, feedback.validator_uid)
    had = [(row.verdict, row.score, row.verdict_validator)] + [
        (a.verdict, a.score, a.validator) for a in earlier
    ]
    return mine in had


def applies(row: Delivered, verdict: Verdict) -> bool:
    """Tell whether a late verdict changes the record: the first firm one does, where a verdict can count."""
    if not verdict.feedback.said or row.outcome in _CLOSED:
        return False
    return row.verdict is None or (bool(row.replaceable) and not replaceable(verdict.feedback))


def late(row: Delivered, verdict: Verdict, *, applied: bool) -> Late:
    """Make the amendment of a feedback; an applied one also renews the row."""
    feedback = verdict.feedback
    word = verdict_word(feedback)
    amendment: Record = {
        "event_id": verdict.event_id,
        "generation_id": row.id,
        "time": iso(feedback.wall),
        "kind": "feedback" if feedback.said else "note",
        "applied": applied,
        "verdict": word,
        "score": feedback.score,
        "validator_uid": feedback.validator_uid,
        "fields": dict(feedback.fields),
    }
    if applied:
        amendment["changes"] = _changes(row, verdict)
        _renew(row, verdict)
    amended = AmendmentRow(
        verdict.event_id, row.id, amendment["kind"], word, feedback.score, feedback.validator_uid, applied
    )
    return Late(applied, amendment, amended)


def _changes(row: Delivered, verdict: Verdict) -> dict[str, Any]:
    waited = delay(verdict, row.submitted, row.submitted_boot, row.boot_id)
    changes: dict[str, Any] = {
        "outcome": outcome_word(verdict.feedback),
        "validator_feedback": feedback_part(verdict, waited),
    }
    if row.outcome in ("unsubmitted", "interrupted"):
        submission = {"submitted": True, "pre_submission_rejection": False, "rejection_reason": None}
        changes["generation"] = {"submission": submission}
    if row.outcome == "interrupted":
        changes["generation"] |= killed_after()
        changes["failure_analysis"] = failure_part(None, None, None, None)
    return changes


def _renew(row: Delivered, verdict: Verdict) -> None:
    feedback = verdict.feedback
    row.outcome = outcome_word(feedback)
    row.verdict, row.score = verdict_word(feedback), feedback.score
    row.verdict_validator, row.event_id = feedback.validator_uid, verdict.event_id
    row.replaceable = replaceable(feedback)


def retention(row: ArtifactRow, wall: int) -> Record:
    """Make the amendment that takes a path back whose verdict never came."""
    return _given_up(row, wall, "undecided", "undecided_keep", {})


def shed(row: ArtifactRow, wall: int) -> Record:
    """Make the amendment that takes a path back because the disk had no room."""
    return _given_up(row, wall, "shed", DISK_FULL, {"shed": DISK_FULL})


def _given_up(row: ArtifactRow, wall: int, word: str, reason: str, more: Record) -> Record:
    waited = {} if row.kind == "rejected_sample" else {"undecided": None}
    return {
        "event_id": f"{word}-{row.id}-{row.kind}",
        "generation_id": row.id,
        "time": iso(wall),
        "kind": "output",
        "applied": True,
        "reason": reason,
        "changes": {"generation": {"output": {PATH_KEYS.get(row.kind, SAMPLE_KEY): None, **waited, **more}}},
    }
