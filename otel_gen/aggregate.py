"""Aggregates: counters and histograms as a pure function of records and applied amendments."""

from __future__ import annotations

import bisect
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from otel_gen import catalog, failures
from otel_gen import semconv as sc
from otel_gen.clock import parse_iso
from otel_gen.older import part
from otel_gen.record import Record

Key = tuple[str, tuple[str, ...]]
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NUMBER = re.compile(r"(?:^|[_:= -]+)[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?%?(?=$|[_:= -])")
_LIMIT = 32
_MOST = sys.float_info.max
"""A sum stays finite, whatever a caller measures: infinity would be null in the index."""
_loads = msgspec.json.Decoder().decode


class Names:
    """The first 32 distinct names of stages and reasons; later ones are `other`."""

    def __init__(self, known: dict[str, list[str]] | None = None) -> None:
        self.known = known or {"stage": [], "reason": []}

    def label(self, family: str, name: Any) -> str:
        """Give the label of a name, taking it in while there is room."""
        names = self.known[family]
        if name in names:
            return str(name)
        plain = plain_name(name)
        if plain is None or len(names) >= _LIMIT:
            return sc.OTHER
        names.append(plain)
        return plain

    def reason(self, text: Any) -> str:
        """Give the label of a reason: its text without its number."""
        return self.label("reason", plain_reason(text))


class Aggregates:
    """Counters (floats) and histograms ([bucket counts..., count, sum]) by name and label values.

    `changed` holds the keys that a transaction still has to store.
    """

    def __init__(self, names: Names | None = None) -> None:
        self.names = names or Names()
        self.counters: dict[Key, float] = {}
        self.histograms: dict[Key, list[float]] = {}
        self.exemplars: dict[Key, dict[int, tuple[str, float, float]]] = {}
        self.changed: set[Key] = set()

    def add(self, name: str, labels: tuple[str, ...] = (), n: float = 1) -> None:
        """Count."""
        key = (name, labels)
        self.counters[key] = self.counters.get(key, 0) + n
        self.changed.add(key)

    def observe(
        self, name: str, value: Any, labels: tuple[str, ...] = (), trace: tuple[str, float] | None = None
    ) -> None:
        """Put a value into a histogram; what is no number is passed over."""
        if type(value) is not float and type(value) is not int:
            return
        edges = catalog.METRICS[name].buckets
        key, at = (name, labels), bisect.bisect_left(edges, value)
        row = self.histograms.setdefault(key, [0] * (len(edges) + 3))
        row[at] += 1
        row[-2] += 1
        row[-1] = max(-_MOST, min(row[-1] + value, _MOST))
        self.changed.add(key)
        if trace is not None:
            self.exemplars.setdefault(key, {})[at] = (trace[0], value, trace[1])

    # --- lines ---------------------------------------------------------------------------------------
    def record(self, record: Record, *, repeated: bool) -> None:
        """Count one line as it was first written."""
        if record["metadata"].get("source"):
            return
        metadata, generation = record["metadata"], first_written(record)
        kind = task_type(record["task"]["task_type"])
        outcome: str = record.get("settled_outcome") or record["outcome"]
        trace = _exemplar(metadata)
        self.add("gen3d_records")
        self.add("gen3d_generations", (kind, outcome))
        work = self._durations(generation, kind, trace)
        self._ending(record, outcome)
        self._output(generation["output"], kind, trace)
        if metadata["attempt"] > 1:
            self.add("gen3d_task_redeliveries")
        if repeated:
            self.add("gen3d_repeated_outputs")
        cause = wasted_cause(outcome, repeated=repeated)
        if cause is not None and work:
            self.add("gen3d_wasted_seconds", (cause,), work)
        self.verdict(record.get("settled_feedback") or record["validator_feedback"], metadata)

    def amendment(self, amendment: Record, metadata: Record) -> None:
        """Count an amendment that was applied."""
        if amendment["applied"] and amendment["kind"] == "feedback" and not metadata.get("source"):
            self.verdict(amendment["changes"]["validator_feedback"], metadata)

    def verdict(self, feedback: Record, metadata: Record) -> None:
        """Count a verdict."""
        if not feedback.get("received"):
            return
        uid = feedback.get("validator_uid")
        label = validator(metadata.get("validator_uid") if uid is None else uid)
        word = feedback.get("verdict") or ("accepted" if feedback["accepted"] else "rejected")
        self.add("gen3d_feedback", (label, word))
        last = ("gen3d_last_feedback_timestamp_seconds", ())
        self.counters[last] = max(self.counters.get(last, 0), parse_iso(feedback["feedback_time"]) / 1e9)
        self.changed.add(last)
        self.observe("gen3d_feedback_delay_seconds", feedback["feedback_delay_seconds"])
        if word == "accepted":
            self.observe("gen3d_validator_score", feedback["score"], (label,))

    def _durations(self, generation: Record, kind: str, trace: tuple[str, float] | None) -> float:
        for stage in generation["stages"]:
            if stage["duration_seconds"] is None:
                continue
            if stage["name"] == sc.QUEUE_STAGE:
                self.observe("gen3d_queue_wait_seconds", stage["duration_seconds"], (kind,), trace)
            else:
                labels = (self.names.label("stage", stage["name"]), stage["status"])
                self.observe("gen3d_stage_duration_seconds", stage["duration_seconds"], labels, trace)
        timing = generation["timing"]
        if not isinstance(timing.get("total_time"), (int, float)):
            return 0.0
        work: float = max(timing["total_time"] - (timing.get("queue_time") or 0), 0)
        self.observe("gen3d_generation_duration_seconds", work, (kind,), trace)
        return work

    def _ending(self, record: Record, outcome: str) -> None:
        failure: Record = record.get("settled_failure") or record["failure_analysis"]
        if failure["failed"]:
            stage = failure.get("stage")
            name = self.names.label("stage", stage) if stage else sc.NONE
            self.add("gen3d_failures", (failures.label(failure["error_type"]), name))
        if outcome == "withheld":
            reason = first_written(record)["submission"].get("rejection_reason")
            self.add("gen3d_withheld", (self.names.reason(reason),))

    def _output(self, output: Record, kind: str, trace: tuple[str, float] | None) -> None:
        quality = output.get("quality_metrics") or {}
        self.observe("gen3d_clip_score", quality.get("clip_score"), (kind,), trace)
        self.observe("gen3d_gaussians", output.get("num_gaussians"), (kind,), trace)
        self.observe("gen3d_output_bytes", output.get("file_size_bytes"), (kind,), trace)

    def forget_exemplars(self, trace_id: str) -> None:
        """Drop what points to a trace."""
        for key, found in self.exemplars.items():
            mine = [at for at, one in found.items() if one[0] == trace_id]
            for at in mine:
                del found[at]
                self.changed.add(key)

    # --- storing -------------------------------------------------------------------------------------
    def take_changes(self) -> Iterator[tuple[str, str]]:
        """Give the changed rows as key and value, both JSON."""
        for name, labels in self.changed:
            key = (name, labels)
            value: Any = self.counters[key] if key in self.counters else self._stored(key)
            yield msgspec.json.encode([name, *labels]).decode(), msgspec.json.encode(value).decode()
        self.changed = set()

    def _stored(self, key: Key) -> Any:
        return {"row": self.histograms[key], "exemplars": self.exemplars.get(key, {})}

    def load(self, rows: Iterable[tuple[str, str]]) -> None:
        """Take stored rows. Raises ValueError for one that does not fit the catalogue."""
        for key, value in rows:
            name, *labels = _loads(key)
            self._take((name, tuple(labels)), _loads(value))

    def _take(self, key: Key, found: Any) -> None:
        metric = catalog.METRICS.get(key[0])
        if not isinstance(found, dict):
            self.counters[key] = float(found) if isinstance(found, float) else int(found)
        elif metric is not None:
            row = found["row"]
            if len(row) != len(metric.buckets) + 3 or len(key[1]) != len(metric.labels):
                raise ValueError(f"a stored row of {key[0]} has another form")
            self.histograms[key] = row
            self.exemplars[key] = {int(at): tuple(one) for at, one in found["exemplars"].items()}


