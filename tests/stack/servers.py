"""Start real servers on loopback and free ports, wait until they are ready, stop what was started.

`python -m tests.stack.servers install [--all]` fetches or builds the servers themselves.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import binaries

AGENT = binaries.ROOT / "collector" / "agent.yaml"


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def query(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """What an instant query answers: labels and value of each series."""
        answer = self._get("query", query=expr)
        if answer["resultType"] == "scalar":
            return [({}, float(answer["result"][1]))]
        return [(series["metric"], float(series["value"][1])) for series in answer["result"]]

    def firing(self, alert: str) -> list[dict[str, str]]:
        """The labels of the alerts of that name that fire now."""
        alerts = self._get("alerts")["alerts"]
        return [a["labels"] for a in alerts if a["labels"]["alertname"] == alert and a["state"] == "firing"]

    def exemplars(self, expr: str) -> list[dict[str, str]]:
        """The labels of the exemplars of the last hour under the series that a query selects."""
        now = time.time()
        found = self._get("query_exemplars", query=expr, start=f"{now - 3600:.0f}", end=f"{now + 60:.0f}")
        return [exemplar["labels"] for series in found for exemplar in series["exemplars"]]

    def _get(self, path: str, **parameters: str) -> Any:
        return json.loads(fetch(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))["data"]


@dataclass(frozen=True)
class Collector:
    """A running Collector with collector/agent.yaml; its ports and the files it writes."""

    grpc_port: int
    http_port: int
    prometheus_port: int
    self_port: int
    traces: Path
    logs: Path


@contextmanager
def running_prometheus(binary: Path, home: Path, config: str) -> Iterator[Prometheus]:
    """Prometheus with an empty database in `home` and this configuration."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "prometheus.yml").write_text(config)
    port = free_port()
    command = [
        str(binary),
        f"--config.file={home / 'prometheus.yml'}",
        f"--storage.tsdb.path={home / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
    ]
    with running(command, home / "prometheus.log", ready=f"http://127.0.0.1:{port}/-/ready"):
        yield Prometheus(f"http://127.0.0.1:{port}")


@contextmanager
def running_collector(
    binary: Path, home: Path, scrape: str, configs: Sequence[Path] = (AGENT,)
) -> Iterator[Collector]:
    """The Collector as an agent that writes its files into `home` and scrapes otel_gen at `scrape`."""
    home.mkdir(parents=True, exist_ok=True)
    health = free_port()
    agent = Collector(
        free_port(), free_port(), free_port(), free_port(), home / "traces.jsonl", home / "logs.jsonl"
    )
    command = [str(binary), *(f"--config={config}" for config in configs)]
    variables = {
        "OTELCOL_HEALTH_PORT": str(health),
        "OTELCOL_GRPC_PORT": str(agent.grpc_port),
        "OTELCOL_HTTP_PORT": str(agent.http_port),
        "OTELCOL_PROMETHEUS_PORT": str(agent.prometheus_port),
        "OTELCOL_SELF_PORT": str(agent.self_port),
        "OTELCOL_METRICS_TARGET": scrape,
        "OTELCOL_SCRAPE_INTERVAL": "500ms",
        "OTELCOL_TRACES_FILE": str(agent.traces),
        "OTELCOL_LOGS_FILE": str(agent.logs),
    }
    ready = f"http://127.0.0.1:{health}/"
    with running(command, home / "otelcol.log", ready=ready, cwd=home, variables=variables):
        yield agent


@contextmanager
def running(
    command: Sequence[str],
    log: Path,
    *,
    ready: str,
    cwd: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """A process that answers on the URL `ready` before the block begins and is gone after it."""
    with log.open("ab") as output:
        environment = {**os.environ, **(variables or {})}
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=cwd, env=environment)
    try:
        wait_for(lambda: _answers(process, ready, log), f"{command[0]} to answer on {ready}")
        yield
    finally:
        _stop(process)


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """Ask again and again until the answer is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            message = f"waited {seconds:.0f} s in vain for {what}"
            raise TimeoutError(message)
        time.sleep(0.1)
    return answer


def fetch(url: str, accept: str = "*/*") -> str:
    """The body of a page on this machine."""
    request = urllib.request.Request(url, headers={"Accept": accept})  # noqa: S310 - a loopback address of ours
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        message = f"{url}: {error.code} {error.read().decode()[:500]}"
        raise OSError(message) from error


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(process: subprocess.Popen[bytes], url: str, log: Path) -> bool:
    if process.poll() is not None:
        message = f"{process.args} ended with {process.returncode}: {log.read_text()[-2000:]}"
        raise RuntimeError(message)
    try:
        fetch(url)
    except OSError:
        return False
    return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def install(everything: bool) -> int:
    """Install what the stack tests need. A missing tool is an error only with CI=true: its tests skip."""
    steps = [binaries.install_prometheus, binaries.install_logrotate, binaries.install_collector]
    if everything:
        steps.append(binaries.install_prometheus_3)
    had = [_installed(step) for step in steps]
    return 1 if not all(had) and os.environ.get("CI") == "true" else 0


def _installed(step: Callable[[], Path]) -> bool:
    what = step.__name__.removeprefix("install_")
    try:
        print(f"{what}: {step()}")
    except binaries.UnavailableError as reason:
        print(f"{what}: not available, its tests will skip: {reason}")
        return False
    return True


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    if arguments[:1] != ["install"] or set(arguments[1:]) - {"--all"}:
        print("usage: python -m tests.stack.servers install [--all]", file=sys.stderr)
        return 2
    return install("--all" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
