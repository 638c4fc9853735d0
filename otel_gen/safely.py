"""Safely: the capture guard for functions that belong to no handle."""

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
        _faults.report(place, error)
        return otherwise


def _count(place: str) -> None:
    capture = active()
    if capture is not None:
        capture.journal.count("capture_errors", place)


_faults = Faults(_count)
