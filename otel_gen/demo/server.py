"""The service as a process of its own: uvicorn with its workers, started, watched and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import httpx

from otel_gen.demo.faults import CONTROL
from otel_gen.demo.workload import DemoError

WORKERS = 2
START_SECONDS = 60.0
STOP_SECONDS = 15.0
BATCH_SECONDS = 0.2


class Server:
    """uvicorn on 127.0.0.1 with two workers; `control` is the folder for faults and the log."""

    def __init__(
        self, data_dir: Path, control: Path, *, port: int = 0, feedback_timeout: float = 8.0
    ) -> None:
        self.port = free_port(port)
        self.url = f"http://127.0.0.1:{self.port}"
        self.control = control
        self.log = control / "service.log"
        self._environment = environment(data_dir, feedback_timeout) | {CONTROL: str(control)}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        command = [sys.executable, "-m", "uvicorn", "otel_gen.demo.service:app", "--workers", str(WORKERS)]
        # A worker that computes beside a loaded machine is slow to answer, not dead.
        options = [
            "--port",
            str(self.port),
            "--timeout-worker-healthcheck",
            "30",
            "--timeout-graceful-shutdown",
            "5",
        ]
        with self.log.open("wb") as log:
            # In a session of its own: Ctrl-C reaches the demo, which then stops the service in order.
            self._process = subprocess.Popen(
                command + options, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self.wait_for_workers()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def wait_for_workers(self, without: int | None = None) -> list[int]:
        """Wait until all workers answer, `without` being gone; give their process ids."""
        deadline = time.monotonic() + START_SECONDS
        seen: set[int] = set()
        while len(seen) < WORKERS:
            if self._running.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"the service does not come up; its log ends so:\n{self.last_words()}")
            seen |= self._answering() - {without or 0}
            time.sleep(0.05)
        return sorted(seen)

    def kill_worker(self, pid: int) -> None:
        """Kill one worker with SIGKILL, having made sure that it is ours."""
        if parent_of(pid) != self._running.pid:
            raise DemoError(f"process {pid} is no worker of this service")
        os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """Stop uvicorn in order; what is left of its session after a while is killed."""
        process = self._running
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def last_words(self, lines: int = 20) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise DemoError("the service was not started")
        return self._process

    def _answering(self) -> set[int]:
        try:
            return {int(httpx.get(f"{self.url}/health", timeout=5).headers["x-worker-pid"])}
        except httpx.TransportError:
            return set()


def environment(data_dir: Path, feedback_timeout: float) -> dict[str, str]:
    """Our settings and none of the user's own, which could change what the demo expects."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_GEN_")}
    # Spans in a batch die with a killed worker: batches are short here, so that only its own trace is cut.
    return (
        {"OTEL_BSP_SCHEDULE_DELAY": f"{BATCH_SECONDS * 1000:.0f}"}
        | inherited
        | {
            "OTEL_GEN_DATA_DIR": str(data_dir),
            "OTEL_GEN_FEEDBACK_TIMEOUT": str(feedback_timeout),
        }
    )


def free_port(wanted: int = 0) -> int:
    """Give a port of 127.0.0.1 that nobody has, the wanted one if any. Raises DemoError."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the service binds it
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise DemoError(
                f"127.0.0.1:{wanted} cannot be had ({error.strerror}); choose another --port"
            ) from error
        return int(probe.getsockname()[1])


def parent_of(pid: int) -> int:
    """The parent of a process, 0 when there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0
