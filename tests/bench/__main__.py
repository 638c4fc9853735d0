"""Run all measurements, print them, and with --write keep them in docs/benchmarks.md.

`make bench` gives this an environment of its own with opentelemetry-exporter-otlp-json-file.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.bench.counted import counted

ROUNDS = 3
PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
COST = (
    "bare_at_once", "ours_at_once", "ours_with_pipeline_at_once", "bare_all_kept", "ours_with_pipeline_all_kept",
    "bare", "ours", "ours_with_pipeline",
    "ours_at_once_beside_leader", "ours_with_pipeline_at_once_beside_leader", "ours_leading", "ours_full",
    "bare_beside_busy", "ours_beside_busy",
)  # fmt: skip
ONCE = ("throughput_process", "throughput_full", "recovery", "loop_stall", "scrape_stall")


def run(name: str) -> dict[str, Any]:
    """Run one probe in its own process."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("OTEL")}
    command = [sys.executable, "-m", "tests.bench.probe", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"  {name}: {found}", file=sys.stderr, flush=True)
    return found


def median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Take the median of each figure over runs."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def measure() -> dict[str, dict[str, Any]]:
    """Run the cost probes in turn, several rounds, so that a drift of the machine meets all; the others likewise."""
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(ROUNDS):
        for name in (*COST, *ONCE):
            found.setdefault(name, []).append(run(name))
    return {name: median(runs) for name, runs in found.items()}


def table(found: dict[str, dict[str, Any]]) -> str:
    """Write the figures as Markdown."""
    lines = [
        "| one generation, caller's side | p50 us | p90 us | p99 us | ratio of p50 |",
        "|---|---|---|---|---|",
    ]
    for name, text in _ROWS.items():
        row = found[name]
        ratio = row["p50"] / found[_BASE.get(name, "bare")]["p50"]
        lines.append(f"| {text} | {row['p50']:.0f} | {row['p90']:.0f} | {row['p99']:.0f} | {ratio:.2f} |")
    lost = [f"{text} {found[name]['dropped']:.0%}" for name, text in _QUEUES.items()]
    lines.append(f"\nSpans that the pipeline's queue dropped back to back: {', '.join(lost)}.")
    for name, text in (
        ("throughput_process", "drained throughput, durability=process, 1 thread"),
        ("throughput_full", "drained throughput, durability=full, 8 threads"),
    ):
        row = found[name]
        lines.append(f"\n{text}: **{row['per_second']:.0f}/s**, {row['lost']:.0f} lost.")
    lines.append(
        f"\nRecovery of {found['recovery']['records']:.0f} open generations: **{found['recovery']['seconds']:.2f} s**."
    )
    for name, text in (
        ("loop_stall", "Event loop late while 35 MB PLYs are attached with `async with`"),
        ("scrape_stall", "The same with a scrape rendered on the loop after each"),
    ):
        row = found[name]
        lines.append(
            f"\n{text}: p50 {row['p50_ms']:.2f}, **p99 {row['p99_ms']:.2f}**, max {row['max_ms']:.1f} ms."
        )
    return "\n".join(lines)


_ROWS = {
    "bare_at_once": "back to back: bare SDK spans, BatchSpanProcessor, OTLP JSON file exporter",
    "ours_at_once": "back to back: otel_gen, no pipeline of the application's",
    "ours_with_pipeline_at_once": "back to back: otel_gen beside that pipeline",
    "bare_all_kept": "back to back: bare SDK spans, with a queue that takes all",
    "ours_with_pipeline_all_kept": "back to back: otel_gen beside that pipeline, with such a queue",
    "bare": "2 ms apart: bare SDK spans",
    "ours": "2 ms apart: otel_gen",
    "ours_with_pipeline": "2 ms apart: otel_gen beside that pipeline",
    "ours_at_once_beside_leader": "back to back: otel_gen, beside a busy leader in another process",
    "ours_with_pipeline_at_once_beside_leader": "back to back: otel_gen beside that pipeline and such a leader",
    "ours_leading": "2 ms apart: otel_gen, and this process leads",
    "ours_full": "2 ms apart: otel_gen, durability=full, with the waits for the disk",
    "bare_beside_busy": "beside a busy Python thread: bare SDK spans",
    "ours_beside_busy": "beside a busy Python thread: otel_gen, this process leads",
}
_BASE = {
    "bare_at_once": "bare_at_once", "ours_at_once": "bare_at_once", "ours_with_pipeline_at_once": "bare_at_once",
    "ours_at_once_beside_leader": "bare_at_once", "ours_with_pipeline_at_once_beside_leader": "bare_at_once",
    "bare_all_kept": "bare_all_kept", "ours_with_pipeline_all_kept": "bare_all_kept",
    "bare_beside_busy": "bare_beside_busy", "ours_beside_busy": "bare_beside_busy",
}  # fmt: skip


_QUEUES = {
    "bare_at_once": "bare SDK spans",
    "ours_with_pipeline_at_once": "beside otel_gen",
    "bare_all_kept": "bare, with a queue that takes all",
    "ours_with_pipeline_all_kept": "beside otel_gen, with such a queue",
}


def _kernel() -> str:
    """Name the kernel's version without what a distribution adds."""
    return ".".join(platform.release().split(".")[:2])


def instructions(found: dict[str, int]) -> str:
    """Write what the caller executes for a generation; the counts do not depend on how busy the machine is."""
    if not found:
        return "Instructions: not counted, valgrind is missing."
    told = [f"{text} {found[kind] / 1e6:.2f}" for kind, text in _COUNTED.items()]
    ratio = [found[kind] / found["bare"] for kind in ("ours", "ours_with_pipeline")]
    return (
        f"Instructions of the caller for one generation, millions, under valgrind, kernel and exporters apart: "
        f"{', '.join(told)} (ratios **{ratio[0]:.2f}** and **{ratio[1]:.2f}**)."
    )


_COUNTED = {
    "bare": "bare SDK spans",
    "ours": "otel_gen",
    "ours_with_pipeline": "otel_gen beside an SDK provider",
}


def main() -> None:
    """Measure, print, keep."""
    text = f"{table(measure())}\n\n{instructions(counted())}"
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} {_kernel()}"
    print(f"{machine}\n\n{text}")
    if "--write" in sys.argv:
        head = PAGE.read_text(encoding="utf-8").split("<!-- figures -->")[0]
        figures = f"<!-- figures -->\n\n{machine}; medians of {ROUNDS} rounds.\n\n{text}\n"
        PAGE.write_text(head + figures, encoding="utf-8")


if __name__ == "__main__":
    main()
