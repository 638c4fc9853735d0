"""`generation(...)` and `stage(...)`: one object is `with`, `async with` and decorator, new per entry."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any

from otel_gen.decorating import decorate
from otel_gen.handles import Generation, stages_open_as
from otel_gen.install import active
from otel_gen.scope import current
from otel_gen.steps import Stage


class Nothing:
    """Stands for a generation or stage where nothing is recorded: every call is accepted and does nothing."""

    id = ""
    task_id = None
    durable = False
    context = None
    name = ""

    def stage(self, name: str = "", /, **_: Any) -> stage:
        """Give a stage that records nothing."""
        return stage(name).of(self)

    def _nothing(self, /, *_: Any, **__: Any) -> None:
        """Do nothing."""

    set = enhanced_prompt = output = submitted = withheld = failed = _nothing


NOTHING = Nothing()


class _Block:
    """What both blocks share. `_entered` holds this object's open handles, innermost last."""

    _entered: list[Any]

    def __enter__(self) -> Any:
        handle = self.begin()
        if handle is not NOTHING:
            handle.attach()
        self._entered.append(handle)
        return handle

    def begin(self) -> Any:
        """Open a handle; one that capture could not start (it said so) records nothing."""
        raise NotImplementedError

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
        return decorate(self._fresh, function)

    def _fresh(self) -> _Block:
        raise NotImplementedError


class generation(_Block):  # noqa: N801 - reads as the statement that it is
    """Record one attempt at a task: `with`, `async with` or decorator; no-op until configure().

    Keywords: task_type, prompt, image (bytes, base64, data URL or path), task_id, validator_uid,
    validator_hotkey, config, attempt; any other becomes an attribute. Entering gives the handle.
    """

    def __init__(self, /, **keywords: Any) -> None:
        self._entered = []
        self._keywords = keywords

    def begin(self) -> Any:
        capture = active()
        handle = NOTHING if capture is None else Generation(capture, self._keywords)
        return NOTHING if handle.context is None else handle

    def _fresh(self) -> _Block:
        return generation(**self._keywords)


class stage(_Block):  # noqa: N801
    """Record one step of the current generation (or of the one it was opened from); no-op without one."""

    def __init__(self, name: str = "", /, **attributes: Any) -> None:
        self._entered = []
        self._name, self._attributes = name or attributes.pop("name", ""), attributes
        self._generation: Any = None

    def of(self, generation: Any) -> stage:
        """Make it a stage of this generation, whatever is current where it is entered."""
        self._generation = generation
        return self

    def begin(self) -> Any:
        owner = self._generation or current_generation()
        if owner is None or owner is NOTHING or owner.over:
            return NOTHING
        handle = Stage(owner, self._name, self._attributes)
        return NOTHING if handle.context is None else handle

    def _fresh(self) -> _Block:
        return stage(self._name, **self._attributes).of(self._generation)


stages_open_as(stage)


def current_generation() -> Generation | None:
    """Give the generation of this context; None where there is none, or where it has ended."""
    scope = current.get()
    return None if scope is None or scope.generation.over else scope.generation


def bind(function: Callable[..., Any]) -> Callable[..., Any]:
    """Carry this context (generation, stage, span) into a thread or executor: `pool.submit(bind(f), x)`."""
    import contextvars

    context = contextvars.copy_context()

    @functools.wraps(function)
    def bound(*args: Any, **kwargs: Any) -> Any:
        return context.copy().run(function, *args, **kwargs)

    return bound
