"""Stages: one step of a generation, a span of its own; `with`, `async with` and decorator."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from otel_gen import attributes as attrs
from otel_gen import semconv as sc
from otel_gen import tracing
from otel_gen.decorating import decorate
from otel_gen.events import Began, SpanIds
from otel_gen.exporter import bounded
from otel_gen.failures import describe
from otel_gen.gpu import Peaks
from otel_gen.guard import guarded
from otel_gen.handles import Generation, stages_open_as
from otel_gen.scope import Scope, current

_STAGE_OWN = (sc.GENERATION_ID, sc.STAGE_NAME)


class Nothing:
    """Stands for a generation or stage where nothing is recorded: every call is accepted and does nothing."""

    id = ""
    task_id = None
    durable = False
    context = None
    name = ""

    def stage(self, name: str = "", /, **_: Any) -> Stage:
        """Give a stage that records nothing."""
        return Stage(self, name, {})

    def _nothing(self, /, *_: Any, **__: Any) -> None:
        """Do nothing."""

    set = enhanced_prompt = output = submitted = withheld = failed = _nothing


NOTHING = Nothing()


def current_generation() -> Generation | None:
    """Give the generation of this context; None where there is none, or where it has ended."""
    scope = current.get()
    return None if scope is None or scope.generation.over else scope.generation


class Stage(Scope):
    """A step of a generation: the block, and the handle that its first entry gives. Each further one has its own.

    unused -> entered -> begun (has a `context`; without one nothing is recorded) -> finished
    """

    __slots__ = ("_again", "_given", "_peaks", "_unused", "generation", "name")

    def __init__(self, generation: Any, name: Any, attributes: dict[str, Any]) -> None:
        """`generation`: the one that this is a step of; None: that which is current on entry."""
        self._given = generation, name, attributes
        self._unused = True
        """Deleted by the entry; what deletes it is sure to be the first, whatever other threads do."""
        self._again: list[Any] = []
        """The handles of further entries that are open, the last one last."""
        self.context = self._var = self._token = None

    # --- the block ------------------------------------------------------------------------------------
    def __enter__(self) -> Any:
        handle = self.begin()
        if handle is not NOTHING:
            handle.attach()
        return handle

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        handle = self._mine() if self._again else self
        if handle is not NOTHING and handle.detach():
            handle.finish(error)

    async def __aenter__(self) -> Any:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate a function, coroutine function, generator or async generator: one stage per call."""
        return decorate(self._fresh, function)

    def _fresh(self) -> Stage:
        return Stage(*self._given)

    def _mine(self) -> Any:
        """Of several entries, take the handle that is current here, else the one of the last."""
        here, again = current.get(), self._again
        if here is self and self._var is not None:
            return self
        with suppress(ValueError):
            again.remove(here)  # found and taken in one step: other threads take theirs meanwhile
            return here
        with suppress(IndexError):
            return again.pop()
        return self

    # --- the span ---------------------------------------------------------------------------------------
    def begin(self) -> Any:
        """Open it and give its handle, not attached yet; NOTHING where nothing is recorded. Never raises."""
        try:
            del self._unused
        except AttributeError:
            return self._begin_again()
        generation, name, attributes = self._given
        if generation is None:
            generation = current_generation()
        if generation is None or generation is NOTHING or generation.ended or generation.capture.closed:
            return NOTHING
        self.generation = generation
        self.name, span_name = attrs.stage_names(name)
        self.capture = capture = generation.capture
        self._attributes = {sc.GENERATION_ID: generation.id, sc.STAGE_NAME: self.name}
        self._later = {}
        self._peaks: Peaks | None = None
        try:
            if attributes:
                self._attributes.update(attrs.custom(attributes))
            scope, context = current.get(), tracing.current_context()
            if scope is generation and context is scope.context:
                parent, above = scope.span, scope.ids
            else:
                context, parent, above = self._stand(scope, context)
            self.begin_span(span_name, context, parent, above)
            capture.journal.announced.add(self)
            if capture.gpu is not None:
                self._peaks = capture.gpu.begin()
        except Exception as error:  # noqa: BLE001 - the capture guard, without a call: each stage comes by
            self.faults.report("the begin of a stage", error)
        return NOTHING if self.context is None else self

    def _begin_again(self) -> Any:
        handle = self._fresh().begin()
        self._again.append(handle)
        return handle

    def _stand(self, scope: Scope | None, context: Any) -> tuple[Any, Any, SpanIds | None]:
        """Choose context, parent and its ids: what is current inside this generation, else its root span."""
        root = self.generation
        if scope is not None and scope.generation is root:
            if context is scope.context:
                return context, scope.span, scope.ids
            parent = tracing.current_span(context)  # a span of the application's own stands between
            if parent.get_span_context().is_valid:
                return context, parent, None
        return tracing.within(root.span, context), root.span, root.ids

    def begun(self) -> bytes:
        """Encode that the stage began, on the syncer's thread, for a stage that runs for long."""
        known = dict(self._attributes)  # the application may set more meanwhile
        shown = {key: value for key, value in known.items() if key not in _STAGE_OWN}
        _, own, above, _ = self.ids
        return bounded(Began(self.generation.id, own, above, self.name, self.start_wall, shown))

    @guarded
    def set(self, /, **attributes: Any) -> None:
        """Keep attributes of the stage; safe once the stage has ended."""
        if self.context is not None:
            self.keep(attrs.custom(attributes))

    def finish(self, error: BaseException | None) -> None:
        """Journal the stage's span, and end the application's."""
        capture, generation = self.capture, self.generation
        try:
            capture.journal.announced.withdraw(self)
            if capture.closed:
                return
            if error is not None:
                self._fail(error)
            if self._peaks is not None:
                self._watched(self._peaks)
            boot = capture.clock.boot
            end = self.start_wall + max(boot() - self.start_boot, 0)
            ticket = capture.exporter.own(
                self.name, self.ids, self._attributes, self.start_wall, end, self.start_boot
            )
            if ticket > generation.ticket:
                generation.ticket = ticket
            if generation.ended:
                generation.sync_late()
            if self.own and (self._later or error is not None):
                self.end_own_span(end, failed=error is not None)
            elif self.own:
                tracing.end(self.span, None, end, None)
        except Exception as fault:  # noqa: BLE001 - the capture guard, without a call: each stage comes by
            self.faults.report("the end of a stage", fault)

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


class stage(Stage):  # noqa: N801 - reads as the statement that it is
    """Record one step of the current generation; no-op without one.

    It may stand at module level for as long as the process, so it is never a handle itself: that would keep a
    generation alive.
    """

    __slots__ = ("__dict__", "__weakref__")

    def __init__(self, name: str = "", /, **attributes: Any) -> None:
        super().__init__(None, name or attributes.pop("name", ""), attributes)
        del self._unused


stages_open_as(Stage)
