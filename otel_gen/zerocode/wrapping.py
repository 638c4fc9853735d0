"""Wrapping: put a wrapper in place of each target as soon as its module is loaded, early or late."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import wrapt

from otel_gen.blocks import bind, current_generation, stage
from otel_gen.guard import log
from otel_gen.zerocode.mapping import Plan, Target
from otel_gen.zerocode.modules import is_script, means, module

Wrapper = Callable[[Any, Any, Any, Any], Any]


class Wrapping:
    """The targets of a mapping and what became of each. `_lock` guards `_state`
    and is held while a script's are wrapped.

    waiting -> wrapped | refused, when its module is loaded; a refusal is told at once, what still waits
    when the first generation ends is told then. `enabled` says whether wrappers are asked at all.
    """

    def __init__(
        self, wrapper_for: Callable[[Plan], Wrapper], plans: tuple[Plan, ...], found: Callable[[], None],
        enabled: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._wrappers = {plan.target: wrapper_for(plan) for plan in plans}
        self._plans = {plan.target: plan for plan in plans}
        self._state = dict.fromkeys(self._wrappers, "waiting")
        self._found, self._enabled = found, enabled
        self._lock = threading.RLock()

    def begin(self) -> None:
        """Wrap what is loaded, and the rest when it is."""
        for name in dict.fromkeys(target.module for target in self._wrappers):
            wrapt.register_post_import_hook(self._loaded, name)

    def _loaded(self, loaded: Any) -> None:
        for target in self._waiting():
            if target.module == loaded.__name__:
                self._wrap(target, loaded)

    def script(self) -> None:
        """Wrap what the script has defined so far that is run; it has no import of its own to wait for."""
        with self._lock:  # of two generations that begin at once the second waits until all is wrapped
            for target in self._waiting():
                home = module(target) if is_script(target.module) else None
                if home is not None and _defines(home, target.path):
                    self._wrap(target, home)

    def in_script(self) -> list[str]:
        """Name the targets of the script that is run."""
        return [str(target) for target in self._wrappers if is_script(target.module)]

    def _waiting(self) -> list[Target]:
        with self._lock:
            return [target for target, state in self._state.items() if state == "waiting"]

    def around(self, function: Any) -> Any:
        """Give a function that a framework is told of wrapped, where it is a target; else as it is."""
        if self._is_around(function):
            return function
        for target, wrapper in self._wrappers.items():
            if means(target, function):
                self._found()
                return wrapt.FunctionWrapper(function, wrapper, self._enabled)
        return function

    def _is_around(self, function: Any) -> bool:
        """Tell whether one of ours is around a function already, at whatever depth."""
        for _ in range(32):
            if self._is_ours(function):
                return True
            function = getattr(function, "__wrapped__", None)
        return False

    def _is_ours(self, function: Any) -> bool:
        wrapper = getattr(function, "_self_wrapper", None)
        return any(wrapper is one for one in self._wrappers.values())

    def _wrap(self, target: Target, home: Any) -> None:
        try:
            parent, name, original = wrapt.resolve_path(home, target.path)
            wrapt.apply_patch(parent, name, self._replacement(target, original))
        except Exception as error:  # noqa: BLE001 - whatever a service's module is made of, it goes on unharmed
            self._became(target, "refused")
            log.warning(
                "otel_gen mapping: %s: %s; the service runs on without it", target, _why(error, home, target)
            )
        else:
            self._became(target, "wrapped")
            self._found()

    def _replacement(self, target: Target, original: Any) -> Any:
        while self._is_ours(original):  # a base class' method that is a target itself
            original = original.__wrapped__
        if isinstance(original, type):
            raise TypeError(f"is a class; name one of its methods: {target}.{_a_method(original)}")
        if callable(original) or isinstance(original, (classmethod, staticmethod)):
            return wrapt.FunctionWrapper(original, self._wrappers[target], self._enabled)
        if hasattr(type(original), "acquire"):
            return Waited(original, self._plans[target].name or "queue")
        raise TypeError(f"is a {type(original).__name__}; name a function, a method or a lock")

    def _became(self, target: Target, state: str) -> None:
        with self._lock:
            self._state[target] = state

    def report(self) -> tuple[bool, str]:
        """Say whether all is wrapped, and in one line what is, what cannot be, and what was never loaded."""
        with self._lock:
            wrapped, refused, waiting = (
                [str(target) for target, state in self._state.items() if state == word]
                for word in ("wrapped", "refused", "waiting")
            )
        said = f"{len(wrapped)} of {len(self._state)} targets are wrapped"
        said += f"; cannot be wrapped: {', '.join(refused)}" if refused else ""
        said += f"; not loaded so far: {', '.join(waiting)}" if waiting else ""
        return not refused and not waiting, said


def _defines(home: Any, path: str) -> bool:
    try:
        attrgetter(path)(home)
    except AttributeError:
        return False
    return True


def _why(error: Exception, home: Any, target: Target) -> str:
    if isinstance(error, AttributeError):
        first = target.path.split(".")[0]
        owner: Any = getattr(home, first, home)
        close = difflib.get_close_matches(target.path.split(".")[-1], dir(owner), n=1)
        return f"there is no {target.path} in {target.module}" + (
            f"; did you mean {close[0]}?" if close else ""
        )
    return str(error)


def _a_method(kind: type) -> str:
    return next(
        (name for name, it in vars(kind).items() if callable(it) and not name.startswith("_")), "__call__"
    )


class Waited(wrapt.ObjectProxy):  # type: ignore[type-arg]
    """A lock or semaphore of the service's; the wait for it is a stage."""

    def __init__(self, lock: Any, name: str) -> None:
        super().__init__(lock)
        self._self_stage = name

    def acquire(self, *args: Any, **kwargs: Any) -> Any:
        """Wait for it, awaited where the lock's own is."""
        if current_generation() is None:
            return self.__wrapped__.acquire(*args, **kwargs)
        return stage(self._self_stage)(self.__wrapped__.acquire)(*args, **kwargs)

    def __enter__(self) -> Any:
        with stage(self._self_stage):
            return self.__wrapped__.__enter__()

    def __exit__(self, *failure: Any) -> Any:
        return self.__wrapped__.__exit__(*failure)

    async def __aenter__(self) -> Any:
        async with stage(self._self_stage):
            return await self.__wrapped__.__aenter__()

    async def __aexit__(self, *failure: Any) -> Any:
        return await self.__wrapped__.__aexit__(*failure)


def when_loaded(name: str, path: str, wrapper: Wrapper, enabled: Callable[[], bool]) -> None:
    """Wrap a library's own function as soon as the library is loaded; one that has it not is left alone."""

    def hook(loaded: Any) -> None:
        try:
            parent, attribute, original = wrapt.resolve_path(loaded, path)
        except Exception:  # noqa: BLE001 - whatever a version of a library is made of, its import goes on
            log.info("otel_gen: this %s has no %s; what hangs on it is left out", name, path)
        else:
            wrapt.apply_patch(parent, attribute, wrapt.FunctionWrapper(original, wrapper, enabled))

    wrapt.register_post_import_hook(hook, name)


def carry_into_pools(enabled: Callable[[], bool]) -> None:
    """Carry the current generation into thread pools: without code there is nobody to write `bind`."""

    def submit(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        if args and current_generation() is not None:
            args = (bind(args[0]), *args[1:])
        return wrapped(*args, **kwargs)

    when_loaded("concurrent.futures.thread", "ThreadPoolExecutor.submit", submit, enabled)
