"""Outcomes: how a generation ended, told from what its function returned or raised."""

from __future__ import annotations

from typing import Any

from otel_gen.zerocode.mapping import Plan, Rule
from otel_gen.zerocode.values import AbsentError, Call, Value

_ERRORS = {408: "timeout", 502: "connection", 503: "connection", 504: "timeout"}


def say(plan: Plan, handle: Any, call: Call, error: BaseException | None) -> str | None:
    """Say on a generation how it ended, by the first rule that holds; gives that rule's outcome.

    Where none holds an exception speaks for itself, and so does what was returned.
    """
    for rule, value in plan.rules:
        if _holds(rule, value, call, error):
            _said(rule, handle, call, error)
            return rule.outcome
    if error is None:
        _otherwise(handle, call.result)
    return None


def _holds(rule: Rule, value: Value | None, call: Call, error: BaseException | None) -> bool:
    """Tell whether all that a rule asks for is so."""
    status = _status(call.result if error is None else error)
    wanted = [rule.status] if isinstance(rule.status, int) else rule.status
    if rule.raises is not None and not _is_a(error, rule.raises):
        return False
    if error is not None and rule.raises is None and rule.status is None:
        return False
    return (
        (wanted is None or status in wanted)
        and (rule.header is None or header(call, rule.header) is not None)
        and (rule.empty is None or rule.empty is is_empty(call.result))
        and (value is None or _equals(_found(value, call), rule.equals))
    )


def _is_a(error: BaseException | None, name: str) -> bool:
    return error is not None and any(
        name in (c.__name__, f"{c.__module__}.{c.__name__}") for c in type(error).__mro__
    )


def _equals(found: Any, wanted: Any) -> bool:
    """Compare with what a rule wants; without a wish anything that is true will do."""
    if wanted is None:
        return bool(found)
    return bool(found == wanted) and isinstance(found, bool) is isinstance(wanted, bool)


def _found(value: Value, call: Call) -> Any:
    try:
        return value.look(call.roots())
    except (AbsentError, TypeError):
        return None


def _said(rule: Rule, handle: Any, call: Call, error: BaseException | None) -> None:
    shown = None if rule.header is None else header(call, rule.header)
    reason = rule.reason or shown
    if rule.outcome == "submitted":
        handle.submitted()
    elif rule.outcome == "withheld":
        handle.withheld(reason or "withheld", value=shown)
    elif rule.outcome == "failed":
        message = reason or getattr(error, "detail", None) or (str(error) if error else None)
        status = _status(call.result if error is None else error)
        handle.failed(rule.error_type or _ERRORS.get(status or 0, "crash"), message)


def _otherwise(handle: Any, result: Any) -> None:
    """Read a return value by itself: an error status failed, something submitted, nothing unsubmitted."""
    if is_error(result):
        status = _status(result) or 500
        handle.failed(_ERRORS.get(status, "crash"), f"HTTP status {status}")
    elif not is_empty(result):
        handle.submitted()


def _status(answer: Any) -> int | None:
    found = getattr(answer, "status_code", None)
    return found if isinstance(found, int) else None


def is_error(answer: Any) -> bool:
    """Tell whether an answer's status says that it is none."""
    status = _status(answer)
    return status is not None and status >= 400


def header(call: Call, name: str) -> Any:
    """Find a header of the answer: on what was returned, or on a response among the parameters."""
    for holder in (call.result, call.roots().get("response")):
        headers = getattr(holder, "headers", None)
        if headers is not None and headers.get(name) is not None:
            return headers.get(name)
    return None


def is_empty(result: Any) -> bool:
    """Tell whether nothing was handed over: None, or an answer or buffer of no length."""
    body = getattr(result, "body", result)
    if body is None:
        return not hasattr(result, "status_code")
    return isinstance(body, (bytes, bytearray, memoryview, str)) and len(body) == 0
