"""The metrics of every worker, and where they differ from the records."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator

import httpx
from prometheus_client.parser import text_string_to_metric_families

from otel_gen.demo.server import WORKERS, Server
from otel_gen.demo.tally import COMPARED, Labels, Series

TOLERANCE = 1e-4  # seconds are rounded to microseconds in each record


def compare(server: Server, expected: Counter[Series], patience: float = 15.0) -> tuple[list[int], list[str]]:
    """Scrape until each worker agrees with `expected` or patience ends; give the workers and what differs."""
    deadline = time.monotonic() + patience
    differing: dict[int, list[str]] = {}
    while time.monotonic() < deadline:
        worker, exposed = scrape(server)
        differing[worker] = list(differences(exposed, expected))
        if len(differing) >= WORKERS and not any(differing.values()):
            return sorted(differing), []
        time.sleep(0.05)
    silent = (
        [f"only {len(differing)} of {WORKERS} workers could be scraped"] if len(differing) < WORKERS else []
    )
    return sorted(differing), silent + [
        f"worker {pid}: {one}" for pid, many in differing.items() for one in many
    ]


def scrape(server: Server) -> tuple[int, Counter[Series]]:
    """Read /metrics once, over a new connection: the process that answered, and what it says."""
    got = httpx.get(f"{server.url}/metrics", timeout=10, headers={"Accept": "text/plain"})
    return int(got.headers["x-worker-pid"]), parse(got.text)


def parse(text: str) -> Counter[Series]:
    """Sum the compared series of an exposition over the labels by which they are not compared."""
    found: Counter[Series] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in COMPARED:
                labels: Labels = tuple(sample.labels[name] for name in COMPARED[sample.name])
                found[sample.name, labels] += sample.value  # type: ignore[assignment]  # a Counter of floats
    return found


def differences(exposed: Counter[Series], expected: Counter[Series]) -> Iterator[str]:
    """Say each series whose value on /metrics is not the one counted over the records."""
    for name, labels in sorted(exposed.keys() | expected.keys()):
        shown, counted = exposed[name, labels], expected[name, labels]
        if not math.isclose(shown, counted, abs_tol=TOLERANCE):
            yield f"{name}{{{', '.join(labels)}}} is {shown:g}, the records say {counted:g}"
