"""Callees: which of a service's own functions another calls, as far as its source tells."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from otel_gen.zerocode.sources import Function, Module, Place, Sources

_COMMON = frozenset(
    dir(dict) + dir(list) + dir(str) + dir(bytes) + ["read", "write", "close", "run", "start", "json"]
)

_DEEPEST = 10


class Callees:
    """Resolves names, attributes and types without running anything; what stays open is left out."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._depth = 0
        self._methods: dict[str, list[Place]] = {}
        for module in sources.modules.values():
            for path in module.functions:
                if "." in path:
                    self._methods.setdefault(path.split(".")[1], []).append(Place(module.name, path))

    def of(self, place: Place) -> Iterator[Place]:
        """Give what a function calls, or hands to somebody who will (`to_thread(f, x)`), in source order."""
        function, module = self._sources.function(place), self._sources.modules[place.module]
        if function is None:
            return
        scope = _Scope(module, place, function)
        seen = set[Place]()
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
        for call in sorted(calls, key=lambda node: (node.end_lineno or 0, node.end_col_offset or 0)):
            for part in (call.func, *call.args):
                found = self.resolve(part, scope)
                if found is None and part is call.func:
                    found = self._call_of_an_object(part, scope)
                if found is None or found == place or found in seen or not self._sources.function(found):
                    continue
                seen.add(found)
                yield found

    def resolve(self, node: ast.expr, scope: _Scope) -> Place | None:
        """Find the function that a name or attribute means."""
        if isinstance(node, ast.Name):
            return self._named(node.id, scope.module)
        if not isinstance(node, ast.Attribute):
            return None
        if isinstance(node.value, ast.Name) and isinstance(
            home := scope.module.imports.get(node.value.id), str
        ):
            return self._sources.origin(Place(home, node.attr))
        owner = self.type_of(node.value, scope)
        if owner is not None:
            return self.method(owner, node.attr)
        known = self._methods.get(node.attr, [])
        return (
            known[0]
            if len(known) == 1 and node.attr not in _COMMON and not node.attr.startswith("_")
            else None
        )

    def _call_of_an_object(self, node: ast.expr, scope: _Scope) -> Place | None:
        """Find what runs when an object is called: `self.pipe(prompt)`."""
        if isinstance(node, ast.Name) and self.class_named(node.id, scope.module) is not None:
            return None
        owner = self.type_of(node, scope)
        return None if owner is None else self.method(owner, "__call__")

    def instances(self, owner: Place) -> Iterator[Place]:
        """Give the module-level names that hold an object of a class."""
        for module in self._sources.modules.values():
            scope = _Scope(module, Place(module.name, ""), None)
            for name, value in module.values.items():
                if self.type_of(value, scope) == owner:
                    yield Place(module.name, name)

    def _named(self, name: str, module: Module) -> Place | None:
        if name in module.functions:
            return Place(module.name, name)
        taken = module.imports.get(name)
        return self._sources.origin(taken) if isinstance(taken, Place) else None

    def class_named(self, name: str, module: Module) -> Place | None:
        """Find the class of the service's own that a name means in a module."""
        if name in module.classes:
            return Place(module.name, name)
        taken = module.imports.get(name)
        place = self._sources.origin(taken) if isinstance(taken, Place) else None
        home = place and self._sources.modules.get(place.module)
        return place if home and place and place.path in home.classes else None

    def method(self, owner: Place, name: str, depth: int = 0) -> Place | None:
        """Find a method in a class or its bases; it is named by the class that was asked."""
        module = self._sources.modules[owner.module]
        if f"{owner.path}.{name}" in module.functions:
            return Place(owner.module, f"{owner.path}.{name}")
        for base in module.classes[owner.path].bases if depth < 8 else ():
            parent = self.class_named(base.id, module) if isinstance(base, ast.Name) else None
            found = parent and self.method(parent, name, depth + 1)
            if found:
                return found
        return None

    def type_of(self, node: ast.expr, scope: _Scope) -> Place | None:
        """Guess the class of an expression: from what was assigned, an annotation, or a call."""
        if self._depth > _DEEPEST:  # names that are made of each other
            return None
        self._depth += 1
        try:
            return self._type_of(node, scope)
        finally:
            self._depth -= 1

    def _type_of(self, node: ast.expr, scope: _Scope) -> Place | None:
        if isinstance(node, ast.Await):
            return self.type_of(node.value, scope)
        if isinstance(node, ast.Call):
            return self._called(node, scope)
        if isinstance(node, ast.Name):
            return self._name_s_type(node.id, scope)
        if isinstance(node, ast.Attribute):
            owner = self.type_of(node.value, scope)
            return None if owner is None else self._attribute_s_type(owner, node.attr)
        return None

    def _called(self, node: ast.Call, scope: _Scope) -> Place | None:
        if isinstance(node.func, ast.Name) and (found := self.class_named(node.func.id, scope.module)):
            return found
        place = self.resolve(node.func, scope)
        function = None if place is None else self._sources.function(place)
        if place is None or function is None:
            return None
        return self._annotated(function.returns, self._sources.modules[place.module])

    def _name_s_type(self, name: str, scope: _Scope) -> Place | None:
        if name in ("self", "cls") and "." in scope.place.path:
            return Place(scope.place.module, scope.place.path.split(".")[0])
        if (found := self.class_named(name, scope.module)) is not None:
            return found
        if name in scope.annotations:
            return self._annotated(scope.annotations[name], scope.module)
        value = scope.values.get(name) or scope.module.values.get(name)
        if value is not None:
            return self.type_of(value, scope)
        taken = scope.module.imports.get(name)
        home = self._sources.modules.get(taken.module) if isinstance(taken, Place) else None
        if home is None or not isinstance(taken, Place) or taken.path not in home.values:
            return None
        return self.type_of(home.values[taken.path], _Scope(home, Place(home.name, ""), None))

    def _annotated(self, node: ast.expr | None, module: Module) -> Place | None:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return self.class_named(node.value, module)
        return self.class_named(node.id, module) if isinstance(node, ast.Name) else None

    def _attribute_s_type(self, owner: Place, name: str) -> Place | None:
        """Look for `self.name = Class(...)` in the methods of a class, or `name: Class` in its body."""
        module = self._sources.modules[owner.module]
        for node in ast.walk(module.classes[owner.path]):
            if isinstance(node, ast.AnnAssign) and _is_named(node.target, name):
                return self._annotated(node.annotation, module)
            if isinstance(node, ast.Assign) and any(_is_named(target, name) for target in node.targets):
                scope = _Scope(module, Place(owner.module, f"{owner.path}.__init__"), None)
                return self.type_of(node.value, scope)
        return None


def _is_named(target: ast.expr, name: str) -> bool:
    return (isinstance(target, ast.Attribute) and target.attr == name) or (
        isinstance(target, ast.Name) and target.id == name
    )


class _Scope:
    """What names mean inside a function, beside what its module says."""

    def __init__(self, module: Module, place: Place, function: Function | None) -> None:
        self.module, self.place = module, place
        self.values: dict[str, ast.expr] = {}
        self.annotations: dict[str, ast.expr] = {}
        if function is None:
            return
        arguments = function.args
        for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            if one.annotation is not None:
                self.annotations[one.arg] = one.annotation
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.values.setdefault(node.targets[0].id, node.value)
