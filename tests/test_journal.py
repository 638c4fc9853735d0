"""The journal: tickets in order, nothing lost on a bad disk, nobody waits twice for it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time

import pytest

from otel_gen import events
from otel_gen.backlog import Backlog
from otel_gen.bell import Latch
from otel_gen.errors import StorageError
from otel_gen.events import Began, Counted, Header, Noted
from otel_gen.files import Folder
from otel_gen.journal import LOST, Journal
from otel_gen.segment import SPARE, SUFFIX
from otel_gen.settings import Policy
from otel_gen.view import View
from tests.support import until

SMALL = 4096


def note(number, size=0):
    """An event that can be told apart."""
    return events.encode(Noted(f"g{number}", 1, 1, {"n": number} | ({"x": "x" * size} if size else {})))


def number(event):
    return event.attributes["n"]


def header(worker):
    return events.encode(Header(worker, "boot", 1, 1, Policy()))


class Place:
    """A directory of segments that can be taken away; every journal made here is closed in the end."""

    def __init__(self, path):
        self.path, self.journals = path, []

    def open(self):
        return Folder.root(str(self.path))

    def journal(self, *, full=True, size=SMALL):
        made = Journal(self.open, header, full=full, size=size)
        made.RETRY = made.announced.TICK = made.IDLE = 0.01
        self.journals.append(made)
        return made

    def names(self, suffix=SUFFIX):
        return sorted(name for name in os.listdir(self.path) if name.endswith(suffix))

    def read(self, kind=Noted):
        """What a leader that begins now reads, without leaving a trace."""
        folder = self.open()
        view = View(folder)
        try:
            found = [event for _, _, event in view.poll() if isinstance(event, kind)]
            assert list(view.damage()) == []
            assert view.unreadable == []
            return found
        finally:
            view.close()
            folder.close()

    def numbers(self):
        return [number(event) for event in self.read()]

    def close(self):
        for journal in self.journals:
            journal.close()


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path / "segments")
    yield made
    made.close()


def fill(journal, count, size=0, first=0):
    return [journal.append(note(n, size)) for n in range(first, first + count)]


# --- tickets and watermarks --------------------------------------------------------------------------------
def test_tickets_rise_by_one_and_what_returned_is_written(place):
    journal = place.journal(size=1 << 16)
    tickets = fill(journal, 50)
    assert tickets == list(range(1, 51))
    assert all(journal.written(ticket) for ticket in tickets)
    assert journal.last == 50
    assert place.numbers() == list(range(50))


def test_an_event_is_durable_after_the_sync_only_and_before_it_in_the_process_mode(place, monkeypatch):
    gate, real = threading.Event(), os.fdatasync

    def fdatasync(fd):
        assert gate.wait(30)
        real(fd)

    monkeypatch.setattr("otel_gen.chain.os.fdatasync", fdatasync)
    full, quick = place.journal(), place.journal(full=False)
    ticket, other = full.append(note(1)), quick.append(note(2))
    called = []
    full.when_durable(ticket, lambda: called.append("full"))
    quick.when_durable(other, lambda: called.append("quick"))
    assert called == ["quick"]
    assert quick.durable(other)
    assert (full.written(ticket), full.durable(ticket)) == (True, False)
    gate.set()
    until(lambda: called == ["quick", "full"])
    assert full.durable(ticket)
    assert full.wait(ticket, 0)


def test_many_threads_wait_and_all_of_theirs_is_durable_and_in_order(place):
    journal, done = place.journal(size=1 << 16), []

    def work(first):
        done.extend(journal.wait(journal.append(note(n)), 30) for n in range(first, first + 40))

    threads = [threading.Thread(target=work, args=(n * 1000,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True] * 240
    found = place.numbers()
    assert len(found) == len(set(found)) == 240
    for n in range(6):
        mine = [one for one in found if one // 1000 == n]
        assert mine == sorted(mine)


def test_a_call_back_for_a_lost_event_is_not_kept(place):
    journal = place.journal()
    journal.append(note(1))
    for _ in range(100):
        journal.when_durable(LOST, lambda: None)
        assert not journal.wait(LOST, 30)
    assert journal._waiting == []


# --- segments ----------------------------------------------------------------------------------------------
def test_a_full_segment_is_sealed_and_the_spare_goes_on_with_nothing_lost_between(place):
    journal = place.journal()
    fill(journal, 20, size=100)
    until(lambda: journal.chain.spare)  # its file is there a little before it can be taken
    (spare,) = place.names(SPARE)
    fill(journal, 20, size=100, first=20)
    assert spare.replace(SPARE, SUFFIX) in place.names()
    fill(journal, 160, size=100, first=40)
    assert len(place.names()) > 5
    assert place.numbers() == list(range(200))
    folder = place.open()
    view = View(folder)
    assert len(list(view.poll())) == 200
    sealed = {source.name: source.sealed for source in view.sources.values()}
    assert [sealed[name] for name in journal.chain.names] == [True] * (len(journal.chain.names) - 1) + [False]
    assert not any(source.dead or source.closed for source in view.sources.values())
    view.close()
    folder.close()


def test_a_spare_that_somebody_removed_is_replaced(place):
    journal = place.journal()
    journal.append(note(0, 100))
    until(lambda: place.names(SPARE))
    for name in place.names(SPARE):
        os.unlink(place.path / name)
    fill(journal, 60, size=100, first=1)
    until(lambda: journal.written(journal.last))
    assert place.numbers() == list(range(61))


def test_an_event_larger_than_a_segment_is_kept_whole(place):
    journal = place.journal()
    for n in range(4):
        journal.append(note(n, 3 * SMALL if n % 2 else 10))
    assert place.numbers() == [0, 1, 2, 3]


def test_close_seals_syncs_and_leaves_no_spare_and_later_events_are_lost(place):
    journal = place.journal()
    ticket = fill(journal, 30, size=100)[-1]
    journal.close()
    assert journal.durable(ticket)
    assert place.names(SPARE) == []
    assert place.numbers() == list(range(30))
    assert [event.closed for event in sealed_frames(place)].count(True) == 1
    assert (journal.append(note(99)), journal.last) == (LOST, ticket)
    assert set(journal.chain.ends) == {journal.chain.names[-1]}


def sealed_frames(place):
    folder, found = place.open(), []
    view = View(folder)
    list(view.poll())
    found = [source for source in view.sources.values() if source.sealed]
    view.close()
    folder.close()
    return found


def test_what_an_announced_stage_breaks_does_not_keep_close_from_sealing(place):
    journal = place.journal()
    journal.append(note(1))
    until(lambda: journal.chain.spare)
    journal.announced.TICK = journal.IDLE = 30.0
    broken = Announcement("x")
    broken.begun = lambda: 1 / 0
    journal.announced._seen = {broken}
    journal.announced.add(broken)
    journal.close()
    assert [source.closed for source in sealed_frames(place)] == [True]


# --- announcements -----------------------------------------------------------------------------------------
class Announcement:
    def __init__(self, name):
        self.begun = lambda: events.encode(Began("g", "s", "p", name, 1))


def test_a_stage_announced_and_withdrawn_writes_nothing(place):
    journal = place.journal()
    for _ in range(200):
        quick = Announcement("quick")
        journal.announced.add(quick)
        journal.announced.withdraw(quick)
    last = journal.append(note(1))
    assert journal.wait(last, 30)
    journal.close()
    assert place.read(Began) == []
    assert place.numbers() == [1]


def test_a_stage_that_stands_for_two_ticks_is_journalled_as_begun_once(place):
    journal = place.journal()
    journal.append(note(1))
    slow = Announcement("slow")
    journal.announced.add(slow)
    (begun,) = until(lambda: place.read(Began))
    assert begun.name == "slow"
    journal.announced.withdraw(slow)
    journal.close()
    assert len(place.read(Began)) == 1


# --- counts ------------------------------------------------------------------------------------------------
def test_counts_are_journalled_and_add_up_whatever_thread_they_come_from(place):
    journal = place.journal(size=1 << 20)
    journal.append(note(0))

    def work():
        for _ in range(200):
            journal.count("capture_errors", "api")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    assert sum(event.n for event in place.read(Counted)) == 800
    assert journal.uncounted() == {}


# --- no disk -----------------------------------------------------------------------------------------------
def test_with_no_folder_events_wait_in_order_and_are_all_there_when_it_comes_back(place):
    place.path.write_text("a file where the folder belongs")
    journal = place.journal()
    tickets = fill(journal, 100, size=50)
    assert not any(journal.written(ticket) or journal.durable(ticket) for ticket in tickets)
    assert journal.backlog_bytes == sum(len(note(n, 50)) + 64 for n in range(100))
    place.path.unlink()
    until(lambda: journal.backlog_bytes == 0)
    assert journal.wait(fill(journal, 1, first=100)[0], 30)
    assert place.numbers() == list(range(101))


def test_what_finds_no_room_in_memory_is_lost_counted_and_said_so(place):
    place.path.write_text("a file where the folder belongs")
    journal = place.journal()
    tickets = fill(journal, 1100, size=10_000)
    lost = tickets.count(LOST)
    assert lost > 200
    assert tickets[:700] == list(range(1, 701))
    assert journal.backlog_bytes <= Backlog.ROOM
    assert journal.uncounted()["shed", "event"] == lost
    assert journal.append(note(0, 20_000), sheddable=True) == LOST
    place.path.unlink()
    until(lambda: journal.backlog_bytes == 0)
    until(lambda: not journal.uncounted())
    assert place.numbers() == [n for n, ticket in enumerate(tickets) if ticket != LOST]
    assert sum(event.n for event in place.read(Counted) if event.name == "shed") == lost + 1


def test_stages_are_shed_before_ends(place):
    place.path.write_text("a file where the folder belongs")
    journal = place.journal()
    while journal.append(note(0, 60_000), sheddable=True) != LOST:
        pass
    assert journal.append(note(0, 60_000)) != LOST


def test_the_first_wait_takes_its_deadline_and_the_next_return_at_once_until_the_disk_is_back(
    place, monkeypatch
):
    journal = place.journal()
    assert journal.wait(journal.append(note(0)), 30)
    gate, real, asked = threading.Event(), os.fdatasync, []

    def fdatasync(fd):
        assert gate.wait(30)
        real(fd)

    def waited(event, timeout=None):
        asked.append(timeout)
        return real_wait(event, timeout)

    monkeypatch.setattr("otel_gen.chain.os.fdatasync", fdatasync)
    real_wait = Latch.wait
    tickets = []
    with monkeypatch.context() as patch:
        patch.setattr(Latch, "wait", waited)
        for n in range(1, 6):
            tickets.append(journal.append(note(n)))
            assert not journal.wait(tickets[-1], 0.1234)
    assert asked.count(0.1234) == 1
    assert [journal.written(ticket) for ticket in tickets] == [True] + [False] * 4
    gate.set()
    until(lambda: not journal._stalled)
    assert journal.wait(journal.append(note(6)), 30)
    assert place.numbers() == list(range(7))


def test_with_no_folder_from_the_start_one_wait_takes_its_deadline(place, monkeypatch):
    place.path.write_text("a file where the folder belongs")
    journal, asked, real_wait = place.journal(), [], Latch.wait

    def waited(event, timeout=None):
        asked.append(timeout)
        return real_wait(event, timeout)

    monkeypatch.setattr(Latch, "wait", waited)
    assert [journal.wait(journal.append(note(n)), 0.1234) for n in range(10)] == [False] * 10
    assert asked.count(0.1234) == 1
    place.path.unlink()
    until(lambda: journal.durable(journal.last))
    assert place.numbers() == list(range(10))


def test_a_write_that_fails_once_costs_nothing(place, monkeypatch):
    journal, real, left = place.journal(), os.pwrite, [3, 1, 4]
    journal.append(note(0))
    until(lambda: journal.chain.spare)

    def pwrite(fd, data, at):
        if left:
            cut = left.pop()
            real(fd, data[:cut], at)
            raise OSError(28, "full")
        return real(fd, data, at)

    monkeypatch.setattr("otel_gen.segment.os.pwrite", pwrite)
    fill(journal, 10, first=1)
    assert journal.wait(journal.last, 30)
    assert left == []
    assert place.numbers() == list(range(11))
    assert len(place.names()) == 1


# --- fdatasync fails ---------------------------------------------------------------------------------------
def test_a_descriptor_whose_sync_failed_is_never_synced_again_and_its_events_move(place, monkeypatch):
    journal = place.journal(size=1 << 16)
    assert journal.wait(journal.append(note(0)), 30)
    bad, synced, real = journal.chain.newest.fd, [], os.fdatasync

    def fdatasync(fd):
        synced.append(fd)
        if fd == bad:
            raise OSError(5, "I/O error")
        real(fd)

    monkeypatch.setattr("otel_gen.chain.os.fdatasync", fdatasync)
    tickets = fill(journal, 5, first=1)
    assert journal.wait(tickets[-1], 30)
    assert all(journal.wait(journal.append(note(n)), 30) for n in range(6, 9))
    assert synced.count(bad) == 1
    assert place.numbers() == list(range(9))
    assert len(place.names()) == len(journal.chain.names) == 2
    assert [c.n for c in until(lambda: place.read(Counted))] == [1]
    journal.close()
    assert place.numbers() == list(range(9))
    old, fresh = (place.path / name for name in journal.chain.names)
    copied = fresh.read_bytes()
    assert note(0) not in copied, "what was synced before need not move"
    assert all(note(n) in copied for n in range(1, 9))
    old.unlink()
    assert place.numbers() == list(range(1, 9))


def test_the_segment_that_events_moved_out_of_is_sealed_so_that_it_can_go(place, monkeypatch):
    journal = place.journal(size=1 << 16)
    assert journal.wait(journal.append(note(0)), 30)
    bad, real = journal.chain.newest.fd, os.fdatasync

    def fdatasync(fd):
        if fd == bad:
            raise OSError(5, "I/O error")
        real(fd)

    monkeypatch.setattr("otel_gen.chain.os.fdatasync", fdatasync)
    assert journal.wait(journal.append(note(1)), 30)
    assert [source.name for source in sealed_frames(place)] == journal.chain.names[:1]


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_a_disk_that_cannot_sync_for_long_does_not_fill_with_copies(place, monkeypatch, call):
    journal = place.journal()
    assert journal.wait(journal.append(note(0)), 30)
    until(lambda: journal.chain.spare)
    tries, real, broken = [], getattr(os, call), [True]

    def sync(fd):
        if broken:
            tries.append(fd)
            raise OSError(5, "I/O error")
        real(fd)

    monkeypatch.setattr(os, call, sync)
    tickets = fill(journal, 5, first=1)
    assert not journal.wait(tickets[-1], 0.05)
    until(lambda: len(tries) > 8)
    assert len(place.names()) <= 2
    broken.clear()
    until(lambda: journal.durable(tickets[-1]))
    assert journal.wait(journal.append(note(6)), 30)
    assert place.numbers() == list(range(7))


# --- the folder goes away ----------------------------------------------------------------------------------
def test_the_events_of_the_current_segment_come_back_when_the_folder_is_removed(place):
    journal = place.journal(size=1 << 16)
    fill(journal, 10)
    assert journal.wait(journal.last, 30)
    shutil.rmtree(place.path)
    fill(journal, 5, first=10)
    until(lambda: place.path.exists() and place.names())
    assert journal.wait(journal.append(note(15)), 30)
    assert place.numbers() == list(range(16))


def test_nothing_is_durable_in_a_folder_that_is_gone_and_cannot_be_made_again(place):
    journal = place.journal(size=1 << 16)
    fill(journal, 3)
    assert journal.wait(journal.last, 30)
    until(lambda: journal.chain.spare)
    shutil.rmtree(place.path)
    place.path.write_text("a file where the folder belongs")
    ticket = journal.append(note(3))
    assert not journal.wait(ticket, 0.05)
    assert not journal.durable(ticket)
    place.path.unlink()
    until(lambda: journal.durable(ticket))
    assert place.numbers() == [0, 1, 2, 3]


def test_removing_the_folder_again_and_again_leaves_no_descriptor_open(place):
    journal = place.journal(size=1 << 16)
    fill(journal, 3)
    assert journal.wait(journal.last, 30)
    until(lambda: journal.chain.spare)
    counts = []
    for n in range(6):
        shutil.rmtree(place.path)
        assert journal.wait(journal.append(note(3 + n)), 30)
        until(lambda: place.path.exists() and place.names() and place.names(SPARE))
        until(lambda: not journal.chain.old)
        counts.append(len(os.listdir("/proc/self/fd")))
    assert counts[-1] == counts[0]
    assert place.numbers() == list(range(9))


# --- forks and signals -------------------------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_forget_in_a_forked_child_writes_nothing_and_frees_no_lock_of_its_parent(place):
    journal = place.journal()
    fill(journal, 5, size=100)
    assert journal.wait(journal.last, 30)
    until(lambda: journal.chain.spare)
    before = {name: (place.path / name).read_bytes() for name in os.listdir(place.path)}
    journal.hold()
    pid = os.fork()
    if pid == 0:
        journal.forget()
        os._exit(0 if journal.append(note(99)) == LOST else 1)
    journal.release()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert {name: (place.path / name).read_bytes() for name in os.listdir(place.path)} == before
    folder = place.open()
    view = View(folder)
    assert len(list(view.poll())) == 5
    assert view.alive(journal.worker)
    view.close()
    folder.close()
    fill(journal, 5, first=5)
    assert place.numbers() == list(range(10))


class Numbers:
    """Numbers that let a signal handler in before, or after, each is taken."""

    def __init__(self, numbers, between, *, before):
        self._numbers, self._between, self._before = numbers, between, before

    def __next__(self):
        if self._before:
            self._between()
        number = next(self._numbers)
        if not self._before:
            self._between()
        return number


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_an_append_in_the_middle_of_an_append_loses_neither(place, monkeypatch, before, fails):
    journal = place.journal(size=1 << 16)
    journal.append(note(0))
    until(lambda: journal.chain.spare)
    handled, inside, real = [], [], os.pwrite

    def handler(*_):
        if len(handled) < 3 and not inside:
            inside.append(True)
            handled.append(journal.append(note(100 + len(handled))))
            inside.clear()

    def pwrite(fd, data, at):
        if fails and len(handled) in (1, 2):
            raise OSError(28, "full")
        return real(fd, data, at)

    monkeypatch.setattr("otel_gen.segment.os.pwrite", pwrite)
    journal._numbers = Numbers(journal._numbers, handler, before=before)
    for n in range(1, 4):
        journal.append(note(n))
    assert len(handled) == 3
    until(lambda: journal.written(journal.last))
    found = place.numbers()
    assert sorted(found) == [0, 1, 2, 3, 100, 101, 102]
    assert journal.last == 7


def test_signals_that_append_while_the_main_thread_appends_lose_nothing(place):
    journal, handled = place.journal(size=1 << 20), []

    def handler(*_):
        handled.append(journal.append(note(1_000_000 + len(handled))))

    old = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        mine, end = [], time.monotonic() + 20
        while len(handled) < 300 and time.monotonic() < end:
            mine.append(journal.append(note(len(mine))))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert len(handled) >= 100
    until(lambda: journal.written(journal.last))
    found = place.numbers()
    assert len(found) == len(mine) + len(handled) == journal.last
    assert [n for n in found if n < 1_000_000] == list(range(len(mine)))
    assert sorted(mine + handled) == list(range(1, journal.last + 1))


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_signal_while_the_syncer_is_started_makes_no_second_one(place, monkeypatch, interrupted):
    journal, real, made = place.journal(), threading.Thread.start, []

    def start(thread):
        made.append(thread)
        real(thread)
        if len(made) == 1:  # a signal's handler runs here, in the thread that waits for the new one
            journal.append(note(2))
            if interrupted:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(KeyboardInterrupt) if interrupted else contextlib.nullcontext():
            journal.append(note(1))
        assert journal.wait(journal.append(note(3)), 30)
    assert len(made) == 2
    until(lambda: sum(thread.is_alive() for thread in made) == 1)
    assert journal._thread.is_alive()
    journal.close()
    assert not any(thread.is_alive() for thread in made)
    assert place.numbers() == [1, 2, 3]


def test_an_event_is_kept_when_no_thread_can_be_started(place, monkeypatch):
    journal, real = place.journal(), threading.Thread.start

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert journal.append(note(1)) == 1
    assert threading.Thread.start is real
    assert journal.wait(journal.append(note(2)), 30)
    assert place.numbers() == [1, 2]


def test_errors_of_opening_the_folder_never_reach_the_caller(place):
    journal = place.journal()
    calls = []

    def refuse():
        calls.append(1)
        raise StorageError("there", "no", "see") if len(calls) % 2 else OSError(13, "no")

    journal.chain.open_folder, works = refuse, journal.chain.open_folder
    fill(journal, 5)
    until(lambda: len(calls) > 4)
    journal.chain.open_folder = works
    assert journal.wait(journal.last, 30)
    assert place.numbers() == list(range(5))


# --- nobody waits for a disk ---------------------------------------------------------------------------------
def test_the_first_event_waits_for_no_sync(place, monkeypatch):
    gate, real, waited = threading.Event(), os.fsync, []

    def fsync(fd):
        waited.append(threading.current_thread().name)
        assert gate.wait(30)
        real(fd)

    monkeypatch.setattr("otel_gen.files.os.fsync", fsync)
    journal = place.journal()
    ticket = journal.append(note(1))
    assert journal.written(ticket)
    assert not journal.durable(ticket)
    journal.request_sync()
    until(lambda: waited)
    gate.set()
    assert journal.wait(ticket, 30)
    assert set(waited) == {"otel_gen-syncer"}


def hung(monkeypatch, bad):
    """A disk whose first sync of a descriptor fails, and the next hangs: waiting, gate."""
    inside, gate, real = threading.Event(), threading.Event(), os.fdatasync

    def fdatasync(fd):
        if fd == bad:
            raise OSError(5, "I/O error")
        inside.set()
        assert gate.wait(30)
        real(fd)

    monkeypatch.setattr("otel_gen.chain.os.fdatasync", fdatasync)
    return inside, gate


@pytest.mark.parametrize("size", [10, 200])
def test_while_events_move_to_another_segment_others_are_written_and_move_too(place, monkeypatch, size):
    journal = place.journal()
    assert journal.wait(journal.append(note(0)), 30)
    inside, gate = hung(monkeypatch, journal.chain.newest.fd)
    ticket = fill(journal, 10, first=1)[-1]
    journal.request_sync()
    assert inside.wait(30)
    began = time.monotonic()
    tickets = fill(journal, 40, size=size, first=11)  # with 200 bytes each the segment rolls meanwhile
    assert time.monotonic() - began < 5
    assert all(map(journal.written, tickets))
    assert not journal.durable(ticket)
    assert place.numbers() == list(range(51))
    gate.set()
    assert journal.wait(tickets[-1], 30)
    assert place.numbers() == list(range(51))
    journal.close()
    (place.path / journal.chain.names[0]).unlink()  # what could not be synced is not needed any more
    assert place.numbers() == list(range(1, 51))
