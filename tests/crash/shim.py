"""Run workers under the shim that lets the N-th call on files fail, and check what they leave."""

from __future__ import annotations

import json
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
        ["gcc", "-O1", "-shared", "-fPIC", "-o", made, SOURCE, "-ldl", "-lpthread"],
        check=True,
        capture_output=True,
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


class Stand:
    """Workers under the shim, one after the other, forked from a process that has imported everything."""

    def __init__(self, shim: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.stand"],
            env=os.environ | {"LD_PRELOAD": str(shim)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def calls(self, place: Path) -> int:
        """Count the calls of a worker that meets no fault."""
        one = self.run(place, "count", 0)
        assert (one.code, one.said) == (0, "did all twelve\n")
        return int(one.call)

    def run(self, place: Path, mode: str, at: int, patience: float = 8) -> Run:
        """Let one worker meet one fault, recover without the shim, hold everything against everything."""
        data_dir, acks, log, said = (place / name for name in ("data", "acks", "log", "said"))
        acks.mkdir(parents=True)
        job = {"mode": mode, "at": at, "patience": patience}
        code = self._ask(**job, data_dir=data_dir, acks=acks, log=log, said=said)
        call, text = log.read_text().strip(), said.read_text()
        if not data_dir.exists():
            return Run(call, code, text, Tally(), [])
        recover(str(data_dir), today={"feedback_timeout": 0})
        return Run(call, code, text, *held_against(data_dir, acks))

    def _ask(self, **job: object) -> int:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(job, default=str) + "\n")
        self.process.stdin.flush()
        code: int = json.loads(self.process.stdout.readline())["code"]
        return code

    def end(self) -> None:
        """Let it go."""
        self.process.communicate("", timeout=30)


def held_against(data_dir: Path, acks: Path) -> tuple[Tally, list[str]]:
    """Compare acknowledgements, records, files and counters; name all that is wrong."""
    if not (data_dir / "generation_history.jsonl").exists():
        return Tally(), []
    wrong = [f"{key}: {have} is not {want}" for key, (have, want) in differences(data_dir).items()]
    wrong += [f"{one.kind} {one.place}: {one.text}" for one in verify(data_dir).problems]
    return check(data_dir, acks), wrong
