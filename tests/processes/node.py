"""pm2 from npm, in ${XDG_CACHE_HOME:-~/.cache}/otel_gen/: `python -m tests.processes.node install` fetches it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

PM2 = "7.0.4"
INSTALL = "python -m tests.processes.node install"


def need_pm2() -> Path:
    """The program; fetched first under CI=true, a visible skip without Node or, elsewhere, without pm2."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("no node and npm on the PATH")
    if not _program().exists():
        if os.environ.get("CI") != "true":
            pytest.skip(f"pm2 is not installed; run: {INSTALL}")
        install()
    return _program()


def install() -> Path:
    """Fetch pm2 aside and rename: what is in the cache is whole, also when two do it at once."""
    home = _home()
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent, prefix=f".{home.name}-") as scratch:
            command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", f"pm2@{PM2}"]
            made = Path(scratch) / "made"
            made.mkdir()
            subprocess.run([*command, "--prefix", made], check=True, timeout=300, stdout=sys.stderr)
            _renamed(made, home)
    return _program()


def _renamed(made: Path, home: Path) -> None:
    try:
        made.rename(home)
    except OSError:
        if not home.is_dir():
            raise


def _program() -> Path:
    return _home() / "node_modules" / ".bin" / "pm2"


def _home() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "otel_gen" / f"pm2-{PM2}"


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit(f"usage: {INSTALL}")
    print(install())
