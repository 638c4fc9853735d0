"""Stage handles: one step of a generation, a span of its own."""

from __future__ import annotations

from typing import Any

from otel_gen import attributes as attrs
from otel_gen import semconv as sc
from otel_gen import tracing
from otel_gen.events import Began, SpanIds
from otel_gen.exporter import bounded
from otel_gen.failures import describe
from otel_gen.gpu import Peaks
from otel_gen.guard import guarded, guarded_step
from otel_gen.handles import Generation
from otel_gen.scope import Scope, current

_STAGE_OWN = (sc.GENERATION_ID, sc.STAGE_NAME)


class Stage(Scope):
    """One step of a generation; a span of its own."""

    __slots__ = ("_peaks", "generation", "name")

    def __init__(self, generation: Generation, name: str, attributes: dict[str, Any]) -> None:
        self.generation, self.name = generation, attrs.stage_name(name)
        """The generation that this is a stage of, and what it is called."""
        super().__init__(generation.capture, {sc.GENERATION_ID: generation.id, sc.STAGE_NAME: self.name})
        self._peaks: Peaks | None = None
        self._start(attributes)

    @guarded_step
    def _start(self, attributes: dict[str, Any]) -> None:
        if attributes:
            self._attributes.update(attrs.custom(attributes))
        self.begin_span(attrs.span_name(self.name), *self._stand(current.get(), tracing.current_context()))
        self.capture.journal.announced.add(self, self._begun)
        gpu = self.capture.gpu
        if gpu is not None:
            self._peaks = gpu.begin()

    def _stand(self, scope: Scope | None, context: Any) -> tuple[Any, Any, SpanIds | None]:
        """Choose context, parent and its ids: what is current inside this generation, else its root span."""
        root = self.generation
        if scope is not None and (scope is root or scope.generation is root):
            if context is scope.context:
                return context, scope.span, scope.ids
            parent = tracing.current_span(context)  # a span of the application's own stands between
            if parent.get_span_context().is_valid:
                return context, parent, None
        return tracing.within(root.span, context), root.span, root.ids

    def _begun(self) -> bytes:
        """Encode that the stage began, on the syncer's thread, for a stage that runs for long."""
        known = dict(self._attributes)  # the application may set more meanwhile
        shown = {key: value for key, value in known.items() if key not in _STAGE_OWN}
        _, own, above, _ = self.ids
        return bounded(Began(self.generation.id, own, above, self.name, self.start_wall, shown))

    @guarded
    def set(self, /, **attributes: Any) -> None:
        """Keep attributes of the stage; safe once the stage has ended."""
        self.keep(attrs.custom(attributes))

    @guarded_step
    def finish(self, error: BaseException | None) -> None:
        """Journal the stage's span."""
        self.capture.journal.announced.withdraw(self)
        if self.capture.closed:
            return
        if error is not None:
            self._fail(error)
        if self._peaks is not None:
            self._watched(self._peaks)
        end = self.end_time()
        generation = self.generation
        ticket = self.capture.exporter.own(
            self.name, self.ids, self._attributes, self.start_wall, end, self.start_boot
        )
        if ticket > generation.ticket:
            generation.ticket = ticket
        if generation.ended:
            generation.sync_late()
        if self.own:
            self.end_own_span(end, failed=error is not None)

    def _watched(self, peaks: Peaks) -> None:
        gpu = self.capture.gpu
        if gpu is not None:
            self.keep(gpu.end(peaks))

    def _fail(self, error: BaseException) -> None:
        failure = describe(error)
        status = "cancelled" if failure.error_type == "cancelled" else "error"
        self.keep(
            {sc.ERROR_TYPE: failure.error_type, sc.ERROR_MESSAGE: failure.message, sc.STAGE_STATUS: status}
        )
        self.generation.failed_in(error, self.name)
