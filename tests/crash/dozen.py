"""Twelve generations of all fates, then a shutdown (python -m tests.crash.dozen DATA_DIR ACKS)."""

from __future__ import annotations

import random
import sys

import otel_gen
from tests.crash.worker import FATES, Acks, Worker


class Ordered(random.Random):
    """Chance that gives each fate its turn and every generation an artifact and a verdict now and then."""

    def choice(self, seq):
        return seq[self.randrange(len(seq))] if seq is not FATES else next(self.fates)


def main(data_dir: str, acks: str, patience: float = 8) -> None:
    """Do the work; an exception, or one that is logged by the interpreter, ends it with another code.

    patience: how many seconds the shutdown may take, and four times as long as a call may wait.
    """
    otel_gen.configure(
        data_dir=data_dir,
        registry=None,
        feedback_timeout=3600,
        rejected_sample_rate=0,
        deadline=patience / 4,
        disk_free_alert_ratio=0,
    )
    rng = Ordered(5)
    rng.fates = iter(FATES * 2)
    worker = Worker(data_dir, Acks(acks), rng)
    for _ in range(12):
        worker.one()
    otel_gen.shutdown(timeout=patience)
    print("did all twelve")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
