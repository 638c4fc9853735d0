"""Stage handles: one step of a generation, a span of its own."""

from __future__ import annotations

from typing import Any

from otel_gen import attributes as attrs
from otel_gen import sanitize, tracing
from otel_gen import semconv as sc
from otel_gen.events import Began
from otel_gen.exporter import bounded
from otel_gen.failures import describe
from otel_gen.guard import guarded
from otel_gen.handles import Generation
from otel_gen.scope import Scope, current

_STAGE_OWN = (sc.GENERATION_ID, sc.STAGE_NAME)


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
        context = tracing.current_context()
        parent = tracing.current_span(context)
        if not (inside and parent.get_span_context().is_valid):
            parent = self.generation.span
            context = tracing.within(parent, context)
        self._parent = self.begin_span(attrs.span_name(self.name), self._attributes, context, parent)
        self.capture.journal.announce(self, self._begun)

    def _begun(self) -> bytes:
        """Encode that the stage began, on the syncer's thread, for a stage that runs for long."""
        own = self.span.get_span_context()
        known = dict(self._attributes)  # the application may set more meanwhile
        shown = {key: value for key, value in known.items() if key not in _STAGE_OWN}
        ids = (self.generation.id, f"{own.span_id:016x}", f"{self._parent.span_id:016x}")
        return bounded(Began(*ids, self.name, self.start_wall, shown))

    @guarded
    def set(self, /, **attributes: Any) -> None:
        """Keep attributes of the stage; safe once the stage has ended."""
        self._attributes.update(attrs.custom(attributes))

    @guarded
    def finish(self, error: BaseException | None) -> None:
        """Journal the stage's span."""
        self.capture.journal.withdraw(self)
        if self.capture.closed:
            return
        status = "ok"
        if error is not None:
            status = self._fail(error)
        self._attributes[sc.STAGE_STATUS] = status
        end = self.end_time()
        failed = status != "ok"
        generation = self.generation
        ticket = self.capture.exporter.own(
            self.name, self.span.get_span_context(), self._parent, dict(self._attributes),
            self.start_wall, end, self.start_boot,
        )  # fmt: skip
        generation.ticket = max(generation.ticket, ticket)
        generation.sync_late()
        if self.own:
            self.capture.end_span(self.span, self._attributes, end, failed=failed)

    def _fail(self, error: BaseException) -> str:
        failure = describe(error)
        self._attributes[sc.ERROR_TYPE] = failure.error_type
        self._attributes[sc.ERROR_MESSAGE] = failure.message
        self.generation.failed_in(error, self.name)
        return "cancelled" if failure.error_type == "cancelled" else "error"
