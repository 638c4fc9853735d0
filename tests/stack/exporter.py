"""A stand-in for otel_gen's /metrics: every metric, its labels and its buckets, and counts that a test moves.

`serving()` is the one place that says what the tests scrape.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

TASKS = ("TEXT-TO-3D", "IMAGE-TO-3D", "other")
OUTCOMES = (
    "accepted",
    "rejected",
    "unscored",
    "withheld",
    "unsubmitted",
    "failed",
    "cancelled",
    "interrupted",
)
SECONDS = (
    *(0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 12.5, 15, 20, 25, 30, 35, 45, 60, 90, 120),
    300,
)
DELAY = (0.5, 1, 2, 3, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
GAUSSIANS = (7e3, 5e4, 1e5, 1.5e5, 2e5, 3e5, 4e5, 6e5, 8e5, 1e6, 1.5e6, 2.5e6)
CLIP = (0.05, 0.10, 0.105, 0.12, 0.15, 0.18, 0.20, 0.22, 0.25, 0.30, 0.35)
SCORE = (0, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 1)
BYTES = tuple(size * 1e6 for size in (1, 2.5, 5, 10, 20, 35, 50, 75, 100, 200, 500))

COUNTERS = {
    "gen3d_generations_started": ("task_type",),
    "gen3d_generations": ("task_type", "outcome"),
    "gen3d_failures": ("error_type", "stage"),
    "gen3d_withheld": ("reason",),
    "gen3d_submissions": ("validator_uid",),
    "gen3d_feedback": ("validator_uid", "verdict"),
    "gen3d_task_redeliveries": (),
    "gen3d_repeated_outputs": (),
    "gen3d_wasted_seconds": ("cause",),
    "gen3d_records": (),
    "gen3d_capture_errors": ("place",),
    "gen3d_not_durable": (),
    "gen3d_shed": ("kind",),
}
HISTOGRAMS = {
    "gen3d_generation_duration_seconds": (("task_type",), SECONDS),
    "gen3d_queue_wait_seconds": (("task_type",), SECONDS),
    "gen3d_stage_duration_seconds": (("stage", "status"), SECONDS),
    "gen3d_feedback_delay_seconds": ((), DELAY),
    "gen3d_validator_score": (("validator_uid",), SCORE),
    "gen3d_clip_score": (("task_type",), CLIP),
    "gen3d_gaussians": (("task_type",), GAUSSIANS),
    "gen3d_output_bytes": (("task_type",), BYTES),
}
GAUGES = {
    "gen3d_in_flight": (),
    "gen3d_awaiting_feedback": (),
    "gen3d_oldest_undelivered_seconds": (),
    "gen3d_snapshot_age_seconds": (),
    "gen3d_artifact_bytes": ("kind",),
    "gen3d_artifacts": ("kind",),
    "gen3d_data_dir_free_ratio": (),
    "gen3d_data_dir_free_bytes": (),
    "gen3d_last_feedback_timestamp_seconds": (),
    "gen3d_config_info": ("hash",),
    "gen3d_build_info": ("version",),
}
NAMES = {f"{name}_total" for name in COUNTERS} | set(HISTOGRAMS) | set(GAUGES)


class Exporter:
    """The metrics of a miner that a test plays."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.counters = {
            name: Counter(name, name, labels, registry=self.registry) for name, labels in COUNTERS.items()
        }
        self.histograms = {
            name: Histogram(name, name, labels, buckets=edges, registry=self.registry)
            for name, (labels, edges) in HISTOGRAMS.items()
        }
        self.gauges = {
            name: Gauge(name, name, labels, registry=self.registry) for name, labels in GAUGES.items()
        }
        self._known_beforehand()
        self.made = 0

    def validator(self, uid: int) -> None:
        """Show a validator's counters at zero, as once it is seen."""
        for verdict in ("accepted", "rejected", "invalid"):
            self.counters["gen3d_feedback"].labels(str(uid), verdict)
        self.counters["gen3d_submissions"].labels(str(uid))
        self.histograms["gen3d_validator_score"].labels(str(uid))

    def verdict(self, uid: int, verdict: str) -> None:
        """A validator answers."""
        self.counters["gen3d_feedback"].labels(str(uid), verdict).inc()
        self.gauges["gen3d_last_feedback_timestamp_seconds"].set(time.time())

    def generation(self, uid: int, outcome: str) -> None:
        """One generation from start to verdict; each metric moves that would."""
        self.made += 1
        task = TASKS[self.made % 2]
        self.counters["gen3d_generations_started"].labels(task).inc()
        self.counters["gen3d_generations"].labels(task, outcome).inc()
        self.counters["gen3d_records"].inc()
        self._timings(task)
        if outcome in ("accepted", "rejected"):
            self.counters["gen3d_submissions"].labels(str(uid)).inc()
            self.verdict(uid, outcome)
            self._output(task, uid, outcome)
        else:
            self._loss(outcome)

    def _known_beforehand(self) -> None:
        for task in TASKS:
            self.counters["gen3d_generations_started"].labels(task)
            for outcome in OUTCOMES:
                self.counters["gen3d_generations"].labels(task, outcome)
        for kind in ("image", "ply", "spz", "rejected_sample"):
            self.gauges["gen3d_artifact_bytes"].labels(kind).set(1e6)
            self.gauges["gen3d_artifacts"].labels(kind).set(2)
        for cause in ("withheld", "unsubmitted", "failed", "cancelled", "interrupted", "repeated"):
            self.counters["gen3d_wasted_seconds"].labels(cause)
        self.counters["gen3d_capture_errors"].labels("api")
        self.counters["gen3d_shed"].labels("ply")
        self.gauges["gen3d_data_dir_free_ratio"].set(0.5)
        self.gauges["gen3d_data_dir_free_bytes"].set(5e11)
        self.gauges["gen3d_config_info"].labels("0123").set(1)
        self.gauges["gen3d_build_info"].labels("0").set(1)

    def _timings(self, task: str) -> None:
        seconds = 12 + self.made % 25
        exemplar = {"trace_id": f"{self.made:032x}"}
        self.histograms["gen3d_generation_duration_seconds"].labels(task).observe(seconds, exemplar)
        self.histograms["gen3d_queue_wait_seconds"].labels(task).observe(self.made % 7)
        for stage, share in (("sdxl", 0.3), ("trellis", 0.6)):
            duration = self.histograms["gen3d_stage_duration_seconds"].labels(stage, "ok")
            duration.observe(seconds * share, exemplar)

    def _output(self, task: str, uid: int, outcome: str) -> None:
        self.histograms["gen3d_clip_score"].labels(task).observe(0.21)
        self.histograms["gen3d_gaussians"].labels(task).observe(300_000)
        self.histograms["gen3d_output_bytes"].labels(task).observe(20.4e6)
        self.histograms["gen3d_feedback_delay_seconds"].observe(4)
        if outcome == "accepted":
            self.histograms["gen3d_validator_score"].labels(str(uid)).observe(0.81)

    def _loss(self, outcome: str) -> None:
        self.counters["gen3d_wasted_seconds"].labels(outcome).inc(12)
        if outcome == "withheld":
            self.counters["gen3d_withheld"].labels("clip_below_threshold").inc()
        else:
            self.counters["gen3d_failures"].labels("oom", "trellis").inc()


@contextmanager
def serving() -> Iterator[tuple[Exporter, str]]:
    """The exporter and the host:port under which a Prometheus finds its /metrics."""
    exporter = Exporter()
    server, thread = start_http_server(0, "127.0.0.1", exporter.registry)
    try:
        yield exporter, f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
