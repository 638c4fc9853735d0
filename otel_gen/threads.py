"""Threads: what works in the background of the application, and may not always be had."""

from __future__ import annotations

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
