"""Every call on files may fail, or be the last: nobody notices, nothing durable is lost, doubled or torn."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from otel_gen.readers.records import read
from otel_gen.recover import recover
from tests.crash.ledger import check
from tests.crash.numbers import differences
from tests.crash.shim import Run, compiled, run
from tests.support import lines, until

STEPS = {"enospc": 29, "eio": 31, "short": 37, "kill": 23, "tear": 41}
SERVICE = "import sys; from tests.crash.service import main; main(*sys.argv[1:])"


@pytest.fixture
def shim(tmp_path: Path) -> Path:
    return compiled(tmp_path)


def faults(shim: Path, place: Path, mode: str, step: int) -> list[Run]:
    """Hit the 1st call, then every step-th further on, until a worker meets none."""
    found = []
    for at in itertools.count(1, step):
        one = run(shim, place / str(at), mode, at)
        where = f"{mode} at call {at} ({one.call}): {one.said[-2000:]}"
        assert (one.tally.lost, one.tally.doubled, one.tally.torn, one.wrong) == ([], [], [], []), where
        killed = one.call and mode in ("kill", "tear") and one.code == -signal.SIGKILL
        assert killed or (one.code, one.said) == (0, "did all twelve\n") or _only_logged(one), where
        if not one.call:
            assert one.tally.started == one.tally.ended == one.tally.records == 12
            return found
        if not killed:
            assert one.tally.records == 12, where
        found.append(one)
    raise AssertionError


def _only_logged(one: Run) -> bool:
    """The worker did all and said in its log what it could not do."""
    return one.code == 0 and one.said.startswith("did all twelve\n") and "otel_gen" in one.said


@pytest.mark.crash
@pytest.mark.parametrize("mode", STEPS)
def test_a_fault_at_any_call_on_files_loses_nothing(shim: Path, tmp_path: Path, mode: str) -> None:
    found = faults(shim, tmp_path, mode, STEPS[mode])
    print(len(found), "faults,", sum(one.tally.ended for one in found), "ends acknowledged")
    assert len(found) >= 4
    assert len({one.call for one in found}) >= 2
    assert sum(one.tally.started for one in found) > len(found)


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", STEPS)
def test_a_fault_at_every_call_on_files_loses_nothing(shim: Path, tmp_path: Path, mode: str) -> None:
    found = faults(shim, tmp_path, mode, 1)
    print(len(found), "faults")
    assert len(found) > 100


@pytest.mark.crash
def test_a_full_disk_that_gets_space_back_delivers_everything_later(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        service = Service(disk / "data", tmp_path)
        try:
            service.ask("work", 5)
            filler = disk / "filler"
            with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
                while True:
                    file.write(bytes(1 << 16))
            service.ask("work", 300)
            filler.unlink()
            service.ask("work", 5)
        finally:
            service.end()
        assert service.process.returncode == 0
        recover(str(disk / "data"), today={"feedback_timeout": 0})
        tally = check(disk / "data", tmp_path)
        assert (tally.lost, tally.doubled, tally.torn) == ([], [], [])
        assert (tally.started > 5, tally.records) == (True, 310)
        assert differences(disk / "data") == {}
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


class Service:
    """A service that works when it is asked: `ask("work", n)` returns when n generations are done."""

    def __init__(self, data_dir: Path, acks: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVICE, str(data_dir), str(acks)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, *words: object) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def end(self) -> None:
        """Let it shut down; killed where it does not."""
        try:
            self.process.communicate("", timeout=40)
        finally:
            self.process.kill()
            self.process.wait(30)


@pytest.fixture
def two(tmp_path: Path):
    """Two services on one data_dir; the first leads."""
    first = Service(tmp_path / "data", tmp_path)
    second = None
    try:
        first.ask("work", 3)
        until(lambda: len(lines(tmp_path / "data")) == 3)
        second = Service(tmp_path / "data", tmp_path)
        second.ask("work", 0)
        yield first, second, tmp_path
    finally:
        for one in (first, second):
            if one is not None and one.process.poll() is None:
                one.process.send_signal(signal.SIGCONT)
                one.end()


@pytest.mark.crash
def test_a_stopped_leader_delays_delivery_and_nobody_who_calls(two) -> None:
    first, second, place = two
    first.process.send_signal(signal.SIGSTOP)
    until(lambda: Path(f"/proc/{first.process.pid}/stat").read_text().split()[2] == "T")
    second.ask("work", 200)
    assert len(lines(place / "data")) == 3, "the lock is never stolen"
    first.process.send_signal(signal.SIGCONT)
    until(lambda: len(lines(place / "data")) == 203)
    second.end()
    first.end()
    tally = check(place / "data", place)
    assert (tally.lost, tally.doubled, tally.torn) == ([], [], [])
    assert tally.ended == 203, "all of them were durable when they returned"
    assert differences(place / "data") == {}


@pytest.mark.crash
def test_a_killed_leader_is_taken_over_by_the_next_process(two) -> None:
    first, second, place = two
    second.ask("work", 5)
    first.process.kill()
    first.process.communicate()
    second.ask("work", 5)
    until(lambda: len(lines(place / "data")) == 13)
    second.end()
    tally = check(place / "data", place)
    assert (tally.lost, tally.doubled, tally.torn) == ([], [], [])
    assert len(list(read(str(place / "data")))) == tally.ended == 13
    assert differences(place / "data") == {}
