"""Stats: totals, acceptance, stage times, failures and waste of a data_dir, from its records alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from otel_gen import sanitize
from otel_gen import semconv as sc
from otel_gen.aggregate import output_digest, wasted_cause
from otel_gen.older import objects, part
from otel_gen.readers.ratio import Ratio, quantile, ratio
from otel_gen.readers.records import read
from otel_gen.record import Record


@dataclass(frozen=True)
class Judged:
    """Verdicts of one group; `invalid` ones say nothing about what was made and are not in n."""

    acceptance: Ratio
    invalid: int
    median_score: float | None
    """Of accepted ones only: a rejected result's score is not disclosed."""


@dataclass(frozen=True)
class Times:
    """Durations in seconds."""

    n: int
    p50: float
    p95: float


@dataclass(frozen=True)
class Stats:
    """All figures; groups by name, the largest first."""

    records: int
    first: str | None
    last: str | None
    outcomes: dict[str, int]
    acceptance: Judged
    by_validator: dict[str, Judged]
    by_task_type: dict[str, Judged]
    stages: dict[str, Times]
    total: Times | None
    failures: dict[str, int]
    withheld: dict[str, int]
    wasted_seconds: dict[str, float]


def stats(data_dir: Any) -> Stats:
    """Work out the figures of a data_dir; late verdicts count as if they had come in time."""
    return of(read(data_dir))


def of(records: Iterable[Record]) -> Stats:
    """Work out the figures of records, in one pass."""
    found = _Pass()
    for record in records:
        found.take(record)
    return found.result()


class _Pass:
    def __init__(self) -> None:
        self.n = 0
        self.first: str | None = None
        self.last: str | None = None
        self.outcomes: Counter[str] = Counter()
        self.verdicts: defaultdict[tuple[str, str], list[tuple[str, float | None]]] = defaultdict(list)
        self.stages: defaultdict[str, list[float]] = defaultdict(list)
        self.work: list[float] = []
        self.failures: Counter[str] = Counter()
        self.withheld: Counter[str] = Counter()
        self.wasted: defaultdict[str, float] = defaultdict(float)
        self.outputs: set[tuple[str, str | None]] = set()
        """Source and hash: a record repeats one from where it comes itself, as in the live counters."""

    def take(self, record: Record) -> None:
        """Count what a record says; a part that is none, of a damaged or an older line, says nothing."""
        self.n += 1
        stamp = str(record["metadata"].get("timestamp"))
        self.first, self.last = min(self.first or stamp, stamp), max(self.last or stamp, stamp)
        outcome = str(record["outcome"])
        self.outcomes[outcome] += 1
        self._verdict(record)
        self._durations(record, outcome)
        failure = record["failure_analysis"]
        if failure.get("failed"):
            stage = f" in {failure['stage']}" if failure.get("stage") else ""
            self.failures[f"{failure.get('error_type')}{stage}"] += 1
        if outcome == "withheld":
            self.withheld[str(part(record["generation"], "submission").get("rejection_reason"))] += 1

    def _verdict(self, record: Record) -> None:
        feedback, metadata = record["validator_feedback"], record["metadata"]
        if not feedback.get("received"):
            return
        word = feedback.get("verdict") or ("accepted" if feedback.get("accepted") else "rejected")
        uid = feedback.get("validator_uid")
        uid = metadata.get("validator_uid") if uid is None else uid
        groups = (
            ("", ""),
            ("validator", sc.NONE if uid is None else str(uid)),
            ("type", str(record["task"].get("task_type"))),
        )
        for group in groups:
            self.verdicts[group].append((str(word), sanitize.score(feedback.get("score"))))

    def _durations(self, record: Record, outcome: str) -> None:
        for stage in objects(record["generation"], "stages"):
            spent = sanitize.number(stage.get("duration_seconds"))
            if spent is not None:
                self.stages[str(stage.get("name"))].append(spent)
        timing = part(record["generation"], "timing")
        output = (str(record["metadata"].get("source")), output_digest(record))
        repeated = output in self.outputs
        self.outputs |= {output} if output[1] else set()
        total = sanitize.number(timing.get("total_time"))
        if total is not None:
            work = max(total - (sanitize.number(timing.get("queue_time")) or 0.0), 0.0)
            self.work.append(work)
            self.wasted[wasted_cause(outcome, repeated=repeated) or ""] += work

    def result(self) -> Stats:
        self.wasted.pop("", None)
        return Stats(
            self.n, self.first, self.last, dict(self.outcomes.most_common()),
            _judged(self.verdicts[("", "")]), self._group("validator"), self._group("type"),
            {name: _times(seconds) for name, seconds in self.stages.items()},
            _times(self.work) if self.work else None, dict(self.failures.most_common()),
            dict(self.withheld.most_common()), _largest_first(self.wasted),
        )  # fmt: skip

    def _group(self, kind: str) -> dict[str, Judged]:
        found = {name: _judged(rows) for (of_kind, name), rows in self.verdicts.items() if of_kind == kind}
        return dict(sorted(found.items(), key=lambda item: (-item[1].acceptance.n, item[0])))


def _judged(rows: list[tuple[str, float | None]]) -> Judged:
    words = Counter(word for word, _ in rows)
    scores = [score for word, score in rows if word == "accepted" and score is not None]
    accepted = words["accepted"]
    middle = quantile(scores, 0.5) if scores else None
    return Judged(ratio(accepted, accepted + words["rejected"]), words["invalid"], middle)


def _times(seconds: list[float]) -> Times:
    return Times(len(seconds), round(quantile(seconds, 0.5), 6), round(quantile(seconds, 0.95), 6))


def _largest_first(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(n, 3) for name, n in sorted(seconds.items(), key=lambda item: -item[1])}
