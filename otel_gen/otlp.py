"""OTLP JSON: read the spans of one export request as ReadableSpans."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

_NO_RESOURCE = Resource({})
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
"""What was exported was sampled; Python's exporter leaves the flag's own bit out of `flags`."""
_CODES: dict[Any, StatusCode] = {
    1: StatusCode.OK,
    2: StatusCode.ERROR,
    "STATUS_CODE_OK": StatusCode.OK,
    "STATUS_CODE_ERROR": StatusCode.ERROR,
}


class MalformedError(ValueError):
    """Tell that JSON is no OTLP trace request."""


def spans_of(request: Any) -> Iterator[ReadableSpan | str]:
    """Give the spans of a request, and for a span that cannot be read the reason. Raises MalformedError."""
    for resource_spans in _list(request, "resourceSpans"):
        for scope_spans in _list(resource_spans, "scopeSpans"):
            scope = scope_spans.get("scope") if isinstance(scope_spans, dict) else None
            name = scope.get("name") if isinstance(scope, dict) else None
            for span in _list(scope_spans, "spans"):
                yield _read(span, InstrumentationScope(str(name or "")))


def _read(span: Any, scope: InstrumentationScope) -> ReadableSpan | str:
    try:
        return _span(span, scope)
    except (ValueError, TypeError, KeyError, AttributeError):
        return "malformed span"


def _list(parent: Any, key: str) -> list[Any]:
    found = parent.get(key, []) if isinstance(parent, dict) else None
    if not isinstance(found, list):
        raise MalformedError(f"{key} is no list")
    return found


def _span(span: dict[str, Any], scope: InstrumentationScope) -> ReadableSpan:
    trace_id, parent_id = int(span["traceId"], 16), span.get("parentSpanId")
    context = SpanContext(trace_id, int(span["spanId"], 16), is_remote=False, trace_flags=_SAMPLED)
    parent = SpanContext(trace_id, int(parent_id, 16), is_remote=False) if parent_id else None
    status = Status(_CODES.get((span.get("status") or {}).get("code"), StatusCode.UNSET))
    return ReadableSpan(
        str(span.get("name", "")), context, parent=parent, resource=_NO_RESOURCE,
        attributes=attributes_of(span.get("attributes", ())), status=status,
        start_time=int(span["startTimeUnixNano"]), end_time=int(span["endTimeUnixNano"]),
        instrumentation_scope=scope,
    )  # fmt: skip


def attributes_of(pairs: Any) -> dict[str, Any]:
    """Read a list of key-value pairs; values of a kind that is not known become None."""
    return {pair["key"]: value_of(pair.get("value")) for pair in pairs}


def value_of(value: Any, depth: int = 16) -> Any:
    """Read an AnyValue: each kind by its own rule, since JSON knows neither 64-bit integers nor NaN."""
    if not isinstance(value, dict) or not value or depth <= 0:
        return None
    kind, given = next(iter(value.items()))
    if kind == "arrayValue":
        return [value_of(item, depth - 1) for item in given.get("values", ())]
    if kind == "kvlistValue":
        return {pair["key"]: value_of(pair.get("value"), depth - 1) for pair in given.get("values", ())}
    read = _SCALARS.get(kind)
    return None if read is None else read(given)


_SCALARS: dict[str, Any] = {
    "stringValue": str,
    "intValue": int,
    "doubleValue": float,
    "boolValue": bool,
    "bytesValue": str,
}
