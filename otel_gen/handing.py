"""Handing: what a generation tells the journal and hands to the stager, and what comes of that late."""

from __future__ import annotations

import threading
from typing import Any

from otel_gen import semconv as sc
from otel_gen.capture import Capture
from otel_gen.events import Noted, Started
from otel_gen.exporter import bounded
from otel_gen.guard import guarded
from otel_gen.scope import Scope
from otel_gen.stager import Job, close_source


class Handing(Scope):
    """A generation's way to disk. `_lock` guards attributes, jobs and the order of notes against the end."""

    __slots__ = ("_lock", "end_wall", "ended", "jobs", "ticket")

    id: str
    end_wall: int

    def __init__(self, capture: Capture, attributes: dict[str, Any]) -> None:
        super().__init__(capture, attributes)
        self._lock = threading.RLock()
        self.jobs: list[Job] = []
        self.ended = False
        self.ticket = 0

    @property
    def durable(self) -> bool:
        """Tell whether all that was said is safe: inside against kill -9, afterwards as settings promise."""
        staged = all(job.finished.is_set() for job in self.jobs)
        journal = self.capture.journal
        safe = journal.durable(self.ticket) if self.ended else journal.written(self.ticket)
        return staged and safe and self.ticket > 0

    @property
    def over(self) -> bool:
        """Tell whether nothing can be said any more: it has ended, or this process records no more."""
        return self.ended or self.capture.closed

    # --- what is told ------------------------------------------------------------------------------------
    def append(self, event: Started | Noted) -> None:
        self.ticket = max(self.ticket, self.capture.journal.append(bounded(event)))

    def _note(self, attributes: dict[str, Any]) -> None:
        clock = self.capture.clock
        if self.capture.closed:
            return  # in a forked child the lock may be held for ever
        with self._lock:
            if self.ended:
                self._said_too_late()
                return
            self.keep(attributes)
            self.append(Noted(self.id, clock.wall(), clock.boot(), attributes))

    def _late_note(self, attributes: dict[str, Any]) -> int:
        clock = self.capture.clock
        self.keep(attributes)
        return self.capture.journal.append(bounded(Noted(self.id, clock.wall(), clock.boot(), attributes)))

    def _said_too_late(self) -> None:
        if not self.capture.closed:
            self.capture.journal.count("capture_errors", "after_end")

    def sync_late(self) -> None:
        if self.ended and self.capture.journal.full:
            self.capture.journal.request_sync()

    # --- artifacts ---------------------------------------------------------------------------------------
    @guarded
    def hand_over(self, kind: str, source: Any) -> None:
        """Take an artifact, now; the stager brings it to disk."""
        if self.over:
            self._said_too_late()
            return
        try:
            self.capture.hand_over(self._stage_job, kind, source)
        except (OSError, TypeError, ValueError):
            self._note({sc.SHED: "unreadable"})
            raise

    def _stage_job(self, kind: str, source: Any, size: int, *, mutable: bool = False) -> None:
        with self._lock:
            if self.ended:
                close_source(source)
                return
            job = self.capture.job(kind, source, size, self._staged, mutable=mutable)
            self.jobs.append(job)
        self.capture.stager.submit(job)

    @guarded
    def _staged(self, job: Job) -> None:
        """Take a stager's result, on its thread: note it, end the own span if it waited for this."""
        more: dict[str, Any] = {}
        try:
            found = self.capture.staged_attributes(job)
            if self._attributes.get(sc.PROMPT) not in (None, sc.NO_IMAGE_YET):
                found.pop(sc.PROMPT, None)  # a text task with an image beside it
            with self._lock:
                self.ticket = max(self.ticket, self._late_note(found))
            self.sync_late()
            job.finish()
            more = self.capture.inspected(job)
        finally:
            self._complete(job, more)

    def _complete(self, job: Job, more: dict[str, Any]) -> None:
        """Note the statistics, which may be late, and that the record need not wait for this job any more."""
        with self._lock:
            job.complete = True
            left = [j.kind for j in self.jobs if not j.complete]
            known = {k: v for k, v in more.items() if self._attributes.get(k) is None}
            if known or self.ended:
                self._late_note(known | ({sc.PENDING: ",".join(left)} if self.ended else {}))
            last = self.ended and not left
        if last:
            self._end_own_span()

    def _end_own_span(self) -> None:
        if self.own:
            failed = self._attributes.get(sc.SAID) in ("failed", "cancelled")
            self.end_own_span(self.end_wall, failed=failed)
