"""Hold the index' counters against a count over the lines."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from otel_gen import index
from otel_gen.files import Folder


def stored(data_dir: Path) -> dict[tuple[str, ...], float]:
    """Read the counters that the last transaction stored."""
    dot = Folder.root(str(data_dir / ".otel_gen"), create=False)
    found = index.open_reader(dot)
    assert found is not None
    try:
        return {tuple(json.loads(key)): json.loads(value) for key, value in found.aggregates()}
    finally:
        found.close()
        dot.close()


def counted(data_dir: Path) -> Counter[tuple[str, ...]]:
    """Count the same over the files."""
    counts: Counter[tuple[str, ...]] = Counter()
    for path in data_dir.glob("generation_history*.jsonl"):
        for line in path.read_bytes().splitlines():
            _record(counts, json.loads(line))
    path = data_dir / "generation_amendments.jsonl"
    for line in path.read_bytes().splitlines() if path.exists() else ():
        amendment = json.loads(line)
        if amendment["applied"] and amendment["kind"] == "feedback":
            _verdict(counts, amendment["changes"]["validator_feedback"])
    return counts


def _record(counts: Counter[tuple[str, ...]], record: dict) -> None:
    counts["gen3d_records",] += 1
    settled = record.get("settled_outcome", record["outcome"])
    counts["gen3d_generations", record["task"]["task_type"], settled] += 1
    _verdict(counts, record["validator_feedback"])


def _verdict(counts: Counter[tuple[str, ...]], feedback: dict) -> None:
    if feedback["received"]:
        counts["gen3d_feedback", str(feedback["validator_uid"]), feedback["verdict"]] += 1


def differences(data_dir: Path) -> dict[tuple[str, ...], tuple[float, float]]:
    """Name each counter that is not what the lines say; every start must have become a record."""
    have, want = stored(data_dir), counted(data_dir)
    want["gen3d_generations_started", "TEXT-TO-3D"] = want["gen3d_records",]
    return {key: (have.get(key, 0), n) for key, n in want.items() if have.get(key, 0) != n}
