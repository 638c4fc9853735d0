"""The one guard of capture: telemetry never raises into the application, it counts and says so."""

from __future__ import annotations

import functools
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any, TypeVar, cast

log = logging.getLogger("otel_gen")
_Call = TypeVar("_Call", bound=Callable[..., Any])
_EVERY = 60.0


class Faults:
    """Count what went wrong inside capture and log it once a minute per place."""

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count
        self._said: dict[str, float] = {}
        self._lock = threading.Lock()  # guards _said

    def report(self, place: str, error: BaseException) -> None:
        """Take note of an exception that must not reach the application; one of its signal handlers' goes on to it."""
        raise_a_signals(error)
        self._count("api")
        with self._lock:
            now = time.monotonic()
            if now - self._said.get(place, -_EVERY) < _EVERY:
                return
            self._said[place] = now
        log.warning("otel_gen could not record (%s): %s", place, type(error).__name__, exc_info=error)

    @contextmanager
    def quiet(self, place: str) -> Iterator[None]:
        """Keep what a block raises from the application."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the capture guard, for a block
            self.report(place, error)


def raise_a_signals(error: BaseException) -> None:
    """Raise again what a signal handler raised: it is a time-out of the application's, not a fault of ours."""
    if threading.current_thread() is not threading.main_thread():
        return
    handlers = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    step = error.__traceback__ if handlers else None
    while step is not None:
        if step.tb_frame.f_code in handlers:
            raise error
        step = step.tb_next


def _code_of(handler: Any) -> CodeType | None:
    """Find what a signal handler runs: a function, a method, a partial or a callable object."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    called = type(handler).__call__ if callable(handler) else None
    for one in (handler, getattr(handler, "__func__", None), called):
        code = getattr(one, "__code__", None)
        if isinstance(code, CodeType):
            return code
    return None


def guarded(method: _Call) -> _Call:
    """Make a method of an object with `.faults` return None instead of raising."""

    @functools.wraps(method)
    def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the capture guard of calls
            self.faults.report(method.__qualname__, error)
            return None

    return cast(_Call, call)


def guarded_step(method: _Call) -> _Call:
    """Do the same for a method of one argument by position, in half the time: every span goes through it."""

    @functools.wraps(method)
    def call(self: Any, argument: Any, /) -> Any:
        try:
            return method(self, argument)
        except Exception as error:  # noqa: BLE001 - the capture guard of steps
            self.faults.report(method.__qualname__, error)
            return None

    return cast(_Call, call)
