"""Handing: what a generation tells the journal and hands to the stager, and what comes of that late."""

from __future__ import annotations

import threading
from typing import Any

from otel_gen import semconv as sc
from otel_gen.capture import Capture
from otel_gen.events import Noted, Started
from otel_gen.exporter import bounded
from otel_gen.guard import guarded
from otel_gen.job import Job, close_source
from otel_gen.scope import Scope


class Handing(Scope):
    """A generation's way to disk. `_lock` guards attributes, jobs and the order of notes against the end."""

    __slots__ = ("_inspected", "_lock", "_shed_kind", "end_wall", "ended", "jobs", "ticket")

    id: str
    end_wall: int

    def __init__(self, capture: Capture, attributes: dict[str, Any]) -> None:
        self.capture, self._attributes, self._later = capture, attributes, {}
        self.context = self._token = self._var = None
        self._lock = threading.RLock()
        self.jobs: list[Job] = []
        # attributes that nobody said -> the kind of the artifact that shows them
        self._inspected: dict[str, str] = {}
        self._shed_kind = ""
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
        ticket = self.capture.journal.append(bounded(event))
        if ticket > self.ticket:
            self.ticket = ticket

    def _note(self, attributes: dict[str, Any]) -> None:
        clock = self.capture.clock
        if self.capture.closed:
            return  # in a forked child the lock may be held for ever
        with self._lock:
            if self.ended:
                self._said_too_late()
                return
            for key in self._inspected.keys() & attributes.keys() if self._inspected else ():
                del self._inspected[key]
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
            self._shed_kind = kind
            raise

    def _stage_job(self, kind: str, source: Any, size: int, *, mutable: bool = False) -> None:
        with self._lock:
            if self.ended:
                close_source(source)
                return
            job = self.capture.job(kind, source, size, self._staged, mutable=mutable)
            for earlier in self._others(job):
                earlier.superseded = True
            self.jobs.append(job)
        self.capture.stager.submit(job)

    def _others(self, job: Job) -> list[Job]:
        return [other for other in self.jobs if other.kind == job.kind and other is not job]

    @guarded
    def _staged(self, job: Job) -> None:
        """Take a stager's result, on its thread: note it, end the own span if it waited for this."""
        more: dict[str, Any] = {}
        try:
            if self._noted(job):
                self.sync_late()
                job.finish()
                more = self.capture.inspected(job)
        finally:
            self._complete(job, more)

    def _noted(self, job: Job) -> bool:
        """Note what was staged, unless another took its place; what it takes the place of goes away."""
        found = self.capture.staged_attributes(job)
        if self._attributes.get(sc.PROMPT) not in (None, sc.NO_IMAGE_YET):
            found.pop(sc.PROMPT, None)  # a text task with an image beside it
        with self._lock:
            if job.superseded:
                self.capture.stager.discard(job)
                return False
            if job.shed:
                self._shed_kind = job.kind
            elif self._shed_kind == job.kind:
                found[sc.SHED] = None
            self.ticket = max(self.ticket, self._late_note(found))
            for other in self._others(job) if job.digest else ():
                self.capture.stager.discard(other)
        return True

    def _complete(self, job: Job, more: dict[str, Any]) -> None:
        """Note the statistics, which may be late, and that the record need not wait for this job any more."""
        with self._lock:
            job.complete = True
            left = [j.kind for j in self.jobs if not j.complete]
            known = {} if job.superseded else self._shown_by(job, more)
            if known or self.ended:
                self._late_note(known | ({sc.PENDING: ",".join(left)} if self.ended else {}))
            last = self.ended and not left
        if last:
            self._end_own_span()

    def _shown_by(self, job: Job, more: dict[str, Any]) -> dict[str, Any]:
        """Choose statistics that nobody said; those of an artifact that this one replaces are over."""
        own = {key for key, kind in self._inspected.items() if kind == job.kind}
        found = {key: value for key, value in more.items() if key in own or self._attributes.get(key) is None}
        self._inspected.update(dict.fromkeys(found, job.kind))
        return dict.fromkeys(own) | found

    def _end_own_span(self) -> None:
        if self.own:
            self._later.pop(sc.VALIDATOR_UID, None)  # told at the begin
            failed = self._attributes.get(sc.SAID) in ("failed", "cancelled")
            self.end_own_span(self.end_wall, failed=failed)
