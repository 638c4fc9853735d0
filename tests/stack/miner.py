"""A miner as otel_gen sees it: real generations and verdicts in a data_dir, served by `otel-gen metrics`.

Only the pace is made up: what takes a miner hours happens in seconds.
"""

from __future__ import annotations

import itertools
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest import mock

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import otel_gen

from .servers import free_port, running

TASKS = ("TEXT-TO-3D", "IMAGE-TO-3D")
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(64)
HEADER = "ply\nformat binary_little_endian 1.0\nelement vertex {}\n{}end_header\n"
FIELDS = "".join(f"property float {name}\n" for name in ("x", "y", "z", "opacity"))
ENDS = ("accepted", "rejected", "invalid", "withheld", "failed", "unsubmitted", "repeated", "awaited")
VERDICTS = {
    "accepted": {"score": 0.81},
    "rejected": {"score": 0},
    "invalid": {"validation_failed": True},
    "repeated": {"score": 0},
}


class Miner:
    """One service, in this process; `traces` holds the trace ids of what it made, all of them sampled."""

    def __init__(self) -> None:
        self.made = 0
        self.traces: set[str] = set()

    def seen(self, uid: int) -> None:
        """Let a validator be seen: from then on its counters are there, at zero."""
        with otel_gen.generation(task_type=TASKS[0], validator_uid=uid) as gen:
            gen.withheld("a first look")

    def verdict(self, uid: int, verdict: str) -> None:
        """The least that brings a verdict: a generation handed over, and the validator's answer."""
        self.made += 1
        with otel_gen.generation(task_type=TASKS[0], validator_uid=uid) as gen:
            gen.submitted()
        assert otel_gen.feedback(gen.id, validator_uid=uid, **VERDICTS[verdict])

    def generation(self, uid: int, end: str) -> None:
        """One generation with everything to it; `repeated` hands over the bytes of the one before."""
        self.made += 1
        kind = TASKS[self.made % 2]
        task = {"prompt": "a red chair"} if kind == TASKS[0] else {"image": PICTURE}
        with suppress(MemoryError), otel_gen.generation(
            task_type=kind, validator_uid=uid, task_id=f"task {self.made // 2}", config={"steps": 4}, **task
        ) as gen:  # fmt: skip
            self.traces.add(f"{trace.get_current_span().get_span_context().trace_id:032x}")
            self._work(gen, end)
        if end in VERDICTS:
            assert otel_gen.feedback(gen.id, validator_uid=uid, **VERDICTS[end])

    def _work(self, gen: otel_gen.Generation, end: str) -> None:
        with gen.stage("queue"), gen.stage("sdxl", steps=4):
            pass
        with gen.stage("trellis"):
            if end == "failed":
                raise MemoryError("CUDA out of memory")
        gen.output(ply=_ply(self.made - (end == "repeated")), clip_score=0.21)
        if end == "withheld":
            gen.withheld("clip_below_threshold", value=0.09)
        elif end != "unsubmitted":
            gen.submitted()


def _ply(number: int) -> bytes:
    """A small one, no two alike."""
    points = itertools.chain.from_iterable((number, n, n, 0.5) for n in range(8))
    return HEADER.format(8, FIELDS).encode() + struct.pack("<32f", *points)


@contextmanager
def serving(home: Path) -> Iterator[tuple[Miner, str]]:
    """A miner with its data in `home`, and the host:port under which a Prometheus finds its /metrics."""
    port = free_port()
    command = [sys.executable, "-m", "otel_gen.cli", "metrics", "--data-dir", str(home / "data")]
    url = f"http://127.0.0.1:{port}/metrics"
    sampled = mock.patch.object(trace, "_TRACER_PROVIDER", TracerProvider(shutdown_on_exit=False))
    (home / "data").mkdir(mode=0o700, parents=True)
    # Not "full": a wait for the disk at each verdict is no part of what these tests look at.
    otel_gen.configure(data_dir=home / "data", registry=None, durability="process", rejected_sample_rate=1)
    try:
        with sampled, running([*command, "--port", str(port)], home / "metrics.log", ready=url):
            yield Miner(), f"127.0.0.1:{port}"
    finally:
        otel_gen.shutdown()
