"""Shown: what of a generation's attributes other systems may see."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from otel_gen import semconv as sc
from otel_gen.failures import label

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_TASK_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_VISIBLE = frozenset(
    (
        sc.GENERATION_ID, sc.TASK_ATTEMPT, sc.PROMPT_LENGTH, sc.VALIDATOR_UID, sc.MINER_UID,
        sc.MINER_VERSION, sc.NETWORK, sc.MINER_CONFIG_HASH, sc.SAID, sc.SUBMISSION_TIME, sc.REJECTION_VALUE,
        sc.NUM_GAUSSIANS, sc.FILE_SIZE_BYTES, sc.FILE_SIZE_MB, sc.CLIP_SCORE, sc.CLIP_PASS,
        sc.COUNT_PASS, sc.VALIDATION_PASS, sc.SHED, sc.STAGE_STATUS, sc.TRUNCATED,
    )
)  # fmt: skip


def filtered(attributes: dict[str, Any]) -> dict[str, Any]:
    """Keep what other systems may see: no prompt, hotkey, error text or free text of the caller."""
    shown: dict[str, Any] = {}
    for key, value in attributes.items():
        if value is None:
            continue
        look = _look(key)
        if look is _as_it_is:
            shown[key] = value
        elif look is _number_shown:  # most of them: without a call
            if type(value) in _NUMBERS:
                shown[key] = value
        elif look is not None:
            found = look(value)
            if found is not None:
                shown[key] = found
    return shown


def everything(attributes: dict[str, Any]) -> dict[str, Any]:
    """Keep all that is said, where content may be shown too."""
    return {key: value for key, value in attributes.items() if value is not None}


def _task_id_shown(value: Any) -> str | None:
    return value if isinstance(value, str) and _TASK_ID.fullmatch(value) else None


def _task_type_shown(value: Any) -> str:
    return value if value in sc.TASK_TYPES else sc.OTHER


def _number_shown(value: Any) -> Any:
    return value if type(value) in _NUMBERS else None


_NUMBERS = frozenset((bool, int, float))


_LOOKS: dict[str, Callable[[Any], Any]] = {
    sc.TASK_ID: _task_id_shown,
    sc.TASK_TYPE: _task_type_shown,
    sc.ERROR_TYPE: label,
}
"""A caller's words are shown only where they come from a closed set or have the form of an id."""


@lru_cache(maxsize=4096)
def _look(key: str) -> Callable[[Any], Any] | None:
    """Give what makes a value fit for other eyes; None for what stays in the record."""
    if key in _VISIBLE or (key.startswith(sc.ARTIFACT) and not key.endswith(".staged")):
        return _as_it_is
    for prefix in (sc.ATTRIBUTE, sc.FEEDBACK_PREFIX, sc.GPU):
        if key.startswith(prefix):  # a prompt or a hotkey may be a caller's key
            return _number_shown if _NAME.fullmatch(key, len(prefix)) else None
    return _LOOKS.get(key)


def _as_it_is(value: Any) -> Any:
    return value
