"""Two lives of one data_dir, to be recorded call by call (python -m tests.crash.recorded DATA_DIR ACKS LIFE).

The first, in an earlier month, is killed in the middle of a generation. The second takes over, waits for no
verdict, so that verdicts become amendments, rotates and folds.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import otel_gen
from otel_gen.clock import Clock
from otel_gen.journal import Journal
from otel_gen.request import fold, rotate
from tests.crash.dozen import Ordered
from tests.crash.worker import FATES, Acks, Worker

EARLIER = 40 * 86400 * 10**9
Journal.SEGMENT = 48 << 10  # so that segments fill, are sealed, replaced and deleted


def worker(data_dir: str, acks: str, seed: int) -> Worker:
    """Make a worker that does each fate in its turn."""
    rng = Ordered(seed)
    rng.fates = iter(FATES * 9)
    return Worker(data_dir, Acks(acks), rng)


def first(data_dir: str, acks: str) -> None:
    """Generate, then be killed inside a block."""
    clock = Clock(lambda: time.time_ns() - EARLIER)
    otel_gen.configure(
        data_dir=data_dir, registry=None, feedback_timeout=3600, rejected_sample_rate=0.5, clock=clock
    )
    work = worker(data_dir, acks, 5)
    for _ in range(12):
        work.one()
    with otel_gen.generation(task_type="TEXT-TO-3D", prompt="a red chair") as gen, gen.stage("sdxl"):
        work.acks.say("S", gen.id)
        os.kill(os.getpid(), signal.SIGKILL)


def second(data_dir: str, acks: str) -> None:
    """Take over, generate, rotate in between, fold."""
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0, rejected_sample_rate=0.5)
    work = worker(data_dir, acks, 6)
    for turn in range(12):
        work.one()
        if turn == 6:
            rotate(data_dir)
    fold(data_dir)
    for _ in range(3):
        work.one()
    assert otel_gen.shutdown(timeout=20)


if __name__ == "__main__":
    {"first": first, "second": second}[sys.argv[3]](sys.argv[1], sys.argv[2])
