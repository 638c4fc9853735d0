"""Telling: a function of the same kind as another that tells what its call came to, inside whatever is around it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from otel_gen.decorating import is_coroutine_function
from otel_gen.zerocode.values import Call


class Told:
    """Around the inner call: keeps its result and tells its end. `ended` never raises."""

    def __init__(self, call: Call, ended: Callable[[BaseException | None], None]) -> None:
        self.call, self._ended = call, ended

    def __enter__(self) -> Call:
        return self.call

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        self._ended(error)


def telling(function: Any, told: Told) -> Callable[..., Any]:
    """Make a function, coroutine function, generator or async generator that tells its end."""
    if inspect.isasyncgenfunction(function):
        return _telling_async_generator(function, told)
    if is_coroutine_function(function):

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with told as call:
                call.result = await function(*args, **kwargs)
                return call.result

        return awaited
    if inspect.isgeneratorfunction(function):

        def generated(*args: Any, **kwargs: Any) -> Any:
            with told as call:
                call.result = yield from function(*args, **kwargs)
                return call.result

        return generated

    def called(*args: Any, **kwargs: Any) -> Any:
        with told as call:
            call.result = function(*args, **kwargs)
            return call.result

    return called


def _telling_async_generator(function: Any, told: Told) -> Callable[..., Any]:
    async def stepped(*args: Any, **kwargs: Any) -> Any:
        inner = function(*args, **kwargs)
        step, value = inner.asend, None
        with told:
            async with aclosing(inner):
                while True:
                    try:
                        given = await step(value)
                    except StopAsyncIteration:
                        return
                    try:
                        step, value = inner.asend, (yield given)
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # noqa: BLE001 - handed to the wrapped generator
                        step, value = inner.athrow, error

    return stepped
