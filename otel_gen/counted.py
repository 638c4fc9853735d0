"""Counted: what an event counts. The leader, `verify` and a deletion, which keeps the counts, ask here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from otel_gen import aggregate
from otel_gen import semconv as sc
from otel_gen.events import Counted, Event, Noted, Said, Started

Count: TypeAlias = tuple[str, str, int]
"""A metric, without `gen3d_`; its label; how many. What no line shows is counted so."""


def count_of(event: Event) -> Count | None:
    """Say what an event counts; None for most. A replayed span counts nothing."""
    find = _COUNTS.get(type(event))
    return None if find is None else find(event)


def _started(event: Started) -> Count:
    return "generations_started", aggregate.task_type(event.attributes.get(sc.TASK_TYPE)), 1


def _submitted(event: Noted) -> Count | None:
    if event.attributes.get(sc.SAID) != "submitted":
        return None
    return "submissions", aggregate.validator(event.attributes.get(sc.VALIDATOR_UID)), 1


def _told(event: Counted) -> Count:
    return event.name, event.label, event.n


_COUNTS: dict[type, Callable[[Any], Count | None]] = {
    Started: _started, Noted: _submitted, Said: _submitted, Counted: _told,
}  # fmt: skip
