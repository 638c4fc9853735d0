"""Metrics: a prometheus_client collector over a snapshot of the index, the same from every process."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import Metric as Family
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from otel_gen import semconv as sc
from otel_gen.aggregate import Key
from otel_gen.catalog import ERRORS, GPU_METRICS, METRICS, Metric
from otel_gen.snapshot import Snapshot

_EMPTY: tuple[tuple[str, ...], ...] = ()


class RecordsCollector(Collector):
    """Expose a snapshot; collect() never raises and never waits for the disk's writers."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Family]:
        """Name all families; static."""
        return [_family(metric) for metric in (*METRICS.values(), *GPU_METRICS.values())]

    def collect(self) -> Iterator[Family]:
        """Give all families with the numbers of the last snapshot."""
        values = self._snapshot.current()
        for labels in {labels[:1] for name, labels in values if name in _BY_VALIDATOR}:
            for word in sc.VERDICTS:
                values.setdefault(("gen3d_feedback", (*labels, word)), 0)
            values.setdefault(("gen3d_submissions", labels), 0)
            values.setdefault(("gen3d_validator_score", labels), 0)
        for stage in {labels[0] for name, labels in values if name == "gen3d_stage_duration_seconds"}:
            for word in ERRORS:  # a stage that runs may fail: increase() does not see a series' first value
                values.setdefault(("gen3d_failures", (word, stage)), 0)
        rows: dict[str, dict[tuple[str, ...], Any]] = {name: {} for name in (*METRICS, *GPU_METRICS)}
        for (name, labels), value in values.items():
            if name in rows:
                rows[name][labels] = value
        for metric in METRICS.values():
            yield _filled(metric, rows[metric.name], self._snapshot.exemplars)
        for metric in GPU_METRICS.values():
            if rows[metric.name]:
                yield _filled(metric, rows[metric.name], {})


_BY_VALIDATOR = ("gen3d_submissions", "gen3d_feedback", "gen3d_validator_score")
_FAMILIES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}


def _family(metric: Metric) -> Any:
    return _FAMILIES[metric.kind](metric.name, metric.help, labels=metric.labels)


def _filled(metric: Metric, rows: dict[tuple[str, ...], Any], exemplars: dict[Key, Any]) -> Family:
    family = _family(metric)
    known = itertools.product(*metric.known) if metric.known is not None else _EMPTY
    for labels in known:
        rows.setdefault(tuple(labels), 0)
    if not metric.labels:
        rows.setdefault((), 0)
    for labels in sorted(rows):
        _add(family, metric, labels, rows[labels], exemplars.get((metric.name, labels)) or {})
    return family  # type: ignore[no-any-return]


def _add(family: Any, metric: Metric, labels: tuple[str, ...], value: Any, exemplars: dict[int, Any]) -> None:
    if metric.kind != "histogram":
        family.add_metric(labels, value)
        return
    row = value or [0] * (len(metric.buckets) + 3)
    total, buckets = 0, []
    for at, edge in enumerate((*(str(float(e)) for e in metric.buckets), "+Inf")):
        total += row[at]
        found = exemplars.get(at)
        example = Exemplar({"trace_id": found[0]}, found[1], found[2]) if found else None
        buckets.append((edge, total, example))
    family.add_metric(labels, buckets, sum_value=max(row[-1], 0))  # no parser takes a sum below zero


__all__ = ["RecordsCollector", "Snapshot"]
