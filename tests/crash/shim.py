"""Run a worker under the shim that lets the N-th call on files fail, and check what it leaves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from otel_gen.readers.verify import verify
from otel_gen.recover import recover
from tests.crash.ledger import Tally, check
from tests.crash.numbers import differences

SOURCE = Path(__file__).with_name("shim.c")


def compiled(folder: Path) -> Path:
    """Compile the shim; where there is no compiler the test is skipped, in CI it fails."""
    if shutil.which("gcc") is None:
        if os.environ.get("CI"):
            pytest.fail("gcc is needed for the fault tests")
        pytest.skip("gcc is needed to let calls on files fail")
    made = folder / "shim.so"
    subprocess.run(
        ["gcc", "-O1", "-shared", "-fPIC", "-o", made, SOURCE, "-ldl"], check=True, capture_output=True
    )
    return made


@dataclass
class Run:
    """One worker's life under the shim: which call was hit (empty: none any more), what is left of it."""

    call: str
    code: int
    said: str
    tally: Tally
    wrong: list[str]


def run(shim: Path, place: Path, mode: str, at: int) -> Run:
    """Let one worker meet one fault, recover without the shim, hold everything against everything."""
    data_dir, acks, log = place / "data", place / "acks", place / "log"
    acks.mkdir(parents=True)
    env = os.environ | {"LD_PRELOAD": str(shim), "SHIM_PREFIX": str(data_dir), "SHIM_MODE": mode}
    env |= {"SHIM_AT": str(at), "SHIM_LOG": str(log)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.dozen", str(data_dir), str(acks)],
        env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    call = log.read_text().strip() if log.exists() else ""
    if not data_dir.exists():
        return Run(call, done.returncode, done.stdout + done.stderr, Tally(), [])
    recover(str(data_dir), today={"feedback_timeout": 0})
    tally = check(data_dir, acks) if (data_dir / "generation_history.jsonl").exists() else Tally()
    wrong = [f"{key}: {have} is not {want}" for key, (have, want) in _differences(data_dir).items()]
    wrong += [f"{one.kind} {one.place}: {one.text}" for one in verify(data_dir).problems]
    return Run(call, done.returncode, done.stdout + done.stderr, tally, wrong)


def _differences(data_dir: Path) -> dict[tuple[str, ...], tuple[float, float]]:
    return differences(data_dir) if (data_dir / "generation_history.jsonl").exists() else {}
