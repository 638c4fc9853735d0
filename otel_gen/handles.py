"""Generation and stage handles: what an application holds while it works.

new -> started (journalled) -> ended (root span journalled) -> complete (artifacts staged, own span ended)
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextvars import ContextVar, Token
from typing import Any

from otel_gen import attributes as attrs
from otel_gen import sanitize
from otel_gen import semconv as sc
from otel_gen import tracing
from otel_gen.capture import Capture
from otel_gen.events import Began, Noted, Started
from otel_gen.exporter import bounded, readable
from otel_gen.failures import Failure, describe
from otel_gen.guard import guarded
from otel_gen.images import input_image
from otel_gen.stager import Job

current: ContextVar[Scope | None] = ContextVar("otel_gen_scope", default=None)
"""The innermost generation or stage of this context."""


class Scope:
    """What generations and stages share: a span in the context for the length of a block."""

    __slots__ = (
        "_context",
        "_token",
        "_var",
        "capture",
        "faults",
        "generation",
        "own",
        "span",
        "start_boot",
        "start_wall",
    )

    generation: Generation

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.faults = capture.faults
        self._token: Any = None
        self._var: Token[Scope | None] | None = None

    def attach(self) -> None:
        """Make this scope and its span current."""
        self._var = current.set(self)
        self._token = tracing.attach(self._context)

    def detach(self) -> None:
        """Undo attach; in another thread or task than attach's there is nothing to undo."""
        token, var, self._token, self._var = self._token, self._var, None, None
        if var is None:
            return
        try:
            current.reset(var)
        except (ValueError, RuntimeError):
            return
        tracing.detach(token)

    def _begin_span(self, name: str, attributes: dict[str, Any], context: Any) -> Any:
        """Start the application's span; returns the parent's context."""
        parent = tracing.current_span(context).get_span_context()
        self.start_wall, self.start_boot = self.capture.clock.wall(), self.capture.clock.boot()
        shown = self.capture.visible(attributes)
        self.span, self.own = self.capture.tracing.start(name, shown, context, self.start_wall)
        self._context = tracing.within(self.span, context)
        return parent

    def _end_time(self) -> int:
        return self.start_wall + max(self.capture.clock.boot() - self.start_boot, 0)


