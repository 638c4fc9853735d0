"""Metrics: a prometheus_client collector over the leader's index, the same from every process."""

from __future__ import annotations

import itertools
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from prometheus_client import Metric as Family
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from otel_gen import catalog, files, index
from otel_gen import semconv as sc
from otel_gen._version import __version__
from otel_gen.aggregate import Key
from otel_gen.catalog import METRICS, Metric
from otel_gen.clock import Clock
from otel_gen.errors import StorageError
from otel_gen.tree import DOT, beat_age

_loads = msgspec.json.Decoder().decode
_EMPTY: tuple[tuple[str, ...], ...] = ()


class Snapshot:
    """The numbers of one moment; `refresh` alone replaces them, whole, so that reading needs no lock."""

    STALE = 1.5  # seconds after which a scrape reads for itself

    def __init__(self, data_dir: str, clock: Clock, uncounted: Any = dict) -> None:
        self._path, self._clock, self._uncounted = data_dir, clock, uncounted
        self._reading = threading.Lock()
        self._seen: Any = None
        self.values: dict[Key, Any] = {}
        self.exemplars: dict[Key, dict[int, tuple[str, float, float]]] = {}
        self.config_hash = ""
        self.beat: float | None = None
        self.free = (0, 0)
        self._at = -1e9
        self._held = False

    def refresh(self) -> None:
        """Read the index, if it changed; whatever goes wrong, the last numbers stay."""
        if not self._reading.acquire(blocking=False):
            return
        try:
            self._read()
        except (OSError, StorageError, sqlite3.Error, ValueError):
            return
        finally:
            self._reading.release()

    def hold(self, timeout: float) -> None:
        """Before a fork: wait for a read under way to close its connection."""
        self._held = self._reading.acquire(timeout=timeout)

    def release(self) -> None:
        """After a fork, in the parent."""
        if self._held:
            self._reading.release()

    def _read(self) -> None:
        dot = files.Folder.root(os.path.join(self._path, DOT), create=False)
        try:
            self.beat = beat_age(dot, self._clock.boot())
            self.free = _free(self._path)
            self._at = time.monotonic()
            changed = _marks(dot)
            if changed != self._seen:
                self._take(dot)
                self._seen = changed
        finally:
            dot.close()

    def _take(self, dot: files.Folder) -> None:
        found = index.open_reader(dot)
        if found is None:
            return
        try:
            found.db.execute("BEGIN")
            values = {}
            for key, value in found.aggregates():
                name, *labels = _loads(key)
                values[name, tuple(labels)] = _loads(value)
            self.config_hash = found.meta("config_hash")
            exemplars = found.meta("exemplars")
        finally:
            found.close()
        self.values = values
        self.exemplars = {
            (name, tuple(labels)): {int(at): tuple(row) for at, row in rows.items()}
            for name, labels, rows in (_loads(exemplars) if exemplars else ())
        }

    def current(self) -> dict[Key, Any]:
        """Give the numbers, refreshed where nobody did so lately, with what is only in memory."""
        if time.monotonic() - self._at > self.STALE:
            self.refresh()
        values = dict(self.values)
        for (name, label), n in self._uncounted().items():
            key = (f"gen3d_{name}", (label,) if METRICS[f"gen3d_{name}"].labels else ())
            values[key] = values.get(key, 0) + n
        self._gauges(values)
        return values

    def _gauges(self, values: dict[Key, Any]) -> None:
        oldest = values.pop(("gen3d_oldest_undelivered_wall", ()), 0)
        age = self.beat if self.beat is not None else 0.0
        waited = max(self._clock.wall() / 1e9 - oldest, 0) if oldest else 0.0
        values["gen3d_oldest_undelivered_seconds", ()] = waited
        values["gen3d_snapshot_age_seconds", ()] = age
        free, size = self.free
        values["gen3d_data_dir_free_bytes", ()] = free
        values["gen3d_data_dir_free_ratio", ()] = free / size if size else 0.0
        values["gen3d_config_info", (self.config_hash,)] = 1
        values["gen3d_build_info", (__version__,)] = 1


def _marks(dot: files.Folder) -> Any:
    name = index.current_name(dot)
    states = [dot.stat(f"{name}{suffix}") for suffix in ("", "-wal")] if name else []
    return [name, *((s.st_mtime_ns, s.st_size, s.st_ino) if s else None for s in states)]


def _free(path: str) -> tuple[int, int]:
    state = os.statvfs(path)
    return state.f_bavail * state.f_frsize, state.f_blocks * state.f_frsize


class RecordsCollector(Collector):
    """Expose a snapshot; collect() never raises and never waits for the disk's writers."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Family]:
        """Name all families; static."""
        return [_family(metric) for metric in METRICS.values()]

    def collect(self) -> Iterator[Family]:
        """Give all families with the numbers of the last snapshot."""
        values = self._snapshot.current()
        for key in list(values):
            if key[0] == "gen3d_feedback":
                for word in sc.VERDICTS:
                    values.setdefault(("gen3d_feedback", (key[1][0], word)), 0)
        rows: dict[str, dict[tuple[str, ...], Any]] = {name: {} for name in METRICS}
        for (name, labels), value in values.items():
            if name in rows:
                rows[name][labels] = value
        for metric in METRICS.values():
            yield _filled(metric, rows[metric.name], self._snapshot.exemplars)


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
    family.add_metric(labels, buckets, sum_value=row[-1])


__all__ = ["RecordsCollector", "Snapshot", "catalog"]
