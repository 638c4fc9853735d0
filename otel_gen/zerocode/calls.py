"""Calls: what happens around one call of a function that a mapping names."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from otel_gen.blocks import NOTHING, current_generation, generation, stage
from otel_gen.decorating import decorate, is_coroutine_function
from otel_gen.guard import Faults, guarded, log
from otel_gen.images import input_image
from otel_gen.install import active
from otel_gen.zerocode import outcomes
from otel_gen.zerocode.mapping import Plan, Target
from otel_gen.zerocode.modules import module
from otel_gen.zerocode.values import Call, Value

_DESCRIBED = ("enhanced_prompt", "negative_prompt")


def _count(place: str) -> None:
    capture = active()
    if capture is not None:
        capture.journal.count("capture_errors", place)


class _Seen:
    """A block for one call that keeps its handle."""

    handle: Any = NOTHING

    def begin(self) -> Any:
        self.handle = super().begin()  # type: ignore[misc]
        return self.handle


class _Stage(_Seen, stage):
    """The block of a stage's call."""


class _Generation(_Seen, generation):
    """The block of a generation's call."""


class _Around:
    """Is called in place of a target, as wrapt calls wrappers."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.faults = Faults(_count)
        self._told: set[str] = set()

    def __call__(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        if not self.wanted():
            return wrapped(*args, **kwargs)
        call = Call(wrapped, instance, args, kwargs)
        block = self.block(call)
        if block is None:
            return wrapped(*args, **kwargs)
        told = _Told(self, call, block)
        return decorate(lambda: block, _telling(wrapped, told))(*args, **kwargs)

    def wanted(self) -> bool:
        raise NotImplementedError

    def block(self, call: Call) -> Any:
        """Make the block of a call; None, and said so, where that failed."""
        raise NotImplementedError

    def ended(self, handle: Any, call: Call, error: BaseException | None) -> None:
        """Say inside the block what a call came to."""
        raise NotImplementedError

    def absent(self, value: Value, error: Exception) -> None:
        """Say once that a value leads nowhere: the mapping or the service is to be mended."""
        if value.text not in self._told:
            self._told.add(value.text)
            log.warning("otel_gen mapping: %s: %s: %s", self.plan.target, value.text, error)

    def outputs(self, call: Call) -> None:
        """Hand what was made to the generation."""
        found = call.take(self.plan.outputs, self.absent)
        gen = current_generation() if found else None
        if gen is None:
            return
        enhanced, negative = (found.pop(name, None) for name in _DESCRIBED)
        if enhanced is not None or negative is not None:
            gen.enhanced_prompt(enhanced, negative)
        found = {name: value for name, value in found.items() if not outcomes.is_empty(value)}
        if found:
            gen.output(**found)


class AroundStage(_Around):
    """One stage a call, inside a generation; elsewhere the call alone."""

    def wanted(self) -> bool:
        return current_generation() is not None

    @guarded
    def block(self, call: Call) -> Any:
        attributes = {**self.plan.attributes, **call.take(self.plan.arguments, self.absent)}
        return _Stage(self.plan.name or "stage", **attributes)

    @guarded
    def ended(self, handle: Any, call: Call, error: BaseException | None) -> None:
        if error is None:
            handle.set(**call.take(self.plan.results, self.absent))
            self.outputs(call)


class AroundGeneration(_Around):
    """One generation a call. `before`: wrap what could not be wrapped earlier; `after`: what there is is known."""

    def __init__(self, plan: Plan, before: Callable[[], None], after: Callable[[], None]) -> None:
        super().__init__(plan)
        self._before, self._after = before, after

    @guarded
    def wanted(self) -> bool:
        self._before()
        return active() is not None

    @guarded
    def block(self, call: Call) -> Any:
        keywords = {**self.plan.attributes, **call.take(self.plan.arguments, self.absent)}
        keywords.setdefault("task_type", self.task_type(keywords) or "TEXT-TO-3D")
        keywords.setdefault("config", self.config())
        return _Generation(**keywords)

    @guarded
    def task_type(self, keywords: dict[str, Any]) -> str:
        told = self.plan.task_type
        if told != "auto":
            return told
        image, _ = input_image("IMAGE-TO-3D", keywords.get("image"), keywords.get("prompt"))
        return "TEXT-TO-3D" if image is None else "IMAGE-TO-3D"

    @guarded
    def config(self) -> Any:
        """Look up the service's settings that are in force now."""
        told = self.plan.config
        if isinstance(told, Target):
            return _now(told)
        return {name: _now(target) for name, target in told.items()} or None

    @guarded
    def ended(self, handle: Any, call: Call, error: BaseException | None) -> None:
        if error is None:
            handle.set(**call.take(self.plan.results, self.absent))
            if not outcomes.is_error(call.result):
                self.outputs(call)
            headers = getattr(call.result, "headers", None)
            if self.plan.id_header and headers is not None:
                headers[self.plan.id_header] = handle.id
        outcomes.say(self.plan, handle, call, error)
        self._after()


def _now(target: Target) -> Any:
    found = module(target)
    for step in target.path.split("."):
        found = getattr(found, step, None)
    plain = found is None or isinstance(found, (bool, int, float, str, list, tuple, dict))
    return found if plain else vars(found)


class _Told:
    """Around the inner call, inside the block: tells what came of it."""

    def __init__(self, around: _Around, call: Call, block: Any) -> None:
        self._around, self.call, self._block = around, call, block

    def __enter__(self) -> Call:
        return self.call

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        self._around.ended(self._block.handle, self.call, error)


def _telling(function: Any, told: _Told) -> Callable[..., Any]:
    """Make a function of the same kind that tells its end."""
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


def _telling_async_generator(function: Any, told: _Told) -> Callable[..., Any]:
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
