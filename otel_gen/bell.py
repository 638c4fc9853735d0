"""Bell and Latch: what a threading.Event does, where signal handlers may raise.

Event.set in a handler could wait for itself; an Event.wait that a handler interrupts may leave the inner lock
taken, and whoever sets it waits for ever.
"""

from __future__ import annotations

import contextlib
import queue
import threading


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


class Latch:
    """Set once, waited for by any; a wait that is interrupted leaves nothing behind that another meets."""

    __slots__ = ("_lock", "_set")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._set = False

    def set(self) -> None:
        """Let all pass, now and later."""
        if not self._set:
            self._set = True
            self._lock.release()

    def is_set(self) -> bool:
        """Tell whether it was set."""
        return self._set

    def wait(self, timeout: float = -1) -> bool:
        """Wait until it is set, at most `timeout` seconds unless that is negative; tell whether it is."""
        if not self._set and self._lock.acquire(timeout=timeout):
            self._lock.release()
        return self._set
