"""Threads: what works in the background of the application, and may not always be had."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable


def started(run: Callable[[], None], name: str) -> threading.Thread | None:
    """Start a thread that ends with the process; None where there are no more threads today."""
    thread = threading.Thread(target=run, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread


def spare_cores() -> int:
    """Count the cores that this process may use, but for one that stays the application's; at least 1."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(usable - 1, 1)
