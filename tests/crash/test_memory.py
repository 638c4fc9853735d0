"""Memory stays bounded over very many generations, also when nothing can be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import python

MEGABYTE = 1 << 20
CODE = """
import os, sys, time, otel_gen
history = os.path.join(sys.argv[1], "generation_history.jsonl")
lines = at = 0
def delivered():
    global lines, at
    if os.path.exists(history):
        with open(history, "rb") as file:
            file.seek(at)
            for chunk in iter(lambda: file.read(1 << 16), b""):
                lines, at = lines + chunk.count(b"\\n"), at + len(chunk)
    return lines
def caught_up(n):  # a loop that does nothing else runs ahead of the leader, and what waits for it takes memory
    until = time.monotonic() + 300
    while not os.path.isfile(sys.argv[1]) and delivered() < n and time.monotonic() < until:
        time.sleep(0.02)
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
def work(n):
    for _ in range(n):
        with otel_gen.generation(task_type="TEXT-TO-3D", prompt="a red chair", validator_uid=57) as gen:
            with gen.stage("sdxl", steps=4):
                pass
            gen.withheld("clip_below_threshold")
otel_gen.configure(data_dir=sys.argv[1], registry=None, durability="process", feedback_timeout=0, deadline=0.2)
first, more = int(sys.argv[2]), int(sys.argv[3])
before = 0
for n in range(500, first + more + 1, 500):
    work(500)
    caught_up(n)
    before = before or (n >= first and resident())
print(before, resident(), flush=True)
otel_gen.shutdown(timeout=30)
"""


def growth(data_dir: Path, first: int, more: int, timeout: float = 60) -> float:
    """Megabytes that a process grows by from the first generations to the last."""
    before, after = map(int, python(CODE, data_dir, first, more, timeout=timeout).split())
    assert before > 10 * MEGABYTE
    print(f"{before / MEGABYTE:.1f} MB, later {after / MEGABYTE:.1f} MB")
    return (after - before) / MEGABYTE


def records(data_dir: Path) -> int:
    return (data_dir / "generation_history.jsonl").read_bytes().count(b"\n")


def test_memory_does_not_grow_over_many_generations(tmp_path: Path) -> None:
    assert growth(tmp_path / "data", 5_000, 15_000) < 16
    assert records(tmp_path / "data") == 20_000


def test_memory_is_bounded_while_nothing_can_be_written(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.write_text("a file where the directory belongs")
    assert growth(data_dir, 500, 19_500) < 64


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_does_not_grow_over_a_hundred_thousand_generations(tmp_path: Path) -> None:
    assert growth(tmp_path / "data", 5_000, 95_000, timeout=800) < 16
    assert records(tmp_path / "data") == 100_000
