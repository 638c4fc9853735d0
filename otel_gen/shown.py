"""Shown: what of a generation's attributes other systems may see."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial
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


def _filtered(marks: dict[str, Any], attributes: dict[str, Any]) -> dict[str, Any]:
    """Keep what other systems may see, beside marks: no prompt, hotkey, error text or free text of the caller."""
    keys = tuple(attributes)
    as_they_are, numbers, others = _sorted(keys) if len(keys) <= _FEW else _sorted.__wrapped__(keys)
    shown = marks.copy()
    for key in as_they_are:
        value = attributes[key]
        if value is not None:
            shown[key] = value
    for key in numbers:
        value = attributes[key]
        if type(value) in _NUMBERS:
            shown[key] = value
    for key, look in others:
        value = attributes[key]
        if value is not None and (found := look(value)) is not None:
            shown[key] = found
    return shown


filtered = partial(_filtered, {})
"""Choose what other systems may see."""
marked = partial(_filtered, {sc.FILTERED: True})
"""The same, which says that it is not everything."""


def everything(attributes: dict[str, Any]) -> dict[str, Any]:
    """Keep all that is said, where content may be shown too."""
    return {key: value for key, value in attributes.items() if value is not None}


def _task_id_shown(value: Any) -> str | None:
    return value if isinstance(value, str) and _TASK_ID.fullmatch(value) else None


def _task_type_shown(value: Any) -> str:
    return value if value in sc.TASK_TYPES else sc.OTHER


_NUMBERS = frozenset((bool, int, float))
_FEW = 64


_LOOKS: dict[str, Callable[[Any], Any]] = {
    sc.TASK_ID: _task_id_shown,
    sc.TASK_TYPE: _task_type_shown,
    sc.ERROR_TYPE: label,
}
"""A caller's words are shown only where they come from a closed set or have the form of an id."""


@lru_cache(maxsize=256)
def _sorted(keys: tuple[str, ...]) -> tuple[list[str], list[str], list[tuple[str, Callable[[Any], Any]]]]:
    """Sort keys: whose values are shown as they are, only where they are numbers, and with what is left of them.

    The spans of a service have the same few sets of keys again and again.
    """
    as_they_are = [key for key in keys if key in _VISIBLE or _is_artifacts(key)]
    numbers = [key for key in keys if _is_callers(key)]
    return as_they_are, numbers, [(key, _LOOKS[key]) for key in keys if key in _LOOKS]


def _is_artifacts(key: str) -> bool:
    return key.startswith(sc.ARTIFACT) and not key.endswith(".staged")


def _is_callers(key: str) -> bool:
    """Tell a key of the caller's own that may be shown; a prompt or a hotkey may be one."""
    for prefix in (sc.ATTRIBUTE, sc.FEEDBACK_PREFIX, sc.GPU):
        if key.startswith(prefix):
            return _NAME.fullmatch(key, len(prefix)) is not None
    return False
