"""Calls: what happens around one call of a function that a mapping names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otel_gen.blocks import NOTHING, current_generation, generation
from otel_gen.decorating import decorate
from otel_gen.guard import Faults, guarded, log
from otel_gen.images import input_image
from otel_gen.install import active
from otel_gen.safely import count_fault
from otel_gen.steps import Stage
from otel_gen.zerocode import outcomes
from otel_gen.zerocode.mapping import Plan, Target
from otel_gen.zerocode.modules import module
from otel_gen.zerocode.telling import Told, telling
from otel_gen.zerocode.values import Call, Signatures, Value

_DESCRIBED = ("enhanced_prompt", "negative_prompt")


class _Stage(Stage):
    """The block of a stage's call, which is entered once."""

    @property
    def handle(self) -> Any:
        return NOTHING if self.context is None else self


class _Generation(generation):
    """The block of a generation's call. `judged`: a rule said what an exception means, so it is no failure."""

    handle: Any = NOTHING
    judged = False

    def begin(self) -> Any:
        self.handle = super().begin()
        return self.handle

    def _leave(self, error: BaseException | None) -> Any:
        return super()._leave(None if self.judged else error)


class _Around:
    """Is called in place of a target, as wrapt calls wrappers."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.faults = Faults(count_fault)
        self._told: set[str] = set()
        self._signatures = Signatures()

    def __call__(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        if not self.wanted():
            return wrapped(*args, **kwargs)
        call = Call(wrapped, instance, args, kwargs, self._signatures)
        block = self.block(call)
        if block is None:
            return wrapped(*args, **kwargs)
        told = Told(call, lambda error: self.ended(block, call, error))
        return decorate(lambda: block, telling(wrapped, told))(*args, **kwargs)

    def wanted(self) -> bool:
        raise NotImplementedError

    def block(self, call: Call) -> Any:
        """Make the block of a call; None, and said so, where that failed."""
        raise NotImplementedError

    def ended(self, block: Any, call: Call, error: BaseException | None) -> None:
        """Say inside the block what a call came to; each step is guarded on its own."""
        raise NotImplementedError

    @guarded
    def results(self, handle: Any, call: Call) -> None:
        """Keep what was asked for as attributes."""
        found = call.take(self.plan.results, self.absent)
        if found:
            handle.set(**found)

    def absent(self, value: Value, error: Exception) -> None:
        """Say once that a value leads nowhere: the mapping or the service is to be mended."""
        if value.text not in self._told:
            self._told.add(value.text)
            log.warning("otel_gen mapping: %s: %s: %s", self.plan.target, value.text, error)

    @guarded
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
        return _Stage(None, self.plan.name or "stage", attributes)

    def ended(self, block: Any, call: Call, error: BaseException | None) -> None:
        if error is None:
            self.results(block.handle, call)
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
        if keywords.get("image") is not None:
            return "IMAGE-TO-3D"
        image, _ = input_image("IMAGE-TO-3D", None, keywords.get("prompt"))
        return "TEXT-TO-3D" if image is None else "IMAGE-TO-3D"

    @guarded
    def config(self) -> Any:
        """Look up the service's settings that are in force now."""
        told = self.plan.config
        if isinstance(told, Target):
            return _now(told)
        return {name: _now(target) for name, target in told.items()} or None

    def ended(self, block: Any, call: Call, error: BaseException | None) -> None:
        if error is None:
            self.results(block.handle, call)
            self.tell_id(block.handle, call)
            self.outputs(call)
        self.judge(block, call, error)
        self.reported()

    @guarded
    def outputs(self, call: Call) -> None:
        """Hand over what was made, unless the answer says that nothing was."""
        if not outcomes.is_error(call.result):
            super().outputs(call)

    @guarded
    def tell_id(self, handle: Any, call: Call) -> None:
        """Put the id on the answer, if it is wanted there."""
        headers = getattr(call.result, "headers", None) if self.plan.id_header else None
        if headers is not None:
            headers[self.plan.id_header] = handle.id

    @guarded
    def judge(self, block: Any, call: Call, error: BaseException | None) -> None:
        """Say how it ended, and whether the rules made an exception something else than a failure."""
        said = outcomes.say(self.plan, block.handle, call, error)
        block.judged = said is not None and said != "failed"

    @guarded
    def reported(self) -> None:
        """Say once what is wrapped."""
        self._after()


def _now(target: Target) -> Any:
    found = module(target)
    for step in target.path.split("."):
        found = getattr(found, step, None)
    plain = found is None or isinstance(found, (bool, int, float, str, list, tuple, dict))
    return found if plain else vars(found)
