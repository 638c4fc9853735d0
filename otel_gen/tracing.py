"""The application's side of a span: its own tracer's span in the context, never ours in its way.

If the application's tracer hands out a fresh context, its ids and flags are ours. If not (no provider,
a no-op, the parent's context handed back), a NonRecordingSpan with new ids stands in the context.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry._logs import _internal as _logs_api
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)  # fmt: skip

from otel_gen import semconv as sc
from otel_gen._version import __version__
from otel_gen.events import SpanIds
from otel_gen.guard import raise_a_signals


class Standing(NonRecordingSpan):
    """Stands in the context where the application has no span; its SpanContext is made when somebody asks."""

    def __init__(self, ids: SpanIds, state: TraceState | None) -> None:
        self.ids, self.state = ids, state
        self._made: SpanContext | None = None

    @property
    def _context(self) -> SpanContext:  # type: ignore[override]
        if self._made is None:
            trace_id, own, _, flags = self.ids
            self._made = SpanContext(int(trace_id, 16), int(own, 16), False, _FLAGS[flags], self.state)
        return self._made


_NO_PROVIDERS = (trace.ProxyTracerProvider, type(None))
_UNKNOWN = object()
_FLAGS = (TraceFlags(0), TraceFlags(1))
_LOGS_BY_VARIABLE = bool(os.environ.get("OTEL_PYTHON_LOGGER_PROVIDER"))
_random = random.Random(os.urandom(32))  # noqa: S311 - ids; an instance of our own, whatever the application seeds
os.register_at_fork(after_in_child=lambda: _random.seed(os.urandom(32)))


class Tracing:
    """Start and end the application's spans; each step is guarded by the caller."""

    def __init__(self) -> None:
        self._seen: Any = self  # what the API held when it was looked at last; nothing of its own at first
        self._provider: Any = None
        self._tracer: Any = None

    @property
    def tracer(self) -> Any:
        """The application's tracer; None where it has none."""
        if getattr(trace, "_TRACER_PROVIDER", _UNKNOWN) is not self._seen:
            self._look()  # the public way costs two look-ups in the environment at every span
        return self._tracer

    def _look(self) -> None:
        seen = getattr(trace, "_TRACER_PROVIDER", self)  # read first: another thread may set one meanwhile
        provider = provider_now()
        if provider is not self._provider:
            none = type(provider) in _NO_PROVIDERS
            self._tracer = None if none else trace.get_tracer(sc.SCOPE, __version__)
            self._provider = provider
        self._seen = seen

    def start(
        self,
        name: str,
        visible: Callable[[Any], Any],
        attributes: Any,
        context: Any,
        parent: Span,
        above: SpanIds | None,
        start_time: int,
    ) -> tuple[Span, SpanContext | None, SpanIds]:
        """Give the span that stands in the context, its own context where it is the application's, and its ids."""
        if getattr(trace, "_TRACER_PROVIDER", _UNKNOWN) is not self._seen:
            self._look()
        tracer = self._tracer
        above = above or _ids_of(parent)
        if tracer is not None:
            shown = visible(attributes)
            try:
                span = tracer.start_span(name, context=context, attributes=shown, start_time=start_time)
                own = span.get_span_context()
                trace_id, number, _, flags, _, valid = own
            except Exception as error:  # noqa: BLE001 - a neighbour's processor may raise; its span is not ours to lose
                raise_a_signals(error)
                return _standing(above, parent)
            span_id = "%016x" % number  # noqa: UP031 - half of what an f-string takes
            if valid and span_id != above[1]:  # not nothing, and not the parent's
                return span, own, (_trace_hex(trace_id), span_id, above[1], flags & 1)
        return _standing(above, parent)

    def tell(self, name: str, attributes: Any, time: int, linked: SpanContext | None) -> None:
        """Make a root span of the application's `tracer` that ends as it begins, linked to another."""
        links = None if linked is None else (trace.Link(linked),)
        try:
            self._tracer.start_span(
                name, context=EMPTY, attributes=attributes, links=links, start_time=time
            ).end(end_time=time)
        except Exception as error:  # noqa: BLE001 - somebody else's processor
            raise_a_signals(error)


