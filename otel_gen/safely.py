"""Safely: the capture guard of what belongs to no generation: module functions, integrations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from otel_gen.guard import Faults
from otel_gen.install import active

_Found = TypeVar("_Found")


def safely(place: str, work: Callable[[], _Found], otherwise: _Found) -> _Found:
    """Give what the work gives; whatever it raises is reported and `otherwise` given."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - the capture guard
        faults.report(place, error)
        return otherwise


def count_fault(place: str) -> None:
    """Count a fault in the journal of this process, where it has one."""
    capture = active()
    if capture is not None:
        capture.journal.count("capture_errors", place)


faults = Faults(count_fault)
