"""Shared by several test modules: reading back what was recorded, waiting, fresh processes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import otel_gen

HISTORY, AMENDMENTS = "generation_history.jsonl", "generation_amendments.jsonl"


def lines(data_dir, name=HISTORY):
    """The lines of a file of the data_dir as objects; none where it does not exist."""
    path = Path(data_dir) / name
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def settled(data_dir):
    """Shut down and give the canonical records by generation id."""
    assert otel_gen.shutdown()
    return {record["metadata"]["generation_id"]: record for record in lines(data_dir)}


def the_record(data_dir):
    """Shut down and give the one record that there must be."""
    (record,) = settled(data_dir).values()
    return record


def submitted(**keywords):
    """Do a generation and hand its result over."""
    with otel_gen.generation(task_type="TEXT-TO-3D", **keywords) as gen:
        gen.submitted()
    return gen


def until(condition, timeout=20.0):
    """Wait for a condition; gives what it gave."""
    end = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.005)
    return found


def python(code, *args, timeout=60, **env):
    """Run code in a fresh interpreter; gives its standard output."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "OTEL_GEN_"))}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        env=clean | env, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def small_disk(path, size):
    """Mount an empty file system of this many megabytes; skips where that is not allowed."""
    path.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", path], check=False
        ).returncode
    ):
        pytest.skip("mounting a small file system needs root")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def differences(one, two, path=""):
    """Where two JSON values differ: path, one, two."""
    if isinstance(one, dict) and isinstance(two, dict):
        keys = sorted(one.keys() | two.keys())
        return [
            d for k in keys for d in differences(one.get(k, "absent"), two.get(k, "absent"), f"{path}.{k}")
        ]
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        return [
            d for n, pair in enumerate(zip(one, two, strict=True)) for d in differences(*pair, f"{path}[{n}]")
        ]
    return [] if type(one) is type(two) and one == two else [(path, one, two)]