class Generation(Scope):
    """One attempt at a task. `_lock` guards attributes, jobs and the order of notes against the end."""

    __slots__ = (
        "_attributes", "_ended", "_failed_in", "_jobs", "_lock", "_parent", "_ticket", "durable_at", "end_wall", "id",
    )  # fmt: skip

    def __init__(self, capture: Capture, keywords: dict[str, Any]) -> None:
        super().__init__(capture)
        self.generation = self
        self.id = new_id(capture.clock.wall())
        self._lock = threading.RLock()
        self._jobs: list[Job] = []
        self._ended = False
        self._ticket = 0
        self._failed_in: tuple[BaseException, str] | None = None
        self._attributes: dict[str, Any] = {sc.GENERATION_ID: self.id, **capture.identity}
        self._start(keywords)

    @guarded
    def _start(self, keywords: dict[str, Any]) -> None:
        keywords = dict(keywords)
        image, prompt = input_image(
            keywords.get("task_type"), keywords.pop("image", None), keywords.pop("prompt", None)
        )
        attributes = self._attributes
        attributes.update(attrs.task(keywords))
        attributes.update(attrs.config_attributes(keywords.pop("config", None)))
        attributes.update(attrs.prompt_text(prompt) if image is None else {sc.PROMPT_LENGTH: image.length})
        attributes.update(attrs.custom({k: v for k, v in keywords.items() if k not in _TASK_NAMES}))
        parent = self._begin_span(sc.GENERATION_SPAN, attributes, tracing.current_context())
        self._parent = parent if parent.is_valid else None
        own = self.span.get_span_context()
        self._append(
            Started(
                self.id,
                self.start_wall,
                self.start_boot,
                f"{own.trace_id:032x}",
                f"{own.span_id:016x}",
                f"{parent.span_id:016x}" if parent.is_valid else "",
                own.trace_flags & 1,
                attributes,
            )  # fmt: skip
        )
        self.capture.remember(self.id, own)
        if image is not None:
            self._stage_job("image", image.source, image.size, mutable=image.mutable)

    # --- what the application says ---------------------------------------------------------------
    def stage(self, name: str, **attributes: Any) -> Any:
        """Open a stage of this generation: `with`, `async with` or decorator."""
        from otel_gen.blocks import stage  # noqa: PLC0415 - blocks build on this module

        return stage(name, _generation=self, **attributes)

    @guarded
    def set(self, **attributes: Any) -> None:
        """Keep attributes of the caller's own, sanitised, under `generation.attributes`."""
        self._note(attrs.custom(attributes))

    @guarded
    def enhanced_prompt(self, prompt: Any, negative: Any = None) -> None:
        """Keep the prompt after enhancement and the negative prompt."""
        self._note(attrs.enhanced(prompt, negative))

    @guarded
    def output(self, *, ply: Any = None, spz: Any = None, image: Any = None, **described: Any) -> None:
        """Describe and hand over what was made; may be called more than once, its parts merge.

        ply, spz, image: bytes, a buffer (given over to otel_gen until `durable`) or a path.
        """
        noted = attrs.output(described)
        if noted:
            self._note(noted)
        for kind, source in (("ply", ply), ("spz", spz), ("output_image", image)):
            if source is not None:
                self._hand_over(kind, source)

    @guarded
    def _hand_over(self, kind: str, source: Any) -> None:
        self.capture.hand_over(self._stage_job, kind, source)

    @guarded
    def submitted(self) -> None:
        """Say that the result was handed to the validator."""
        uid = self._attributes.get(sc.VALIDATOR_UID)
        more = {sc.SUBMISSION_TIME: self.capture.clock.wall()} | (
            {} if uid is None else {sc.VALIDATOR_UID: uid}
        )
        self._note(attrs.said("submitted", **more))

    @guarded
    def withheld(self, reason: Any = "withheld", *, value: Any = None) -> None:
        """Say that the own gate kept the result back, and why."""
        more = {sc.REJECTION_REASON: sanitize.text(reason, 1024) or "withheld"}
        number = sanitize.number(value)
        self._note(
            attrs.said("withheld", **more, **({sc.REJECTION_VALUE: number} if number is not None else {}))
        )

    @guarded
    def failed(self, error_type: Any = "crash", message: Any = None, stage: Any = None) -> None:
        """Say that the generation failed, in the caller's own words."""
        more = {
            sc.ERROR_TYPE: sanitize.text(error_type, 256) or "crash",
            sc.ERROR_MESSAGE: sanitize.text(message, 4096),
            sc.ERROR_STAGE: sanitize.text(stage, 256),
        }
        self._note(attrs.said("failed", **more))

    @property
    def durable(self) -> bool:
        """Tell whether all that was said is safe: inside the block against kill -9, after it as settings promise."""
        staged = all(job.finished.is_set() for job in self._jobs)
        journal = self.capture.journal
        safe = journal.durable(self._ticket) if self._ended else journal.written(self._ticket)
        return staged and safe and self._ticket > 0

    # --- events -------------------------------------------------------------------------------------
    def _append(self, event: Started | Noted | Began) -> None:
        self._ticket = max(
            self._ticket, self.capture.journal.append(bounded(event), sheddable=type(event) is Began)
        )

    def _note(self, attributes: dict[str, Any]) -> None:
        clock = self.capture.clock
        with self._lock:
            if self._ended:
                self.capture.journal.count("capture_errors", "after_end")
                return
            self._attributes.update(attributes)
            self._append(Noted(self.id, clock.wall(), clock.boot(), attributes))

    def _stage_job(self, kind: str, source: Any, size: int, *, mutable: bool = False) -> None:
        with self._lock:
            if self._ended:
                return
            job = self.capture.job(kind, source, size, self._staged, mutable=mutable)
            self._jobs.append(job)
        self.capture.stager.submit(job)

    @guarded
    def _staged(self, job: Job) -> None:
        """Take a stager's result, on its thread: note it, end the own span if it waited for this."""
        found = self.capture.staged_attributes(job)
        with self._lock:
            self._late_note(found)
        job.finish()
        more = self.capture.inspected(job)
        with self._lock:
            job.complete = True
            left = [j.kind for j in self._jobs if not j.complete]
            known = {k: v for k, v in more.items() if self._attributes.get(k) is None}
            if known or self._ended:
                self._late_note(known | ({sc.PENDING: ",".join(left)} if self._ended else {}))
            last = self._ended and not left
        if last:
            self._end_own_span()

    def _late_note(self, attributes: dict[str, Any]) -> None:
        clock = self.capture.clock
        self._attributes.update(attributes)
        self._append(Noted(self.id, clock.wall(), clock.boot(), attributes))

    def failed_in(self, error: BaseException, stage: str) -> None:
        """Remember the innermost stage that an exception left first."""
        if self._failed_in is None or self._failed_in[0] is not error:
            self._failed_in = (error, stage)

    # --- the end ------------------------------------------------------------------------------------
    @guarded
    def finish(self, error: BaseException | None) -> None:
        """Journal the whole root span; after that nothing but artifacts' results is added."""
        with self._lock:
            if self._ended or self.capture.closed:
                return
            if error is not None:
                self._attributes.update(self._error_attributes(describe(error), error))
            pending = [job.kind for job in self._jobs if not job.complete]
            if pending:
                self._attributes[sc.PENDING] = ",".join(pending)
            self.end_wall = self._end_time()
            kept = {key: value for key, value in self._attributes.items() if value is not None}
            failed = kept.get(sc.SAID) in ("failed", "cancelled")
            span = readable(
                sc.GENERATION_SPAN, self.span.get_span_context(), self._parent, kept, self.start_wall, self.end_wall,
                failed=failed,
            )  # fmt: skip
            self._ticket = max(self._ticket, self.capture.exporter.append(span, self.capture.clock.boot()))
            self._ended = True
        if not pending:
            self._end_own_span()
        if self.capture.journal.full:
            self.capture.journal.request_sync()

    def _error_attributes(self, failure: Failure, error: BaseException) -> dict[str, Any]:
        stage = self._failed_in[1] if self._failed_in and self._failed_in[0] is error else None
        if self._attributes.get(sc.SAID) == "submitted":
            later = {"error_type": failure.error_type, "error_message": failure.message, "stage": stage}
            return {sc.LATER_ERROR: attrs.structured(later)}
        return attrs.said(
            "cancelled" if failure.error_type == "cancelled" else "failed",
            **{
                sc.ERROR_TYPE: failure.error_type, sc.ERROR_MESSAGE: failure.message, sc.ERROR_STACK: failure.stack,
                sc.ERROR_CLASS: failure.error_class, sc.ERROR_STAGE: stage,
            },
        )  # fmt: skip

    def _end_own_span(self) -> None:
        if self.own:
            failed = self._attributes.get(sc.SAID) in ("failed", "cancelled")
            self.capture.end_span(self.span, self._attributes, self.end_wall, failed=failed)

    @guarded
    def wait(self) -> None:
        """Wait for artifacts and the disk, at most the deadline, not at all on an event loop's thread."""
        if self.capture.closed or on_event_loop():
            return
        until = time.monotonic() + self.capture.deadline
        for job in self._jobs:
            if not job.finished.wait(max(until - time.monotonic(), 0)) and job.mutable:
                job.cancelled = True
        if self.capture.journal.full:
            self.capture.journal.wait(self._ticket, max(until - time.monotonic(), 0))

    async def wait_async(self) -> None:
        """Await artifacts and the disk, at most the deadline; cancellation changes nothing."""
        if self.capture.closed or self.durable:
            return
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        _Watcher(self, lambda: wake(loop, done)).watch()
        try:
            await asyncio.wait_for(done, self.capture.deadline)
        except asyncio.TimeoutError:
            self._give_up()

    def _give_up(self) -> None:
        for job in self._jobs:
            if job.mutable and not job.finished.is_set():
                job.cancelled = True
        if all(job.finished.is_set() for job in self._jobs):
            self.capture.journal.stall()


