"""A real uvicorn around a service, started, asked and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

import otel_gen
from tests.support import until


class Served:
    """uvicorn on a free port of 127.0.0.1; `held` names the file in which requests say that they work."""

    def __init__(self, folder: Path, app="tests.integrations.service:app", workers=1, options=(), **env):
        self.data_dir, self.held, self.log = folder / "data", folder / "held", folder / "service.log"
        self.held.touch()
        self.workers = workers
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        # A worker that is killed between uvicorn's ping and its answer is noticed only after the health check's time.
        self._command = [
            sys.executable, "-m", "uvicorn", app, "--port", str(self.port), "--workers", str(workers),
            "--timeout-graceful-shutdown", "2", "--timeout-worker-healthcheck", "10", *options,
        ]  # fmt: skip
        clean = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
        self._env = (
            clean
            | {
                "OTEL_GEN_DATA_DIR": str(self.data_dir),
                "OTEL_GEN_FEEDBACK_TIMEOUT": "600",
                "TEST_HELD": str(self.held),
                "PYTHONPATH": str(Path(__file__).parent.parent.parent),
            }
            | env
        )

    def start(self):
        """Start it and wait until all workers answer."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, env=self._env, stdout=log, stderr=log, start_new_session=True
            )
        self.pids = until(self._all_answer, 60)
        return self

    def _all_answer(self, seen=None):
        seen = self.__dict__.setdefault("_seen", set())
        assert self.process.poll() is None, self.log.read_text()
        try:
            seen.add(httpx.get(f"{self.url}/health", timeout=5).json()["pid"])
        except httpx.TransportError:
            return None
        return seen if len(seen) >= self.workers else None

    def stop(self, sig=signal.SIGTERM):
        """Stop it in order; gives the seconds that took."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(sig)
        self.process.wait(30)
        return time.monotonic() - began

    def kill(self):
        """Kill it and its workers with -9."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)
        self.__dict__.pop("_seen", None)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()

    # --- asking ---------------------------------------------------------------------------------------------
    def post(self, prompt, headers=None, **more):
        """Ask for one generation."""
        return httpx.post(
            f"{self.url}/generate/", data={"prompt": prompt}, headers=headers or {}, timeout=30, **more
        )

    def record(self, task_id, patience=15):
        """The one record of a task, as soon as it is written."""
        return until(lambda: self.records().get(task_id), patience)

    def records(self):
        """All records by task id; there must be one of each."""
        found = {}
        if not self.data_dir.exists():
            return found
        for record in otel_gen.read(self.data_dir):
            assert found.setdefault(record["metadata"]["task_id"], record) is record
        return found

    def working(self):
        """Process ids that have said that a request is in the middle of its work."""
        return [int(line) for line in self.held.read_text().split()]
