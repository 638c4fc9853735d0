"""The canonical record: a function of a generation's spans, its verdict and where its artifacts went.

docs/record-format.md specifies the keys; they are a superset of the files that miners already have.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from otel_gen import semconv as sc
from otel_gen.clock import iso
from otel_gen.events import Began, Feedback, Span, encode
from otel_gen.fold import Generation, Verdict
from otel_gen.settle import Settled, verdict_word

SCHEMA_VERSION = 1
_CHECKSUM = b',"checksum":"'

Record = dict[str, Any]
_loads = msgspec.json.Decoder().decode

_QUALITY = {
    "clip_score": sc.CLIP_SCORE,
    "clip_threshold_pass": sc.CLIP_PASS,
    "gaussian_count_pass": sc.COUNT_PASS,
    "validation_pass": sc.VALIDATION_PASS,
}
_OUTPUT_HINTS = (sc.NUM_GAUSSIANS, sc.FILE_SIZE_BYTES, sc.FILE_SIZE_MB, sc.GAUSSIAN_STATS, sc.RENDER_STATS)


def seal(record: Record) -> bytes:
    """Encode a record or amendment as one line; its last member is the checksum of the bytes before."""
    body = encode(record)[:-1]
    return body + _CHECKSUM + hashlib.sha256(body).hexdigest()[:16].encode() + b'"}\n'


def sound(line: bytes) -> bool:
    """Tell whether a line's checksum fits its bytes."""
    body, comma, tail = line.rstrip(b"\n").rpartition(_CHECKSUM)
    return bool(comma) and tail == hashlib.sha256(body).hexdigest()[:16].encode() + b'"}'


def build(gen: Generation, settled: Settled, *, attempt: int, paths: dict[str, str]) -> Record:
    """Build the record of a settled generation; `paths` maps artifact kinds to kept files."""
    return {
        "schema_version": SCHEMA_VERSION,
        "metadata": _metadata(gen, attempt),
        "task": _task(gen.attributes, paths),
        "miner_config": json_value(gen.attributes.get(sc.MINER_CONFIG), {}),
        "miner_config_hash": gen.attributes.get(sc.MINER_CONFIG_HASH),
        "outcome": settled.outcome,
        "generation": _generation(gen, settled, paths),
        "validator_feedback": feedback_part(settled.verdict, gen.submitted_wall, gen),
        "failure_analysis": _failure(gen, settled.outcome),
    }


def json_value(text: Any, default: Any) -> Any:
    """Read a canonical JSON attribute back; the default where there is none."""
    if not isinstance(text, str):
        return default
    try:
        return _loads(text)
    except msgspec.DecodeError:
        return default


def _metadata(gen: Generation, attempt: int) -> Record:
    got, head = gen.attributes.get, gen.head
    metadata = {
        "generation_id": gen.id,
        "timestamp": iso(gen.start),
        "miner_uid": got(sc.MINER_UID),
        "miner_hotkey": got(sc.MINER_HOTKEY),
        "miner_version": got(sc.MINER_VERSION),
        "validator_uid": got(sc.VALIDATOR_UID),
        "validator_hotkey": got(sc.VALIDATOR_HOTKEY) or "unknown",
        "network": got(sc.NETWORK),
        "task_id": got(sc.TASK_ID),
        "attempt": attempt,
        "trace_id": head.trace_id,
        "span_id": head.span_id,
        "trace_flags": head.flags,
    }
    return metadata | ({"source": got(sc.SOURCE)} if got(sc.SOURCE) else {})


def _task(attributes: dict[str, Any], paths: dict[str, str]) -> Record:
    image_hash = attributes.get(f"{sc.ARTIFACT}image.hash")
    return {
        "task_type": attributes.get(sc.TASK_TYPE),
        "prompt": attributes.get(sc.PROMPT),
        "prompt_length": attributes.get(sc.PROMPT_LENGTH, 0),
        "is_base64_image": image_hash is not None,
        "base64_image_hash": image_hash,
        "image_file_path": paths.get("image"),
    }


def _generation(gen: Generation, settled: Settled, paths: dict[str, str]) -> Record:
    stages = [stage_part(span) for span in gen.stages.values()]
    stages += [_interrupted_stage(began) for began in gen.unended()]
    stages.sort(key=lambda stage: (stage["start"], stage["span_id"]))
    part = {
        "enhanced_prompt": gen.attributes.get(sc.ENHANCED_PROMPT),
        "negative_prompt": gen.attributes.get(sc.NEGATIVE_PROMPT),
        "timing": _timing(gen, stages),
        "output": _output(gen.attributes, paths),
        "submission": _submission(gen, settled.outcome),
        "stages": stages,
        "attributes": custom(gen.attributes),
    }
    later = json_value(gen.attributes.get(sc.LATER_ERROR), None)
    if gen.root is None and settled.outcome != "interrupted":
        later = later or {
            "error_type": "interrupted",
            "error_message": "the process ended before the generation did",
        }
    return part | ({"error_after_submission": later} if later else {})


def stage_part(span: Span) -> Record:
    """Describe one ended stage."""
    return {
        "name": span.attributes.get(sc.STAGE_NAME, span.name),
        "status": span.attributes.get(sc.STAGE_STATUS, "ok"),
        "start": iso(span.start),
        "duration_seconds": seconds(span.end - span.start),
        "span_id": span.span_id,
        "parent_span_id": span.parent_id or None,
        "attributes": custom(span.attributes) | _stage_error(span.attributes),
    }


