"""The one place that knows whether this process is configured; blocks ask it at every entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otel_gen.capture import Capture

_active: Capture | None = None


def active() -> Capture | None:
    """Give the capture of this process; None while nothing is to be recorded."""
    return _active


def install(capture: Capture | None) -> None:
    """Set, or with None remove, the capture of this process."""
    global _active
    _active = capture
