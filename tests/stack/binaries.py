"""Find the real servers that the stack tests run, or install them: Prometheus, promtool, the Collector.

What is built lives under ${XDG_CACHE_HOME:-~/.cache}/otel_gen/<name>-<key>/, outside the working tree: the
Collector takes minutes, and its key is the hash of what it is made of.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILDER = ROOT / "collector" / "builder.yaml"
PROMETHEUS_3 = "0.313.5"  # the module version of Prometheus 3.13.5
INSTALL = "python -m tests.stack.servers install"


class UnavailableError(Exception):
    """A tool cannot be had on this machine; says why and what would help."""


def collector() -> Path:
    """The Collector made of collector/builder.yaml."""
    return _cached(_collector_home() / "otelcol", INSTALL)


def prometheus() -> Path:
    """Debian's Prometheus (2.42), or whatever the PATH has."""
    return _on_path("prometheus")


def promtool() -> Path:
    """The promtool beside it."""
    return _on_path("promtool")


def prometheus_3() -> Path:
    """Prometheus 3.13.5."""
    return _cached(_prometheus_home() / "prometheus", f"{INSTALL} --all")


def promtool_3() -> Path:
    """The promtool of Prometheus 3.13.5."""
    return _cached(_prometheus_home() / "promtool", f"{INSTALL} --all")


def install_prometheus() -> Path:
    """Install Debian's package where there is none on the PATH.

    The package starts a service on :9090 of its own where the machine lets it; the tests do not use that.
    """
    if not (shutil.which("prometheus") and shutil.which("promtool")):
        _install_package("prometheus")
    return prometheus()


def logrotate() -> Path:
    """Debian's logrotate, or whatever the PATH has."""
    return _on_path("logrotate")


def install_logrotate() -> Path:
    """Install Debian's package where there is none on the PATH."""
    if not shutil.which("logrotate"):
        _install_package("logrotate")
    return logrotate()


def _install_package(name: str) -> None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise UnavailableError(
            f"no {name} on the PATH, and installing Debian's package needs apt-get and root"
        )
    _run(["apt-get", "update", "-qq"])
    # Without the lock time-out a second apt on the machine makes this fail at once.
    options = ["-o", "DPkg::Lock::Timeout=400", "--no-install-recommends", "-y"]
    _run(["apt-get", "install", *options, name])


def install_collector() -> Path:
    """Build the Collector with its own builder."""
    home = _collector_home()
    if not (home / "otelcol").exists():
        _build(home, _make_collector)
    return collector()


def install_prometheus_3() -> Path:
    """Build Prometheus 3 and its promtool from Go modules."""
    home = _prometheus_home()
    if not (home / "prometheus").exists():
        _build(home, _make_prometheus)
    return prometheus_3()


def _make_collector(scratch: Path, result: Path) -> None:
    version = re.search(r"^  version: (\S+)$", BUILDER.read_text(), re.MULTILINE)
    if version is None:
        raise UnavailableError(f"{BUILDER} names no version")
    builder = f"go.opentelemetry.io/collector/cmd/builder@v{version[1]}"
    _run(["go", "run", builder, f"--config={BUILDER}"], cwd=scratch)
    (scratch / "build" / "otelcol").rename(result / "otelcol")


def _make_prometheus(scratch: Path, result: Path) -> None:
    module = "github.com/prometheus/prometheus/cmd"
    (scratch / "go.mod").write_text("module example.invalid/tools\n\ngo 1.26\n")
    tools = ("prometheus", "promtool")
    _run(["go", "get", *(f"{module}/{tool}@v{PROMETHEUS_3}" for tool in tools)], cwd=scratch)
    for tool in tools:
        _run(["go", "build", "-o", str(result / tool), f"{module}/{tool}"], cwd=scratch, CGO_ENABLED="0")


def _build(home: Path, make: Callable[[Path, Path], None]) -> None:
    """Build aside and rename: what is in the cache is whole, also when two builds run at once."""
    if not shutil.which("go"):
        raise UnavailableError(f"building {home.name} needs Go on the PATH")
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=f".{home.name}-") as scratch:
        result = Path(scratch) / "result"
        result.mkdir()
        make(Path(scratch), result)
        try:
            result.rename(home)
        except OSError:
            if not home.is_dir():
                raise


def _run(command: list[str], cwd: Path | None = None, **variables: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", **variables}
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise UnavailableError(f"{' '.join(command)} failed: {done.stderr[-2000:]}")


def _cached(path: Path, remedy: str) -> Path:
    if not path.exists():
        raise UnavailableError(f"{path.name} is not built; run: {remedy}")
    return path


def _on_path(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise UnavailableError(f"no {name} on the PATH; run: {INSTALL}")
    return Path(found)


def _collector_home() -> Path:
    return _cache() / f"otelcol-{hashlib.sha256(BUILDER.read_bytes()).hexdigest()[:16]}"


def _prometheus_home() -> Path:
    return _cache() / f"prometheus-{PROMETHEUS_3}"


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel_gen"
