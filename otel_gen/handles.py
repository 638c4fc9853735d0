"""Generation handles: what an application holds while it works.

new -> started (journalled) -> ended (root span journalled) -> complete (artifacts staged, own span ended)
"""

from __future__ import annotations

from typing import Any

from otel_gen import attributes as attrs
from otel_gen import semconv as sc
from otel_gen import tracing, words
from otel_gen.capture import Capture
from otel_gen.events import Started
from otel_gen.failures import describe
from otel_gen.guard import guarded, guarded_step
from otel_gen.handing import Handing
from otel_gen.images import InputImage, input_image
from otel_gen.scope import new_id
from otel_gen.waiting import Waiting

_NAMES = frozenset((
    "task_type", "task_id", "attempt", "validator_uid", "validator_hotkey", "prompt", "image", "config",
))  # fmt: skip
"""What a generation's keywords say; others are attributes of the caller's own."""

_block: Any = None


def stages_open_as(block: Any) -> None:
    """Take the block that `Generation.stage` opens; blocks build on this module and hand it in."""
    global _block
    _block = block


class Generation(Handing, Waiting):
    """One attempt at a task."""

    __slots__ = ("_failed_in", "id")

    def __init__(self, capture: Capture, keywords: dict[str, Any]) -> None:
        self.id = new_id(capture.clock.wall())
        super().__init__(capture, {sc.GENERATION_ID: self.id, **capture.identity})
        self._failed_in: tuple[BaseException, str] | None = None
        self._start(keywords)

    @property
    def generation(self) -> Generation:  # type: ignore[override]
        """This; a reference kept here would make each generation work for the garbage collector."""
        return self

    @property
    def task_id(self) -> str | None:
        """The task that this is an attempt at."""
        return self._attributes.get(sc.TASK_ID)

    @guarded_step
    def _start(self, keywords: dict[str, Any]) -> None:
        image = self._describe(keywords)  # guarded on its own: what cannot be described still began
        attributes = self._attributes
        context = tracing.current_context()
        self.begin_span(sc.GENERATION_SPAN, context, tracing.current_span(context), None)
        self.append(Started(self.id, self.start_wall, self.start_boot, *self.ids, attributes))
        if image is not None:
            self._stage_job("image", image.source, image.size, mutable=image.mutable)
        span: Any = self.own or self.span
        self.capture.remember(self.id, span)

    @guarded_step
    def _describe(self, keywords: dict[str, Any]) -> InputImage | None:
        given = keywords.get("image")
        image, prompt = input_image(keywords.get("task_type"), given, keywords.get("prompt"))
        attributes = self._attributes
        attributes.update(attrs.task(keywords))
        attributes.update(attrs.config_attributes(keywords.get("config")))
        if image is None:
            attributes.update(attrs.prompt_text(prompt))
            if given is not None:
                attributes[sc.SHED] = "unreadable"
        else:
            attributes.update(attrs.caption(attributes.get(sc.TASK_TYPE), prompt, image.length))
        if not keywords.keys() <= _NAMES:
            attributes.update(attrs.custom({k: v for k, v in keywords.items() if k not in _NAMES}))
        return image

    # --- what the application says ---------------------------------------------------------------
    def stage(self, name: str = "", /, **attributes: Any) -> Any:
        """Open a stage of this generation: `with`, `async with` or decorator."""
        return _block(self, name or attributes.pop("name", ""), attributes)

    @guarded
    def set(self, /, **attributes: Any) -> None:
        """Keep attributes of the caller's own, sanitised, under `generation.attributes`."""
        self._note(attrs.custom(attributes))

    @guarded
    def enhanced_prompt(self, prompt: Any, negative: Any = None, **attributes: Any) -> None:
        """Keep the prompt after enhancement and the negative prompt; `negative_prompt=` is the same."""
        named = attributes.pop("negative_prompt", None)
        self._note(attrs.enhanced(prompt, named if negative is None else negative, attributes))

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
                self.hand_over(kind, source)

    @guarded
    def submitted(self, /, **attributes: Any) -> None:
        """Say that the result was handed to the validator."""
        uid = self._attributes.get(sc.VALIDATOR_UID)
        self._note(words.submitted(uid, self.capture.clock.wall(), attributes))

    @guarded
    def withheld(self, reason: Any = "withheld", *, value: Any = None, **attributes: Any) -> None:
        """Say that the own gate kept the result back, and why."""
        self._note(words.withheld(reason, value, attributes))

    @guarded
    def failed(
        self, error_type: Any = "crash", message: Any = None, stage: Any = None, **attributes: Any
    ) -> None:
        """Say that the generation failed, in the caller's own words."""
        self._note(words.failed(error_type, message, stage=stage, own=attributes))

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
    @guarded_step
    def finish(self, error: BaseException | None) -> None:
        """Journal the whole root span; after that nothing but artifacts' results is added."""
        if self.capture.closed:
            return
        with self._lock:
            if self.ended:
                return
            if error is not None:
                stage = self._failed_in[1] if self._failed_in and self._failed_in[0] is error else None
                self.keep(words.raised(describe(error), stage, self._attributes))
            pending = [job.kind for job in self.jobs if not job.complete]
            if pending:
                self.keep({sc.PENDING: ",".join(pending)})
            self.end_wall = self.end_time()
            kept = self._attributes
            if None in kept.values():
                kept = {key: value for key, value in kept.items() if value is not None}
            ticket = self.capture.exporter.own(
                sc.GENERATION_SPAN, self.ids, kept, self.start_wall, self.end_wall, self.capture.clock.boot()
            )
            self.ticket = max(self.ticket, ticket)
            self.ended = True
        if not pending:
            self._end_own_span()
        if self.capture.journal.full:
            self.capture.journal.request_sync()
