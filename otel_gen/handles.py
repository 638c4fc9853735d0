"""Generation handles: what an application holds while it works.

new -> started (journalled) -> ended (root span journalled) -> complete (artifacts staged, own span ended)
"""

from __future__ import annotations

import threading
from typing import Any

from otel_gen import attributes as attrs
from otel_gen import sanitize, tracing
from otel_gen import semconv as sc
from otel_gen.capture import Capture
from otel_gen.events import Began, Noted, Started
from otel_gen.exporter import bounded
from otel_gen.failures import Failure, describe
from otel_gen.guard import guarded
from otel_gen.images import InputImage, input_image
from otel_gen.scope import Scope, new_id
from otel_gen.stager import Job, close_source
from otel_gen.waiting import Waiting

_TASK_NAMES = frozenset(("task_type", "task_id", "attempt", "validator_uid", "validator_hotkey"))


_block: Any = None


def stages_open_as(block: Any) -> None:
    """Take the block that `Generation.stage` opens; blocks build on this module and hand it in."""
    global _block
    _block = block


class Generation(Scope, Waiting):
    """One attempt at a task. `_lock` guards attributes, jobs and the order of notes against the end."""

    __slots__ = (
        "_ended",
        "_failed_in",
        "_lock",
        "durable_at",
        "end_wall",
        "id",
        "jobs",
        "ticket",
    )  # fmt: skip

    def __init__(self, capture: Capture, keywords: dict[str, Any]) -> None:
        self.id = new_id(capture.clock.wall())
        super().__init__(capture, {sc.GENERATION_ID: self.id, **capture.identity})
        self._lock = threading.RLock()
        self.jobs: list[Job] = []
        self._ended = False
        self.ticket = 0
        self._failed_in: tuple[BaseException, str] | None = None
        self._start(keywords)

    @property
    def generation(self) -> Generation:
        """This; a reference kept here would make each generation work for the garbage collector."""
        return self

    @property
    def task_id(self) -> str | None:
        """The task that this is an attempt at."""
        return self._attributes.get(sc.TASK_ID)

    @guarded
    def _start(self, keywords: dict[str, Any]) -> None:
        image = self._describe(dict(keywords))  # guarded on its own: what cannot be described still began
        attributes = self._attributes
        context = tracing.current_context()
        self.begin_span(sc.GENERATION_SPAN, context, tracing.current_span(context), None)
        self.append(Started(self.id, self.start_wall, self.start_boot, *self.ids, attributes))
        self.capture.remember(self.id, self.span)
        if image is not None:
            self._stage_job("image", image.source, image.size, mutable=image.mutable)

    @guarded
    def _describe(self, keywords: dict[str, Any]) -> InputImage | None:
        given = keywords.pop("image", None)
        image, prompt = input_image(keywords.get("task_type"), given, keywords.pop("prompt", None))
        attributes = self._attributes
        attributes.update(attrs.task(keywords))
        attributes.update(attrs.config_attributes(keywords.pop("config", None)))
        if image is None:
            attributes.update(attrs.prompt_text(prompt))
            attributes.update({} if given is None else {sc.SHED: "unreadable"})
        else:
            attributes.update(attrs.caption(attributes.get(sc.TASK_TYPE), prompt, image.length))
        attributes.update(attrs.custom({k: v for k, v in keywords.items() if k not in _TASK_NAMES}))
        return image

    # --- what the application says ---------------------------------------------------------------
    def stage(self, name: str, /, **attributes: Any) -> Any:
        """Open a stage of this generation: `with`, `async with` or decorator."""
        return _block(name, **attributes).of(self)

    @guarded
    def set(self, /, **attributes: Any) -> None:
        """Keep attributes of the caller's own, sanitised, under `generation.attributes`."""
        self._note(attrs.custom(attributes))

    @guarded
    def enhanced_prompt(self, prompt: Any, negative: Any = None) -> None:
        """Keep the prompt after enhancement and the negative prompt."""
        self._note(attrs.enhanced(prompt, negative))

    @guarded
    def output(self, /, *, ply: Any = None, spz: Any = None, image: Any = None, **described: Any) -> None:
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
        if self.over:
            self._said_too_late()
            return
        try:
            self.capture.hand_over(self._stage_job, kind, source)
        except (OSError, TypeError, ValueError):
            self._note({sc.SHED: "unreadable"})
            raise

    @guarded
    def submitted(self, /, **attributes: Any) -> None:
        """Say that the result was handed to the validator."""
        uid = self._attributes.get(sc.VALIDATOR_UID)
        more = {sc.SUBMISSION_TIME: self.capture.clock.wall()} | (
            {} if uid is None else {sc.VALIDATOR_UID: uid}
        )
        self._note(attrs.said("submitted", attributes, **more))

    @guarded
    def withheld(self, reason: Any = "withheld", *, value: Any = None, **attributes: Any) -> None:
        """Say that the own gate kept the result back, and why."""
        more = {
            sc.REJECTION_REASON: sanitize.text(reason, 1024) or "withheld",
            sc.REJECTION_VALUE: sanitize.number(value),
        }
        self._note(attrs.said("withheld", attributes, **more))

    @guarded
    def failed(
        self, error_type: Any = "crash", message: Any = None, stage: Any = None, **attributes: Any
    ) -> None:
        """Say that the generation failed, in the caller's own words."""
        more = {
            sc.ERROR_TYPE: sanitize.text(error_type, 256) or "crash",
            sc.ERROR_MESSAGE: sanitize.text(message, 4096),
            sc.ERROR_STAGE: sanitize.text(stage, 256),
        }
        self._note(attrs.said("failed", attributes, **more))

    @property
    def durable(self) -> bool:
        """Tell whether all that was said is safe: inside against kill -9, afterwards as settings promise."""
        staged = all(job.finished.is_set() for job in self.jobs)
        journal = self.capture.journal
        safe = journal.durable(self.ticket) if self._ended else journal.written(self.ticket)
        return staged and safe and self.ticket > 0

    @property
    def over(self) -> bool:
        """Tell whether nothing can be said any more: it has ended, or this process records no more."""
        return self._ended or self.capture.closed

    def _said_too_late(self) -> None:
        if not self.capture.closed:
            self.capture.journal.count("capture_errors", "after_end")

    # --- events -------------------------------------------------------------------------------------
    def append(self, event: Started | Noted | Began) -> None:
        self.ticket = max(
            self.ticket, self.capture.journal.append(bounded(event), sheddable=type(event) is Began)
        )

    def _note(self, attributes: dict[str, Any]) -> None:
        clock = self.capture.clock
        if self.capture.closed:
            return  # in a forked child the lock may be held for ever
        with self._lock:
            if self._ended:
                self._said_too_late()
                return
            self.keep(attributes)
            self.append(Noted(self.id, clock.wall(), clock.boot(), attributes))

    def _stage_job(self, kind: str, source: Any, size: int, *, mutable: bool = False) -> None:
        with self._lock:
            if self._ended:
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
            if known or self._ended:
                self._late_note(known | ({sc.PENDING: ",".join(left)} if self._ended else {}))
            last = self._ended and not left
        if last:
            self._end_own_span()

    def _late_note(self, attributes: dict[str, Any]) -> int:
        clock = self.capture.clock
        self.keep(attributes)
        return self.capture.journal.append(bounded(Noted(self.id, clock.wall(), clock.boot(), attributes)))

    def sync_late(self) -> None:
        if self._ended and self.capture.journal.full:
            self.capture.journal.request_sync()

    @property
    def said(self) -> str | None:
        """What was said of it last: submitted, withheld, failed, cancelled; None while nothing was."""
        return self._attributes.get(sc.SAID)

    @property
    def failure(self) -> tuple[BaseException, str] | None:
        """The exception that left a stage last, and the innermost stage that it left."""
        return self._failed_in

    def failed_in(self, error: BaseException, stage: str) -> None:
        """Remember the innermost stage that an exception left first."""
        if self._failed_in is None or self._failed_in[0] is not error:
            self._failed_in = (error, stage)

    # --- the end ------------------------------------------------------------------------------------
    @guarded
    def finish(self, error: BaseException | None) -> None:
        """Journal the whole root span; after that nothing but artifacts' results is added."""
        if self.capture.closed:
            return
        with self._lock:
            if self._ended:
                return
            if error is not None:
                self.keep(self._error_attributes(describe(error), error))
            pending = [job.kind for job in self.jobs if not job.complete]
            if pending:
                self.keep({sc.PENDING: ",".join(pending)})
            self.end_wall = self.end_time()
            kept = {key: value for key, value in self._attributes.items() if value is not None}
            ticket = self.capture.exporter.own(
                sc.GENERATION_SPAN, self.ids, kept, self.start_wall, self.end_wall, self.capture.clock.boot()
            )
            self.ticket = max(self.ticket, ticket)
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
        found = {
            sc.ERROR_TYPE: failure.error_type, sc.ERROR_MESSAGE: failure.message,
            sc.ERROR_STACK: failure.stack, sc.ERROR_CLASS: failure.error_class, sc.ERROR_STAGE: stage,
        }  # fmt: skip
        if (
            self._attributes.get(sc.SAID) == "failed"
        ):  # said by the caller, who knows better than what went on
            return {key: value for key, value in found.items() if self._attributes.get(key) is None}
        return attrs.said("cancelled" if failure.error_type == "cancelled" else "failed", **found)

    def _end_own_span(self) -> None:
        failed = self._attributes.get(sc.SAID) in ("failed", "cancelled")
        self.end_own_span(self.end_wall, failed=failed)
