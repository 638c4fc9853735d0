"""This process' end of the journal: append at once, sync in groups, survive a bad disk.

States of an event, in order: in the backlog (memory) -> written (safe against kill -9) -> synced
(safe against power loss). Events are written in the order of their tickets, so two watermarks say it all.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import uuid
from collections import Counter
from collections.abc import Callable

from otel_gen import events
from otel_gen.announced import Announced
from otel_gen.backlog import Backlog
from otel_gen.bell import Bell, Latch
from otel_gen.chain import Chain
from otel_gen.files import Folder
from otel_gen.threads import started

LOST = 1 << 62
"""Ticket of an event that found no room even in the backlog: never durable."""


class Journal:
    """Append events of one worker (this process) to its segments.

    `_lock` guards the chain and the backlog; the syncer alone moves `_synced`.
    No file is made and no thread started before the first event.
    """

    SEGMENT = 4 << 20
    IDLE = 1.0  # seconds between two looks of the syncer when nothing is asked of it
    RETRY = 0.25  # the same while the disk refuses

    def __init__(
        self, open_folder: Callable[[], Folder], header: Callable[[str], bytes], *, full: bool, size: int = 0
    ) -> None:
        self.worker = uuid.uuid4().hex
        self.full = full
        self.chain = Chain(open_folder, lambda: header(self.worker), size or self.SEGMENT)
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._last = self._synced = self._wanted = 0
        self._backlog = Backlog()
        self._busy = self._stalled = self._poisoned = self._begun = self._closing = self._closed = False
        self._waiting: list[tuple[int, Callable[[], None]]] = []
        self._wake = Bell()
        self._thread: threading.Thread | None = None
        self._counts: Counter[tuple[str, str]] = Counter()
        self.announced = Announced(self._wake.ring)
        self.on_start: Callable[[], None] = lambda: None
        """Called by the syncer before its first cycle, and again until nothing is raised."""

    # --- what callers do ---------------------------------------------------------------------------
    def append(self, payload: bytes, sheddable: bool = False) -> int:
        """Take an event; returns its ticket. Never raises, never waits for more than one write."""
        with self._lock:
            if self._closed:
                return LOST
            inside, self._busy = self._busy, True  # a signal handler that lands in here goes to the backlog
            try:
                ticket = next(self._numbers)
                if inside or self._stalled or self._backlog.bytes or not self.chain.write(ticket, payload):
                    return self._defer(ticket, payload, sheddable)
                if ticket > self._last:
                    self._last = ticket
            finally:
                self._busy = inside
        if self._thread is None:
            self._start()
        return ticket

    def count(self, name: str, label: str, n: int = 1) -> None:
        """Count something that no line shows; journalled by the syncer, kept in memory until then."""
        with self._lock:
            self._counts[name, label] += n
        self._wake.ring()

    def uncounted(self) -> dict[tuple[str, str], int]:
        """Show the counts that are in memory only."""
        return dict(self._counts)

    def written(self, ticket: int) -> bool:
        """Tell whether the event is safe against kill -9."""
        return ticket <= self.chain.written

    def durable(self, ticket: int) -> bool:
        """Tell whether the event is as safe as the durability setting promises."""
        return ticket <= (self._synced if self.full else self.chain.written)

    def when_durable(self, ticket: int, then: Callable[[], None]) -> None:
        """Call back, from another thread or at once, when the event is durable; never for one that is lost."""
        with self._lock:
            if ticket == LOST:
                return
            if not self.durable(ticket):
                self._waiting.append((ticket, then))
                self._wanted = max(self._wanted, min(ticket, self._last))
                self._wake.ring()
                return
        then()

    def wait(self, ticket: int, timeout: float) -> bool:
        """Wait until the event is durable, at most `timeout` seconds and not at all on a stalled disk."""
        if self.durable(ticket) or ticket == LOST:
            return ticket != LOST
        done = Latch()
        self.when_durable(ticket, done.set)
        if self._stalled or not done.wait(timeout):
            self.stall()
        return self.durable(ticket)

    def stall(self) -> None:
        """Note that the disk did not answer in time: events go to the backlog until it does."""
        if self.full and self._wanted > self._synced:
            self._stalled = True

    def request_sync(self) -> None:
        """Ask for what was written to be made durable soon, without waiting."""
        self._wanted = self._last
        self._wake.ring()

    @property
    def last(self) -> int:
        """The ticket of the newest event."""
        return self._last

    @property
    def backlog_bytes(self) -> int:
        """Bytes that are in memory only."""
        return self._backlog.bytes

    def _defer(self, ticket: int, payload: bytes, sheddable: bool) -> int:
        if not self._backlog.add(ticket, payload, sheddable=sheddable):
            self.count("shed", "event")
            return LOST
        if ticket > self._last:
            self._last = ticket
        self._start()
        self._wake.ring()
        return ticket

    # --- the syncer ------------------------------------------------------------------------------------
    def _start(self) -> None:
        with self._lock:
            if (
                self._thread is None and not self._closing
            ):  # where none is to be had, the next event tries again
                self._thread = started(self._run, "otel_gen-syncer")

    def _run(self) -> None:
        if not self._claim():
            return
        while not self._closing:
            self._begin()
            self._wake.wait(self._pause())
            try:
                self._cycle()
            except Exception:  # noqa: BLE001 - this thread must live; what it could not do it tries again
                self._counts["capture_errors", "other"] += (
                    1  # without a wake-up: it comes back at its own pace
                )
        self._finish()

    def _claim(self) -> bool:
        """Become the syncer, unless another is; a signal handler may start one while one is being started."""
        with self._lock:
            self._thread = self._thread or threading.current_thread()
            return self._thread is threading.current_thread()

    def begin_again(self) -> None:
        """Have `on_start` called, by the syncer where there is one, else by the one that comes."""
        self._begun = False
        self._wake.ring()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            try:
                self.on_start()
            except Exception:  # noqa: BLE001 - no more threads today, for one: the next cycle tries again
                self._begun = False

    def _pause(self) -> float:
        if self._backlog.bytes or self._poisoned:
            return self.RETRY
        return self.announced.pause(self.IDLE)

    def _cycle(self) -> None:
        if self.chain.gone:
            synced = self._rescue(0)
        else:
            synced = self._sync() if self._wanted > self._synced or self._stalled else True
        for what in self.announced.due():
            self.append(what.begun(), sheddable=True)
        self._flush_counts()
        if self._drain() and synced:
            self._stalled = False
        if not self._closing:
            self.chain.prepare_spare()
        self._let_go()
        self._notify()

    def _drain(self) -> bool:
        """Write the backlog; tell whether nothing is left of it. New events queue up behind the lock meanwhile."""
        with self._lock:
            while self._backlog.bytes:
                if not self.chain.write(*self._backlog.first):
                    return False
                self._backlog.drop_first()
                self._wake.ring()
            return True

    def _flush_counts(self) -> None:
        for (name, label), n in list(self._counts.items()):
            with self._lock:
                ticket, payload = next(self._numbers), events.encode(events.Counted(name, label, n))
                if self._backlog.bytes or self._stalled or not self.chain.write(ticket, payload):
                    return
                self._last = ticket
                self._counts[name, label] -= n
                if not self._counts[name, label]:
                    del self._counts[name, label]

    def _sync(self) -> bool:
        with self._lock:
            target, writers = self.chain.written, self.chain.unsynced()
        if self._poisoned or not self.chain.sync(writers):
            return self._replace_unsyncable()
        with self._lock:
            self.chain.synced(writers)
            self._synced = max(self._synced, target)
        return True

    def _replace_unsyncable(self) -> bool:
        """After a failed fsync its pages count as clean: never ask that descriptor again."""
        if not self._poisoned:
            self.count("capture_errors", "fsync")
        self._poisoned = not self._rescue(self._synced)
        return not self._poisoned

    def _rescue(self, after: int) -> bool:
        rescued = self.chain.rescue(self._lock, after)
        self._synced = max(self._synced, rescued or 0)
        return rescued is not None

    def _let_go(self) -> None:
        for writer in self.chain.delivered():
            with self._lock:
                self.chain.let_go(writer)

    def _notify(self) -> None:
        with self._lock:
            ready = [then for ticket, then in self._waiting if self.durable(ticket)]
            self._waiting = [(t, f) for t, f in self._waiting if not self.durable(t)]
        for then in ready:
            then()

    # --- the end -----------------------------------------------------------------------------------------
    def close(self, timeout: float = 10.0) -> None:
        """Drain, seal and sync what can be, then let every file and lock go; later appends are lost."""
        with self._lock:
            self._closing = True
            thread = self._thread
        self._wake.ring()
        if thread is not None:
            thread.join(timeout)
        self._closed = True

    def _finish(self) -> None:
        self._wanted = self._last
        with contextlib.suppress(Exception):  # an announced event may not be one; the rest still ends well
            self._cycle()
        with self._lock:
            self._closed = True
            self.chain.end()
        self._sync()
        self._notify()
        self.chain.close()

    def forget(self) -> None:
        """In a forked child: close inherited descriptors; locks and files stay the parent's."""
        self._closed = True
        self.chain.forget()

    def hold(self) -> None:
        """Before a fork: keep the lock so that the child inherits no half-done append."""
        self._lock.acquire()

    def release(self) -> None:
        """After a fork, in the parent."""
        self._lock.release()
