"""One measurement in a process of its own: `python -m tests.bench.probe NAME` prints one JSON object."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.bench import workload

ROUNDS, AT_ONCE = 1500, 6000
"""With a pause between two, and back to back, where the exporter's bursts take turns with calls: many of them."""
PAUSE = 0.002
WARM = 100
SPANS, SPANS_FILE = 7, "spans.jsonl"  # of a generation and its feedback
ROOM_FOR_ALL = 1 << 16


def quantiles(values: list[float]) -> dict[str, float]:
    """p50, p90 and p99 in microseconds."""
    values.sort()
    last = len(values) - 1
    return {f"p{q}": round(values[min(len(values) * q // 100, last)] * 1e6, 1) for q in (50, 90, 99)}


def timed(one: Callable[[], None], rounds: int = ROUNDS, pause: float = PAUSE) -> dict[str, float]:
    """Time each call, with a pause between two, as a service would have; without one caches stay warm."""
    for _ in range(WARM):
        one()
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        one()
        found.append(time.perf_counter() - start)
        if pause:
            time.sleep(pause)
    return quantiles(found)


def pipeline(folder: str, queue: int | None = None) -> Any:
    """Set up the SDK with a BatchSpanProcessor and the OTLP JSON file exporter; `queue`: spans that may wait."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.json.file.trace_exporter import FileSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    exporter = FileSpanExporter(os.path.join(folder, SPANS_FILE))
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=queue))
    trace.set_tracer_provider(provider)
    return trace.get_tracer("bench")


def dropped(folder: str) -> dict[str, float]:
    """Have the pipeline export what waits, and tell which share of the spans is not in its file."""
    from opentelemetry import trace

    trace.get_tracer_provider().force_flush()  # type: ignore[attr-defined]
    with open(os.path.join(folder, SPANS_FILE), encoding="utf-8") as lines:
        requests = [json.loads(line) for line in lines]
    exported = sum(
        len(scope["spans"])
        for request in requests
        for resource in request["resourceSpans"]
        for scope in resource["scopeSpans"]
    )
    return {"dropped": 1 - exported / ((AT_ONCE + WARM) * SPANS)}


@contextmanager
def busy_thread() -> Iterator[None]:
    """Keep one Python thread of the application busy."""
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            sum(range(500))

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join()


@contextmanager
def leader_elsewhere(data_dir: str, *, busy: bool = False) -> Iterator[None]:
    """Let another process lead, as the other worker of a service does; at rest it takes no processor's time."""
    code = (
        "import otel_gen,sys,time\n"
        f"otel_gen.configure(data_dir={data_dir!r}, registry=None)\n"
        "with otel_gen.generation(prompt='x'): pass\n"
        "time.sleep(1.5); print('leads', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    if not busy:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)
        process.communicate()


def configured(data_dir: str, **settings: Any) -> Any:
    """Configure otel_gen for a measurement."""
    import otel_gen

    usual = {"durability": "process", "miner_uid": 226, "miner_version": "v1.1", "network": "mainnet"}
    otel_gen.configure(data_dir=data_dir, registry=None, **(usual | settings))
    return otel_gen


def bare(folder: str) -> Any:
    return timed(workload.bare(pipeline(folder)))


def bare_at_once(folder: str, queue: int | None = None) -> Any:
    return timed(workload.bare(pipeline(folder, queue)), AT_ONCE, 0) | dropped(folder)


def ours_at_once(folder: str) -> Any:
    with leader_elsewhere(folder):
        return timed(workload.ours(configured(folder)), AT_ONCE, 0)


def ours_with_pipeline_at_once(folder: str, queue: int | None = None) -> Any:
    pipeline(folder, queue)
    with leader_elsewhere(folder + "/data"):
        return timed(workload.ours(configured(folder + "/data")), AT_ONCE, 0) | dropped(folder)


def bare_all_kept(folder: str) -> Any:
    return bare_at_once(folder, ROOM_FOR_ALL)


def ours_with_pipeline_all_kept(folder: str) -> Any:
    return ours_with_pipeline_at_once(folder, ROOM_FOR_ALL)


def ours_at_once_beside_leader(folder: str) -> Any:
    with leader_elsewhere(folder, busy=True):
        return timed(workload.ours(configured(folder)), AT_ONCE, 0)


def ours_with_pipeline_at_once_beside_leader(folder: str) -> Any:
    pipeline(folder)
    with leader_elsewhere(folder + "/data", busy=True):
        return timed(workload.ours(configured(folder + "/data")), AT_ONCE, 0)


def bare_beside_busy(folder: str) -> Any:
    one = workload.bare(pipeline(folder))
    with busy_thread():
        return timed(one, 200)


def ours(folder: str) -> Any:
    with leader_elsewhere(folder):
        return timed(workload.ours(configured(folder)))


def ours_leading(folder: str) -> Any:
    return timed(workload.ours(configured(folder)))


def ours_with_pipeline(folder: str) -> Any:
    pipeline(folder)
    with leader_elsewhere(folder + "/data"):
        return timed(workload.ours(configured(folder + "/data")))


def ours_full(folder: str) -> Any:
    with leader_elsewhere(folder):
        return timed(workload.ours(configured(folder, durability="full")), 500)


def ours_beside_busy(folder: str) -> Any:
    one = workload.ours(configured(folder))
    with busy_thread():
        return timed(one, 200)


def throughput(folder: str, *, threads: int, durability: str, each: int) -> Any:
    """Generations per second from the first call until all are delivered."""
    otel_gen = configured(folder, durability=durability)
    one = workload.ours(otel_gen)
    start = time.perf_counter()
    workers = [threading.Thread(target=lambda: [one() for _ in range(each)]) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    said = time.perf_counter() - start
    delivered = otel_gen.shutdown(120)
    seconds = time.perf_counter() - start
    records = sum(1 for _ in otel_gen.read(folder))
    total = threads * each
    return {
        "per_second": round(total / seconds), "capture_per_second": round(total / said),
        "lost": total - records, "delivered": delivered,
    }  # fmt: skip


def throughput_process(folder: str) -> Any:
    return throughput(folder, threads=1, durability="process", each=8000)


def throughput_full(folder: str) -> Any:
    return throughput(folder, threads=8, durability="full", each=600)


def recovery(folder: str) -> Any:
    """Recover 10,000 generations that a killed process left open."""
    code = (
        "import os, otel_gen\nfrom tests.bench import workload\n"
        f"otel_gen.configure(data_dir={folder!r}, durability='process', registry=None)\n"
        "from otel_gen.install import active; active().journal.on_start = lambda: None\n"
        "for n in range(10000):\n"
        "    g = otel_gen.generation(task_type='TEXT-TO-3D', prompt=workload.PROMPT).__enter__()\n"
        "    for name, attributes in workload.STAGES:\n"
        "        with g.stage(name, **attributes): pass\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    from otel_gen.recover import recover

    start = time.perf_counter()
    found = recover(folder)
    return {"seconds": round(time.perf_counter() - start, 2), "records": found.records}


def loop_stall(folder: str, *, scrape: bool = False) -> Any:
    """Tell how late a 1 ms timer of the loop fires while 35 MB PLYs are attached, or /metrics rendered."""
    otel_gen = configured(folder, durability="full", feedback_timeout=0)
    header = b"ply\nformat binary_little_endian 1.0\nelement vertex 514705\n"
    names = "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
    header += "".join(f"property float {name}\n" for name in names.split()).encode() + b"end_header\n"
    body = header + os.urandom(514_705 * 68)
    late: list[float] = []

    async def ticker() -> None:
        while True:
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - start - 0.001)

    async def main() -> None:
        task = asyncio.create_task(ticker())
        for _ in range(20):
            async with otel_gen.generation(task_type="TEXT-TO-3D", prompt="x") as gen:
                gen.output(ply=body)
                gen.submitted()
            if scrape:
                _scrape(otel_gen)
        task.cancel()

    asyncio.run(main())
    otel_gen.shutdown(30)
    found = quantiles(late)
    return {
        "p50_ms": found["p50"] / 1000,
        "p99_ms": found["p99"] / 1000,
        "max_ms": round(max(late) * 1000, 1),
    }


def _scrape(otel_gen: Any) -> None:
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(otel_gen.collector())
    generate_latest(registry)


def scrape_stall(folder: str) -> Any:
    return loop_stall(folder, scrape=True)


PROBES = {
    probe.__name__: probe
    for probe in (
        bare_at_once, ours_at_once, ours_with_pipeline_at_once, bare_all_kept, ours_with_pipeline_all_kept,
        ours_at_once_beside_leader, ours_with_pipeline_at_once_beside_leader,
        bare, ours, ours_leading, ours_with_pipeline, ours_full, bare_beside_busy, ours_beside_busy,
        throughput_process, throughput_full, recovery, loop_stall, scrape_stall,
    )
}  # fmt: skip

if __name__ == "__main__":
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:  # its leader may be at work still
        print(json.dumps(PROBES[sys.argv[1]](home)), flush=True)
    os._exit(0)
