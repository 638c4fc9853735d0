"""Older: a line of the former logger with the keys and types that readers of our records rely on."""

from __future__ import annotations

from typing import Any

from otel_gen import sanitize
from otel_gen.record import Record

_HASHES = ("ply_file_hash", "rejected_sample_hash")


def part(value: dict[str, Any], name: str) -> dict[str, Any]:
    """Give an object of a record; an empty one where it is null, missing or something else."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def objects(value: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Give the objects of a list of a record; none where it is null, missing or something else."""
    found = value.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def completed(record: Record) -> Record:
    """Give a record as it is, one of the former logger with what it lacks."""
    if "outcome" in record:
        return record
    return record | {
        "outcome": _outcome(record),
        "generation": _generation(record["generation"]),
        "validator_feedback": record["validator_feedback"] | {"score": _score(record)},
    }


def _outcome(record: Record) -> str:
    """Tell how it ended, as an import settles it."""
    feedback, submission = record["validator_feedback"], part(record["generation"], "submission")
    score = _score(record)
    if score is not None or (feedback.get("received") and not feedback.get("accepted")):
        return "accepted" if score else "rejected"
    if submission.get("submitted"):
        return "unscored"
    if record["failure_analysis"].get("failed"):
        return "failed"
    withheld = submission.get("pre_submission_rejection") or submission.get("submitted") is False
    return "withheld" if withheld else "unsubmitted"


def _score(record: Record) -> float | None:
    return sanitize.score(record["validator_feedback"].get("score"))


def _generation(generation: dict[str, Any]) -> dict[str, Any]:
    timing = {name: sanitize.number(value) for name, value in part(generation, "timing").items()}
    return generation | {
        "timing": {name: seconds for name, seconds in timing.items() if seconds is not None},
        "output": _output(part(generation, "output")),
        "submission": part(generation, "submission"),
        "stages": [],
    }


def _output(output: dict[str, Any]) -> dict[str, Any]:
    hashes = {
        name: output[name] if isinstance(output[name], str) else None for name in _HASHES if name in output
    }
    quality = {"quality_metrics": part(output, "quality_metrics")} if "quality_metrics" in output else {}
    return output | hashes | quality