def wake(loop: asyncio.AbstractEventLoop, done: asyncio.Future[None]) -> None:
    """Resolve a future from another thread; its loop may be closed by now."""
    try:
        loop.call_soon_threadsafe(lambda: None if done.done() else done.set_result(None))
    except RuntimeError:
        return


class _Watcher:
    """Call back once when a generation's artifacts and events are durable."""

    def __init__(self, generation: Generation, then: Any) -> None:
        self.generation, self.then = generation, then

    def watch(self) -> None:
        """Look at what is left; the one that ends last comes back here."""
        left = [job for job in self.generation._jobs if not job.finished.is_set()]  # noqa: SLF001 - its own watcher
        if left:
            left[0].when_finished(self.watch)
        else:
            journal, ticket = self.generation.capture.journal, self.generation._ticket  # noqa: SLF001
            journal.when_durable(ticket, self.then)


class Stage(Scope):
    """One step of a generation; a span of its own."""

    __slots__ = ("_attributes", "_lock", "_parent", "name")

    def __init__(self, generation: Generation, name: str, attributes: dict[str, Any]) -> None:
        super().__init__(generation.capture)
        self.generation, self.name = generation, sanitize.text(name, 256) or "stage"
        self._attributes: dict[str, Any] = {sc.GENERATION_ID: generation.id, sc.STAGE_NAME: self.name}
        self._start(attributes)

    @guarded
    def _start(self, attributes: dict[str, Any]) -> None:
        self._attributes.update(attrs.custom(attributes))
        scope = current.get()
        inside = scope is not None and scope.generation is self.generation
        base = tracing.current_context()
        context = base if inside else tracing.within(self.generation.span, base)
        self._parent = self._begin_span(attrs.span_name(self.name), self._attributes, context)
        own = self.span.get_span_context()
        shown = {key: value for key, value in self._attributes.items() if key not in _STAGE_OWN}
        if not self.capture.closed:
            self.generation._append(  # noqa: SLF001 - one journal, one order
                Began(
                    self.generation.id,
                    f"{own.span_id:016x}",
                    f"{self._parent.span_id:016x}",
                    self.name,
                    self.start_wall,
                    shown,
                )  # fmt: skip
            )

    @guarded
    def set(self, **attributes: Any) -> None:
        """Keep attributes of the stage; safe once the stage has ended."""
        self._attributes.update(attrs.custom(attributes))

    @guarded
    def finish(self, error: BaseException | None) -> None:
        """Journal the stage's span."""
        if self.capture.closed:
            return
        status = "ok"
        if error is not None:
            status = self._fail(error)
        self._attributes[sc.STAGE_STATUS] = status
        end = self._end_time()
        failed = status != "ok"
        span = readable(
            self.name,
            self.span.get_span_context(),
            self._parent,
            self._attributes,
            self.start_wall,
            end,
            failed=failed,
        )
        generation = self.generation
        generation._ticket = max(generation._ticket, self.capture.exporter.append(span, self.start_boot))  # noqa: SLF001
        if self.own:
            self.capture.end_span(self.span, self._attributes, end, failed=failed)

    def _fail(self, error: BaseException) -> str:
        failure = describe(error)
        self._attributes[sc.ERROR_TYPE] = failure.error_type
        self._attributes[sc.ERROR_MESSAGE] = failure.message
        self.generation.failed_in(error, self.name)
        return "cancelled" if failure.error_type == "cancelled" else "error"


_STAGE_OWN = (sc.GENERATION_ID, sc.STAGE_NAME)
_TASK_NAMES = frozenset(("task_type", "task_id", "attempt", "validator_uid", "validator_hotkey"))


def on_event_loop() -> bool:
    """Tell whether this thread runs an event loop, which must not wait."""
    return asyncio._get_running_loop() is not None  # noqa: SLF001 - the documented way raises and catches


def new_id(wall: int) -> str:
    """Make a UUID version 7: ids sort by time; random bits come from the kernel, so a fork repeats none."""
    value = (wall // 1_000_000 & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
