"""Syntax: small questions to a service's syntax trees."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from otel_gen.zerocode.sources import Function, Module, Place
from otel_gen.zerocode.vocabulary import QUEUE

_POSTS = ("post", "put", "api_route", "route", "websocket")


def route_of(function: Function) -> str | None:
    """Give the path that a decorator registers a function under, for methods that change something."""
    for decorator in function.decorator_list:
        call = decorator if isinstance(decorator, ast.Call) else None
        if call is None or not isinstance(call.func, ast.Attribute) or call.func.attr not in _POSTS:
            continue
        if call.args and isinstance(call.args[0], ast.Constant):
            return str(call.args[0].value)
    return None


def statuses(call: ast.Call) -> Iterator[int]:
    """Give the HTTP statuses of errors that a call names: `Response(status_code=400)`, `HTTPException(503)`."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = [key.value for key in call.keywords if key.arg == "status_code"]
    given += call.args[:1] if name == "HTTPException" else []
    for one in given:
        if isinstance(one, ast.Constant) and isinstance(one.value, int) and one.value >= 400:
            yield one.value


def parameters(function: Function) -> list[ast.arg]:
    """Give the parameters of a function by their places."""
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def returns(function: Function) -> str | None:
    """Spell what a function says that it returns."""
    return None if function.returns is None else ast.unparse(function.returns).strip("'\"")


def is_self(node: ast.expr) -> bool:
    """Tell whether an expression is `self`."""
    return isinstance(node, ast.Name) and node.id == "self"


def is_lock(value: ast.expr | None, module: Module) -> bool:
    """Tell whether a value is made as a lock or semaphore."""
    return isinstance(value, ast.Call) and bool(re.search(QUEUE, full_name(value.func, module)))


def is_trivial(function: Function) -> bool:
    """Tell whether a function is one expression without a call: a look at something, no work."""
    body = [
        node
        for node in function.body
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]
    only = body[0] if len(body) == 1 else None
    return isinstance(only, ast.Return) and not any(isinstance(node, ast.Call) for node in ast.walk(only))


def full_name(node: ast.expr, module: Module) -> str:
    """Spell a dotted name with what its first part was imported as."""
    if isinstance(node, ast.Attribute):
        return f"{full_name(node.value, module)}.{node.attr}"
    name = node.id if isinstance(node, ast.Name) else ""
    taken = module.imports.get(name, name)
    return f"{taken.module}.{taken.path}" if isinstance(taken, Place) else taken
