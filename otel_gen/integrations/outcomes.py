"""Outcomes: what an answer says about its generation, where the handler said nothing itself.

400 and above ................... failed: by the exception that led to it, else by the status
2xx + a header of WITHHELD ...... withheld, the header's value is the reason
2xx without a body .............. withheld, `empty_answer`
2xx with a body ................. submitted
202, 3xx, no answer ............. nothing is said
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from otel_gen.failures import classify, describe

WITHHELD: Final = {"x-validation-failed": "validation_failed", "x-skip-reason": "skipped"}
"""Headers of an answer that keeps the result back, and the reason where their value is none."""
_BY_STATUS: Final = {408: "timeout", 499: "cancelled", 502: "connection", 503: "connection", 504: "timeout"}
_FLAGS: Final = ("", "1", "true", "yes")


@dataclass
class Answer:
    """A response as it went by; `error` is what an exception handler was answering."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    size: int = 0
    error: BaseException | None = None


def conclude(gen: Any, answer: Answer) -> BaseException | None:
    """Say of a generation what its answer says; gives the exception that it ends with."""
    if answer.status >= 400:
        return _failed(gen, answer)
    if 200 <= answer.status < 300 and answer.status != 202:
        reason = _reason(answer.headers)
        if reason or not answer.size:
            gen.withheld(reason or "empty_answer")
        else:
            gen.submitted()
    return None


def _failed(gen: Any, answer: Answer) -> BaseException | None:
    error, stage = answer.error, None
    if error is None and gen.failure is not None:
        error, stage = gen.failure
    found = "crash" if error is None else classify(error)
    gen.failed(
        _by_status(answer.status) if found == "crash" else found,
        _message(error) or f"answered with status {answer.status}",
        stage,
    )
    return error


def _message(error: BaseException | None) -> str:
    detail = getattr(error, "detail", None)  # of an HTTPException
    if isinstance(detail, str):
        return detail
    return "" if error is None else describe(error).message


def _by_status(status: int) -> str:
    return _BY_STATUS.get(status) or ("bad_request" if status < 500 else "crash")


def _reason(headers: Mapping[str, str]) -> str | None:
    for name, default in WITHHELD.items():
        value = headers.get(name)
        if value is not None:
            return default if value.strip().lower() in _FLAGS else value.strip()
    return None
