"""The validators, a process of its own: they score what was submitted, later, straight into the data_dir.

Reads one JSON object a line from stdin: generation_id, number, validator_uid, panel. Writes what was posted,
and whether it was acknowledged, as one object a line to stdout.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import otel_gen
from otel_gen.demo.workload import DemoError

ACCEPTANCE = 0.42
SEED = 17
LATE_BY = 1.5  # seconds after the feedback window


def verdict(number: int, panel: str) -> dict[str, Any]:
    """What the validators think of task `number`, the same in every run; under 0.6 is disclosed as 0.0."""
    rng = random.Random(f"{SEED}:{number}")
    if panel == "invalid":
        return {"score": 0.0, "validation_failed": True}
    accepted = panel == "late" or rng.random() < ACCEPTANCE
    return {"score": round(rng.uniform(0.60, 0.93), 4) if accepted else 0.0}


def delay(number: int, panel: str, window: float) -> float:
    """Seconds until the verdict: soon, or after the feedback window."""
    return window + LATE_BY if panel == "late" else random.Random(number).uniform(0.2, 2.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--window", type=float, required=True, help="the service's feedback_timeout")
    options = parser.parse_args()
    said = threading.Lock()  # guards stdout: one whole line at a time

    def post(task: dict[str, Any]) -> None:
        what = verdict(task["number"], task["panel"])
        uid = task["validator_uid"]
        result = otel_gen.feedback(
            task["generation_id"], validator_uid=uid, data_dir=options.data_dir, **what
        )
        answer = {**task, **what, "acknowledged": bool(result), "why": getattr(result, "reason", "")}
        with said:
            print(json.dumps(answer), flush=True)

    for line in sys.stdin:
        task = json.loads(line)
        threading.Timer(delay(task["number"], task["panel"], options.window), post, [task]).start()


class Validators:
    """The runner's end of that process."""

    def __init__(self, data_dir: Path, window: float) -> None:
        module = [sys.executable, "-m", "otel_gen.demo.validators"]
        self._command = [*module, "--data-dir", str(data_dir), "--window", str(window)]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Validators:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            self._command, stdin=pipe, stdout=pipe, text=True, start_new_session=True
        )
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def submit(self, generation_id: str, number: int, validator_uid: int, panel: str) -> None:
        """Hand over one submitted generation."""
        task = {
            "generation_id": generation_id,
            "number": number,
            "validator_uid": validator_uid,
            "panel": panel,
        }
        if self._process and self._process.stdin:
            try:
                self._process.stdin.write(json.dumps(task) + "\n")
                self._process.stdin.flush()
            except BrokenPipeError as error:
                raise DemoError("the validators have ended too early; what they said is above") from error

    def finish(self, timeout: float = 60) -> dict[str, dict[str, Any]]:
        """Wait until all verdicts are posted; give them by generation id."""
        if self._process is None:
            return {}
        try:
            output, _ = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"the validators have not posted everything within {timeout:g} s") from error
        return {posted["generation_id"]: posted for posted in map(json.loads, output.splitlines())}


if __name__ == "__main__":
    main()
