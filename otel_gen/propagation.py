"""Propagation: the headers that carry a generation's id, its task and its trace from process to process."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry import baggage, propagate

from otel_gen import attributes as attrs
from otel_gen import sanitize, tracing
from otel_gen.blocks import current_generation
from otel_gen.foreign import valid_id
from otel_gen.safely import safely

GENERATION_ID: Final = "X-Generation-Id"
TASK_ID: Final = "X-Task-Id"
VALIDATOR_UID: Final = "X-Validator-Uid"
VALIDATOR_HOTKEY: Final = "X-Validator-Hotkey"

BAGGAGE_GENERATION_ID: Final = "gen3d.generation.id"
"""The same ids as W3C baggage: services that know only OpenTelemetry hand them on."""
BAGGAGE_TASK_ID: Final = "gen3d.task.id"

_FIT = re.compile(r"[!-~]{1,256}")
_LONGEST: Final = 8192
"""Characters of a header that is looked at; W3C baggage may have as many."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What came with a request or an answer; None for what did not, or not in the right form."""

    generation_id: str | None = None
    task_id: str | None = None
    validator_uid: int | None = None
    validator_hotkey: str | None = None

    def task(self) -> dict[str, Any]:
        """Give what is known of the task, as keywords of `generation()`."""
        known = {
            "task_id": self.task_id,
            "validator_uid": self.validator_uid,
            "validator_hotkey": self.validator_hotkey,
        }
        return {name: value for name, value in known.items() if value is not None}


def headers(
    generation: Any = None,
    /,
    *,
    task_id: Any = None,
    validator_uid: Any = None,
    validator_hotkey: Any = None,
) -> dict[str, str]:
    """Make headers for a request: the ids of the current generation (or the given one), W3C trace context.

    Where a task begins there is no generation yet: give its `task_id` and validator. They are for services
    of your own: a generation's validator is not handed on unless it is given. Never raises; what does not
    fit into a header is left out.
    """
    return safely("headers", lambda: _written(generation, task_id, validator_uid, validator_hotkey), {})


def _written(generation: Any, task_id: Any, uid: Any, hotkey: Any) -> dict[str, str]:
    generation = generation or current_generation()
    id_ = generation.id if generation is not None else ""
    task = attrs.task_id(task_id) or (generation.task_id if generation is not None else None)
    uid = sanitize.uid(uid)
    given = {
        GENERATION_ID: id_,
        TASK_ID: task,
        VALIDATOR_UID: None if uid is None else str(uid),
        VALIDATOR_HOTKEY: sanitize.text(hotkey, _LONGEST),
    }
    found = {name: value for name, value in given.items() if value and _FIT.fullmatch(value)}
    return _trace_context({BAGGAGE_GENERATION_ID: id_, BAGGAGE_TASK_ID: task}) | found


def _trace_context(carried: Mapping[str, str | None]) -> dict[str, str]:
    """Let the application's own propagators write; a neighbour that raises costs only the trace."""
    context = tracing.current_context()
    for name, value in carried.items():
        context = baggage.set_baggage(name, value, context) if value else context
    found: dict[str, str] = {}
    safely("propagator", lambda: propagate.inject(found, context), None)
    return found


def read(headers: Any) -> Carried:
    """Read the ids from headers: a mapping in any case of letters, or pairs of str or bytes (ASGI).

    Never raises. What the headers do not say, W3C baggage may.
    """
    return safely("read headers", lambda: _read(_lowered(headers)), Carried())


def _read(found: dict[str, str]) -> Carried:
    bags = _baggage(found) if "baggage" in found else {}
    id_ = (found.get(GENERATION_ID.lower()) or str(bags.get(BAGGAGE_GENERATION_ID, ""))).strip().lower()
    task = found.get(TASK_ID.lower()) or bags.get(BAGGAGE_TASK_ID)
    return Carried(
        id_ if valid_id(id_) else None,
        attrs.task_id(task),
        sanitize.uid(found.get(VALIDATOR_UID.lower())),
        sanitize.text(found.get(VALIDATOR_HOTKEY.lower()), 256) or None,
    )


def _baggage(found: dict[str, str]) -> Mapping[str, object]:
    return baggage.get_all(propagate.extract({"baggage": found["baggage"]}, tracing.EMPTY))


def _lowered(headers: Any) -> dict[str, str]:
    """Take the headers that matter, their names in small letters; the first of a name counts."""
    pairs: Iterable[tuple[Any, Any]] = headers.items() if hasattr(headers, "items") else headers
    found: dict[str, str] = {}
    for name, value in pairs or ():
        key, text = _plain(name).lower(), _plain(value)
        if key and len(text) <= _LONGEST:
            found.setdefault(key, text)
    return found


def _plain(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else sanitize.text(value, _LONGEST) or ""


@contextmanager
def continued(headers: Any) -> Iterator[Carried]:
    """Work in the trace that the headers name, and give what they carry.

    A span that stands in the context already (of a server's instrumentation) has done so, and stays.
    """
    attached = safely("continue a trace", lambda: tracing.attach(tracing.arriving(_lowered(headers))), None)
    try:
        yield read(headers)
    finally:
        if attached is not None:
            tracing.detach(attached)
