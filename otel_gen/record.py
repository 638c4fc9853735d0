"""The canonical record: a function of a generation's spans, its verdict and where its artifacts went.

docs/record-format.md specifies the keys; they are a superset of the files that miners already have.
"""

from __future__ import annotations

import hashlib
from typing import Any

from otel_gen import semconv as sc
from otel_gen.clock import iso
from otel_gen.endings import delay, error_after, failure_of, feedback_part, submission_part
from otel_gen.events import encode
from otel_gen.fold import Generation
from otel_gen.retain import Placed
from otel_gen.settle import Settled
from otel_gen.stages import Record, custom, json_object, json_value, stages_part, timing_part

SCHEMA_VERSION = 1
_CHECKSUM = b',"checksum":"'

_QUALITY = {
    "clip_score": sc.CLIP_SCORE,
    "clip_threshold_pass": sc.CLIP_PASS,
    "gaussian_count_pass": sc.COUNT_PASS,
    "validation_pass": sc.VALIDATION_PASS,
}
_OUTPUT_HINTS = (
    sc.NUM_GAUSSIANS, sc.FILE_SIZE_BYTES, sc.FILE_SIZE_MB, sc.GAUSSIAN_STATS, sc.RENDER_STATS, sc.SHED,
)  # fmt: skip
_HASHED = ("ply", "spz", "output_image")


def seal(record: Record) -> bytes:
    """Encode a record or amendment as one line; its last member is the checksum of the bytes before."""
    body = encode(record)[:-1]
    return body + _CHECKSUM + hashlib.sha256(body).hexdigest()[:16].encode() + b'"}\n'


def sound(line: bytes) -> bool:
    """Tell whether a line's checksum fits its bytes."""
    body, comma, tail = line.rstrip(b"\n").rpartition(_CHECKSUM)
    return bool(comma) and tail == hashlib.sha256(body).hexdigest()[:16].encode() + b'"}'


def build(gen: Generation, settled: Settled, *, attempt: int, placed: Placed) -> Record:
    """Build the record of a settled generation; `placed` says where its artifacts went."""
    waited = delay(settled.verdict, gen.submitted_wall, gen.submitted_boot, gen.boot_id)
    config = json_value(gen.attributes.get(sc.MINER_CONFIG), None)
    return {
        "schema_version": SCHEMA_VERSION,
        "metadata": _metadata(gen, attempt),
        "task": _task(gen.attributes, placed.paths),
        "miner_config": {} if config is None else config,
        "miner_config_hash": gen.attributes.get(sc.MINER_CONFIG_HASH),
        "outcome": settled.outcome,
        "generation": _generation(gen, settled, placed),
        "validator_feedback": feedback_part(settled.verdict, waited),
        "failure_analysis": failure_of(gen, settled.outcome),
    }


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
    if got(sc.TRUNCATED) or any(sc.TRUNCATED in stage.attributes for stage in gen.stages.values()):
        metadata["truncated"] = True
    if got(sc.SOURCE):
        metadata["source"] = got(sc.SOURCE)
    return metadata


def _task(attributes: dict[str, Any], paths: dict[str, str]) -> Record:
    image_hash, prompt = attributes.get(f"{sc.ARTIFACT}image.hash"), attributes.get(sc.PROMPT)
    return {
        "task_type": attributes.get(sc.TASK_TYPE),
        "prompt": prompt,
        "prompt_length": attributes.get(sc.PROMPT_LENGTH, 0),
        "is_base64_image": image_hash is not None or prompt == sc.NO_IMAGE_YET,
        "base64_image_hash": image_hash,
        "image_file_path": paths.get("image"),
    }


def _generation(gen: Generation, settled: Settled, placed: Placed) -> Record:
    stages = stages_part(gen)
    return {
        "enhanced_prompt": gen.attributes.get(sc.ENHANCED_PROMPT),
        "negative_prompt": gen.attributes.get(sc.NEGATIVE_PROMPT),
        "timing": timing_part(gen, stages),
        "output": output_part(gen.attributes, placed),
        "submission": submission_part(gen, settled.outcome),
        "stages": stages,
        "attributes": custom(gen.attributes),
        **error_after(gen, settled.outcome),
        **({"said_late": gen.heard} if gen.heard else {}),
    }


def output_part(attributes: dict[str, Any], placed: Placed) -> Record:
    """Describe the output; an empty dict where nothing was said of one."""
    got = attributes.get
    quality = {name: got(key) for name, key in _QUALITY.items()}
    graded = any(value is not None for value in quality.values())
    hashes = {kind: got(f"{sc.ARTIFACT}{kind}.hash") for kind in _HASHED}
    if not graded and not any(hashes.values()) and all(got(key) is None for key in _OUTPUT_HINTS):
        return {}
    size, megabytes, paths = got(sc.FILE_SIZE_BYTES), got(sc.FILE_SIZE_MB), placed.paths
    output: Record = {
        "num_gaussians": got(sc.NUM_GAUSSIANS),
        "file_size_mb": round(size / 1e6, 6) if megabytes is None and size is not None else megabytes,
        "file_size_bytes": size,
        "ply_file_path": paths.get("ply"),
        "ply_file_hash": hashes["ply"],
        "rejected_sample_path": paths.get("rejected_sample"),
        "rejected_sample_hash": placed.sample_hash,
        "gaussian_stats": json_object(got(sc.GAUSSIAN_STATS)),
        "render_stats": json_object(got(sc.RENDER_STATS)),
    }
    if graded:
        output["quality_metrics"] = quality
    if hashes["spz"]:
        output |= {"spz_file_path": paths.get("spz"), "spz_file_hash": hashes["spz"]}
    if hashes["output_image"]:
        output |= {"image_file_path": paths.get("output_image"), "image_file_hash": hashes["output_image"]}
    shed = got(sc.SHED) or ("missing" if placed.missing else None)
    if shed:
        output["shed"] = shed
    if placed.undecided:
        output["undecided"] = placed.undecided
    return output


__all__ = ["Record", "build", "output_part", "seal", "sound"]
