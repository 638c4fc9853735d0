"""Sources: a service's own modules as syntax trees; nothing of it is ever imported."""

from __future__ import annotations

import ast
import os
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from otel_gen.errors import SettingsError

Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_MOST = 300  # modules that are read; a service has a few dozen


@dataclass(frozen=True)
class Place:
    """Something that a module defines, and where: `models.sd35`, `SD35ImageGenerator.generate`."""

    module: str
    path: str

    def __str__(self) -> str:
        return f"{self.module}:{self.path}"


@dataclass
class Module:
    """What a module defines and what its names mean. `imports`: a name to a module, or a place in one."""

    name: str
    tree: ast.Module
    package: str
    functions: dict[str, Function] = field(default_factory=dict)
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    imports: dict[str, str | Place] = field(default_factory=dict)
    values: dict[str, ast.expr] = field(default_factory=dict)


class Sources:
    """The modules of a service that lie beside its main one, found by its imports, late ones included."""

    def __init__(self, service: str) -> None:
        """Read a file or module and what it imports. Raises SettingsError where it cannot be read."""
        self.main, path, self._root = _locate(service)
        self.modules: dict[str, Module] = {}
        self.unread: list[str] = []
        self._read(self.main, path, needed=True)

    def _read(self, name: str, path: str, *, needed: bool = False) -> None:
        if name in self.modules or len(self.modules) >= _MOST:
            return
        try:
            with tokenize.open(path) as file:
                tree = ast.parse(file.read(), path)
        except (OSError, SyntaxError, ValueError, RecursionError) as error:
            if needed:
                raise SettingsError(f"{path}: cannot be read as Python: {error}") from error
            self.unread.append(f"{path}: {error}")
            return
        package = name if os.path.basename(path) == "__init__.py" else name.rpartition(".")[0]
        module = self.modules[name] = Module(name, tree, package)
        _define(module)
        for wanted in self._import(module):
            found = self._file(wanted)
            if found is not None:
                self._read(wanted, found)

    def _import(self, module: Module) -> Iterator[str]:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    module.imports[alias.asname or alias.name.split(".")[0]] = (
                        alias.name if alias.asname else alias.name.split(".")[0]
                    )
                    yield alias.name
            elif isinstance(node, ast.ImportFrom):
                home = _absolute(module.package, node)
                yield home
                for alias in node.names:
                    inner = f"{home}.{alias.name}"
                    is_module = self._file(inner) is not None
                    module.imports[alias.asname or alias.name] = (
                        inner if is_module else Place(home, alias.name)
                    )
                    yield inner

    def _file(self, name: str) -> str | None:
        base = os.path.join(self._root, *name.split("."))
        return next((path for path in (f"{base}.py", f"{base}/__init__.py") if os.path.isfile(path)), None)

    def function(self, place: Place) -> Function | None:
        """Give a function or method that a place names, a base class' where that has it."""
        module = self.modules.get(place.module)
        return None if module is None else module.functions.get(place.path)

    def origin(self, place: Place) -> Place:
        """Follow a name that a module took from another to where it is defined."""
        for _ in range(8):
            module = self.modules.get(place.module)
            first, _, rest = place.path.partition(".")
            taken = None if module is None else module.imports.get(first)
            if (
                module is None
                or first in module.classes
                or first in module.functions
                or not isinstance(taken, Place)
            ):
                return place
            place = Place(taken.module, f"{taken.path}.{rest}" if rest else taken.path)
        return place


def _locate(service: str) -> tuple[str, str, str]:
    """Give name, path and root of `service.py`, `service`, `package.service` or `service:app`."""
    name = service.partition(":")[0]
    if os.path.isfile(name):
        path = os.path.abspath(name)
        root, parts = os.path.dirname(path), [os.path.splitext(os.path.basename(path))[0]]
        while os.path.isfile(os.path.join(root, "__init__.py")):
            root, package = os.path.split(root)
            parts.insert(0, package)
        return ".".join(parts), path, root
    for root in (os.getcwd(), *sys.path):
        base = os.path.join(os.path.abspath(root), *name.split("."))
        for path in (f"{base}.py", f"{base}/__init__.py"):
            if os.path.isfile(path):
                return name, path, os.path.abspath(root)
    raise SettingsError(
        f"{service}: no such file or module; say it as the server is told, where it is started"
    )


def _absolute(package: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _define(module: Module) -> None:
    """Take note of functions, classes with their methods, and module-level values."""
    for node in _statements(module.tree.body):
        if isinstance(node, _FUNCTIONS):
            module.functions[node.name] = node
        elif isinstance(node, ast.ClassDef):
            module.classes[node.name] = node
            for inner in node.body:
                if isinstance(inner, _FUNCTIONS):
                    module.functions[f"{node.name}.{inner.name}"] = inner
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            module.values[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            module.values[node.target.id] = node.value


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Go through a module's statements, also under `if` and `try`."""
    for node in body:
        yield node
        if isinstance(node, (ast.If, ast.Try)):
            for part in (node.body, node.orelse, *(h.body for h in getattr(node, "handlers", ()))):
                yield from _statements(part)
