"""`generation(...)` and `stage(...)`: one object is `with`, `async with` and decorator, new per entry."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from types import TracebackType
from typing import Any

from otel_gen import handles
from otel_gen.handles import Generation, Stage
from otel_gen.install import active


class Nothing:
    """Stands for a generation or stage where nothing is recorded: every call is accepted and does nothing."""

    id = ""
    durable = False
    name = ""

    def stage(self, name: str = "", **_: Any) -> stage:
        """Give a stage that records nothing."""
        return stage(name, _generation=self)

    def set(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    enhanced_prompt = output = submitted = withheld = failed = set


NOTHING = Nothing()


class _Block:
    """What both blocks share. `_entered` holds this object's open handles, innermost last."""

    def __init__(self) -> None:
        self._entered: list[Any] = []

    def _open(self) -> Any:
        raise NotImplementedError

    def __enter__(self) -> Any:
        handle = self._open()
        if handle is not NOTHING:
            handle.attach()
        self._entered.append(handle)
        return handle

    def _leave(self, error: BaseException | None) -> Any:
        handle = self._mine()
        if handle is not NOTHING:
            handle.detach()
            handle.finish(error)
        return handle

    def _mine(self) -> Any:
        """Take the handle that this context entered last, else the one entered last anywhere."""
        here = handles.current.get()
        if here is not None and here in self._entered:
            self._entered.remove(here)
            return here
        return self._entered.pop() if self._entered else NOTHING

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        handle = self._leave(error)
        if type(handle) is Generation:
            handle.wait()

    async def __aenter__(self) -> Any:
        return self.__enter__()

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        handle = self._leave(error)
        if type(handle) is Generation:
            await handle.wait_async()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate a function, coroutine function, generator or async generator: one block per call."""
        return _decorate(self._fresh, function)

    def _fresh(self) -> _Block:
        raise NotImplementedError


class generation(_Block):  # noqa: N801 - reads as the statement that it is
    """Record one attempt at a task: `with`, `async with` or decorator; no-op until configure().

    Keywords: task_type, prompt, image (bytes, base64, data URL or path), task_id, validator_uid,
    validator_hotkey, config, attempt; any other becomes an attribute. Entering gives the handle.
    """

    def __init__(self, **keywords: Any) -> None:
        super().__init__()
        self._keywords = keywords

    def _open(self) -> Any:
        capture = active()
        return NOTHING if capture is None else Generation(capture, self._keywords)

    def _fresh(self) -> _Block:
        return generation(**self._keywords)


class stage(_Block):  # noqa: N801
    """Record one step of the current generation (or of the one it was opened from); no-op without one."""

    def __init__(self, name: str, /, *, _generation: Any = None, **attributes: Any) -> None:
        super().__init__()
        self._name, self._attributes, self._generation = name, attributes, _generation

    def _open(self) -> Any:
        owner = self._generation or current_generation()
        if owner is None or owner is NOTHING or owner.capture.closed:
            return NOTHING
        return Stage(owner, self._name, self._attributes)

    def _fresh(self) -> _Block:
        return stage(self._name, _generation=self._generation, **self._attributes)


def current_generation() -> Generation | None:
    """Give the generation of this context; None where there is none."""
    scope = handles.current.get()
    return None if scope is None else scope.generation


def bind(function: Callable[..., Any]) -> Callable[..., Any]:
    """Carry this context (generation, stage, span) into a thread or executor: `pool.submit(bind(f), x)`."""
    import contextvars  # noqa: PLC0415 - the one use

    context = contextvars.copy_context()

    @functools.wraps(function)
    def bound(*args: Any, **kwargs: Any) -> Any:
        return context.copy().run(function, *args, **kwargs)

    return bound


def _decorate(fresh: Callable[[], _Block], function: Callable[..., Any]) -> Callable[..., Any]:
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(_decorate(fresh, function.__func__))
    if inspect.isasyncgenfunction(function):
        return _async_generator(fresh, function)
    if inspect.iscoroutinefunction(function):
        return _coroutine(fresh, function)
    if inspect.isgeneratorfunction(function):
        return _generator(fresh, function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with fresh():
            return function(*args, **kwargs)

    return call


def _coroutine(fresh: Callable[[], _Block], function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        async with fresh():
            return await function(*args, **kwargs)

    return call


class _Steps:
    """A block around a generator: current inside each step, not for the caller between two."""

    def __init__(self, block: _Block) -> None:
        self.handle = block._open()
        self.real = self.handle is not NOTHING

    def __enter__(self) -> None:
        if self.real:
            self.handle.attach()

    def __exit__(self, *_: object) -> None:
        if self.real:
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


def _generator(fresh: Callable[[], _Block], function: Callable[..., Any]) -> Callable[..., Any]:
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


def _async_generator(fresh: Callable[[], _Block], function: Callable[..., Any]) -> Callable[..., Any]:
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
