"""JournalExporter: an OpenTelemetry SpanExporter that turns gen3d spans into journal events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from otel_gen import sanitize
from otel_gen import semconv as sc
from otel_gen._version import __version__
from otel_gen.events import MAX_PAYLOAD, Event, Feedback, Span, encode
from otel_gen.journal import LOST, Journal

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SCOPE = InstrumentationScope(sc.SCOPE, __version__)
_NO_RESOURCE = Resource({})
_OK, _ERROR = Status(StatusCode.UNSET), Status(StatusCode.ERROR)
_ROOM = MAX_PAYLOAD - 4096
_FEEDBACK = ("score", "invalid", "said", "validator_uid", "task_id")


def valid_id(value: object) -> bool:
    """Tell whether a text is a generation id: a UUID in its 36-character form."""
    return type(value) is str and _ID.fullmatch(value) is not None


def readable(
    name: str, context: SpanContext, parent: SpanContext | None, attributes: dict[str, Any], start: int, end: int,
    *, failed: bool = False,
) -> ReadableSpan:  # fmt: skip
    """Build an ended span with everything in it; no provider's limits or sampler stand between."""
    return ReadableSpan(
        name, context, parent=parent, resource=_NO_RESOURCE, attributes=attributes, kind=SpanKind.INTERNAL,
        status=_ERROR if failed else _OK, start_time=start, end_time=end, instrumentation_scope=_SCOPE,
    )  # fmt: skip


class JournalExporter(SpanExporter):
    """Write whole gen3d spans to the journal; foreign and filtered spans are passed over."""

    def __init__(self, journal: Journal, source: str = "") -> None:
        self.journal, self.source = journal, source

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Journal each span that belongs to a generation; returns when they are safe against kill -9."""
        events = [to_event(span, source=self.source) for span in spans]
        kept = all(self._journalled(event) != LOST for event in events)
        return SpanExportResult.SUCCESS if kept else SpanExportResult.FAILURE

    def append(self, span: ReadableSpan, boot: int = 0) -> int:
        """Journal one span of otel_gen's own making, whose values are clean; returns its ticket."""
        return self._journalled(_event(span, boot, dict(span.attributes or {})))

    def _journalled(self, event: Span | Feedback | None) -> int:
        if event is None:
            return 0
        return self.journal.append(
            bounded(event), sheddable=event.__class__ is Span and event.name != "generation"
        )

    def shutdown(self) -> None:
        """Nothing is held back; the journal belongs to its runtime."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until what was exported is as durable as the settings promise."""
        return self.journal.wait(self.journal.last, timeout_millis / 1000)


def to_event(span: ReadableSpan, source: str = "") -> Span | Feedback | None:
    """Read anybody's span as an event; None for filtered ones, without a valid id or not of otel_gen."""
    attributes: Any = span.attributes or {}
    if sc.FILTERED in attributes or span.context is None:
        return None
    if span.name == sc.FEEDBACK_SPAN and f"{sc.FEEDBACK_PREFIX}said" in attributes:
        return _feedback(span, 0)
    if not valid_id(attributes.get(sc.GENERATION_ID)):
        return None
    return _event(span, 0, _plain(attributes) | ({sc.SOURCE: source} if source else {}))


def _event(span: ReadableSpan, boot: int, attributes: dict[str, Any]) -> Span:
    context, parent = span.context, span.parent
    return Span(
        attributes[sc.GENERATION_ID], span.name, f"{context.trace_id:032x}", f"{context.span_id:016x}",
        f"{parent.span_id:016x}" if parent is not None and parent.is_valid else "",
        context.trace_flags & 1, span.start_time or 0, span.end_time or span.start_time or 0, boot,
        attributes,
    )  # fmt: skip


def _feedback(span: ReadableSpan, boot: int) -> Feedback | None:
    attributes: Any = span.attributes or {}
    own = {
        key[len(sc.FEEDBACK_PREFIX) :]: value
        for key, value in attributes.items()
        if key.startswith(sc.FEEDBACK_PREFIX)
    }
    generation_id = attributes.get(sc.GENERATION_ID, "")
    task_id = own.get("task_id", "")
    if not (valid_id(generation_id) or task_id):
        return None
    fields = {key: value for key, value in _plain(own).items() if key not in _FEEDBACK}
    return Feedback(
        span.start_time or 0, boot, generation_id, task_id, sanitize.score(own.get("score")),
        bool(own.get("invalid")), bool(own.get("said")), sanitize.uid(own.get("validator_uid")), fields,
    )  # fmt: skip


def feedback_attributes(event: Feedback) -> dict[str, Any]:
    """Write a feedback event as span attributes."""
    found = {
        sc.GENERATION_ID: event.id or None,
        **{f"{sc.FEEDBACK_PREFIX}{key}": value for key, value in event.fields.items()},
        f"{sc.FEEDBACK_PREFIX}task_id": event.task_id or None,
        f"{sc.FEEDBACK_PREFIX}score": event.score,
        f"{sc.FEEDBACK_PREFIX}validator_uid": event.validator_uid,
        f"{sc.FEEDBACK_PREFIX}invalid": event.invalid,
        f"{sc.FEEDBACK_PREFIX}said": event.said,
    }
    return {key: value for key, value in found.items() if value is not None}


def _plain(attributes: Any) -> dict[str, Any]:
    return {str(key): sanitize.clean(value) for key, value in attributes.items()}


def bounded(event: Event) -> bytes:
    """Encode an event in at most one frame; the longest texts of its attributes are cut until it fits."""
    payload = encode(event)
    while len(payload) > _ROOM:
        attributes: dict[str, Any] = dict(getattr(event, "attributes", None) or getattr(event, "fields", {}))
        longest = max(attributes, key=lambda key: len(str(attributes[key])))
        value = attributes[longest]
        cut = sanitize.text(value, len(value) // 8) if isinstance(value, str) else None
        attributes |= {longest: cut if longest in _CUTTABLE else None, sc.TRUNCATED: True}
        name = "attributes" if hasattr(event, "attributes") else "fields"
        event = _replaced(event, name, attributes)
        payload = encode(event)
    return payload


_CUTTABLE = (sc.PROMPT, sc.ENHANCED_PROMPT, sc.NEGATIVE_PROMPT, sc.ERROR_MESSAGE, sc.ERROR_STACK)


def _replaced(event: Event, name: str, value: Any) -> Event:
    kept = {field: getattr(event, field) for field in event.__struct_fields__}
    return type(event)(**(kept | {name: value}))
