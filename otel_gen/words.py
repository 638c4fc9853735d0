"""Words: how a generation ended, as its application says it, as attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_gen import sanitize
from otel_gen import semconv as sc
from otel_gen.attributes import Attributes, custom, marked_cut, structured
from otel_gen.failures import Failure

_MAX_REASON, _MAX_NAME, _MAX_MESSAGE, _MAX_STACK = 1024, 256, 4096, 16_384
KEYS = frozenset((
    sc.SUBMISSION_TIME, sc.REJECTION_REASON, sc.REJECTION_VALUE,
    sc.ERROR_TYPE, sc.ERROR_MESSAGE, sc.ERROR_STACK, sc.ERROR_CLASS, sc.ERROR_STAGE,
))  # fmt: skip
"""What a word says besides, and the next word wipes out."""


def submitted(uid: int | None, wall: int, own: Mapping[str, Any] | None = None) -> Attributes:
    """Say that the result was handed to the validator `uid`, now. `own`: the caller's own attributes."""
    more: Attributes = {} if uid is None else {sc.VALIDATOR_UID: uid}
    return _said("submitted", own, {sc.SUBMISSION_TIME: wall, **more})


def withheld(reason: Any, value: Any = None, own: Mapping[str, Any] | None = None) -> Attributes:
    """Say that the own gate kept the result back, and why."""
    text = sanitize.text(reason, _MAX_REASON)
    found = {sc.REJECTION_REASON: text or "withheld", sc.REJECTION_VALUE: sanitize.number(value)}
    return _said("withheld", own, found | marked_cut(reason, text))


def failed(
    error_type: Any, message: Any, *, stage: Any = None, stack: Any = None,
    own: Mapping[str, Any] | None = None,
) -> Attributes:  # fmt: skip
    """Say that the generation failed, in the caller's own words."""
    found = {
        sc.ERROR_TYPE: sanitize.text(error_type, _MAX_NAME) or "crash",
        sc.ERROR_MESSAGE: sanitize.text(message, _MAX_MESSAGE),
        sc.ERROR_STACK: sanitize.text(stack, _MAX_STACK),
        sc.ERROR_STAGE: sanitize.text(stage, _MAX_NAME),
    }
    return _said("failed", own, found | marked_cut(message, found[sc.ERROR_MESSAGE]))


def raised(failure: Failure, stage: str | None, known: Attributes) -> Attributes:
    """Say that an exception ended it: what was submitted stays so, and the caller knows better why it failed."""
    if known.get(sc.SAID) == "submitted":
        later = {"error_type": failure.error_type, "error_message": failure.message, "stage": stage}
        return {sc.LATER_ERROR: structured(later)}
    found = {
        sc.ERROR_TYPE: failure.error_type, sc.ERROR_MESSAGE: failure.message,
        sc.ERROR_STACK: failure.stack, sc.ERROR_CLASS: failure.error_class, sc.ERROR_STAGE: stage,
    }  # fmt: skip
    if known.get(sc.SAID) == "failed":
        return {key: value for key, value in found.items() if known.get(key) is None}
    return _said("cancelled" if failure.error_type == "cancelled" else "failed", None, found)


def _said(word: str, own: Mapping[str, Any] | None, found: Attributes) -> Attributes:
    return {**(custom(own) if own else {}), sc.SAID: word, **found}
