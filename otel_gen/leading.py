"""Leading: the thread that tries to be the leader and, while it is, does one pass after the other."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from otel_gen import ballast, commands, index
from otel_gen.bell import Bell
from otel_gen.clock import Clock
from otel_gen.errors import StorageError
from otel_gen.inherited import close_inherited
from otel_gen.leader import Leader
from otel_gen.tree import DOT, LOCK, LeaderLock, Tree

log = logging.getLogger("otel_gen")


class LeaderThread:
    """Lead whenever the lock is free. `_step` guards the leader against a fork or a drain beside a pass.

    `after` is called after each pass or try, with whether this process leads. While `idle` says that there is
    nothing to lead, nothing is opened or made.
    """

    PASS = 0.25  # seconds between two passes of a leader
    TRY = 1.0  # seconds between two tries to become one
    WORST = 5.0  # longest pause after errors
    LOOK = 10.0  # between two looks at the ballast

    def __init__(
        self, open_tree: Callable[[], Tree], clock: Clock, *, today: dict[str, Any] | None = None,
        after: Callable[[bool], None] = lambda leads: None, idle: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self._open_tree, self._clock, self._today = open_tree, clock, today
        self._after, self._idle = after, idle
        self._step = threading.Lock()
        self._wake = Bell()
        self._stop = False
        self._tree: Tree | None = None
        self._lock: LeaderLock | None = None
        self._leader: Leader | None = None
        self._pause = 0.0
        self._paced = True
        self._said = -60.0
        self._look = 0.0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, once; again it is a call to look at once. Raises RuntimeError where there is no thread."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="otel_gen-leader", daemon=True)
            thread.start()
            self._thread = thread
        else:
            self._wake.ring()

    def stop(self, timeout: float) -> None:
        """End the thread and step down."""
        self._stop = True
        self._wake.ring()
        if self._thread is not None:
            self._thread.join(timeout)
        if self._step.acquire(timeout=timeout):
            try:
                self._step_down()
            finally:
                self._step.release()

    def _run(self) -> None:
        while not self._stop:
            # Whatever is raised there, by an application's log handler for one: this thread must live.
            with contextlib.suppress(Exception):
                self.once()
            with contextlib.suppress(Exception):
                self._after(self._leader is not None)
            self._wake.wait(self._pause or (self.PASS if self._leader is not None else self.TRY))
        with contextlib.suppress(Exception), self._step:  # stop() may not have waited for the last pass
            self._step_down()

    def hurry(self) -> None:
        """Give the interpreter lock away no more: the application waits for the last records."""
        self._paced, leader = False, self._leader
        if leader is not None:
            leader.paced = False

    def once(self, timeout: float = -1) -> bool:
        """Do one pass, if the lock can be had; tell whether one was done within the time."""
        if not self._step.acquire(timeout=timeout):
            return False
        try:
            done = self._pass()
        except Exception as error:  # noqa: BLE001 - whatever it is, the journal keeps all and this thread must live
            self._complain(error)
            return False
        finally:
            self._step.release()
        self._pause = 0.0
        return done

    def _pass(self) -> bool:
        if self._tree is None and self._idle():
            return False
        if self._tree is None or self._tree.gone():
            self._step_down()
            self._tree = self._open_tree()
            self._lock = LeaderLock(self._tree.dot)
        assert self._lock is not None  # noqa: S101 - made with the tree
        if self._leader is None:
            if not self._lock.take():
                return False
            self._leader = Leader(self._tree, self._clock, today=self._today, paced=self._paced)
        self._leader.step()
        commands.carry_out(self._leader)
        self._hold(self._tree)
        self._lock.beat(self._clock.boot())
        return True

    def _hold(self, tree: Tree) -> None:
        if time.monotonic() >= self._look:
            self._look = time.monotonic() + self.LOOK
            ballast.hold(tree.dot)

    def _complain(self, error: Exception) -> None:
        """Let the leader go to come back later, and say once a minute why nothing is delivered."""
        full = ballast.is_full(error) or index.is_full(error)
        if full and self._tree is not None and self.leads:
            ballast.release(self._tree.dot)
        self._pause = min(max(self._pause * 2, self.PASS), self.WORST)
        with contextlib.suppress(Exception):
            self._step_down()
        if time.monotonic() - self._said > 60:
            self._said = time.monotonic()
            of_the_disk = full or isinstance(error, (OSError, StorageError))  # its words say it all
            log.error(
                "otel_gen cannot deliver records, the journal keeps them: %s",
                error, exc_info=None if of_the_disk else error,
            )  # fmt: skip

    def _step_down(self) -> None:
        leader, lock, tree = self._leader, self._lock, self._tree
        self._leader = self._lock = self._tree = None
        with contextlib.ExitStack() as last_first:  # one that fails keeps none of the others open
            if tree is not None:
                last_first.callback(tree.close)
            if lock is not None:
                last_first.callback(lock.release)
            if leader is not None:
                last_first.callback(leader.close)

    # --- around a fork -----------------------------------------------------------------------------------
    def hold(self, timeout: float) -> bool:
        """Before a fork: close the index so that a child inherits no connection; False where a pass was too long."""
        if not self._step.acquire(timeout=timeout):
            return False
        if self._leader is not None:
            self._leader.delivery.index.close()
        return True

    def release(self) -> None:
        """After a fork, in the parent."""
        self._step.release()

    @property
    def leads(self) -> bool:
        """Tell whether this process holds the leader's lock."""
        return self._lock is not None and self._lock.fd >= 0

    def forget(self) -> None:
        """After a fork, in the child: close the lock, which would outlive its leader otherwise."""
        if self._lock is not None:
            with contextlib.suppress(OSError):  # a child that stops here would have no runtime, and hang
                self._lock.release()
        if self._tree is not None:
            close_inherited(os.path.join(os.path.realpath(self._tree.path), DOT, LOCK))
