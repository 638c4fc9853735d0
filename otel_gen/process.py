"""Process: the runtimes of this process by data_dir, and what happens to them at a fork and at the exit."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from dataclasses import replace
from typing import Any

from otel_gen import install, pipeline
from otel_gen.clock import Clock
from otel_gen.guard import log
from otel_gen.settings import Policy, resolve
from otel_gen.wiring import Runtime


class Process:
    """The runtimes of this process by data_dir; `lock` guards them."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.configured: Runtime | None = None
        self.others: dict[str, Runtime] = {}
        self.closing: list[Runtime] = []
        """Those that shutdown() is at: their files are still open."""
        self.hooked = False

    def runtimes(self) -> list[Runtime]:
        return [*([self.configured] if self.configured else []), *self.others.values()]

    def hook(self) -> None:
        if not self.hooked:
            self.hooked = True
            os.register_at_fork(
                before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child
            )
            atexit.register(_at_exit)


process = Process()


def runtime_for(data_dir: Any = None, *, leads: bool = False, policy: Policy | None = None) -> Runtime | None:
    """Give the configured runtime, or one for another data_dir (made on first use); None without either."""
    if data_dir is None:
        install.active()  # variables may stand ready to configure on first use
        if process.configured is not None:
            return process.configured
    with process.lock:
        configured = process.configured
        if data_dir is None:
            return configured
        settings = resolve({"data_dir": data_dir})
        if configured is not None and configured.settings.data_dir == settings.data_dir:
            return configured
        other = process.others.get(settings.data_dir)
        if other is None:
            process.hook()
            settings = replace(settings, otlp=False, metrics_port=None)
            other = process.others[settings.data_dir] = Runtime(settings, Clock(), leads=leads, policy=policy)
        if leads:
            other.lead()
        return other


def serve() -> None:
    """Begin before the first event, because a service has started: what a killed one left must not wait for work.

    Not in configure(), which a master may call before it forks.
    """
    configured = process.configured
    if configured is not None:
        with configured.faults.quiet("start of the service"):
            configured.begin()


def shutdown(timeout: float | None = 10.0) -> bool:
    """Stop recording; wait until what is settled of this process is delivered and say whether it is.

    What is not, or is lost, is a warning in the log.
    """
    until = time.monotonic() + (10.0 if timeout is None else timeout)
    with process.lock:
        process.closing += (runtimes := process.runtimes())
        process.configured, process.others = None, {}
        install.install(None)
    delivered = True
    for runtime in runtimes:
        try:
            if not runtime.close(max(until - time.monotonic(), 0.1)):
                delivered = False
                log.warning("otel_gen: %s", runtime.undelivered())
        finally:
            process.closing.remove(runtime)
    pipeline.flush(max(until - time.monotonic(), 0.1))
    return delivered


class _Fork(threading.local):
    """What this thread's fork holds; meanwhile another thread may fork, configure or shut down."""

    def __init__(self) -> None:
        self.held = contextlib.ExitStack()
        self.quiet: dict[Runtime, bool] = {}


_fork = _Fork()


def _before_fork() -> None:
    _fork.quiet = {}
    for runtime in (*process.closing, *process.runtimes()):
        _fork.quiet[runtime] = runtime.hold(_fork.held)


def _after_in_parent() -> None:
    _fork.held.close()


def _after_in_child() -> None:
    process.lock = threading.RLock()
    _fork.held = contextlib.ExitStack()  # the locks of another process
    for runtime in {**_fork.quiet, **dict.fromkeys(process.runtimes())}:
        runtime.forget()
    configured = process.configured
    if configured is not None:
        process.configured = _heir(configured)
        install.install(process.configured.capture)
    elif process.closing:
        install.install(None)
    process.others, process.closing = {path: _heir(one) for path, one in process.others.items()}, []


def _heir(runtime: Runtime) -> Runtime:
    return runtime.heir(quiet=_fork.quiet.get(runtime, False))


def _at_exit() -> None:
    runtimes = process.runtimes()
    if runtimes:
        shutdown(max(runtime.settings.deadline for runtime in runtimes))
