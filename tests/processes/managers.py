"""Real process managers with the examples of docs/examples, in a folder of the test instead of /opt/miner."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.stack.servers import free_port, wait_for

from .load import worker_of

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
BIN = Path(sys.executable).parent
soon = partial(wait_for, seconds=60)


class Home:
    """A folder as /opt/miner in the examples, and the address of the service that runs there."""

    def __init__(self, path: Path, **variables: str) -> None:
        self.path, self.data, self.log = path, path / "data", path / "log"
        self.log.mkdir(parents=True)
        shutil.copy(EXAMPLES / "service.py", path)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        self.environment = clean | {
            "PORT": str(self.port),
            "OTEL_GEN_DATA_DIR": str(self.data),
            "OTEL_GEN_FEEDBACK_TIMEOUT": "0",
            **variables,
        }

    def example(self, name: str) -> Path:
        """Copy an example with its paths leading here."""
        text = (EXAMPLES / name).read_text()
        copy = self.path / name
        copy.write_text(text.replace("/opt/miner/venv/bin", str(BIN)).replace("/opt/miner", str(self.path)))
        return copy

    def run(self, *command: str | Path, **variables: str) -> str:
        """Run a command of a manager to its end; gives what it printed."""
        done = subprocess.run(
            list(map(str, command)), cwd=self.path, env=self.environment | variables, capture_output=True,
            text=True, timeout=90, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
        return done.stdout

    def worker(self) -> int:
        """The process id of a worker that answers; 0 while none does."""
        return worker_of(self.url)


@dataclass
class Manager:
    """A running manager: how it restarts and stops what it manages."""

    home: Home
    process: subprocess.Popen[bytes] | None = None

    def restart(self) -> None:
        """Have the service start anew, in order."""
        self._running.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """Stop the service in order, manager and all."""
        self._running.terminate()
        self._running.wait(timeout=60)

    def kill(self, pid: int) -> None:
        """Kill a worker at once, having made sure that it is ours."""
        assert str(self.home.data) in Path(f"/proc/{pid}/environ").read_text()
        os.kill(pid, signal.SIGKILL)

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None
        return self.process


@contextmanager
def started(manager: Manager, *command: str | Path) -> Iterator[Manager]:
    """Run a manager in the foreground until the service answers; whatever is left of it is killed."""
    with (manager.home.log / "manager.log").open("wb") as log:
        manager.process = subprocess.Popen(
            list(map(str, command)), cwd=manager.home.path, env=manager.home.environment, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        soon(manager.home.worker, f"{command[0]} to serve")
        yield manager
    finally:
        with suppress(ProcessLookupError):
            os.killpg(manager.process.pid, signal.SIGKILL)
        manager.process.wait()


@contextmanager
def uvicorn(home: Home) -> Iterator[Manager]:
    """Run `uvicorn --workers 2`."""
    command = (BIN / "uvicorn", "service:app", "--port", str(home.port), "--workers", "2")
    with started(Manager(home), *command) as manager:
        yield manager


@contextmanager
def gunicorn(home: Home) -> Iterator[Manager]:
    """Run gunicorn with two uvicorn workers."""
    with started(Manager(home), BIN / "gunicorn", "-c", home.example("gunicorn.conf.py"), "service:app") as m:
        yield m


@contextmanager
def preloaded(home: Home) -> Iterator[Manager]:
    """Run gunicorn with the application loaded before its workers are forked."""
    config = home.example("gunicorn.conf.py")
    config.write_text(f"{config.read_text()}preload_app = True\n")
    with started(Manager(home), BIN / "gunicorn", "-c", config, "service:app") as manager:
        yield manager


class Supervisor(Manager):
    """supervisord: told what to do by its own command."""

    def restart(self) -> None:
        self.ctl("restart", "generation")

    def ctl(self, *words: str) -> str:
        """Give a command to this supervisord."""
        return self.home.run(BIN / "supervisorctl", "-c", self.home.path / "main.conf", *words)


@contextmanager
def supervisord(home: Home) -> Iterator[Manager]:
    """Run supervisord with the example as its only program."""
    (home.path / "main.conf").write_text(
        f"[supervisord]\nlogfile={home.log}/supervisord.log\npidfile={home.path}/supervisord.pid\n"
        f"[unix_http_server]\nfile={home.path}/s.sock\n[supervisorctl]\nserverurl=unix://{home.path}/s.sock\n"
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = "
        "supervisor.rpcinterface:make_main_rpcinterface\n"
        f"[include]\nfiles={home.example('supervisord.conf')}\n"
    )
    with started(Supervisor(home), BIN / "supervisord", "-n", "-c", home.path / "main.conf") as manager:
        yield manager


class Pm2(Manager):
    """pm2: a daemon of its own for this test, in a home of its own."""

    program: Path

    def restart(self) -> None:
        self.pm2("restart", "generation")

    def stop(self) -> None:
        self.pm2("stop", "generation")

    def pm2(self, *words: str) -> str:
        """Give a command to this pm2."""
        return self.home.run(self.program, *words, PM2_HOME=str(self.home.path / ".pm2"))


@contextmanager
def pm2(home: Home, program: Path) -> Iterator[Manager]:
    """Run pm2 with the example."""
    manager = Pm2(home)
    manager.program = program
    try:
        manager.pm2("start", str(home.example("ecosystem.config.js")))
        soon(home.worker, "pm2 to serve")
        yield manager
    finally:
        manager.pm2("kill")
