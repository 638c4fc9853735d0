"""Workers are killed with -9 at random instants; nothing acknowledged is lost, doubled or torn."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from otel_gen.recover import recover
from tests.crash.ledger import Tally, check
from tests.crash.numbers import differences

KINDS = ("threads", "tasks", "one")


class Zygote:
    """A process that forks workers; `alive` holds their pids."""

    def __init__(self, data_dir: Path, acks: Path, durability: str, seed: int) -> None:
        command = [
            sys.executable,
            "-m",
            "tests.crash.worker",
            str(data_dir),
            str(acks),
            durability,
            str(seed),
        ]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.alive: list[int] = []
        self.spawned = 0

    def spawn(self) -> None:
        """Start one more worker."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"spawn {KINDS[self.spawned % len(KINDS)]}\n")
        self.process.stdin.flush()
        self.alive.append(int(self.process.stdout.readline()))
        self.spawned += 1

    def kill(self, pid: int) -> None:
        """Kill one worker with -9; it must still have been alive."""
        self.alive.remove(pid)
        os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill everything that is left."""
        for pid in list(self.alive):
            self.kill(pid)
        self.process.kill()
        self.process.communicate()


def campaign(tmp_path: Path, kills: int, durability: str, seed: int, workers: int = 3) -> tuple[Tally, Path]:
    """Kill a random worker every few hundredths of a second, replace it, recover at the end, compare."""
    data_dir, acks = tmp_path / "data", tmp_path / "acks"
    acks.mkdir()
    zygote, rng = Zygote(data_dir, acks, durability, seed), random.Random(seed)
    try:
        for _ in range(workers):
            zygote.spawn()
        for _ in range(kills):
            time.sleep(rng.uniform(0.02, 0.4))  # the random instant of the kill, not a wait for anything
            zygote.kill(rng.choice(zygote.alive))
            zygote.spawn()
    finally:
        zygote.end()
    recover(str(data_dir), today={"feedback_timeout": 0})
    return check(data_dir, acks), data_dir


@pytest.mark.crash
@pytest.mark.parametrize(("durability", "kills"), [("full", 25), ("process", 25)])
def test_nothing_acknowledged_is_lost_doubled_or_torn(tmp_path: Path, durability: str, kills: int) -> None:
    tally, data_dir = campaign(tmp_path, kills, durability, seed=kills)
    print(tally)
    assert (tally.lost, tally.doubled, tally.torn) == ([], [], [])
    assert differences(data_dir) == {}
    assert min(tally.started, tally.ended, tally.verdicts, tally.stages) > kills
    assert tally.outcomes["interrupted"] > 0
    assert not list((data_dir / ".otel_gen" / "staging").iterdir())


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(5))
def test_two_hundred_kills_lose_nothing(tmp_path: Path, seed: int) -> None:
    tally, data_dir = campaign(tmp_path, 200, "full" if seed % 2 else "process", seed, workers=4)
    print(tally)
    assert (tally.lost, tally.doubled, tally.torn) == ([], [], [])
    assert differences(data_dir) == {}
    assert tally.started > 2000
