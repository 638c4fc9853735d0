"""Bell: wakes one thread; safe to ring inside a signal handler, where Event.set could wait for itself."""

from __future__ import annotations

import contextlib
import queue


class Bell:
    """Rung by many, waited for by one."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()

    def ring(self) -> None:
        """Wake it now, or keep it from sleeping."""
        if self._calls.empty():
            self._calls.put(None)

    def wait(self, timeout: float) -> None:
        """Sleep until somebody rings, at most `timeout` seconds."""
        with contextlib.suppress(queue.Empty):
            self._calls.get(timeout=timeout)
        with contextlib.suppress(queue.Empty):
            while True:
                self._calls.get_nowait()
