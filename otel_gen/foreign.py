"""Foreign spans: read anybody's span as an event, believing nothing but what has the right form.

A span may come from another library's provider or from a file; a value of the wrong type is left out, so
that no attribute can stop the delivery of the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from opentelemetry.sdk.trace import ReadableSpan

from otel_gen import attributes as attrs
from otel_gen import sanitize
from otel_gen import semconv as sc
from otel_gen.events import Feedback, Span, canonical
from otel_gen.scalars import INT64_MAX

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_FEEDBACK = ("score", "invalid", "said", "validator_uid", "task_id", "event_id", "given_unix_nano")
_JSON = sc.FEEDBACK_JSON[len(sc.FEEDBACK_PREFIX) :]
_SCORE, _INVALID, _GIVEN, _VALIDATOR_UID = (sc.FEEDBACK_PREFIX + name for name in _FEEDBACK[:4])
_GIVEN_AT = sc.FEEDBACK_PREFIX + "given_unix_nano"
_LONGEST = 1e9  # seconds
_SAID = ("submitted", "withheld", "failed", "cancelled")


def valid_id(value: object) -> bool:
    """Tell whether a text is a generation id: a UUID in its 36-character form."""
    return type(value) is str and _ID.fullmatch(value) is not None


def why_not(span: ReadableSpan) -> str:
    """Say why a span becomes no event; empty where it does."""
    attributes = span.attributes or {}
    if span.context is None or not span.context.is_valid:
        return "no span context"
    if sc.FILTERED in attributes:
        return "filtered"
    if _is_feedback(span):
        known = valid_id(attributes.get(sc.GENERATION_ID)) or attrs.task_id(
            attributes.get(sc.FEEDBACK_TASK_ID)
        )
        return "" if known else "no valid id"
    if sc.GENERATION_ID not in attributes:
        return "not of otel_gen"
    return "" if valid_id(attributes[sc.GENERATION_ID]) else "no valid id"


def to_event(span: ReadableSpan, source: str = "") -> Span | Feedback | None:
    """Read a span as an event; None for filtered ones, without a valid id or not of otel_gen."""
    if why_not(span):
        return None
    if _is_feedback(span):
        return _feedback(span, source)
    attributes = _typed(span.attributes or {})
    return span_event(span, 0, attributes | ({sc.SOURCE: source} if source else {}))


def span_event(span: ReadableSpan, boot: int, attributes: dict[str, Any]) -> Span:
    """Make the event of a span; attributes are clean."""
    context, parent = span.context, span.parent
    start = _moment(span.start_time)
    return Span(
        attributes[sc.GENERATION_ID], span.name, f"{context.trace_id:032x}", f"{context.span_id:016x}",
        f"{parent.span_id:016x}" if parent is not None and parent.is_valid else "",
        context.trace_flags & 1, start, max(_moment(span.end_time), start), boot, attributes,
    )  # fmt: skip


def _moment(ns: int | None) -> int:
    return min(max(ns or 0, 0), INT64_MAX)


def _is_feedback(span: ReadableSpan) -> bool:
    attributes = span.attributes or {}
    return span.name == sc.FEEDBACK_SPAN and any(key.startswith(sc.FEEDBACK_PREFIX) for key in attributes)


def _feedback(span: ReadableSpan, source: str) -> Feedback:
    attributes: Any = span.attributes or {}
    own = {
        key[len(sc.FEEDBACK_PREFIX) :]: value
        for key, value in attributes.items()
        if key.startswith(sc.FEEDBACK_PREFIX)
    }
    generation_id = attributes.get(sc.GENERATION_ID)
    known = generation_id if valid_id(generation_id) else ""
    event_id = sanitize.text(own.get("event_id"), 128)
    return Feedback(
        _moment(span.start_time), 0, known, "" if known else attrs.task_id(own.get("task_id")) or "",
        sanitize.score(own.get("score")), bool(own.get("invalid")), bool(own.get("said", "score" in own)),
        sanitize.uid(own.get("validator_uid")), _fields(own),
        event_id or f"{span.context.trace_id:032x}-{span.context.span_id:016x}", source,
        _whole(own.get("given_unix_nano")) or 0,
    )  # fmt: skip


def _fields(own: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in _plain(own).items():
        if key.startswith(_JSON):
            found[key[len(_JSON) :]] = _loaded(value)
        elif key not in _FEEDBACK:
            found[key] = value
    return found


def _loaded(value: Any) -> Any:
    try:
        return sanitize.clean(msgspec.json.decode(value), limit=4096)
    except (TypeError, msgspec.DecodeError, RecursionError):
        return value


def feedback_attributes(event: Feedback, event_id: str) -> dict[str, Any]:
    """Write a feedback event as span attributes, None for what is not known or usual; structures become JSON."""
    known = {
        sc.GENERATION_ID: event.id or None,
        sc.FEEDBACK_EVENT_ID: event_id,
        sc.FEEDBACK_TASK_ID: event.task_id or None,
        _SCORE: event.score,
        _VALIDATOR_UID: event.validator_uid,
        _INVALID: event.invalid or None,
        _GIVEN: None if event.said == (event.score is not None) else event.said,
        _GIVEN_AT: event.given or None,
    }
    return dict(_field(key, value) for key, value in event.fields.items()) | known if event.fields else known


def _field(key: str, value: Any) -> tuple[str, Any]:
    if isinstance(value, (dict, list)) or key in _FEEDBACK:  # a caller's own of that name
        return f"{sc.FEEDBACK_JSON}{key}", canonical(value).decode()
    return f"{sc.FEEDBACK_PREFIX}{key}", value


# --- types ----------------------------------------------------------------------------------------
def _text(value: Any) -> str | None:
    return sanitize.text(value, attrs.MAX_PROMPT)


def _json(value: Any) -> str | None:
    """Take structured values; what is nested deeper than any of ours is cut, so that every reader can follow."""
    text = _text(value)
    try:
        found = msgspec.json.decode(text or "")
    except msgspec.DecodeError:
        return text
    except RecursionError:
        return None
    kept = sanitize.clean(found)
    return text if kept == found else canonical(kept).decode()


def _whole(value: Any) -> int | None:
    return attrs.whole(value) if type(value) in (int, float) else None


def _seconds(value: Any) -> float | None:
    found = sanitize.number(value)
    return found if found is not None and 0 <= found <= _LONGEST else None


def _of(known: tuple[str, ...]) -> Callable[[Any], str | None]:
    return lambda value: value if type(value) is str and value in known else None


def _nothing(_: Any) -> None:
    return None


_TYPES: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        (
            sc.TASK_TYPE, sc.PROMPT, sc.ENHANCED_PROMPT, sc.NEGATIVE_PROMPT, sc.VALIDATOR_HOTKEY,
            sc.MINER_HOTKEY, sc.MINER_VERSION, sc.NETWORK, sc.MINER_CONFIG_HASH, sc.REJECTION_REASON,
            sc.ERROR_TYPE, sc.ERROR_MESSAGE, sc.ERROR_STACK, sc.ERROR_CLASS, sc.ERROR_STAGE, sc.SHED,
            sc.STAGE_NAME,
        ),
        _text,
    ),
    **dict.fromkeys((sc.MINER_CONFIG, sc.LATER_ERROR, sc.GAUSSIAN_STATS, sc.RENDER_STATS), _json),
    **dict.fromkeys(
        (sc.PROMPT_LENGTH, sc.SUBMISSION_TIME, sc.NUM_GAUSSIANS, sc.FILE_SIZE_BYTES), _whole
    ),
    **dict.fromkeys((sc.REJECTION_VALUE, sc.FILE_SIZE_MB, sc.CLIP_SCORE), sanitize.number),
    **dict.fromkeys((sc.CLIP_PASS, sc.COUNT_PASS, sc.VALIDATION_PASS, sc.TRUNCATED, sc.FINAL), sanitize.flag),
    **dict.fromkeys((sc.VALIDATOR_UID, sc.MINER_UID), sanitize.uid),
    sc.TASK_ID: attrs.task_id,
    sc.TASK_ATTEMPT: attrs.attempt,
    sc.SAID: _of(_SAID),
    sc.STAGE_STATUS: _of(sc.STATUSES),
    sc.PENDING: _nothing,
    sc.LEFT: _nothing,
    sc.PARTIAL: _nothing,
}  # fmt: skip
_ARTIFACT: dict[str, Callable[[Any], Any]] = {"hash": _text, "media_type": _text, "size": _whole}
"""A staged name is not among them: it is true only in the data_dir whose stager gave it."""


def _typed(attributes: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in _plain(attributes).items():
        typed = _check(key)(value)
        if typed is not None:
            found[key] = typed
    return found


def _check(key: str) -> Callable[[Any], Any]:
    if key.startswith(sc.ARTIFACT):
        return _ARTIFACT.get(key.rpartition(".")[2], _nothing)
    if key.startswith(sc.TIMING):
        return _seconds if key.endswith("_time") else _nothing
    if key.startswith(sc.STRUCTURED):
        return _json
    if key.startswith(sc.GPU):
        return sanitize.number
    return _TYPES.get(key, lambda value: value)


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): sanitize.clean(value) for key, value in attributes.items()}