def output_digest(record: Record) -> str | None:
    """Give the hash by which repeats of an output are told."""
    output = part(first_written(record), "output")
    digest = output.get("ply_file_hash") or output.get("spz_file_hash")
    return digest if isinstance(digest, str) else None


def first_written(record: Record) -> Record:
    """Give what the record said of the generation before anything was folded in: that is what was counted."""
    return part(record, "settled_generation") or part(record, "generation")


def wasted_cause(outcome: str, *, repeated: bool) -> str | None:
    """Say under which cause the work of a record was wasted; each second once, `repeated` first."""
    if outcome in ("accepted", "rejected", "unscored"):
        return "repeated" if repeated else None
    return outcome


def plain_name(name: Any) -> str | None:
    """Give a name that may become a label; None for one that never does."""
    return name if isinstance(name, str) and _NAME.fullmatch(name) else None


def plain_reason(text: Any) -> str | None:
    """Give a reason without its number, where it may become a label."""
    return plain_name(_NUMBER.sub("", text) if isinstance(text, str) else None)


def task_type(value: Any) -> str:
    """Label of a task type."""
    return value if value in sc.TASK_TYPES else sc.OTHER


def validator(uid: Any) -> str:
    """Label of a validator: 0..255, `none` or `other`."""
    if uid is None:
        return sc.NONE
    return str(uid) if isinstance(uid, int) and 0 <= uid <= 255 else sc.OTHER


def _exemplar(metadata: Record) -> tuple[str, float] | None:
    if not metadata.get("trace_flags"):
        return None
    return metadata["trace_id"], parse_iso(metadata["timestamp"]) / 1e9
