"""Values: where in a call something is found: `prompt`, `self.steps`, `result.headers.x-score`, `len(result)`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

import msgspec

_FORM = re.compile(r"(?P<len>len\()?(?P<root>[^\W\d]\w*)(?P<steps>(\.[\w-]+)*)(?(len)\))")
http: ContextVar[Any] = ContextVar("otel_gen_http", default=None)
"""The HTTP request that is being answered: an object with method, path and headers; None where there is none."""


class AbsentError(LookupError):
    """Tell which step of a value leads nowhere."""


class Value(msgspec.Struct, frozen=True):
    """Where a value is: a parameter's name, `result` or `http`, then attributes, keys and positions."""

    text: str
    root: str
    steps: tuple[str, ...]
    length: bool

    @classmethod
    def of(cls, text: str) -> Value:
        """Read it as it is written. Raises ValueError."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError(
                f"{text[:128]!r} is no value; write a parameter, result or http, then .attribute, .key or .0"
            )
        steps = tuple(found["steps"].split(".")[1:])
        return cls(text, found["root"], steps, found["len"] is not None)

    def look(self, roots: Mapping[str, Any]) -> Any:
        """Find it. Raises AbsentError."""
        if self.root not in roots:
            raise AbsentError(f"no {self.root!r} here; there are {', '.join(roots)}")
        value = roots[self.root]
        for step in self.steps:
            if value is None:
                return None
            value = _step(value, step)
        return len(value) if self.length and value is not None else value


def _step(value: Any, step: str) -> Any:
    if step.isdigit():
        try:
            return value[int(step)]
        except (TypeError, LookupError) as error:
            raise AbsentError(f"no .{step} in a {type(value).__name__}") from error
    if hasattr(type(value), "keys"):  # a dict, headers; what is missing there may come with the next call
        return value.get(step)
    try:
        return getattr(value, step)
    except AttributeError as error:
        raise AbsentError(f"no .{step} in a {type(value).__name__}") from error


class Signatures:
    """The signature of one target; taking it anew at each call costs more than the stage."""

    def __init__(self) -> None:
        self._known: tuple[Any, inspect.Signature] | None = None

    def of(self, function: Any) -> inspect.Signature:
        """Give the signature of a function, bound to an object or not. Raises TypeError, ValueError."""
        key = (type(function), getattr(function, "__func__", function))
        if self._known is None or self._known[0] != key:
            self._known = key, inspect.signature(function)
        return self._known[1]


class Call:
    """What can be seen of one call; parameters are bound only where somebody asks."""

    def __init__(
        self, function: Any, instance: Any, args: Any, kwargs: Any, signatures: Signatures | None = None
    ) -> None:
        self._function, self._instance, self._args, self._kwargs = function, instance, args, kwargs
        self._signatures = signatures or Signatures()
        self._roots: dict[str, Any] | None = None
        self.result: Any = None

    def roots(self) -> dict[str, Any]:
        """Give parameters by name, `self`, `http` and `result`."""
        if self._roots is None:
            self._roots = self._bound() | {"http": http.get()}
            if self._instance is not None:
                self._roots.setdefault("cls" if isinstance(self._instance, type) else "self", self._instance)
        return self._roots | {"result": self.result}

    def _bound(self) -> dict[str, Any]:
        try:
            bound = self._signatures.of(self._function).bind_partial(*self._args, **self._kwargs)
        except (TypeError, ValueError):  # a wrong call, or a builtin: the function itself says so
            return dict(self._kwargs)
        bound.apply_defaults()
        found = dict(bound.arguments)
        for name, parameter in bound.signature.parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                found |= {key: value for key, value in found[name].items() if key not in found}
        return found

    def take(self, values: Mapping[str, Value], absent: Callable[[Value, Exception], None]) -> dict[str, Any]:
        """Find several; one that leads nowhere is told and left out, None is left out."""
        roots = self.roots() if values else {}
        found = {name: self._look(value, roots, absent) for name, value in values.items()}
        return {name: it for name, it in found.items() if it is not None}

    def _look(self, value: Value, roots: dict[str, Any], absent: Callable[[Value, Exception], None]) -> Any:
        try:
            return value.look(roots)
        except Exception as error:  # noqa: BLE001 - a property of the service's own may raise anything
            absent(value, error)
            return None
