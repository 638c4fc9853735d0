"""Pwrite: where others wait for the interpreter's lock it is kept; a slow disk has it given up again."""

from __future__ import annotations

import math
import os
import time

import pytest

from otel_gen import pwrite as module
from otel_gen.files import Folder
from otel_gen.pwrite import pwrite
from otel_gen.segment import Writer


@pytest.fixture
def file(tmp_path):
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


@pytest.fixture
def kept(monkeypatch):
    """Count the writes that keep the lock; the first `slow` of them take long."""
    calls, real = [], module._kept
    assert real is not None

    def write(fd, data, size, at):
        calls.append(at)
        if len(calls) <= write.slow:
            time.sleep(module.SLOW * 1.5)
        return real(fd, data, size, at)

    write.slow = 0
    monkeypatch.setattr(module, "_kept", write)
    monkeypatch.setattr(module, "keep_until", 0.0)
    monkeypatch.setattr(module, "_give_up_until", 0.0)
    monkeypatch.setattr(module, "_waits", 0)
    monkeypatch.setattr(module, "WANTED", math.inf)
    write.calls = calls
    return write


def wanted(monkeypatch, seconds=60.0):
    monkeypatch.setattr(module, "keep_until", time.monotonic() + seconds)


def test_both_ways_write_the_same_bytes(file, kept, monkeypatch):
    assert pwrite(file, b"a\0b", 3) == 3
    assert kept.calls == []
    wanted(monkeypatch)
    assert pwrite(file, b"c\0d", 6) == 3
    assert kept.calls == [6]
    assert os.pread(file, 9, 0) == b"\0\0\0a\0bc\0d"


def written(file, monkeypatch, waits):
    """Write once for each letter: one that waits for the lock is a W."""
    for waited in waits:
        monkeypatch.setattr(module, "WANTED", 0.0 if waited == "W" else math.inf)
        pwrite(file, b"x", 0)


@pytest.mark.parametrize("waits", ["WWWW", "W....W....W....W", "...............WWWW"])
def test_four_of_sixteen_writes_that_waited_for_the_lock_have_the_next_ones_keep_it(
    file, kept, monkeypatch, waits
):
    written(file, monkeypatch, waits[:-1])
    assert not module.keep_until
    written(file, monkeypatch, "W")
    assert (module.keep_until > time.monotonic(), kept.calls) == (True, [])
    written(file, monkeypatch, "..")
    assert len(kept.calls) == 2


@pytest.mark.parametrize("waits", ["W....W....W....." * 6, "WWW.............WWW"])
def test_rarer_waits_have_none_keep_it(file, kept, monkeypatch, waits):
    written(file, monkeypatch, waits)
    assert (module.keep_until, kept.calls) == (0.0, [])


def test_after_its_time_one_write_that_waited_is_enough_and_one_that_did_not_ends_it(file, kept, monkeypatch):
    monkeypatch.setattr(module, "KEEP", -1.0)
    written(file, monkeypatch, "WWWW")
    assert kept.calls == []
    monkeypatch.setattr(module, "KEEP", 60.0)
    written(file, monkeypatch, "W.")
    assert len(kept.calls) == 1
    monkeypatch.setattr(module, "keep_until", time.monotonic() - 1)
    written(file, monkeypatch, ".")
    assert (len(kept.calls), module.keep_until) == (1, 0.0)


def test_a_write_that_the_kernel_held_has_the_lock_given_up(file, kept, monkeypatch):
    kept.slow = 1
    wanted(monkeypatch)
    for at in range(4):
        pwrite(file, b"x", at)
    assert kept.calls == [0]
    monkeypatch.setattr(module, "WANTED", 0.0)
    for at in range(4, 8):
        pwrite(file, b"x", at)
    assert kept.calls == [0], "for some seconds it is not kept whatever the others want"


def test_a_disk_whose_sync_is_overdue_has_the_lock_given_up(file, kept, monkeypatch):
    wanted(monkeypatch)
    pwrite(file, b"x", 0, time.monotonic() - 1)
    assert kept.calls == []
    pwrite(file, b"x", 0, time.monotonic() + 60)
    assert kept.calls == [0]


def test_an_error_is_that_of_the_operating_system(kept, monkeypatch):
    wanted(monkeypatch)
    with pytest.raises(OSError, match="Bad file descriptor"):
        pwrite(-1, b"x", 0)
    assert kept.calls == [0]


def test_without_the_c_library_the_lock_is_given_up_as_ever(file, kept, monkeypatch):
    monkeypatch.setattr(module, "_kept", None)
    wanted(monkeypatch)
    assert pwrite(file, b"xy", 0) == 2


def test_of_a_segments_writes_one_in_four_looks_and_all_keep_the_lock_once_others_want_it(
    tmp_path, kept, monkeypatch
):
    folder = Folder.root(str(tmp_path))
    writer = Writer(folder, "one", 1 << 16)
    looked = []
    real = module.pwrite
    monkeypatch.setattr(module, "pwrite", lambda *given: looked.append(given[2]) or real(*given))
    for ticket in range(1, 9):
        writer.put(ticket, b"x")
    assert len(looked) == 2
    wanted(monkeypatch)
    for ticket in range(9, 13):
        writer.put(ticket, b"x")
    assert len(looked) == 6
    assert len(kept.calls) == 4
    assert [sequence for sequence, _ in writer.frames(0, writer.offset)] == list(range(1, 13))
    writer.close()
    folder.close()
