"""Miner: the protocol's answer to a submission becomes feedback of the right generation.

The answer is the object that a validator sends back: its `feedback` may be absent, its `cooldown_until` says
when the next task may be asked for. Attributes, keys of a dict and fields of a pydantic model are all read.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Final

from otel_gen import runtime, sanitize
from otel_gen.clock import Clock
from otel_gen.feedbacks import FeedbackResult
from otel_gen.safely import safely

FIELDS: Final = (
    "validation_failed", "task_fidelity_score", "average_fidelity_score", "generations_within_the_window",
    "current_duel_rating", "current_miner_reward",
)  # fmt: skip
"""The protocol's feedback; what else its object carries is kept too."""

BELOW_THRESHOLD: Final = "below_threshold"
"""A 0 with a cooldown of about 900 s: under the threshold of disclosure, or a bad signature."""
EMPTY_RESULT: Final = "empty_result"
"""A 0 with about 300 s: nothing was in the result."""
NOT_JUDGED: Final = "not_judged"
"""A 0 that left the cooldown alone: a wrong task id, the validator's lock, or submitted again too quickly."""
UNDISCLOSED: Final = "undisclosed"
"""A 0 with a cooldown that tells none of these."""
VALIDATOR_FAILED: Final = "validator_failed"
"""`validation_failed`: the validator's own backend."""
NO_FEEDBACK: Final = "no_feedback"
"""The answer was lost, or held no verdict: it closes nothing."""

_BELOW, _EMPTY = 900, 300
_SPREAD: Final = 60.0
"""Seconds that a cooldown may differ from its nominal length: the way back, and two clocks."""


def feedback(
    answer: Any,
    *,
    id: Any = None,  # noqa: A002
    task_id: Any = None,
    validator_uid: Any = None,
    cooldown_before: Any = None,
    data_dir: Any = None,
) -> FeedbackResult:
    """Record the protocol's answer to a submission: the whole of it, its `feedback` alone, or None.

    `id`: the generation's, as the service gave it in X-Generation-Id; else `task_id`, else the task in the
    answer: its latest submitted attempt. `cooldown_before`: the `cooldown_until` that was known before.
    The result is true once durable, as of `otel_gen.feedback`. Never raises.
    """
    keywords = _keywords(answer, id, task_id, cooldown_before)
    return runtime.feedback(data_dir=data_dir, validator_uid=validator_uid, **keywords)


async def feedback_async(
    answer: Any,
    *,
    id: Any = None,  # noqa: A002
    task_id: Any = None,
    validator_uid: Any = None,
    cooldown_before: Any = None,
    data_dir: Any = None,
) -> FeedbackResult:
    """Record the protocol's answer like `feedback` and await its durability, at most the deadline."""
    keywords = _keywords(answer, id, task_id, cooldown_before)
    return await runtime.feedback_async(data_dir=data_dir, validator_uid=validator_uid, **keywords)


def _keywords(answer: Any, id_: Any, task_id: Any, cooldown_before: Any) -> dict[str, Any]:
    """Say whose feedback it is, and what it says; an id is nearer than a task, the caller's than the answer's."""
    unread: dict[str, Any] = {"rejection_reason": NO_FEEDBACK}
    found = safely("miner.feedback", lambda: fields(answer, cooldown_before=cooldown_before), unread)
    if id_ is not None:
        return found | {"id": id_}
    return found | {"task_id": _task_of(answer) if task_id is None else task_id}


def fields(answer: Any, *, cooldown_before: Any = None, now: float | None = None) -> dict[str, Any]:
    """Read an answer as keywords of `otel_gen.feedback`; why it is no acceptance is `rejection_reason`.

    `now`: seconds since 1970 at which the answer came.
    """
    given = _get(answer, "feedback") if _has(answer, "feedback") else answer
    found = {name: value for name, value in _items(given).items() if value is not None}
    until = _seconds(_get(answer, "cooldown_until"))
    if until is None:
        until = _seconds(found.get("cooldown_until"))
    found.pop("cooldown_until", None)
    if until is not None:
        found["cooldown_until"] = until
    now = Clock().wall() / 1e9 if now is None else now
    reason = _reason(found, until, _seconds(cooldown_before), now)
    if reason:
        found.setdefault("rejection_reason", reason)
    return found


def _reason(found: Mapping[str, Any], until: float | None, before: float | None, now: float) -> str:
    if sanitize.flag(found.get("validation_failed")) is True:
        return VALIDATOR_FAILED
    given = found.get("score", found.get("task_fidelity_score"))
    if given is None:
        return NO_FEEDBACK
    return "" if sanitize.score(given) != 0.0 else _censored(until, before, now)


def _censored(until: float | None, before: float | None, now: float) -> str:
    """Tell what a 0 meant, which is no score: the protocol says it by the cooldown alone."""
    if until is None:
        return UNDISCLOSED
    left = until - now
    if left <= 0 or until == before:
        return NOT_JUDGED
    lengths = {_BELOW: BELOW_THRESHOLD, _EMPTY: EMPTY_RESULT}
    return next((word for nominal, word in lengths.items() if abs(left - nominal) <= _SPREAD), UNDISCLOSED)


# --- an object of any kind ------------------------------------------------------------------------------
_NOTHING: Final = object()


def _items(given: Any) -> dict[str, Any]:
    """Give the fields of an object by name: keys, attributes of its own, and the protocol's by asking."""
    if given is None:
        return {}
    own = given if _is_mapping(given) else {**_dict_of(given, _EXTRA), **_dict_of(given, "__dict__")}
    known = {name: _get(given, name) for name in (*FIELDS, "score", "rejection_reason", "cooldown_until")}
    return {name: value for name, value in own.items() if _public(name)} | {
        name: value for name, value in known.items() if value is not None
    }


_EXTRA: Final = "__pydantic_extra__"
"""Where a pydantic model keeps fields that it does not know."""


def _dict_of(given: Any, name: str) -> dict[str, Any]:
    found = _get(given, name)
    return dict(found) if type(found) is dict else {}


def _is_mapping(given: Any) -> bool:
    return issubclass(type(given), Mapping)


def _public(name: Any) -> bool:
    return type(name) is str and not name.startswith("_") and name not in _TAKEN


_TAKEN: Final = frozenset(("id", "task_id", "validator_uid", "data_dir", "feedback"))
"""Names that say whose feedback it is: the caller's to give, not the answer's."""


def _has(given: Any, name: str) -> bool:
    return _read(given, name) is not _NOTHING


def _get(given: Any, name: str) -> Any:
    found = _read(given, name)
    return None if found is _NOTHING else found


def _read(given: Any, name: str) -> Any:
    try:
        return given.get(name, _NOTHING) if _is_mapping(given) else getattr(given, name, _NOTHING)
    except Exception:  # noqa: BLE001 - an object of the application's; what it does not tell is not there
        return _NOTHING


def _task_of(answer: Any) -> Any:
    task = _get(answer, "task")
    return _get(task, "id") if task is not None else _get(answer, "task_id")


def _seconds(value: Any) -> float | None:
    if type(value) is datetime:
        return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()
    return sanitize.number(value)
