"""Scope: a span in the context for the length of a block; what generations and stages share."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, TypeAlias

from otel_gen import attributes as attrs
from otel_gen import semconv as sc
from otel_gen import tracing, words
from otel_gen.capture import Capture
from otel_gen.events import SpanIds
from otel_gen.guard import Faults

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from otel_gen.handles import Generation

current: ContextVar[Scope | None] = ContextVar("otel_gen_scope", default=None)
"""The innermost generation or stage of this context."""

Place: TypeAlias = "tuple[Scope | None, Any]"
"""What is current somewhere: our scope and OpenTelemetry's context."""


def place() -> Place:
    """Take note of what is current here."""
    return current.get(), tracing.current_context()


def return_to(where: Place) -> None:
    """Make current again what was noted; whoever attached around this undoes it."""
    current.set(where[0])
    tracing.attach(where[1])


class Scope:
    """What generations and stages share: a span in the context for the length of a block."""

    __slots__ = (
        "_attributes",
        "_later",
        "_token",
        "_var",
        "capture",
        "context",
        "ids",
        "own",
        "span",
        "start_boot",
        "start_wall",
    )

    capture: Capture
    generation: Generation
    ids: SpanIds
    own: SpanContext | None
    """The span's own context; None where the application has no span for this."""
    context: Any
    _attributes: dict[str, Any]
    _later: dict[str, Any]
    _token: Any
    _var: Token[Scope | None] | None

    @property
    def faults(self) -> Faults:
        """Takes what goes wrong in here."""
        return self.capture.faults

    def attach(self) -> None:
        """Make this scope and its span current."""
        self._var = current.set(self)
        self._token = tracing.attach(self.context)

    def detach(self) -> bool:
        """Undo attach; False where there was none, or it is undone.

        In another thread, or where an outer block ended first, there is nothing to undo.
        """
        token, var = self._token, self._var
        if var is None:
            return False
        innermost = current.get()
        here = innermost is self or self._around(innermost)
        self._token = self._var = None
        if not here:
            return True
        try:
            current.reset(var)
            tracing.reset(token)
        except (ValueError, RuntimeError):  # a generator's step in another task brought it here
            above = token.old_value
            return_to((_before(var), tracing.EMPTY if above is Token.MISSING else above))
        return True

    @property
    def outer(self) -> Scope | None:
        """What was current before this was attached."""
        return None if self._var is None else _before(self._var)

    def _around(self, scope: Scope | None) -> bool:
        while scope is not None and scope is not self:
            scope = scope.outer
        return scope is self

    def begin_span(self, name: str, context: Any, parent: Any, above: SpanIds | None) -> None:
        """Start the application's span and take its ids; `above` are its parent's where they are known."""
        capture = self.capture
        wall, boot = capture.clock.wall, capture.clock.boot
        self.start_wall, self.start_boot = wall(), boot()
        self.span, self.own, self.ids = capture.tracing.start(
            name, capture.marked, self._attributes, context, parent, above, self.start_wall
        )
        self.context = inside = tracing.Context(context)
        tracing.put(inside, tracing.SPAN, self.span)

    def keep(self, attributes: dict[str, Any]) -> None:
        """Take what was said since the begin; the application's span hears of it at its end.

        What is over is wiped out, here and in what is journalled of this: how it ended, where that is said anew,
        and the other key of an attribute of the caller's own that was a scalar and is a structure now, or was one.
        """
        known = self._attributes
        if sc.SAID in attributes and not words.KEYS.isdisjoint(known):
            attributes |= dict.fromkeys((words.KEYS & known.keys()) - attributes.keys())
        for over in attrs.other_forms(attributes):
            if known.get(over) is not None:
                attributes[over] = None
        known.update(attributes)
        self._later.update(attributes)

    def end_own_span(self, end: int, *, failed: bool) -> None:
        """End the application's span with what is new since it began."""
        new = self.capture.visible(self._later) if self._later else self._later
        tracing.end(self.span, new, end, new.get(sc.ERROR_MESSAGE, "") if failed else None)

    def end_time(self) -> int:
        return self.start_wall + max(self.capture.clock.boot() - self.start_boot, 0)


def _before(var: Token[Scope | None]) -> Scope | None:
    old: Any = var.old_value
    return None if old is Token.MISSING else old


def new_id(wall: int) -> str:
    """Make a UUID version 7: ids sort by time; the random bits start anew from the kernel in a forked child."""
    ms, bits = wall // 1_000_000, tracing.random_bits(74)
    return "%08x-%04x-7%03x-%04x-%012x" % (  # noqa: UP031 - two thirds of what an f-string takes for these
        ms >> 16 & 0xFFFFFFFF, ms & 0xFFFF, bits >> 62, 0x8000 | bits >> 48 & 0x3FFF, bits & 0xFFFFFFFFFFFF,
    )  # fmt: skip
