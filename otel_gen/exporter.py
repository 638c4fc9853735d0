"""JournalExporter: an OpenTelemetry SpanExporter that turns gen3d spans into journal events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_gen import sanitize
from otel_gen import semconv as sc
from otel_gen.events import MAX_PAYLOAD, Event, Feedback, Span, SpanIds, encode
from otel_gen.foreign import to_event
from otel_gen.journal import LOST, Journal

_ROOM = MAX_PAYLOAD - 4096


class JournalExporter(SpanExporter):
    """Write whole gen3d spans to the journal; foreign and filtered spans are passed over."""

    def __init__(self, journal: Journal, source: str = "") -> None:
        self.journal, self.source = journal, source

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Journal each span that belongs to a generation; returns when they are safe against kill -9."""
        events = [to_event(span, source=self.source) for span in spans]
        tickets = [self.take(event) for event in events if event is not None]
        return SpanExportResult.FAILURE if LOST in tickets else SpanExportResult.SUCCESS

    def own(
        self, name: str, ids: SpanIds, attributes: dict[str, Any], start: int, end: int, boot: int
    ) -> int:
        """Journal an ended span of otel_gen's own making, whose values are clean; returns its ticket.

        It is what `export` makes of a ReadableSpan with these members; building that costs 3 us a span.
        A root that is too large for a frame leaves out what stands in the journal already.
        """
        trace_id, own, parent, flags = ids
        event = Span(
            attributes[sc.GENERATION_ID], name, trace_id, own, parent, flags, start, end, boot, attributes
        )
        stage = sc.STAGE_NAME in attributes
        payload = encode(event)
        if len(payload) > _ROOM:
            payload = bounded(event) if stage else encode(_partial(event))
        return self.journal.append(payload, stage)

    def take(self, event: Span | Feedback) -> int:
        """Journal what a span says; returns its ticket."""
        return self.journal.append(
            bounded(event), sheddable=event.__class__ is Span and event.name != "generation"
        )

    def shutdown(self) -> None:
        """Nothing is held back; the journal belongs to its runtime."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until what was exported is as durable as the settings promise."""
        return self.journal.wait(self.journal.last, timeout_millis / 1000)


def bounded(event: Event) -> bytes:
    """Encode an event in at most one frame; long texts are cut, what else is longest is left out, until it fits."""
    payload = encode(event)
    if len(payload) <= _ROOM:
        return payload
    name = "attributes" if hasattr(event, "attributes") else "fields"
    while len(payload) > _ROOM and getattr(event, name, None):
        shorter = _shortened(getattr(event, name), len(payload) - _ROOM)
        if shorter == getattr(event, name):
            break  # nothing is left that may go
        event = _replaced(event, name, shorter)
        payload = encode(event)
    return payload


def _partial(root: Span) -> Event:
    """Keep the smallest attributes of a root, as many as fit: who, what and when are among them."""
    sizes = {key: len(encode({key: value})) for key, value in root.attributes.items()}
    kept: dict[str, Any] = {sc.PARTIAL: True}
    room = _ROOM // 2
    for key in sorted(sizes, key=sizes.__getitem__):
        room -= sizes[key]
        if room < 0:
            break
        kept[key] = root.attributes[key]
    return _replaced(root, "attributes", kept)


def _shortened(attributes: dict[str, Any], excess: int) -> dict[str, Any]:
    """Save that many bytes, the longest first, each weighed once: there may be a hundred thousand."""
    sizes = {key: len(encode({key: value})) for key, value in attributes.items() if value is not None}
    kept = dict(attributes)
    for key in sorted(filter(_may_go, sizes), key=sizes.__getitem__, reverse=True):
        if excess <= 0:
            break
        if key in _CUTTABLE and sizes[key] > _SHORT:
            kept[key] = sanitize.text(attributes[key], len(attributes[key]) // 8)
            excess -= sizes[key] - len(encode({key: kept[key]}))
        else:
            del kept[key]
            excess -= sizes[key]
    return kept if kept == attributes else {**kept, sc.TRUNCATED: True}


def _may_go(key: str) -> bool:
    """Tell what a record can do without: the caller's own, and what is long; not who, what and when."""
    return not key.startswith("gen3d.") or key.startswith((sc.ATTRIBUTE, sc.STRUCTURED)) or key in _LONG


_SHORT = 1024
_CUTTABLE = (sc.PROMPT, sc.ENHANCED_PROMPT, sc.NEGATIVE_PROMPT, sc.ERROR_MESSAGE, sc.ERROR_STACK)
_LONG = (*_CUTTABLE, sc.MINER_CONFIG, sc.GAUSSIAN_STATS, sc.RENDER_STATS, sc.LATER_ERROR)


def _replaced(event: Event, name: str, value: Any) -> Event:
    kept = {field: getattr(event, field) for field in event.__struct_fields__}
    return type(event)(**(kept | {name: value}))
