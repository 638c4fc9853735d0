"""Message: the body of a feedback to another machine, in the form that its endpoint takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from otel_gen import attributes as attrs
from otel_gen import sanitize
from otel_gen.events import canonical
from otel_gen.feedbacks import is_true, moment_of
from otel_gen.foreign import valid_id

_LONGEST_REASON = 8192


def _scalar(value: Any) -> int | float | str | None:
    plain = sanitize.clean(value, limit=256)
    return plain if isinstance(plain, (int, float, str)) and not isinstance(plain, bool) else None


def _reason(value: Any) -> str | None:
    """Take a text that is not long either once it is written as JSON."""
    text = sanitize.text(value, 4096)
    while text and len(canonical(text)) > _LONGEST_REASON:
        text = text[: len(text) // 2]
    return text


FIELDS: dict[str, Callable[[Any], Any]] = {
    "validator_uid": sanitize.uid,
    "validation_failed": lambda value: is_true(value) or None,
    "feedback_time": lambda value: moment_of(value) / 1e9 or None,
    "average_fidelity_score": sanitize.number,
    "cooldown_until": _scalar,
    "generations_within_the_window": sanitize.number,
    "current_duel_rating": sanitize.number,
    "current_miner_reward": sanitize.number,
    "rejection_reason": _reason,
}
"""What is sent beside the scores, each in the form that the endpoint takes."""
_SCORES = ("score", "task_fidelity_score")


def said(id_: Any, keywords: dict[str, Any]) -> dict[str, Any] | None:
    """Make the body of what a caller gave, sanitised; None for a malformed id."""
    task_id = attrs.task_id(keywords.get("task_id"))
    if id_ is None and task_id is None:
        return None
    found: dict[str, Any] = (
        {"task_id": task_id} if id_ is None else {"id": (sanitize.text(id_, 64) or "").lower()}
    )
    if id_ is not None and not valid_id(found["id"]):
        return None
    for name in _SCORES:
        if keywords.get(name) is not None:
            score = sanitize.score(keywords[name])
            found[name] = "no number" if score is None else score
    plain = {name: take(keywords.get(name)) for name, take in FIELDS.items()}
    return found | {name: value for name, value in plain.items() if value is not None}


def decoded(body: bytes) -> Any:
    """Read what a file of the spool says; as text where the file is damaged."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body.decode("utf-8", "replace")


def whom(body: bytes) -> str:
    """Name whom a feedback is for."""
    found = decoded(body)
    return str(found.get("id") or found.get("task_id")) if isinstance(found, dict) else ""


def aged(body: bytes, name: str) -> bytes:
    """Say how long it waited, by this machine's clock alone: what was true then may mean another attempt now."""
    found, age = decoded(body), time.time() - int(name[:20]) / 1e9
    return canonical({**found, "age": round(age, 3)}) if age >= 1 and isinstance(found, dict) else body
