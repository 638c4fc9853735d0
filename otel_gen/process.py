"""Process: the runtimes of this process by data_dir, and what happens to them at a fork and at the exit."""

from __future__ import annotations

import atexit
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
    """Stop recording; wait until what is settled of this process is delivered and say whether it is."""
    until = time.monotonic() + (10.0 if timeout is None else timeout)
    with process.lock:
        runtimes, process.configured, process.others = process.runtimes(), None, {}
        install.install(None)
    delivered = [bool(runtime.close(max(until - time.monotonic(), 0.1))) for runtime in runtimes]
    pipeline.flush(max(until - time.monotonic(), 0.1))
    return all(delivered)


def _before_fork() -> None:
    for runtime in process.runtimes():
        runtime.before_fork()


def _after_in_parent() -> None:
    for runtime in process.runtimes():
        runtime.after_fork_in_parent()


def _after_in_child() -> None:
    process.lock = threading.RLock()
    configured = process.configured
    if configured is not None:
        process.configured = configured.in_child()
        install.install(process.configured.capture)
    process.others = {path: runtime.in_child() for path, runtime in process.others.items()}


def _at_exit() -> None:
    runtimes = process.runtimes()
    if runtimes and not shutdown(max(runtime.settings.deadline for runtime in runtimes)):
        log.warning("otel_gen: not everything is delivered at exit; the journal keeps it for the next start")
