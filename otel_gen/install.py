"""The one place that knows whether this process is configured; blocks ask it at every entry."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otel_gen.capture import Capture

_active: Capture | None = None
_first_use: Callable[[], None] | None = None


def active() -> Capture | None:
    """Give the capture of this process; None while nothing is to be recorded."""
    if _active is None and _first_use is not None:
        _use()
    return _active


def on_first_use(configure: Callable[[], None]) -> None:
    """Configure with the first generation or verdict, unless the application does so itself before."""
    global _first_use
    _first_use = configure


def _use() -> None:
    global _first_use
    configure, _first_use = _first_use, None
    if configure is not None:
        configure()


def install(capture: Capture | None) -> None:
    """Set, or with None remove, the capture of this process."""
    global _active, _first_use
    _active, _first_use = capture, None
