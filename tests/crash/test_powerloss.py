"""After a power loss at any moment, whatever the disk kept of what no sync covers: all acknowledged is there."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from otel_gen.readers.verify import verify
from otel_gen.recover import recover
from tests.crash.ledger import compare, whole
from tests.crash.numbers import differences
from tests.crash.powerloss import WAYS, Call, Disk, recorded
from tests.crash.shim import compiled


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Call]]:
    """The calls of two lives of one data_dir, and the directory in which they began."""
    place = tmp_path_factory.mktemp("recording")
    shim, disk, log = compiled(place), place / "disk", place / "log"
    (disk / "acks").mkdir(parents=True)
    env = os.environ | {"LD_PRELOAD": str(shim), "SHIM_PREFIX": str(disk), "SHIM_MODE": "record"}
    for life, code in (("first", -9), ("second", 0)):
        done = subprocess.run(
            [sys.executable, "-m", "tests.crash.recorded", disk / "data", disk / "acks", life],
            env=env | {"SHIM_LOG": str(log)}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
    calls = list(recorded(log))
    return disk, calls


def promised(disk: Disk) -> list[list[str]]:
    """What was acknowledged against power loss: ends and verdicts, and what lies before an end."""
    acks = [ack for name in disk.root.now["acks"].now for ack in whole(disk.found(disk.root, "acks", name))]
    ended = {ack[1] for ack in acks if ack[0] == "E"}
    return [ack for ack in acks if ack[0] in "EF" or ack[1] in ended]


def moments(calls: list[Call], n: int, rng: random.Random) -> list[int]:
    """Choose when the power goes: half of the times just after a sync, where bugs of this kind are."""
    synced = [at for at, call in enumerate(calls, 1) if call.op == "e"]
    return sorted(rng.choice(synced) if turn % 2 else rng.randint(1, len(calls)) for turn in range(n))


def losses(recording: tuple[Path, list[Call]], place: Path, n: int, seed: int) -> Counter[str]:
    """Let the power go n times; returns what was seen in sum."""
    start, calls = recording
    disk, rng, seen, played = Disk(start, "acks"), random.Random(seed), Counter(), 0
    for turn, moment in enumerate(moments(calls, n, rng)):
        for call in calls[played:moment]:
            disk.play(call)
        played = moment
        way = WAYS[turn % len(WAYS)]
        found = place / "found"
        disk.left(found, way, rng)
        seen += checked(found / "data", promised(disk), f"call {moment} of {len(calls)}, {way}, seed {seed}")
        shutil.rmtree(found)
    return seen


def checked(data_dir: Path, acks: list[list[str]], where: str) -> Counter[str]:
    """Recover, and hold what is there against what was promised and against itself."""
    if not data_dir.exists():
        assert acks == [], where
        return Counter(states=1)
    recover(str(data_dir), today={"feedback_timeout": 0})
    tally = compare(data_dir, acks)
    assert (tally.lost, tally.doubled, tally.torn) == ([], [], []), where
    if tally.records:
        assert _miscounted(data_dir) == {}, where
    wrong = [f"{one.kind} {one.place}: {one.text}" for one in verify(data_dir).problems]
    assert wrong == [], where
    return Counter(states=1, ends=tally.ended, verdicts=tally.verdicts, records=tally.records)


def _miscounted(data_dir: Path) -> dict[tuple[str, ...], tuple[float, float]]:
    """Compare counters with lines; a start that no sync covered may be gone where what came later is not."""
    found = differences(data_dir)
    have, want = found.pop(("gen3d_generations_started", "TEXT-TO-3D"), (0, 0))
    assert have <= want
    return found


@pytest.mark.crash
def test_what_was_acknowledged_outlives_a_power_loss(recording, tmp_path: Path) -> None:
    seen = losses(recording, tmp_path, 60, seed=1)
    print(dict(seen))
    assert seen["states"] == 60
    assert min(seen["ends"], seen["verdicts"], seen["records"]) > 60


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(4))
def test_a_thousand_power_losses(recording, tmp_path: Path, seed: int) -> None:
    seen = losses(recording, tmp_path, 250, seed + 100)
    print(dict(seen))
    assert seen["states"] == 250
