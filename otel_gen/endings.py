"""Endings: how a generation ended, as a record says it: submission, verdict, failure."""

from __future__ import annotations

from typing import Final

from otel_gen import semconv as sc
from otel_gen.clock import iso
from otel_gen.fold import Generation, Verdict
from otel_gen.settle import verdict_word
from otel_gen.stages import Record, json_value, seconds

SUBMITTED: Final = ("accepted", "rejected", "unscored")
"""Outcomes of what was handed to a validator."""
_KILLED = "the process ended before the generation did"


def submission_part(gen: Generation, outcome: str) -> Record:
    """Describe the submission, or that the result was kept back."""
    submitted, withheld = outcome in SUBMITTED, outcome in ("withheld", "unsubmitted")
    part = {
        "submitted": submitted,
        "submission_time": iso(gen.submitted_wall) if submitted and gen.submitted_wall else None,
        "pre_submission_rejection": withheld,
        "rejection_reason": gen.attributes.get(sc.REJECTION_REASON) if withheld else None,
    }
    value = gen.attributes.get(sc.REJECTION_VALUE)
    return part | ({"rejection_value": value} if withheld and value is not None else {})


def feedback_part(verdict: Verdict | None, delay: float | None) -> Record:
    """Describe the deciding verdict, or that none came."""
    if verdict is None:
        return {
            "received": False,
            "feedback_time": None,
            "score": None,
            "accepted": False,
            "feedback_delay_seconds": None,
        }
    feedback, word = verdict.feedback, verdict_word(verdict.feedback)
    own = {
        "received": True,
        "feedback_time": iso(feedback.given or feedback.wall),
        "score": feedback.score,
        "accepted": word == "accepted",
        "feedback_delay_seconds": delay,
        "verdict": word,
        "validator_uid": feedback.validator_uid,
        "event_id": verdict.event_id,
    }
    return own | {key: value for key, value in feedback.fields.items() if key not in own}


def delay(verdict: Verdict | None, submitted: int | None, submitted_boot: int, boot_id: str) -> float | None:
    """Seconds from submission to verdict; None where no submission is known.

    Spans carry wall times, so that a replay finds the same number; where the wall clock was set in between,
    boot time tells, within one boot.
    """
    if verdict is None or submitted is None:
        return None
    if verdict.feedback.given:
        return seconds(verdict.feedback.given - submitted)
    by_wall, by_boot = verdict.feedback.wall - submitted, verdict.feedback.boot - submitted_boot
    comparable = submitted_boot and verdict.feedback.boot and boot_id == verdict.boot_id
    return seconds(by_boot if comparable and abs(by_wall - by_boot) >= _STEP else by_wall)


_STEP = 128_000_000
"""Nanoseconds. NTP slews a clock that is off by less; one that is off by more is set."""


def failure_of(gen: Generation, outcome: str) -> Record:
    """Describe the failure of a generation, or that there was none."""
    got = gen.attributes.get
    if outcome == "interrupted":
        open_stages = gen.unended()
        return failure_part("interrupted", _KILLED, None, open_stages[-1].name if open_stages else None)
    if outcome not in ("failed", "cancelled"):
        return failure_part(None, None, None, None)
    part = failure_part(
        got(sc.ERROR_TYPE) or ("cancelled" if outcome == "cancelled" else "crash"),
        got(sc.ERROR_MESSAGE), got(sc.ERROR_STACK), got(sc.ERROR_STAGE),
    )  # fmt: skip
    return part | ({"exception_class": got(sc.ERROR_CLASS)} if got(sc.ERROR_CLASS) else {})


def failure_part(kind: str | None, message: str | None, stack: str | None, stage: str | None) -> Record:
    """Describe a failure, or with a kind of None that there was none."""
    return {
        "failed": kind is not None,
        "error_type": kind,
        "error_message": message,
        "stack_trace": stack,
        "stage": stage,
    }


def error_after(gen: Generation, outcome: str) -> Record:
    """Say which error, or death of the process, followed a submission; an empty dict where none did."""
    if not gen.ended and outcome in SUBMITTED:
        return killed_after()
    later = json_value(gen.attributes.get(sc.LATER_ERROR), None)
    return {"error_after_submission": later} if later and outcome in SUBMITTED else {}


def killed_after() -> Record:
    """Say that the process died although the result was submitted."""
    return {"error_after_submission": {"error_type": "interrupted", "error_message": _KILLED, "stage": None}}
