"""Hold what workers had acknowledged against what stands in the data_dir after recovery."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from otel_gen.record import sound


@dataclass
class Tally:
    """What was acknowledged and what was found; the last three must stay empty."""

    started: int = 0
    ended: int = 0
    verdicts: int = 0
    stages: int = 0
    records: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)


EXPECTED = {
    "withheld": {"withheld"},
    "failed": {"failed"},
    "nothing": {"unsubmitted"},
    "error": {"failed"},
    "submitted": {"accepted", "rejected", "unscored"},
}

KEPT = ("accepted", "unscored")
"""Outcomes with which outputs stay: a verdict may still come."""


def read_acks(folder: Path) -> list[list[str]]:
    """Read all acknowledgements; a last line cut by the kill is no acknowledgement."""
    found = []
    for path in sorted(folder.glob("*.acks")):
        found += whole(path.read_bytes())
    return found


def whole(acks: bytes) -> list[list[str]]:
    """Split the acknowledgements of one worker."""
    return [line.decode().split() for line in acks.splitlines(keepends=True) if line.endswith(b"\n")]


def check(data_dir: Path, acks: Path) -> Tally:
    """Compare; every difference is named."""
    return compare(data_dir, read_acks(acks))


def compare(data_dir: Path, acks: list[list[str]]) -> Tally:
    """Compare what is there with a list of acknowledgements."""
    tally, records = Tally(), {}
    for path in sorted(data_dir.glob("generation_history*.jsonl")):
        _read_history(path, tally, records)
    _overlay(data_dir / "generation_amendments.jsonl", records)
    tally.outcomes = Counter(record["outcome"] for record in records.values())
    for kind, id_, *rest in acks:
        record = records.get(id_)
        if record is None:
            tally.lost.append(f"{kind} {id_}: no record")
            continue
        _LOOK[kind](data_dir, record, rest, tally)
    return tally


def _read_history(path: Path, tally: Tally, records: dict[str, dict]) -> None:
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        tally.torn.append(f"{path.name} ends without a newline")
    for line in data.splitlines(keepends=True):
        if not sound(line):
            tally.torn.append(line[:80].decode("utf-8", "replace"))
            continue
        record = json.loads(line)
        id_ = record["metadata"]["generation_id"]
        if id_ in records:
            tally.doubled.append(id_)
        records[id_] = record
        tally.records += 1


def _overlay(path: Path, records: dict[str, dict]) -> None:
    for line in path.read_bytes().splitlines() if path.exists() else ():
        amendment = json.loads(line)
        if amendment["applied"] and amendment["kind"] == "feedback":
            records[amendment["generation_id"]]["outcome"] = amendment["changes"]["outcome"]


def _started(_: Path, record: dict, rest: list[str], tally: Tally) -> None:
    tally.started += 1


def _stage(_: Path, record: dict, rest: list[str], tally: Tally) -> None:
    tally.stages += 1
    if not any(
        stage["name"] == rest[0] and stage["status"] == "ok" for stage in record["generation"]["stages"]
    ):
        tally.lost.append(f"stage {rest[0]} of {record['metadata']['generation_id']}")


def _ended(data_dir: Path, record: dict, rest: list[str], tally: Tally) -> None:
    tally.ended += 1
    fate, sha = rest
    id_ = record["metadata"]["generation_id"]
    if record["outcome"] not in EXPECTED[fate]:
        tally.lost.append(f"end of {id_}: {fate} became {record['outcome']}")
    output = record["generation"]["output"]
    if sha != "-" and output.get("ply_file_hash") != f"sha256:{sha}":
        tally.lost.append(f"hash of {id_}")
    if sha != "-" and record["outcome"] in KEPT:
        _kept(data_dir, output, sha, id_, tally)


def _kept(data_dir: Path, output: dict, sha: str, id_: str, tally: Tally) -> None:
    path = output.get("ply_file_path")
    if path is None and output.get("shed") not in (None, "missing"):
        return  # the disk refused it, and the record says so
    if path is None or not (data_dir / path).exists():
        tally.lost.append(f"artifact of {id_}")
    elif hashlib.sha256((data_dir / path).read_bytes()).hexdigest() != sha:
        tally.torn.append(f"artifact of {id_}")


def _verdict(_: Path, record: dict, rest: list[str], tally: Tally) -> None:
    tally.verdicts += 1
    wanted = "accepted" if float(rest[0]) > 0 else "rejected"
    if record["outcome"] != wanted:
        tally.lost.append(
            f"verdict of {record['metadata']['generation_id']}: {wanted}, is {record['outcome']}"
        )


_LOOK = {"S": _started, "G": _stage, "E": _ended, "F": _verdict}
