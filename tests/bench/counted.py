"""Count what the caller executes for one generation, under valgrind: the same on a busy machine as on a quiet one.

`python -m tests.bench.counted` prints instructions per generation by kind; nothing where valgrind is missing.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable

from tests.bench import workload
from tests.bench.probe import configured

KINDS = ("bare", "ours", "ours_with_pipeline")
FEW, MANY = 100, 400


def execute(kind: str, rounds: int, folder: str) -> None:
    """Run that many generations and leave at once; spans go to an SDK provider without a processor."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    if kind != "ours":
        trace.set_tracer_provider(TracerProvider())
    one = workload.bare(trace.get_tracer("bench")) if kind == "bare" else _ours(folder)
    for _ in range(rounds):
        one()
    os._exit(0)


def _ours(folder: str) -> Callable[[], None]:
    from otel_gen import pwrite
    from otel_gen.install import active

    otel_gen = configured(folder)
    capture = active()
    assert capture is not None
    capture.journal.on_start = lambda: None  # another process leads
    pwrite.WANTED = math.inf  # a write takes long here, but nobody waits for the interpreter's lock
    return workload.ours(otel_gen)


def counted() -> dict[str, int]:
    """Give user-space instructions per generation by kind; empty without valgrind."""
    if shutil.which("valgrind") is None:
        return {}
    return {kind: (_total(kind, MANY) - _total(kind, FEW)) // (MANY - FEW) for kind in KINDS}


def _total(kind: str, rounds: int) -> int:
    tool = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    with tempfile.TemporaryDirectory() as folder:
        command = [*tool, sys.executable, "-m", "tests.bench.counted", kind, str(rounds), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    assert found, done.stderr
    return int(found[1].replace(",", ""))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        execute(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    print(json.dumps(counted()))
