"""Counters: what the index counted against what the files say, counted anew."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec

from otel_gen import catalog, events, history
from otel_gen import semconv as sc
from otel_gen.aggregate import Aggregates, Key, Names
from otel_gen.counted import count_of
from otel_gen.events import Event
from otel_gen.files import Folder
from otel_gen.index import Index
from otel_gen.readers.findings import REBUILD, Report
from otel_gen.readers.journal import SEGMENTS, inner
from otel_gen.readers.survey import Survey
from otel_gen.segment import Reader
from otel_gen.tree import DOT

FROM_EVENTS = ("gen3d_generations_started", "gen3d_submissions", "gen3d_capture_errors", "gen3d_not_durable",
               "gen3d_shed")  # fmt: skip
FROM_LINES = tuple(
    metric.name
    for metric in catalog.METRICS.values()
    if metric.kind != "gauge" and metric.name not in FROM_EVENTS
)
_loads = msgspec.json.Decoder().decode


def names_of(index: Index | None) -> Names:
    """Give the names of stages and reasons that have labels of their own."""
    known = index.meta("names") if index is not None else ""
    return Names(_loads(known) if known else None)


def compare(report: Report, root: Folder, index: Index, survey: Survey) -> None:
    """Report every counter and histogram of the index that is not what the files give."""
    stored = Aggregates()
    try:
        stored.load(index.aggregates())
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        report.problem("counter", "/metrics", f"the index holds numbers that are none ({error})", REBUILD)
        return
    here, there = _values(stored), _values(survey.counted) | _events(root, index)
    for key in sorted(here.keys() | there.keys()):
        if key[0] in FROM_LINES or key[0] in FROM_EVENTS:
            report.counters += 1
            if not _same(here.get(key), there.get(key)) and not _undecidable(key, survey):
                _differs(report, key, here.get(key), there.get(key))


def _values(found: Aggregates) -> dict[Key, Any]:
    return {**found.counters, **found.histograms}


def _same(stored: Any, counted: Any) -> bool:
    one, two = (value if isinstance(value, list) else [value or 0] for value in (stored, counted))
    if len(one) != len(two):
        return not any(one) and not any(two)
    return all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6) for a, b in zip(one, two, strict=True))


def _undecidable(key: Key, survey: Survey) -> bool:
    return survey.mixed_repeats and key[0] == "gen3d_wasted_seconds"


def _differs(report: Report, key: Key, stored: Any, counted: Any) -> None:
    place = key[0] + (f"{{{', '.join(key[1])}}}" if key[1] else "")
    text = f"/metrics says {_brief(stored)}, the files say {_brief(counted)}"
    report.problem("counter", place, text, REBUILD)


def _brief(value: Any) -> str:
    if isinstance(value, list):
        return f"{value[-2]:g} values with a sum of {value[-1]:g}"
    return f"{value or 0:g}"


# --- what is counted from events -------------------------------------------------------------------------
def _events(root: Folder, index: Index) -> dict[Key, Any]:
    """Count events as far as the index has read the segments, and those of segments that are gone."""
    dot = inner(root, DOT)
    if dot is None:
        return {}
    try:
        counts = _segments(dot, index.cursors()) + _quarantined(dot)
    finally:
        dot.close()
    found: Counter[Key] = Counter()
    for (name, label), n in counts.items():
        metric = catalog.METRICS.get(name)
        if metric is not None and name in FROM_EVENTS:
            known = metric.known[0] if metric.known else None
            label = label if known is None or label in known else sc.OTHER
            found[name, (label,) if metric.labels else ()] += n
    return dict(found)


def _segments(dot: Folder, cursors: dict[str, int]) -> Counter[tuple[str, str]]:
    """Count what segments hold, each event once: a copy that was made of one keeps its number."""
    segments = inner(dot, SEGMENTS)
    read = [_read(segments, name, end) for name, end in cursors.items()] if segments else []
    if segments is not None:
        segments.close()
    here = {found.name: found for found in read if found is not None}
    rows = [row for name, row in _totals(dot).items() if name not in here]
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        counts.update({(name, label): n for name, label, n in row["counts"]})
    taken: set[tuple[str, int]] = set()
    for found in here.values():
        retired = [row["last"] for row in rows if row.get("worker") == found.worker]
        copied = max((last for last in retired if last <= found.last), default=0)
        for sequence, name, label, n in found.counts:
            if sequence > copied and (found.worker, sequence) not in taken:
                taken.add((found.worker, sequence))
                counts[name, label] += n
    return counts


@dataclass
class _Segment:
    """What a segment counts: sequence, metric, label, number."""

    name: str
    worker: str = ""
    last: int = 0
    counts: list[tuple[int, str, str, int]] = field(default_factory=list)

    def take(self, sequence: int, event: Event | None) -> None:
        self.last = max(self.last, sequence)
        if isinstance(event, events.Header):
            self.worker = event.worker
        counted = None if event is None else count_of(event)
        if counted is not None:
            name, label, n = counted
            self.counts.append((sequence, f"gen3d_{name}", label, n))


def _read(segments: Folder, name: str, end: int) -> _Segment | None:
    """Read what a segment counts up to an offset; None if it is gone."""
    try:
        reader = Reader(segments, name)
    except FileNotFoundError:
        return None
    found = _Segment(name)
    try:
        while reader.offset < end:
            frames = reader.read()
            for sequence, payload, behind in frames:
                if behind <= end:
                    found.take(sequence, events.understood(payload))
            if not frames and not reader.skip_damage():
                break
    finally:
        reader.close()
    return found


def _totals(dot: Folder) -> dict[str, dict[str, Any]]:
    """Read what deleted segments counted, by name: twice there where a crash undid the deletion."""
    if not dot.exists("totals.jsonl"):
        return {}
    rows = map(history.parsed, dot.read("totals.jsonl").splitlines(keepends=True))
    # the others are reported as damage of that file
    return {str(row.get("segment")): row for row in rows if "counts" in row}


def _quarantined(dot: Folder) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    quarantine = inner(dot, "quarantine")
    if quarantine is None:
        return found
    names = quarantine.names()
    if "aside.jsonl" in names:
        for line in quarantine.read("aside.jsonl").splitlines():
            word = "unknown_feedback" if b'"kind":"feedback"' in line else "other"
            found["gen3d_capture_errors", word] += 1
    quarantine.close()
    for name in names:
        if name != "aside.jsonl" and not name.startswith("."):
            label = "quarantined" if name.endswith(".record") else "damage"
            found["gen3d_capture_errors", label] += 1
    return found
