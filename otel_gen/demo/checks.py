"""What was expected against what is found in the data_dir; every check gives its differences as sentences."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import otel_gen
from otel_gen.demo.client import Answer
from otel_gen.demo.tally import Record, first_outcome

SETTLE_SECONDS = 30.0
HISTORY = "generation_history.jsonl"


@dataclass
class Findings:
    """All that is known after the run; `differences` is empty when everything is as expected."""

    data_dir: Path
    answers: list[Answer]
    verdicts: dict[str, dict[str, Any]]
    records: list[Record]
    workers: list[int] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    def record_of(self, answer: Answer) -> Record | None:
        wanted = (answer.task.task_id, answer.task.attempt)
        return next((record for record in self.records if _key(record) == wanted), None)

    def expected_outcome(self, answer: Answer) -> str:
        """What the record must say first, before a verdict that comes after the window."""
        if not answer.submitted:
            return answer.task.expected or ("withheld" if answer.refusal else "failed")
        if answer.task.panel == "late":
            return "unscored"
        posted = self.verdicts.get(answer.generation_id or "", {})
        return "accepted" if posted.get("score") and not posted.get("validation_failed") else "rejected"


def await_records(data_dir: Path, answers: list[Answer]) -> list[Record]:
    """Read the records once all are there, late verdicts too; or what there is when patience ends."""
    deadline = time.monotonic() + SETTLE_SECONDS
    late = {answer.generation_id for answer in answers if answer.task.panel == "late" and answer.submitted}
    while True:
        records = list(read_all(data_dir))
        waiting = late - {_id(record) for record in records if record["validator_feedback"]["received"]}
        if (len(records) >= len(answers) and not waiting) or time.monotonic() > deadline:
            return records
        time.sleep(0.2)


def read_all(data_dir: Path) -> Iterator[Record]:
    """Read the records as amendments make them, with the outcome of the line as `settled_outcome`."""
    with (data_dir / HISTORY).open("rb") as lines:
        first = {_id(record): record["outcome"] for record in map(json.loads, lines)}
    for record in otel_gen.read(data_dir):
        yield record | {"settled_outcome": first.get(_id(record), record["outcome"])}


def differences(found: Findings) -> Iterator[str]:
    """Run all checks that need only the answers, the verdicts and the files."""
    yield from _records(found)
    for answer in found.answers:
        yield from _answer(answer)
        record = found.record_of(answer)
        if record is None:
            yield f"task {answer.task.number} ({answer.task.task_id}) has no record"
        else:
            yield from _record(found, answer, record)
    yield from _verdicts(found)
    yield from _artifacts(found)


def _records(found: Findings) -> Iterator[str]:
    if len(found.records) != len(found.answers):
        yield f"{len(found.answers)} generations were sent, {len(found.records)} records are there"
    repeated = [one for one, times in Counter(map(_id, found.records)).items() if times > 1]
    yield from (f"generation {one} has more than one record" for one in repeated)


def _answer(answer: Answer) -> Iterator[str]:
    task = answer.task
    if task.expected and answer.status != task.status:
        yield f"task {task.number} was answered {answer.status}, expected {task.status}"
    if task.expected == "submitted" and not answer.submitted:
        yield f"task {task.number} brought no PLY: {answer.refusal}"
    if task.reason and answer.refusal and answer.refusal != task.reason:
        yield f"task {task.number} was refused for {answer.refusal}, expected {task.reason}"


def _record(found: Findings, answer: Answer, record: Record) -> Iterator[str]:
    name, task = f"generation {_id(record)}", answer.task
    if answer.generation_id and answer.generation_id != _id(record):
        yield f"{name} was answered as {answer.generation_id}"
    if first_outcome(record) != found.expected_outcome(answer):
        yield f"{name} is {first_outcome(record)}, expected {found.expected_outcome(answer)}"
    if record["task"]["task_type"] != task.task_type:
        yield f"{name} is {record['task']['task_type']}, expected {task.task_type}"
    said = record["failure_analysis"]["error_type"] or record["generation"]["submission"].get(
        "rejection_reason"
    )
    if task.reason and said != task.reason and task.expected in ("failed", "withheld"):
        yield f"{name} gives {said} as its reason, expected {task.reason}"
    if task.expected == "interrupted":
        yield from _interrupted(record)
    if task.attempt > 1:
        yield from _handed_out_again(found, record)


def _interrupted(record: Record) -> Iterator[str]:
    """What a kill -9 must leave: the stages that had ended, the one that had not, and the trace."""
    ended = {stage["name"]: stage["status"] for stage in record["generation"]["stages"]}
    wanted = {"queue": "ok", "sdxl": "ok", "background_removal": "ok", "depth_estimation": "ok"}
    if ended != wanted | {"trellis": "interrupted"}:
        yield f"the killed generation {_id(record)} has the stages {ended}"
    if not int(record["metadata"]["trace_id"] or "0", 16):
        yield f"the killed generation {_id(record)} has no trace id"


def _handed_out_again(found: Findings, record: Record) -> Iterator[str]:
    earlier = [r for r in found.records if _key(r) == (_key(record)[0], _key(record)[1] - 1)]
    digests = {r["generation"]["output"].get("ply_file_hash") for r in [*earlier, record]}
    if not earlier or len(digests) != 1 or None in digests:
        yield f"generation {_id(record)} does not repeat the output of the attempt before"


def _verdicts(found: Findings) -> Iterator[str]:
    by_id = {_id(record): record for record in found.records}
    silent = {
        str(answer.generation_id) for answer in found.answers if answer.submitted
    } - found.verdicts.keys()
    yield from (f"no validator has posted a verdict on {one}" for one in sorted(silent))
    for one, posted in found.verdicts.items():
        if not posted["acknowledged"]:
            yield f"the verdict on {one} was not acknowledged: {posted['why']}"
        score = by_id.get(one, {}).get("validator_feedback", {}).get("score")
        if score != posted["score"] and not posted.get("validation_failed"):
            yield f"generation {one} has the score {score}, the validator gave {posted['score']}"


def _artifacts(found: Findings) -> Iterator[str]:
    """Accepted: its PLY is there and is what the record says. Anything else: none but the sample."""
    for record in found.records:
        output = record["generation"]["output"]
        path, digest = output.get("ply_file_path"), output.get("ply_file_hash")
        if record["outcome"] == "accepted":
            file = found.data_dir / str(path)
            if not path or not file.is_file() or digest_of(file) != digest:
                yield f"the PLY of accepted generation {_id(record)} is not at {path} as {digest}"
        elif path:
            yield f"generation {_id(record)} is {record['outcome']} and keeps the PLY {path}"


def digest_of(file: Path) -> str:
    return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


def _id(record: Record) -> str:
    return str(record["metadata"]["generation_id"])


def _key(record: Record) -> tuple[str, int]:
    return record["metadata"]["task_id"], record["metadata"]["attempt"]
