"""What the endpoint saw is known to all processes, after crashes and restarts, and stays bounded."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading

import pytest

from otel_gen import seen
from otel_gen.errors import LeaderBusyError, StorageError
from otel_gen.seen import FILE, opened
from otel_gen.signing import WINDOW

NOW = 1_790_000_000
ID = "01990000-0000-7000-8000-000000000000"


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "data")


def file(path):
    return f"{path}/.otel_gen/{FILE}"


def test_a_nonce_is_taken_once_also_after_a_restart(path):
    for wanted in (True, False, False):
        with opened(path) as known:
            assert known.take_nonce("nonce-of-a-request", NOW) is wanted
            assert known.take_nonce("nonce-of-a-request", NOW + 2 * WINDOW) is False


def test_of_many_at_once_one_gets_it(path):
    code = """
import sys
from otel_gen.seen import opened
with opened(sys.argv[1], timeout=20) as known:
    print(known.take_nonce("nonce-of-a-request", 1_790_000_000))
"""
    running = [subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) for _ in range(6)]
    assert sorted(one.communicate(timeout=60)[0] for one in running) == [b"False\n"] * 5 + [b"True\n"]


def test_an_event_goes_where_it_went_before(path):
    with opened(path) as known:
        assert known.target("event-1") is None
        known.reserve("event-1", ID, NOW)
    with opened(path) as known:
        assert known.target("event-1") == (ID, False)
        known.done("event-1", ID, NOW)
    with opened(path) as known:
        assert known.target("event-1") == (ID, True)


@pytest.mark.parametrize("cut", [2, 5, 38, 60, 84])
def test_a_line_that_a_crash_cut_short_is_passed_over_and_nothing_else(path, cut):
    with opened(path) as known:
        known.take_nonce("nonce-number-one", NOW)
        known.reserve("event-1", ID, NOW)
    with open(file(path), "rb+") as raw:
        raw.truncate(raw.seek(0, 2) - cut)
    with opened(path) as known:
        assert known.target("event-1") is None
        assert known.take_nonce("nonce-number-two", NOW)
    with opened(path) as known:
        assert not known.take_nonce("nonce-number-one", NOW)
        assert not known.take_nonce("nonce-number-two", NOW)
        assert known.target("event-1") is None


def test_too_many_at_once_are_refused_rather_than_one_forgotten(path, monkeypatch):
    monkeypatch.setattr(seen, "MAX_NONCES", 20)
    with opened(path) as known:
        assert all(known.take_nonce(f"nonce-{n}", NOW) for n in range(20))
        with pytest.raises(StorageError, match="too many"):
            known.take_nonce("one-more", NOW)
        assert known.take_nonce("later", NOW + 2 * WINDOW + 1)


def test_the_file_is_written_anew_before_it_grows(path, monkeypatch):
    monkeypatch.setattr(seen, "_REWRITE", 4000)
    monkeypatch.setattr(seen, "MAX_EVENTS", 10)
    with opened(path) as known:
        for n in range(200):
            known.take_nonce(f"nonce-{n}", NOW + n * 100)
            known.reserve(f"event-{n}", ID, NOW)
    with opened(path) as known:
        assert known.target("event-199")
        assert known.target("event-0") is None
        assert not known.take_nonce("nonce-199", NOW + 199 * 100)
    with open(file(path), "rb") as raw:
        assert len(raw.read()) < 5000


def test_it_is_private_and_no_link_is_followed(path, tmp_path):
    with opened(path) as known:
        known.take_nonce("nonce-of-a-request", NOW)
    for name in (FILE, seen.LOCK):
        state = (tmp_path / "data" / ".otel_gen" / name).lstat()
        assert stat.S_IMODE(state.st_mode) == 0o600
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / "data" / ".otel_gen" / FILE).unlink()
    (tmp_path / "data" / ".otel_gen" / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="symbolic link"), opened(path) as known:
        known.take_nonce("another-nonce-of-one", NOW)
    assert (tmp_path / "elsewhere").read_text() == ""


def test_a_lock_that_is_kept_is_said_in_time(path):
    inside, leave = threading.Event(), threading.Event()

    def keep():
        with opened(path):
            inside.set()
            leave.wait(20)

    keeper = threading.Thread(target=keep)
    keeper.start()
    inside.wait(20)
    with pytest.raises(LeaderBusyError), opened(path, timeout=0.05):
        pass
    leave.set()
    keeper.join()
