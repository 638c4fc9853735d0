"""The spool keeps what it was given, privately and in order, until it is told otherwise."""

from __future__ import annotations

import os
import stat

import pytest

from otel_gen import spool as module
from otel_gen.errors import StorageError
from otel_gen.spool import Spool


@pytest.fixture
def spool(tmp_path):
    made = Spool(tmp_path / "spool")
    yield made
    made.close()


def test_what_is_put_comes_back_in_order_until_it_is_acknowledged(spool):
    names = [spool.put(f"event-{n:03d}", b"%d" % n) for n in range(20)]
    assert spool.waiting() == names
    assert [spool.get(name) for name in names] == [b"%d" % n for n in range(20)]
    spool.acknowledged(names[0])
    assert spool.waiting() == names[1:]
    assert spool.get(names[0]) is None


def test_what_is_refused_is_kept_aside_with_the_reason(spool):
    name = spool.put("event-001", b"1")
    spool.refuse(name, b'{"reason": "unknown generation"}')
    assert (spool.waiting(), spool.refused(), spool.why(name)) == ([], [name], "unknown generation")


def test_files_are_private_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        spool = Spool(tmp_path / "spool")
        name = spool.put("event-001", b"1")
        spool.take()
        spool.refuse(name, b"{}")
        spool.put("event-002", b"2")
        spool.close()
    finally:
        os.umask(before)
    found = list((tmp_path / "spool").rglob("*"))
    assert len(found) == 4
    assert {stat.S_IMODE(p.stat().st_mode) for p in found if p.is_file()} == {0o600}
    assert {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "spool", tmp_path / "spool/refused")} == {
        0o700
    }


def test_a_directory_for_everybody_is_refused(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(StorageError, match=r"is for everybody.*give a directory of its own as spool"):
        Spool(shared)
    assert list(shared.iterdir()) == []


def test_one_process_sends_at_a_time(spool):
    other = Spool(spool.path)
    assert spool.take()
    assert not other.take()
    spool.release()
    assert other.take()
    other.close()
    assert spool.take()


def test_a_link_in_its_place_is_not_followed(tmp_path):
    (tmp_path / "spool").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "spool" / "refused").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        Spool(tmp_path / "spool")


def test_it_does_not_grow_for_ever(spool, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    spool.put("event-001", b"")
    spool.put("event-002", b"")
    with pytest.raises(OSError, match="wait already"):
        spool.put("event-003", b"")
