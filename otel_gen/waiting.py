"""Waiting: the end of a block waits for artifacts and the disk, up to the deadline and never on a loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from otel_gen.guard import guarded
from otel_gen.journal import LOST

if TYPE_CHECKING:
    from otel_gen.capture import Capture
    from otel_gen.job import Job


class Waiting:
    """The waiting side of a generation: `jobs` are on their way to disk, `ticket` is its newest event."""

    __slots__ = ()

    capture: Capture
    jobs: list[Job]
    ticket: int

    @property
    def durable(self) -> bool:
        """Tell whether all that was said is safe."""
        raise NotImplementedError

    @guarded
    def wait(self) -> None:
        """Wait for artifacts and the disk, at most the deadline, not at all on an event loop's thread."""
        capture = self.capture
        if not self.jobs and capture.journal.durable(self.ticket):
            return
        if capture.closed or on_event_loop():
            return
        until = time.monotonic() + self.capture.deadline
        for job in self.jobs:
            if not job.finished.wait(max(until - time.monotonic(), 0)) and job.mutable:
                job.cancelled = True
        if self.capture.journal.full and self.ticket != LOST:
            self.capture.journal.wait(self.ticket, max(until - time.monotonic(), 0))
        if not self.durable:
            self.capture.journal.count("not_durable", "")

    async def wait_async(self) -> None:
        """Await artifacts and the disk, at most the deadline; cancellation changes nothing."""
        if self.capture.closed or self.durable or self.ticket == LOST or not on_event_loop():
            return
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        _Watcher(self, lambda: wake(loop, done)).watch()
        try:
            await asyncio.wait_for(done, self.capture.deadline)
        except asyncio.TimeoutError:
            self._give_up()
        if not self.durable:
            self.capture.journal.count("not_durable", "")

    def _give_up(self) -> None:
        for job in self.jobs:
            if job.mutable and not job.finished.is_set():
                job.cancelled = True
        if all(job.finished.is_set() for job in self.jobs):
            self.capture.journal.stall()


class _Watcher:
    """Call back once when a generation's artifacts and events are durable."""

    def __init__(self, generation: Waiting, then: Callable[[], None]) -> None:
        self.generation, self.then = generation, then

    def watch(self) -> None:
        """Look at what is left; the one that ends last comes back here."""
        left = [job for job in self.generation.jobs if not job.finished.is_set()]
        if left:
            left[0].when_finished(self.watch)
        else:
            journal, ticket = self.generation.capture.journal, self.generation.ticket
            journal.when_durable(ticket, self.then)


def wake(loop: asyncio.AbstractEventLoop, done: asyncio.Future[None]) -> None:
    """Resolve a future from another thread; its loop may be closed by now."""
    try:
        loop.call_soon_threadsafe(lambda: None if done.done() else done.set_result(None))
    except RuntimeError:
        return


def on_event_loop() -> bool:
    """Tell whether this thread runs an event loop, which must not wait."""
    return asyncio._get_running_loop() is not None  # noqa: SLF001 - the documented way raises and catches
