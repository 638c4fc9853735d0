"""Checking: whether a service's source has what a mapping names; the service is not run."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from otel_gen.zerocode.callees import Callees
from otel_gen.zerocode.mapping import Plan, Target, read
from otel_gen.zerocode.sources import Function, Place, Sources

_ALWAYS = ("self", "cls", "http", "result")


def check(service: str, path: Any) -> list[str]:
    """Give what a mapping names and a service's source has not. Raises SettingsError for a wrong mapping."""
    mapping, sources = read(path), Sources(service)
    checked = _Checked(sources)
    return [problem for plan in mapping.plans for problem in checked.plan(plan)]


class _Checked:
    def __init__(self, sources: Sources) -> None:
        self._sources, self._callees = sources, Callees(sources)

    def plan(self, plan: Plan) -> Iterator[str]:
        """Look for the target, then for the parameters that its values begin with."""
        missing, function = self._target(plan.target)
        if missing:
            yield f"{plan.target}: {missing}"
        config = [plan.config] if isinstance(plan.config, Target) else plan.config.values()
        yield from (f"config: {target}: {why}" for target in config if (why := self._target(target)[0]))
        if function is not None and function.args.kwarg is None:
            yield from self._values(plan, function)

    def _values(self, plan: Plan, function: Function) -> Iterator[str]:
        arguments = function.args
        known = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        for key in ("arguments", "results", "outputs"):
            for name, value in getattr(plan, key).items():
                if value.root not in (*known, *_ALWAYS):
                    yield f"{plan.target}: {key}.{name}: there is no {value.root}{_nearest(value.root, known)}"

    def _target(self, target: Target) -> tuple[str | None, Function | None]:
        """Say why a target is not there, or give its function if it is one."""
        module = self._sources.modules.get(target.module)
        if module is None:
            return f"{target.module} is not among what the service imports beside it", None
        place = self._sources.origin(Place(target.module, target.path))
        home = self._sources.modules.get(place.module)
        first, _, rest = place.path.partition(".")
        if home is None or (first in home.values and "." not in rest):
            return None, None  # another package's, or a value: what it has is known when it runs
        found = (
            self._callees.method(Place(home.name, first), rest) if first in home.classes and rest else place
        )
        function = None if found is None else self._sources.function(found)
        if function is not None:
            return None, function
        if place.path in home.classes:
            return "is a class; name one of its methods", None
        return (
            f"there is no {place.path} in {home.name}{_nearest(place.path, [*home.functions, *home.values])}",
            None,
        )


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
