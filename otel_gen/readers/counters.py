"""Counters: what the index counted against what the files say, counted anew."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import msgspec

from otel_gen import aggregate, catalog, events, history
from otel_gen import semconv as sc
from otel_gen.aggregate import Aggregates, Key, Names
from otel_gen.events import Counted, Event, Noted, Started
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
    stored = _stored(index)
    counted = _counted(survey.counted) | _events(root, index)
    for key in sorted(stored.keys() | counted.keys()):
        if key[0] in FROM_LINES or key[0] in FROM_EVENTS:
            report.counters += 1
            if not _same(stored.get(key), counted.get(key)) and not _undecidable(key, survey):
                _differs(report, key, stored.get(key), counted.get(key))


def _stored(index: Index) -> dict[Key, Any]:
    found: dict[Key, Any] = {}
    for key, value in index.aggregates():
        name, *labels = _loads(key)
        found[name, tuple(labels)] = _loads(value)
    return found


def _counted(counted: Aggregates) -> dict[Key, Any]:
    return {**counted.counters, **counted.histograms}


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
    segments = inner(dot, SEGMENTS)
    here = {name: _read(segments, name, end) for name, end in cursors.items()} if segments else {}
    if segments is not None:
        segments.close()
    counts: Counter[tuple[str, str]] = Counter()
    seen: dict[str, int] = {}
    for row in _totals(dot):
        if here.get(row["segment"]) is None:
            counts.update({(name, label): n for name, label, n in row["counts"]})
            seen[row["worker"]] = max(seen.get(row["worker"], 0), row["last"])
    taken: set[tuple[str, int]] = set()
    for found in here.values():
        for worker, sequence, name, label, n in found or ():
            if sequence > seen.get(worker, 0) and (worker, sequence) not in taken:
                taken.add((worker, sequence))
                counts[name, label] += n
    return counts


def _read(segments: Folder, name: str, end: int) -> list[tuple[str, int, str, str, int]] | None:
    """Read what a segment counts up to an offset; None if it is gone."""
    try:
        reader = Reader(segments, name)
    except FileNotFoundError:
        return None
    found, worker = [], ""
    try:
        while reader.offset < end:
            frames = reader.read()
            for sequence, payload, behind in frames:
                event = _decoded(payload)
                worker = event.worker if isinstance(event, events.Header) else worker
                counted = _counts(event) if behind <= end else None
                if counted is not None:
                    found.append((worker, sequence, *counted))
            if not frames and not reader.skip_damage():
                break
    finally:
        reader.close()
    return found


def _decoded(payload: bytes) -> Event | None:
    try:
        found: Event = events.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found


def _counts(event: Event | None) -> tuple[str, str, int] | None:
    if isinstance(event, Started):
        return "gen3d_generations_started", aggregate.task_type(event.attributes.get(sc.TASK_TYPE)), 1
    if isinstance(event, Noted) and event.attributes.get(sc.SAID) == "submitted":
        return "gen3d_submissions", aggregate.validator(event.attributes.get(sc.VALIDATOR_UID)), 1
    if isinstance(event, Counted):
        return f"gen3d_{event.name}", event.label, event.n
    return None


def _totals(dot: Folder) -> list[dict[str, Any]]:
    if not dot.exists("totals.jsonl"):
        return []
    rows = map(history.parsed, dot.read("totals.jsonl").splitlines(keepends=True))
    return [row for row in rows if "counts" in row]  # the others are reported as damage of that file


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
    found["gen3d_capture_errors", "quarantined"] = sum(name.endswith(".record") for name in names)
    damaged = sum(name.endswith((".corrupt", ".unreadable")) for name in names)
    found["gen3d_capture_errors", "damage"] = damaged
    return found
