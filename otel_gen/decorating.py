"""Decorating: one block per call of a function, coroutine function, generator or async generator."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, Protocol

from otel_gen.handles import Generation
from otel_gen.scope import Place, place, return_to


class Block(Protocol):
    """What is wrapped around a call."""

    def begin(self) -> Any:
        """Give a handle that is not attached yet, or one that records nothing."""
        ...

    def __enter__(self) -> Any: ...

    def __exit__(self, *_: Any) -> None: ...

    async def __aenter__(self) -> Any: ...

    async def __aexit__(self, *_: Any) -> None: ...


def decorate(fresh: Callable[[], Block], function: Callable[..., Any]) -> Callable[..., Any]:
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(decorate(fresh, function.__func__))
    if inspect.isasyncgenfunction(function):
        return _async_generator(fresh, function)
    if is_coroutine_function(function):
        return _coroutine(fresh, function)
    if inspect.isgeneratorfunction(function):
        return _generator(fresh, function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with fresh():
            return function(*args, **kwargs)

    return call


def is_coroutine_function(function: Any) -> bool:
    """Tell whether a call is to be awaited; also that of an object whose __call__ is a coroutine function."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004
    )


def _coroutine(fresh: Callable[[], Block], function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        async with fresh():
            return await function(*args, **kwargs)

    return call


class _Steps:
    """A block around a generator: current inside each step, not for the caller between two.

    What the body had entered when it stepped out (a stage around a `yield`) is current again in the next.
    """

    def __init__(self, block: Block) -> None:
        self.handle = block.begin()
        self.real = self.handle.context is not None
        self._inside: Place | None = None

    def __enter__(self) -> None:
        if self.real:
            self.handle.attach()
            if self._inside is not None:
                return_to(self._inside)

    def __exit__(self, *_: object) -> None:
        if self.real:
            self._inside = place()
            self.handle.detach()

    def finish(self, error: BaseException | None) -> None:
        if self.real:
            self.handle.finish(error)
            if type(self.handle) is Generation:
                self.handle.wait()

    async def finish_async(self, error: BaseException | None) -> None:
        if self.real:
            self.handle.finish(error)
            if type(self.handle) is Generation and not isinstance(error, GeneratorExit):
                await self.handle.wait_async()


def _generator(fresh: Callable[[], Block], function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        steps, inner = _Steps(fresh()), function(*args, **kwargs)
        step, value = inner.send, None
        try:
            while True:
                with steps:
                    given = step(value)
                try:
                    step, value = inner.send, (yield given)
                except GeneratorExit:
                    with steps:
                        inner.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - handed to the wrapped generator
                    step, value = inner.throw, error
        except StopIteration as stop:
            steps.finish(None)
            return stop.value
        except BaseException as error:
            steps.finish(error)
            raise

    return call


def _async_generator(fresh: Callable[[], Block], function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        steps, inner = _Steps(fresh()), function(*args, **kwargs)
        step, value = inner.asend, None
        try:
            while True:
                with steps:
                    given = await step(value)
                try:
                    step, value = inner.asend, (yield given)
                except GeneratorExit:
                    with steps:
                        await inner.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - handed to the wrapped generator
                    step, value = inner.athrow, error
        except StopAsyncIteration:
            await steps.finish_async(None)
        except BaseException as error:
            await steps.finish_async(error)
            raise

    return call
