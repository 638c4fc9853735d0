"""Apply each deliberate bug to a copy of the project and see that its tests notice (python -m tests.mutants).

Words given select mutants by name. Exit code 1 where one is not noticed, or its text is not there to be replaced.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.catalog import MUTANTS, Mutant

HERE = Path(__file__).parents[2]
COPIED = ("otel_gen", "tests", "docs", "grafana", "collector", "pyproject.toml", "README.md", "CHANGELOG.md")
TESTS_FAILED = 1


def copied(place: Path) -> Path:
    """Copy what the tests need."""
    for name in COPIED:
        if (HERE / name).is_dir():
            shutil.copytree(HERE / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(HERE / name, place / name)
    return place


def run(place: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """Run tests of the copy, up to the first that fails."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *tests]
    env = os.environ | {"PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=place, env=env, capture_output=True, text=True, timeout=600, check=False
    )


def applied(mutant: Mutant, source: str) -> str:
    """Give the mutated text of a module. Raises ValueError where the text is not there exactly once."""
    if source.count(mutant.old) != 1:
        raise ValueError(f"{mutant.file} holds the text to replace {source.count(mutant.old)} times")
    return source.replace(mutant.old, mutant.new)


def noticed(mutant: Mutant) -> str:
    """Try one mutant; returns why it was not noticed, or an empty text."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        place = copied(Path(folder))
        module = place / "otel_gen" / mutant.file
        try:
            module.write_text(applied(mutant, module.read_text()))
        except ValueError as error:
            return str(error)
        done = run(place, *mutant.tests.split())
        if done.returncode == TESTS_FAILED:
            return ""
        return "not noticed" if done.returncode == 0 else f"the tests did not run:\n{done.stdout[-2000:]}"


def unharmed(mutants: list[Mutant]) -> str:
    """See that the tests pass without any mutant; returns what they said if not."""
    tests = sorted({test for mutant in mutants for test in mutant.tests.split()})
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        done = run(copied(Path(folder)), *tests)
    return "" if done.returncode == 0 else done.stdout[-4000:]


def main(words: list[str]) -> int:
    """Try all mutants, or those whose name holds a word."""
    chosen = [one for one in MUTANTS if not words or any(word in one.name for word in words)]
    failed = unharmed(chosen)
    if failed:
        print(f"the tests fail without any mutant:\n{failed}")
        return 1
    missed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutant, why in zip(chosen, pool.map(noticed, chosen), strict=True):
            missed += bool(why)
            print(f"{'MISSED' if why else 'caught'}  {mutant.promise:4}{mutant.name}", why, flush=True)
    print(f"{len(chosen)} mutants, {len(chosen) - missed} caught, {missed} missed")
    return 1 if missed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
