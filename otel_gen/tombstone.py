"""Tombstone: the line that stands in place of a deleted record, of which it keeps what the metrics count.

No prompt, id, hash, path, hotkey, setting or text of the generation is in it; its own id is a digest of the
deleted one, so that whoever has that one can tell that it was deleted, and nobody can get it back.
"""

from __future__ import annotations

from typing import Any

from otel_gen import aggregate, failures
from otel_gen.clock import iso
from otel_gen.overlay import fold_into
from otel_gen.record import Record
from otel_gen.tombs import MARK, hashed, tomb_id

_ZEROS = "0" * 32
_UNLABELLED = "(other)"
_NUMBERS = ("num_gaussians", "file_size_mb", "file_size_bytes")
_NOTHING = ("ply_file_path", "ply_file_hash", "rejected_sample_path", "rejected_sample_hash")
_QUALITY = ("clip_threshold_pass", "gaussian_count_pass", "validation_pass")
_FEEDBACK = (
    "received",
    "feedback_time",
    "score",
    "accepted",
    "feedback_delay_seconds",
    "verdict",
    "validator_uid",
)


def is_tombstone(record: Record) -> bool:
    """Tell whether a line stands in place of a deleted record."""
    return isinstance(record.get(MARK), dict)


def was_repeated(record: Record) -> bool:
    """Tell whether the deleted record repeated an earlier output."""
    return is_tombstone(record) and record[MARK].get("repeated") is True


def repeat_key(record: Record) -> str | None:
    """Give what live repeats of an output have in common, deleted or not; None where nothing can be one."""
    digest = None if record["metadata"].get("source") else aggregate.output_digest(record)
    return hashed(digest) if digest and not is_tombstone(record) else digest


def entomb(record: Record, amendments: list[Record], *, wall: int, repeated: bool) -> Record:
    """Make the tombstone of a record; it counts what the record and its amendments counted."""
    record = fold_into(record, amendments) if amendments else record
    id_ = tomb_id(record["metadata"]["generation_id"])
    found = {
        "schema_version": record.get("schema_version", 1),
        "metadata": _metadata(record["metadata"], id_),
        "task": _task(record["task"]["task_type"]),
        "miner_config": {},
        "miner_config_hash": record.get("miner_config_hash"),
        "outcome": record["outcome"],
        "generation": _generation(record, repeated=repeated),
        "validator_feedback": _feedback(record["validator_feedback"]),
        "failure_analysis": _failure(record["failure_analysis"]),
        MARK: {"time": iso(wall), "repeated": repeated},
    }
    if "settled_outcome" in record:
        found["settled_outcome"] = record["settled_outcome"]
        found["settled_feedback"] = _feedback(record["settled_feedback"])
        found["settled_failure"] = _failure(record["settled_failure"])
    if "amendments" in record:
        found["amendments"] = _amendments(record["amendments"], id_)
    return found


def _metadata(metadata: Record, id_: str) -> Record:
    kept = {key: metadata.get(key) for key in ("timestamp", "validator_uid", "attempt")}
    nobody = dict.fromkeys(("miner_uid", "miner_hotkey", "miner_version", "network", "task_id"))
    ids: Record = {"generation_id": id_, "trace_id": _ZEROS, "span_id": _ZEROS[:16], "trace_flags": 0}
    source = {"source": metadata["source"]} if metadata.get("source") else {}
    return {**nobody, **kept, **ids, "validator_hotkey": "unknown", **source}


def _task(task_type: Any) -> Record:
    return {
        "task_type": aggregate.task_type(task_type), "prompt": None, "prompt_length": 0,
        "is_base64_image": False, "base64_image_hash": None, "image_file_path": None,
    }  # fmt: skip


def _generation(record: Record, *, repeated: bool) -> Record:
    """Keep what was counted, as it was first written, and how it ended, with what was said since."""
    counted, submission = aggregate.first_written(record), record["generation"]["submission"]
    timing = counted["timing"]
    said = {key: submission.get(key) for key in ("submitted", "submission_time", "pre_submission_rejection")}
    reason = submission.get("rejection_reason")
    return {
        "enhanced_prompt": None,
        "negative_prompt": None,
        "timing": {key: timing[key] for key in ("total_time", "queue_time") if key in timing},
        "output": _output(record, repeated=repeated),
        "submission": said | {"rejection_reason": reason and (aggregate.plain_reason(reason) or _UNLABELLED)},
        "stages": [_stage(stage) for stage in counted["stages"]],
        "attributes": {},
    }


def _output(record: Record, *, repeated: bool) -> Record:
    output, digest = aggregate.first_written(record)["output"], aggregate.output_digest(record)
    if not output:
        return {}
    found: Record = dict.fromkeys(_NOTHING)
    found |= {"gaussian_stats": {}, "render_stats": {}}
    found |= {key: output.get(key) for key in _NUMBERS}
    if digest and not repeated:
        found["ply_file_hash"] = hashed(digest)
    if output.get("quality_metrics"):
        clip = output["quality_metrics"].get("clip_score")
        found["quality_metrics"] = {"clip_score": clip, **dict.fromkeys(_QUALITY)}
    return found


def _stage(stage: Record) -> Record:
    kept = {key: stage.get(key) for key in ("status", "start", "duration_seconds")}
    ids: Record = {"span_id": _ZEROS[:16], "parent_span_id": None, "attributes": {}}
    return {"name": aggregate.plain_name(stage["name"]) or _UNLABELLED, **kept, **ids}


def _feedback(feedback: Record) -> Record:
    found = {key: feedback[key] for key in _FEEDBACK if key in feedback}
    return found | ({"event_id": MARK} if found["received"] else {})


def _failure(failure: Record) -> Record:
    failed, stage = failure["failed"], failure.get("stage")
    return {
        "failed": failed,
        "error_type": failures.label(failure["error_type"]) if failed else None,
        "error_message": None,
        "stack_trace": None,
        "stage": stage and (aggregate.plain_name(stage) or _UNLABELLED),
    }


def _amendments(amendments: list[Record], id_: str) -> list[Record]:
    """Keep the verdicts that were applied: each was counted."""
    kept = (one for one in amendments if one["applied"] and one["kind"] == "feedback")
    return [_amendment(one, f"{id_}-{n}", id_) for n, one in enumerate(kept)]


def _amendment(one: Record, event_id: str, id_: str) -> Record:
    changes = one["changes"]
    return {
        **{key: one.get(key) for key in ("time", "kind", "applied", "verdict", "score", "validator_uid")},
        "event_id": event_id,
        "generation_id": id_,
        "fields": {},
        "changes": {
            "outcome": changes["outcome"],
            "validator_feedback": _feedback(changes["validator_feedback"]),
        },
    }
