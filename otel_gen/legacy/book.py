"""Book: the generations that the legacy logger holds open, and what becomes of those that nobody closes.

open -> (context gone) left -> (a word) open
open, left -> (it was said how it ended) said
any -> closed: by finalize_generation, at shutdown, or when nothing was heard of it for a while
"""

from __future__ import annotations

import itertools
import os
import queue
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, ClassVar

from otel_gen import semconv as sc
from otel_gen.capture import Capture
from otel_gen.events import Noted, Said
from otel_gen.exporter import bounded
from otel_gen.guard import log
from otel_gen.job import Job
from otel_gen.legacy.handle import Logged
from otel_gen.threads import started

_SECOND = 1_000_000_000


@dataclass(slots=True)
class Ended:
    """What has to be known of a closed generation, for what is said of it later."""

    uid: int | None
    quality: dict[str, Any]
    described: bool


class Book:
    """The generations of one capture; `_lock` guards the shelves and `ended`.

    Each shelf is in the order of the last word, so that only its first has to be looked at.
    """

    LIMITS: ClassVar = {"said": 5 * _SECOND, "left": 120 * _SECOND, "open": 600 * _SECOND}
    """For how long nothing may be heard of a generation until it is closed."""
    MOST_OPEN = 10_000
    REMEMBERED = 65_536

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self._lock = threading.RLock()
        self._shelves: dict[str, OrderedDict[str, Logged]] = {name: OrderedDict() for name in self.LIMITS}
        self.ended: OrderedDict[str, Ended] = OrderedDict()
        self._gone: queue.SimpleQueue[tuple[str, bool] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._verdicts: OrderedDict[str, None] = OrderedDict()
        self.last = ""
        """The generation that was finalised last."""
        capture.closing.append(self.close_all)

    # --- what the logger asks --------------------------------------------------------------------------
    def start(self, keywords: dict[str, Any]) -> str:
        """Open a generation; an empty id where that could not be."""
        made = Logged(self.capture, keywords, self.late)
        if made.context is None:
            return ""
        made.hold(self._task_is_done, self._context_is_gone)
        with self._lock:
            self._shelves["open"][made.id] = made
            crowd = self._oldest() if self._open_count() > self.MOST_OPEN else None
            self._watch()
        if crowd is not None:
            self.close(crowd)
        return made.id

    def find(self, id_: str) -> Logged | Ended | None:
        """Find a generation of this process; None where it is not known (any more)."""
        with self._lock:
            held = next((shelf[id_] for shelf in self._shelves.values() if id_ in shelf), None)
            return held or self.ended.get(id_)

    def heard(self, one: Logged) -> None:
        """Put a generation, of which something was heard, where it belongs now."""
        with self._lock:
            if self._take(one):
                self._shelves["said" if one.said else "left" if one.gone else "open"][one.id] = one

    def close(self, one: Logged, *, final: bool = False) -> None:
        """End a generation."""
        with self._lock:  # known as ended first: what is said meanwhile finds its way
            self.ended[one.id] = Ended(one.uid, one.quality, one.described)
            if len(self.ended) > self.REMEMBERED:
                self.ended.popitem(last=False)
        one.close(final=final)
        with self._lock:
            self._take(one)
            self.last = one.id if final else self.last

    def remember_verdict(self, id_: str) -> None:
        """Note that a verdict was given, maybe for another process's generation."""
        with self._lock:
            self._verdicts[id_] = None
            if len(self._verdicts) > self.REMEMBERED:
                self._verdicts.popitem(last=False)

    def has_verdict(self, id_: str) -> bool:
        """Tell whether a verdict was given for this id."""
        return id_ in self._verdicts

    def _take(self, one: Logged) -> bool:
        shelf = next((shelf for shelf in self._shelves.values() if one.id in shelf), None)
        return shelf is not None and shelf.pop(one.id) is one

    def _open_count(self) -> int:
        return sum(map(len, self._shelves.values()))

    def _oldest(self) -> Logged:
        return next(itertools.chain.from_iterable(shelf.values() for shelf in self._shelves.values()))

    # --- what is said too late for the root span -----------------------------------------------------------
    def late(self, id_: str, attributes: dict[str, Any]) -> None:
        """Journal what is said of a closed generation: in its record, or an amendment of it."""
        known = self.ended.get(id_)
        if known is None or not attributes:
            return
        output = any(key.startswith((sc.OUTPUT, sc.ARTIFACT)) for key in attributes)
        if output:  # quality is told whole or not at all
            known.quality |= {key: value for key, value in attributes.items() if key in sc.QUALITY}
            attributes = known.quality | attributes
        clock, whole = self.capture.clock, output and not known.described
        known.described = known.described or output
        self._append(Said(id_, clock.wall(), clock.boot(), attributes, whole))

    def final(self, id_: str) -> None:
        """Journal that a closed generation, which may wait for a verdict, is to wait no longer."""
        clock = self.capture.clock
        self._append(Noted(id_, clock.wall(), clock.boot(), {sc.FINAL: True}))

    def _append(self, event: Noted) -> None:
        self.capture.journal.append(bounded(event))
        if self.capture.journal.full:
            self.capture.journal.request_sync()

    def late_artifact(self, id_: str, source: Any) -> None:
        """Hash what is handed over for a closed generation; it is too late to be stored."""
        capture = self.capture

        def done(job: Job) -> None:
            self.late(id_, capture.staged_attributes(job))

        def stage(kind: str, taken: Any, size: int, *, mutable: bool = False) -> None:
            job = capture.job(kind, taken, size, done, mutable=mutable)
            job.store, job.shed = False, "late"
            capture.stager.submit(job)

        capture.hand_over(stage, "ply", source)

    # --- what nobody closes --------------------------------------------------------------------------------
    def _watch(self) -> None:
        if self._thread is None:
            self._thread = started(self._run, "otel_gen-legacy")

    def _run(self) -> None:
        while True:
            try:
                news = self._gone.get(timeout=1.0 if self._open_count() else None)
            except queue.Empty:
                news = ("", False)
            if news is None:
                return
            self._left(*news)
            self.close_due()

    def _left(self, id_: str, gone: bool) -> None:
        one = self.find(id_)
        if isinstance(one, Logged):
            one.gone = one.gone or gone
            one.leave()
            self.heard(one)

    # Both may be called in the middle of anything, by the garbage collector: a SimpleQueue allows that.
    def _task_is_done(self, id_: str) -> None:
        self._gone.put((id_, False))

    def _context_is_gone(self, id_: str) -> None:
        self._gone.put((id_, True))

    def close_due(self) -> None:
        """Close what nothing was heard of for too long."""
        now = self.capture.clock.boot()
        for name, limit in self.LIMITS.items():
            while (one := self._first(name)) is not None and now - one.heard >= limit:
                if name == "open":
                    log.warning("otel_gen: generation %s was never finalised; its record is written", one.id)
                one.leave()
                self.close(one)

    def _first(self, name: str) -> Logged | None:
        with self._lock:
            return next(iter(self._shelves[name].values()), None)

    def close_all(self) -> None:
        """Close everything: the process records no more."""
        self._gone.put(None)
        with self._lock:
            left = [one for shelf in self._shelves.values() for one in shelf.values()]
        for one in left:
            one.leave()
            self.close(one)
        _books.pop(self.capture, None)


_books: dict[Capture, Book] = {}
_lock = threading.Lock()  # guards _books


def book_of(capture: Capture) -> Book:
    """Give the book of a capture."""
    with _lock:
        found = _books.get(capture)
        if found is None:
            found = _books[capture] = Book(capture)
        return found


def _in_child() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_in_child)
