"""The one place that knows whether this process is configured; blocks ask it at every entry."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otel_gen.capture import Capture

_active: Capture | None = None
_first_use: Callable[[], None] | None = None
_lock = threading.RLock()  # held while somebody configures, so that others wait for it
_configuring = False


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
    global _first_use, _configuring
    with _lock:
        if _first_use is None or _configuring:  # somebody was first; or what configures asks itself
            return
        _configuring = True
        try:
            _first_use()
        finally:
            _first_use, _configuring = None, False


def _after_in_child() -> None:
    global _lock, _configuring
    _lock, _configuring = threading.RLock(), False


os.register_at_fork(after_in_child=_after_in_child)


def install(capture: Capture | None) -> None:
    """Set, or with None remove, the capture of this process."""
    global _active, _first_use
    _active, _first_use = capture, None