def _stage_error(attributes: dict[str, Any]) -> Record:
    keys = {"error_type": sc.ERROR_TYPE, "error_message": sc.ERROR_MESSAGE}
    return {name: attributes[key] for name, key in keys.items() if attributes.get(key) is not None}


def _interrupted_stage(began: Began) -> Record:
    return {
        "name": began.name,
        "status": "interrupted",
        "start": iso(began.wall),
        "duration_seconds": None,
        "span_id": began.span_id,
        "parent_span_id": began.parent_id or None,
        "attributes": custom(began.attributes),
    }


def custom(attributes: dict[str, Any]) -> Record:
    """Collect the caller's own attributes under their own names."""
    found: Record = {}
    for key, value in attributes.items():
        if key.startswith(sc.ATTRIBUTE):
            found[key[len(sc.ATTRIBUTE) :]] = value
        elif key.startswith(sc.STRUCTURED):
            found[key[len(sc.STRUCTURED) :]] = json_value(value, None)
    return found


def seconds(ns: int) -> float:
    """Nanoseconds as seconds with 6 decimals, never negative."""
    return round(max(ns, 0) / 1e9, 6)


def _timing(gen: Generation, stages: list[Record]) -> Record:
    timing: Record = {}
    for stage in stages:
        if stage["duration_seconds"] is None:
            continue
        name = stage["name"] if stage["name"].endswith("_time") else f"{stage['name']}_time"
        name = "total_stage_time" if name == "total_time" else name
        timing[name] = round(timing.get(name, 0.0) + stage["duration_seconds"], 6)
    end = gen.root.end if gen.root else gen.last_wall
    timing["total_time"] = seconds(end - gen.start)
    return timing


def _output(attributes: dict[str, Any], paths: dict[str, str]) -> Record:
    got = attributes.get
    quality = {name: got(key) for name, key in _QUALITY.items()}
    graded = any(value is not None for value in quality.values())
    hashes = {kind: got(f"{sc.ARTIFACT}{kind}.hash") for kind in ("ply", "spz", "output_image")}
    if not graded and not any(hashes.values()) and all(got(key) is None for key in (*_OUTPUT_HINTS, sc.SHED)):
        return {}
    size = got(sc.FILE_SIZE_BYTES)
    megabytes = got(sc.FILE_SIZE_MB)
    output: Record = {
        "num_gaussians": got(sc.NUM_GAUSSIANS),
        "file_size_mb": round(size / 1e6, 6) if megabytes is None and size is not None else megabytes,
        "file_size_bytes": size,
        "ply_file_path": paths.get("ply"),
        "ply_file_hash": hashes["ply"],
        "rejected_sample_path": paths.get("rejected_sample"),
        "rejected_sample_hash": (hashes["ply"] or hashes["spz"]) if "rejected_sample" in paths else None,
        "gaussian_stats": json_value(got(sc.GAUSSIAN_STATS), {}),
        "render_stats": json_value(got(sc.RENDER_STATS), {}),
    }
    if graded:
        output["quality_metrics"] = quality
    if hashes["spz"]:
        output |= {"spz_file_path": paths.get("spz"), "spz_file_hash": hashes["spz"]}
    if hashes["output_image"]:
        output |= {"image_file_path": paths.get("output_image"), "image_file_hash": hashes["output_image"]}
    if got(sc.SHED):
        output["shed"] = got(sc.SHED)
    return output


def _submission(gen: Generation, outcome: str) -> Record:
    submitted = outcome in ("accepted", "rejected", "unscored")
    withheld = outcome in ("withheld", "unsubmitted")
    part = {
        "submitted": submitted,
        "submission_time": iso(gen.submitted_wall) if submitted and gen.submitted_wall else None,
        "pre_submission_rejection": withheld,
        "rejection_reason": gen.attributes.get(sc.REJECTION_REASON) if withheld else None,
    }
    value = gen.attributes.get(sc.REJECTION_VALUE)
    return part | ({"rejection_value": value} if withheld and value is not None else {})


def feedback_part(
    verdict: Verdict | None, submitted_wall: int | None, gen: Generation | None = None
) -> Record:
    """Describe the deciding verdict, or that none came."""
    if verdict is None:
        return {
            "received": False,
            "feedback_time": None,
            "score": None,
            "accepted": False,
            "feedback_delay_seconds": None,
        }
    feedback = verdict.feedback
    word = verdict_word(feedback)
    return {
        "received": True,
        "feedback_time": iso(feedback.wall),
        "score": feedback.score,
        "accepted": word == "accepted",
        "feedback_delay_seconds": _delay(verdict, submitted_wall, gen),
        "verdict": word,
        "validator_uid": feedback.validator_uid,
        "event_id": verdict.event_id,
        **{key: value for key, value in feedback.fields.items() if key not in _FEEDBACK_KEYS},
    }


_FEEDBACK_KEYS = frozenset(
    (
        "received",
        "feedback_time",
        "score",
        "accepted",
        "feedback_delay_seconds",
        "verdict",
        "validator_uid",
        "event_id",
    )
)


def _delay(verdict: Verdict, submitted_wall: int | None, gen: Generation | None) -> float | None:
    if submitted_wall is None:
        return None
    feedback: Feedback = verdict.feedback
    if gen and gen.submitted_boot and feedback.boot and gen.boot_id == verdict.boot_id:
        return seconds(feedback.boot - gen.submitted_boot)
    return seconds(feedback.wall - submitted_wall)


def _failure(gen: Generation, outcome: str) -> Record:
    got = gen.attributes.get
    if outcome == "interrupted":
        open_stages = gen.unended()
        stage = open_stages[-1].name if open_stages else None
        return failure_part("interrupted", "the process ended before the generation did", None, stage)
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
