"""Words of the legacy logger as attributes: what each call says, whenever it is said."""

from __future__ import annotations

import re
from typing import Any

from otel_gen import sanitize, words
from otel_gen import semconv as sc

Attributes = dict[str, Any]
_MAX_SECONDS = 1e9
_TIME = "_time"
_YES = re.compile(r"true|yes|on|1", re.IGNORECASE)


def submission(submitted: Any, reason: Any, uid: int | None, wall: int) -> Attributes:
    """Say that the result was handed to the validator, or kept back and why."""
    return words.submitted(uid, wall) if _yes(submitted) else words.withheld(reason)


def _yes(value: Any) -> bool:
    plain = sanitize.clean(value, limit=16)
    return bool(_YES.fullmatch(plain)) if isinstance(plain, str) else bool(plain)


def failure(error_type: Any, message: Any, stack: Any) -> Attributes:
    """Say that the generation failed, in the caller's own words."""
    return words.failed(_named(error_type), _named(message), stack=stack)


def _named(value: Any) -> Any:
    """Take an exception, or its class, where a text was meant."""
    if isinstance(value, type):
        return value.__qualname__
    if isinstance(value, BaseException):
        from otel_gen.failures import describe

        found = describe(value)
        return found.message or found.error_class
    return value


def stage_of(component: Any) -> str:
    """Name the stage of a component: `sdxl_time` is the time of the stage `sdxl`."""
    name = sanitize.text(component, 256) or "stage"
    return name[: -len(_TIME)] if name.endswith(_TIME) and name != _TIME else name


def seconds_of(duration: Any) -> float | None:
    """Read a duration in seconds; None for what is none."""
    found = sanitize.number(duration)
    return None if found is None or not 0 <= found <= _MAX_SECONDS else round(float(found), 6)


def reported(component: Any, seconds: float) -> Attributes:
    """Say a time that is no stage: a total, or what was measured when the generation had ended."""
    return {f"{sc.TIMING}{stage_of(component)}{_TIME}": seconds}


def is_total(component: Any) -> bool:
    """Tell whether a component is the whole: never a stage, for it would count every stage twice."""
    return stage_of(component) == "total"
