"""`generation(...)`: one object is `with`, `async with` and decorator, new per entry; and what goes with blocks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any

from otel_gen.decorating import decorate
from otel_gen.handles import Generation
from otel_gen.install import active
from otel_gen.scope import current
from otel_gen.steps import NOTHING, current_generation, stage

__all__ = ["NOTHING", "bind", "current_generation", "generation", "stage"]


class generation:  # noqa: N801 - reads as the statement that it is
    """Record one attempt at a task: `with`, `async with` or decorator; no-op until configure().

    Keywords: task_type, prompt, image (bytes, base64, data URL or path), task_id, validator_uid,
    validator_hotkey, config, attempt; any other becomes an attribute. Entering gives the handle.
    """

    def __init__(self, /, **keywords: Any) -> None:
        self._keywords = keywords
        self._entered: list[Any] = []
        """This object's open handles, innermost last."""

    def __enter__(self) -> Any:
        handle = self.begin()
        if handle is not NOTHING:
            handle.attach()
        self._entered.append(handle)
        return handle

    def begin(self) -> Any:
        """Open a handle; one that capture could not start (it said so) records nothing."""
        capture = active()
        handle = NOTHING if capture is None else Generation(capture, self._keywords)
        return NOTHING if handle.context is None else handle

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        handle = self._leave(error)
        if handle is not NOTHING:
            handle.wait()

    async def __aenter__(self) -> Any:
        return self.__enter__()

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        handle = self._leave(error)
        if handle is not NOTHING and not isinstance(error, GeneratorExit):  # what is closed must not await
            await handle.wait_async()

    def _leave(self, error: BaseException | None) -> Any:
        entered = self._entered
        handle = entered.pop() if len(entered) == 1 else self._mine()
        if handle is not NOTHING:
            handle.detach()
            handle.finish(error)
        return handle

    def _mine(self) -> Any:
        """Take the handle that this context entered last, else the one entered last anywhere."""
        here = current.get()
        for mine in () if here is None else (here, here.generation):
            if mine in self._entered:
                self._entered.remove(mine)
                return mine
        return self._entered.pop() if self._entered else NOTHING

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate a function, coroutine function, generator or async generator: one generation per call."""
        return decorate(self._fresh, function)

    def _fresh(self) -> generation:
        return generation(**self._keywords)


def bind(function: Callable[..., Any]) -> Callable[..., Any]:
    """Carry this context (generation, stage, span) into a thread or executor: `pool.submit(bind(f), x)`."""
    import contextvars

    context = contextvars.copy_context()

    @functools.wraps(function)
    def bound(*args: Any, **kwargs: Any) -> Any:
        return context.copy().run(function, *args, **kwargs)

    return bound