def provider_now() -> Any:
    """Give the application's provider; None where a variable names one that cannot be loaded."""
    try:
        return trace.get_tracer_provider()
    except Exception as error:  # noqa: BLE001 - a wrong variable must not cost a record
        raise_a_signals(error)
        return None


def end(span: Span, attributes: Any, end_time: int, failed: str | None) -> None:
    """End an application's span with what it may know; a processor that raises is not heard."""
    # Not contextlib.suppress: it would take a third of what the SDK's own end takes.
    try:
        if attributes:
            span.set_attributes(attributes)
        if failed is not None:
            span.set_status(Status(StatusCode.ERROR, failed or None))
    except Exception as error:  # noqa: BLE001 - somebody else's span class
        raise_a_signals(error)
    try:
        span.end(end_time=end_time)
    except Exception as error:  # noqa: BLE001 - somebody else's processor
        raise_a_signals(error)


def _ids_of(parent: Span) -> SpanIds:
    """Give the ids of what stands in a context; empty where it is nothing."""
    if type(parent) is Standing:
        return parent.ids
    outer = parent.get_span_context()
    if not outer.is_valid:
        return "", "", "", 0
    return f"{outer.trace_id:032x}", f"{outer.span_id:016x}", "", outer.trace_flags & 1


@lru_cache(maxsize=8)
def _trace_hex(trace_id: int) -> str:
    """Write a trace id; a generation and its stages have the same one."""
    return f"{trace_id:032x}"


def _standing(above: SpanIds, parent: Span) -> tuple[Span, None, SpanIds]:
    """Make a span with a new id that only stands in the context, below these ids or in a new trace."""
    trace_id = above[0] or f"{_random.getrandbits(128) or 1:032x}"
    ids = (trace_id, f"{_random.getrandbits(64) or 1:016x}", above[1], above[3])
    state = parent.state if type(parent) is Standing else parent.get_span_context().trace_state
    return Standing(ids, state), None, ids


random_bits = _random.getrandbits


def logs_wanted() -> bool:
    """Tell whether the application has a LoggerProvider that would take an event."""
    return getattr(_logs_api, "_LOGGER_PROVIDER", _UNKNOWN) is not None or _LOGS_BY_VARIABLE


def within(span: Span, base: Any) -> Any:
    """Make a context in which the span is current, with one copy of the base where the API makes two."""
    context = Context(base)
    put(context, SPAN, span)
    return context


Context, put = otel_context.Context, dict.__setitem__
(SPAN,) = trace.set_span_in_context(trace.INVALID_SPAN, otel_context.Context())
"""The key of the current span in a context."""


_runtime: Any = getattr(otel_context, "_RUNTIME_CONTEXT", None)
_variable: Any = (
    getattr(_runtime, "_current_context", None) if type(_runtime) is ContextVarsRuntimeContext else None
)
_usual = isinstance(_variable, ContextVar)
attach = _variable.set if _usual else otel_context.attach
reset = _variable.reset if _usual else otel_context.detach
current_context = _variable.get if _usual else otel_context.get_current
"""What the API's functions come to, where its context is kept in the usual way; six calls less at every span."""
detach = otel_context.detach
"""Unlike `reset` it never raises: not where a block is left in another context than it was entered in."""
current_span = trace.get_current_span
EMPTY = otel_context.Context()
"""A context without a span: what starts in it is a root."""


def arriving(headers: Mapping[str, str]) -> Any:
    """Give the context that a request goes on in: that of its headers, where nothing is current yet."""
    here = current_context()
    return here if current_span(here).get_span_context().is_valid else propagate.extract(headers, here)
