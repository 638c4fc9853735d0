"""The figures of a report, worked out from the findings: outcomes, acceptance, stage times, files."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import Any

from otel_gen.demo.checks import Findings
from otel_gen.demo.tally import Record, first_outcome

Z95 = 1.959963984540054


def summary(found: Findings) -> dict[str, Any]:
    """Everything that the report shows, as plain values."""
    return {
        "ok": not found.differences,
        "differences": found.differences,
        "data_dir": str(found.data_dir),
        "generations": len(found.answers),
        "records": len(found.records),
        "outcomes": outcomes(found),
        "late": [r["outcome"] for r in found.records if r["outcome"] != first_outcome(r)],
        "acceptance": acceptance(found.records),
        "stages": stage_times(found.records),
        "files": files(found),
        "workers_scraped": found.workers,
        "slowest": slowest(found.records),
        "record": brief(example(found.records)),
    }


def outcomes(found: Findings) -> dict[str, dict[str, int]]:
    """Expected and found number of each outcome, as first written."""
    wanted = Counter(map(found.expected_outcome, found.answers))
    there = Counter(map(first_outcome, found.records))
    return {name: {"expected": wanted[name], "found": there[name]} for name in sorted(wanted | there)}


def acceptance(records: list[Record]) -> dict[str, Any]:
    """Accepted among those with a verdict, with n and the Wilson 95 % interval."""
    judged = [r["validator_feedback"] for r in records if r["validator_feedback"]["received"]]
    accepted = sum(feedback["accepted"] for feedback in judged)
    low, high = wilson(accepted, len(judged))
    ratio = accepted / len(judged) if judged else None
    return {"accepted": accepted, "n": len(judged), "ratio": ratio, "low": low, "high": high}


def wilson(successes: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Bounds of a ratio (Wilson 1927); honest for small n where the usual +- is not."""
    if not n:
        return 0.0, 1.0
    middle = successes + z * z / 2
    spread = z * math.sqrt(successes * (n - successes) / n + z * z / 4)
    return max((middle - spread) / (n + z * z), 0.0), min((middle + spread) / (n + z * z), 1.0)


def stage_times(records: list[Record]) -> dict[str, dict[str, float]]:
    """Number, p50 and p95 in seconds of each stage that ended, in the order in which stages first appear."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for record in records:
        for stage in record["generation"]["stages"]:
            if stage["duration_seconds"] is not None:
                seconds[stage["name"]].append(stage["duration_seconds"])
    return {
        name: {"n": len(s), "p50": quantile(s, 0.5), "p95": quantile(s, 0.95)} for name, s in seconds.items()
    }


def quantile(values: list[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


def files(found: Findings) -> dict[str, dict[str, int]]:
    """Number and bytes of the files that a user looks at, by their place in the data_dir."""
    places = ["generation_history.jsonl", "generation_amendments.jsonl", "images", "ply_files"]
    counted = {}
    for place in places:
        path = found.data_dir / place
        every = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        if every:
            counted[place] = {"files": len(every), "bytes": sum(file.stat().st_size for file in every)}
    return counted


def slowest(records: list[Record]) -> dict[str, Any]:
    """The completed generation that took longest, with the trace to look at."""
    ended = [r for r in records if first_outcome(r) not in ("interrupted", "cancelled")]
    record = max(ended, key=lambda r: r["generation"]["timing"]["total_time"], default=None)
    if record is None:
        return {}
    seconds = record["generation"]["timing"]["total_time"]
    return {"trace_id": record["metadata"]["trace_id"], "seconds": seconds, "generation_id": _id(record)}


def example(records: list[Record]) -> Record:
    """An accepted record if there is one."""
    return next((r for r in records if r["outcome"] == "accepted"), records[0] if records else {})


def brief(record: Record) -> Record:
    """Cut a record down to what shows its shape on one screen."""
    if not record:
        return {}
    wanted = {
        "metadata": (
            "generation_id",
            "timestamp",
            "miner_uid",
            "validator_uid",
            "task_id",
            "attempt",
            "trace_id",
        ),
        "task": ("task_type", "prompt", "image_file_path"),
        "validator_feedback": ("received", "score", "accepted", "feedback_delay_seconds"),
    }
    short = {
        part: {k: record[part][k] for k in keys if record[part].get(k) is not None}
        for part, keys in wanted.items()
    }
    made = record["generation"]
    output = {k: v for k, v in made["output"].items() if k in _OUTPUT and v is not None}
    return {
        "metadata": short["metadata"],
        "task": short["task"],
        "outcome": record["outcome"],
        "generation": {"timing": made["timing"], "output": output},
        "validator_feedback": short["validator_feedback"],
    }


_OUTPUT = ("num_gaussians", "file_size_mb", "ply_file_path", "ply_file_hash")


def _id(record: Record) -> str:
    return str(record["metadata"]["generation_id"])
