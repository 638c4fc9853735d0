"""Every call on files may fail, or be the last: nobody notices, nothing durable is lost, doubled or torn."""

from __future__ import annotations

import itertools
import random
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

from otel_gen.readers.records import read
from otel_gen.recover import recover
from tests import support
from tests.crash.ledger import check
from tests.crash.numbers import differences
from tests.crash.served import Service
from tests.crash.shim import Run, Stand, compiled
from tests.support import lines, python, until

ONCE = ("enospc", "eio", "short", "kill", "tear", "after")
FOR_GOOD = ("full", "dead")


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory):
    """Workers under the shim."""
    made = Stand(compiled(tmp_path_factory.mktemp("shim")))
    yield made
    made.end()


def faulty(stand: Stand, place: Path, mode: str, at: int) -> Run:
    """Let the N-th call fail, or be the last: nobody notices, nothing durable is lost, doubled or torn."""
    one = stand.run(place / str(at), mode, at, 1 if mode in FOR_GOOD else 8)
    where = f"{mode} at call {at} ({one.call}): {one.said[-2000:]}"
    assert (one.tally.lost, one.tally.doubled, one.tally.torn, one.wrong) == ([], [], [], []), where
    killed = one.call and mode in ("kill", "tear", "after") and one.code == -signal.SIGKILL
    assert killed or (one.code, one.said) == (0, "did all twelve\n") or _only_logged(one), where
    if not killed and mode not in FOR_GOOD:
        assert one.tally.records == 12, where
    shutil.rmtree(place / str(at))
    return one


def _only_logged(one: Run) -> bool:
    """The worker did all and said in its log what it could not do."""
    return one.code == 0 and "did all twelve\n" in one.said and "otel_gen" in one.said


def sample(stand: Stand, place: Path, mode: str, n: int) -> list[Run]:
    """Hit some calls of all, by the seed that is the mode's name; a worker that had fewer calls meets none."""
    calls = stand.calls(place / "counted")
    share = 0.55 if mode in ("short", "tear") else 1.0  # of all calls are writes
    chosen = random.Random(mode).sample(range(1, int(calls * share)), n)
    return [one for at in sorted(chosen) if (one := faulty(stand, place, mode, at)).call]


def told(found: list[Run]) -> str:
    """Say what was met, for the table of docs/faults.md."""
    ends = sum(one.tally.ended for one in found)
    return f"{len(found)} faults at {dict(Counter(one.call for one in found))}, {ends} ends acknowledged"


@pytest.mark.crash
@pytest.mark.parametrize("mode", ONCE)
def test_a_fault_at_some_calls_on_files_loses_nothing(stand: Stand, tmp_path: Path, mode: str) -> None:
    found = sample(stand, tmp_path, mode, 10)
    print(told(found))
    assert len(found) > 7
    assert sum(one.tally.started for one in found) > len(found)


@pytest.mark.crash
@pytest.mark.parametrize("mode", FOR_GOOD)
def test_a_disk_that_fails_for_good_loses_nothing_that_was_acknowledged(
    stand: Stand, tmp_path: Path, mode: str
) -> None:
    found = sample(stand, tmp_path, mode, 3)
    print(told(found))
    assert len(found) == 3


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", [*ONCE, *FOR_GOOD])
def test_a_fault_at_every_call_on_files_loses_nothing(stand: Stand, tmp_path: Path, mode: str) -> None:
    found = []
    for at in itertools.count(1):
        one = faulty(stand, tmp_path, mode, at)
        if not one.call:
            break
        found.append(one)
    print(told(found))
    assert one.tally.records == 12
    assert len(found) > 100


def test_the_write_that_keeps_the_interpreters_lock_passes_the_shim_too(tmp_path: Path) -> None:
    code = """if True:
    import os, sys
    from otel_gen import pwrite
    file = os.open(sys.argv[1] + "/file", os.O_RDWR | os.O_CREAT)
    pwrite.keep_until = float("inf")
    try:
        pwrite.pwrite(file, b"x", 0)
    except OSError as error:
        print(error.errno)
    """
    shim = {
        "LD_PRELOAD": str(compiled(tmp_path)),
        "SHIM_PREFIX": str(tmp_path),
        "SHIM_LOG": f"{tmp_path}/log",
    }
    assert python(code, tmp_path, **shim, SHIM_MODE="dead", SHIM_AT="2") == "5\n"
    assert (tmp_path / "log").read_text() == "pwrite64\n"
    assert (tmp_path / "file").read_bytes() == b""


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 24 MB."""
    with support.small_disk(tmp_path / "disk", 24) as disk:
        yield disk


def fill(disk: Path) -> Path:
    """Take all room of a file system; gives the file that has it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(1 << 16))
    return filler


@pytest.mark.crash
def test_a_full_disk_that_gets_space_back_delivers_everything_later(small_disk: Path, tmp_path: Path) -> None:
    service = Service(small_disk / "data", tmp_path)
    try:
        service.ask("work", 5)
        filler = fill(small_disk)
        service.ask("work", 300)
        filler.unlink()
        service.ask("work", 5)
    finally:
        service.end()
    assert service.process.returncode == 0
    recover(str(small_disk / "data"), today={"feedback_timeout": 0})
    tally = check(small_disk / "data", tmp_path)
    assert (tally.lost, tally.doubled, tally.torn) == ([], [], [])
    assert (tally.started > 5, tally.records) == (True, 310)
    assert differences(small_disk / "data") == {}


@pytest.mark.crash
def test_killed_while_the_disk_is_full_what_was_acknowledged_is_there(
    small_disk: Path, tmp_path: Path
) -> None:
    service = Service(small_disk / "data", tmp_path)
    try:
        service.ask("work", 5)
        filler = fill(small_disk)
        service.ask("work", 300)
        service.process.kill()
    finally:
        service.process.kill()
        service.process.communicate()
    filler.unlink()
    recover(str(small_disk / "data"), today={"feedback_timeout": 0})
    tally = check(small_disk / "data", tmp_path)
    assert (tally.lost, tally.doubled, tally.torn) == ([], [], [])
    assert tally.ended > 5
    assert differences(small_disk / "data") == {}


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
