"""A generation that one call opens and another one closes, in whatever task, thread or order.

Nobody says when a caller has lost interest: a handler returns early and its id is gone. So each notes, as soon
as that seems so (the task that started it is done, its context is gone, or how it ended was said), that it is
left: if the process dies, it counts as ended and not as interrupted. A word brings it back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any

from otel_gen import attributes as attrs
from otel_gen import semconv as sc
from otel_gen import tracing
from otel_gen.capture import Capture
from otel_gen.guard import guarded
from otel_gen.handles import Generation
from otel_gen.waiting import on_event_loop


class Hold:
    """Stands in the context in which a generation was started, and tells when that context is gone."""

    __slots__ = ("_gone", "id", "mark", "outer")

    def __init__(self, id_: str, gone: Callable[[str], None], mark: list[bool]) -> None:
        self.id, self._gone, self.mark = id_, gone, mark
        self.outer = _hold.get()
        while self.outer is not None and self.outer.mark:
            self.outer = self.outer.outer  # what has ended is held no longer

    def __del__(self) -> None:
        if not self.mark:
            self._gone(self.id)


_hold: ContextVar[Hold | None] = ContextVar("otel_gen_legacy_hold", default=None)


class Logged(Generation):
    """A generation as the legacy logger speaks of it; `late` takes what is said after its end."""

    __slots__ = ("_late", "_mark", "gone", "heard")

    def __init__(self, capture: Capture, keywords: dict[str, Any], late: Callable[..., None]) -> None:
        self._late = late
        self._mark: list[bool] = []
        self.heard = 0
        self.gone = False
        super().__init__(capture, keywords)
        self.heard = self.start_boot

    def hold(self, done: Callable[[str], None], gone: Callable[[str], None]) -> None:
        """Have `done` called with the id when the task of now is done, `gone` once its context is gone.

        A context outlives its task where another task, or a timer of the server's, came of it.
        """
        _hold.set(Hold(self.id, gone, self._mark))
        task = asyncio.current_task() if on_event_loop() else None
        if task is not None:
            id_ = self.id
            task.add_done_callback(lambda _: done(id_), context=Context())

    @property
    def left(self) -> bool:
        """Tell whether nobody seems to hold it any more."""
        return self._attributes.get(sc.LEFT) is True

    @property
    def uid(self) -> int | None:
        """The validator that asked."""
        return self._attributes.get(sc.VALIDATOR_UID)

    @property
    def quality(self) -> dict[str, Any]:
        """What was said of the quality of its output."""
        return {key: self._attributes[key] for key in sc.QUALITY if self._attributes.get(key) is not None}

    @property
    def described(self) -> bool:
        """Tell whether anything was said of its output."""
        outputs = any(job.kind != "image" for job in self.jobs)
        return outputs or any(k.startswith(sc.OUTPUT) and v is not None for k, v in self._attributes.items())

    @guarded
    def say(self, attributes: dict[str, Any]) -> None:
        """Note what a call of the logger says."""
        self._note(attributes)

    def _note(self, attributes: dict[str, Any]) -> None:
        with self._lock:
            if self.ended:
                self._late(self.id, attributes)
                return
            self.heard, self.gone = self.capture.clock.boot(), False
            if sc.SAID in attributes:
                attributes = attributes | {sc.LEFT: True}
            elif self.left and not self.said:
                attributes = attributes | {sc.LEFT: None}
            if attributes:
                super()._note(attributes)

    @guarded
    def leave(self) -> None:
        """Note that nobody seems to hold it any more."""
        with self._lock:
            if not (self.ended or self.left):
                super()._note({sc.LEFT: True})

    @guarded
    def elapsed(self, name: str, seconds: float) -> None:
        """Add a stage that ends now and took this long."""
        with self._lock:
            if self.ended:
                self._late(self.id, {f"{sc.TIMING}{name}_time": seconds})
                return
            self._note({})
            self._stage(name, self.start_wall + max(self.heard - self.start_boot, 0), round(seconds * 1e9))

    def _stage(self, name: str, end: int, took: int) -> None:
        attributes = {sc.GENERATION_ID: self.id, sc.STAGE_NAME: name}
        start, context = max(end - took, 0), tracing.within(self.span, tracing.EMPTY)
        span, own, ids = self.capture.tracing.start(
            attrs.span_name(name), self.capture.marked, attributes, context, self.span, self.ids, start
        )  # fmt: skip
        ticket = self.capture.exporter.own(name, ids, attributes, start, end, self.heard)
        self.ticket = max(self.ticket, ticket)
        if own:
            tracing.end(span, {}, end, None)

    def end_time(self) -> int:
        """The last word, where it said how it ended or was left; else now."""
        over = self.heard if self.said or self.left else self.capture.clock.boot()
        return self.start_wall + max(over - self.start_boot, 0)

    @guarded
    def close(self, *, final: bool) -> None:
        """End it; `final`: the caller has no more to say, so that no verdict is waited for."""
        with self._lock:
            if self.ended:
                return
            if final:
                self.keep({sc.FINAL: True})
            self.finish(None)
        self._mark.append(True)
