"""Files as the former logger left them: its records, and what years of crashes and versions made of some."""

from __future__ import annotations

import base64
import copy
import gzip
import hashlib
import json
import random
import uuid
from pathlib import Path

PLY = b"ply\nformat binary_little_endian 1.0\nelement vertex 1\nproperty float x\nend_header\n\0\0\0\0"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(600)
_NAMES = uuid.UUID("11111111-2222-4333-8444-555555555555")


def id_of(name):
    """The id of the record that a test calls so."""
    return str(uuid.uuid5(_NAMES, name))


def digest(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def old(name, when="2025-10-07T12:00:00.123456+00:00", **parts):
    """A record of the former logger, with all its keys; `parts` replace whole parts of it."""
    return {
        "metadata": {
            "generation_id": id_of(name), "timestamp": when, "miner_uid": 226, "miner_version": "v1.0",
            "validator_uid": 57, "validator_hotkey": "unknown", "network": "mainnet",
        },
        "task": {
            "task_type": "TEXT-TO-3D", "prompt": f"a chair called {name}", "prompt_length": 20,
            "is_base64_image": False, "base64_image_hash": None, "image_file_path": None,
        },
        "miner_config": {"sdxl_turbo_steps": 4},
        "generation": generation(),
        "validator_feedback": feedback(None),
        "failure_analysis": {"failed": False, "error_type": None, "error_message": None, "stack_trace": None},
    } | parts  # fmt: skip


def generation(submitted=True, reason=None, **output):
    return {
        "enhanced_prompt": None,
        "negative_prompt": None,
        "timing": {"sdxl_time": 1.5, "trellis_time": 9.25, "total_time": 12.0},
        "output": {"num_gaussians": 52_709, "file_size_mb": 3.6, "quality_metrics": {"clip_score": 0.2,
                   "clip_threshold_pass": True, "gaussian_count_pass": True, "validation_pass": True}} | output,
        "submission": {
            "submitted": submitted, "submission_time": "2025-10-07T12:00:12+00:00" if submitted else None,
            "pre_submission_rejection": not submitted, "rejection_reason": reason,
        },
    }  # fmt: skip


def feedback(score, **more):
    told = score is not None
    return {
        "received": told, "feedback_time": "2025-10-07T12:01:12+00:00" if told else None, "score": score,
        "accepted": bool(score), "feedback_delay_seconds": 60.0 if told else None,
    } | more  # fmt: skip


def elsewhere(path):
    return generation(ply_file_path=path, ply_file_hash=digest(b"something else"))


def failed(error_type="oom"):
    return {
        "failed": True, "error_type": error_type, "error_message": "CUDA out of memory", "stack_trace": "...",
    }  # fmt: skip


def good():
    """One record for each way in which a generation can have ended, by outcome."""
    return {
        "accepted": old("accepted", validator_feedback=feedback(0.8123), generation=generation(
            ply_file_path="ply_files/one.ply", ply_file_hash=digest(PLY))),
        "rejected": old("rejected", validator_feedback=feedback(0.0), generation=generation(
            rejected_sample_path="ply_files/rejected_samples/two.ply", rejected_sample_hash=digest(PLY + b"2"))),
        "unscored": old("unscored"),
        "withheld": old("withheld", generation=generation(False, "clip_score_too_low_0.093")),
        "failed": old("failed", failure_analysis=failed(), generation=generation(False) | {"submission": {}}),
    }  # fmt: skip


def odd():
    """Lines as text, each with what an import says of it."""
    nan = old("nan")
    nan["generation"]["output"]["quality_metrics"]["clip_score"] = float("nan")
    image = old("image", task={"task_type": "IMAGE-TO-3D", "prompt": base64.b64encode(PNG).decode()})
    test = old("test")
    test["metadata"]["miner_version"] = "test_v1"
    named = old("named")
    named["metadata"]["generation_id"] = "generation-17"
    return [
        (json.dumps(nan), "NaN or Infinity"),
        (json.dumps(old("nulls", generation=None, validator_feedback=None)), "null where an object belongs"),
        (json.dumps(old("zone", when="2025-10-07T12:00:00")), "timestamp without zone"),
        (json.dumps(old("when", when="yesterday")), "timestamp cannot be read"),
        (json.dumps(old("score", validator_feedback=feedback(7.5, accepted=False))), "score is no number in 0..1"),
        (json.dumps(old("flags", validator_feedback=feedback(7.5))), "flags contradict each other"),
        (json.dumps(named), "id is no UUID"),
        (json.dumps(image), None),
        (json.dumps(test), "test fixture"),
        (json.dumps(old("accepted")), "duplicate id"),
        (json.dumps({"schema_version": 1} | old("ours")), "written by otel_gen"),
        (json.dumps(old("gone", generation=elsewhere("ply_files/gone.ply"))), "artifact is missing"),
        (json.dumps(old("outside", generation=elsewhere("../../etc/passwd"))), "artifact path leads outside"),
        (json.dumps(old("other", generation=elsewhere("ply_files/other.ply"))),
         "artifact is not what its hash says"),
        ('{"metadata": {"generation_id": ', "not JSON"),
        ("[1, 2, 3]", "not a record"),
        ("\x00\x00\x00", "not JSON"),
    ]  # fmt: skip


STRANGE = [
    None, True, 0, -1, 1e308, 10**30, -(10**30), float("nan"), float("inf"), "", "x", "\ud800", "\0", "NaN", "0.5",
    "9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+00:00", "2262-04-11T23:47:16.9+00:00", "2025-13-45T99:99:99",
    "y" * 70_000, "[BASE64_IMAGE_HASH:sha256:zz]", "../../x", "/etc/passwd", "images/../ply_files/one.ply",
    "ply_files/\ud800.ply", "ply_files/\0", [], [1], {}, {"a": {"b": [{}]}}, {"x": "y" * 300_000},
    {f"k{n}": n for n in range(3000)},
]  # fmt: skip


def strange(n, seed):
    """`n` records in which some parts, whatever they are, were replaced by anything or left out."""
    chance = random.Random(seed)
    for number in range(n):
        record = chance.choice(list(good().values()))
        record["metadata"]["generation_id"] = id_of(f"strange {number}")
        for _ in range(chance.choice((1, 1, 2, 5))):
            *path, last = chance.choice([path for path in _paths(record) if path[-1] != "generation_id"])
            at = record
            for key in path:
                at = at[key]
            at[last] = copy.deepcopy(chance.choice(STRANGE))
            if chance.random() < 0.15:
                del at[last]
        yield record


def _paths(value, path=()):
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield (*path, key)
        yield from _paths(inner, (*path, key))


def write(folder: Path):
    """A directory of the former logger; gives the outcomes that its records have, by id."""
    (folder / "ply_files" / "rejected_samples").mkdir(parents=True)
    (folder / "archive").mkdir()
    (folder / "ply_files" / "one.ply").write_bytes(PLY)
    (folder / "ply_files" / "other.ply").write_bytes(PLY + b"other")
    (folder / "ply_files" / "rejected_samples" / "two.ply").write_bytes(PLY + b"2")
    lines = [json.dumps(record) for record in good().values()] + [line for line, _ in odd()]
    text = (
        "\n".join(lines).encode()
        + b"\n"
        + json.dumps(old("broken text")).encode().replace(b"chair", b"ch\xffir")
    )
    cut = json.dumps(old("cut short"))[:200]
    (folder / "generation_history.jsonl").write_bytes(text + b"\n\n" + cut.encode())
    month = old("month", when="2025-09-01T00:00:00.123+02:00", validator_feedback=feedback(0.7))
    (folder / "generation_history_2025-09.jsonl").write_text(json.dumps(month) + "\n")
    packed = gzip.compress("".join(json.dumps(old(f"packed {n}")) + "\n" for n in range(3)).encode())
    (folder / "archive" / "generation_history_2025-08.jsonl.gz").write_bytes(packed)
    (folder / "archive" / "generation_history_2025-07.jsonl.gz").write_bytes(packed[:40])
    empty = {"enhanced_prompt": None, "timing": {}, "output": {}, "submission": {}}
    left = old("left", generation=empty)
    pending = {id_of("left"): left, id_of("accepted"): old("accepted", generation=empty)}
    (folder / "pending_generations.json").write_text(json.dumps(pending))
    unscored = ("unscored", "nan", "zone", "when", "image", "gone", "outside", "other", "flags", "broken text",
                "packed 0", "packed 1", "packed 2")  # fmt: skip
    return {
        **{id_of(name): name for name in good()},
        **dict.fromkeys(map(id_of, unscored), "unscored"),
        id_of("score"): "rejected",
        id_of("nulls"): "unsubmitted",
        id_of("month"): "accepted",
        id_of("left"): "unsubmitted",
    }
