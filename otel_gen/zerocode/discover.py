"""Discover: propose a mapping for a service from its source, for its operator to read and edit."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from otel_gen.errors import SettingsError
from otel_gen.zerocode import syntax
from otel_gen.zerocode import vocabulary as words
from otel_gen.zerocode.callees import Callees
from otel_gen.zerocode.sources import Function, Module, Place, Sources

_DEEP = 5


@dataclass
class StageProposal:
    """A function that looks like a stage; `sure` is False for one that is left to the operator."""

    target: str
    name: str
    arguments: list[str] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    sure: bool = True


@dataclass
class Proposal:
    """What a mapping file may say; `others` are further functions that look like the generation."""

    target: str
    arguments: dict[str, str]
    outputs: dict[str, str]
    outcomes: list[dict[str, Any]]
    stages: list[StageProposal]
    config: str | None = None
    others: list[str] = field(default_factory=list)
    http: bool = False
    unread: list[str] = field(default_factory=list)


def discover(service: str, generation: str | None = None) -> Proposal:
    """Read a service (`service.py`, `service`, `service:app`) and what it imports beside it, as text.

    `generation`: its function, `module:function`, where the guess is wrong. Raises SettingsError where the
    service cannot be read, or nothing in it looks like a generation.
    """
    sources = Sources(service)
    ranked = _ranked(sources)
    if generation is not None:
        chosen = Place(*generation.split(":")) if generation.count(":") == 1 else None
        if chosen is None or sources.function(chosen) is None:
            raise SettingsError(f"{generation}: no such function in {', '.join(sorted(sources.modules))}")
    elif ranked:
        chosen = ranked[0][0]
    else:
        raise SettingsError(
            f"{service}: no function looks like a generation; name it: --generation module:function"
        )
    return _Reader(sources, chosen, ranked).proposal()


def _ranked(sources: Sources) -> list[tuple[Place, int]]:
    """Rank what may be the generation: handlers of a POST first, then functions by their names."""
    found: list[tuple[Place, int]] = []
    for module in sources.modules.values():
        for path, function in module.functions.items():
            points = _points(path, function, in_main=module.name == sources.main)
            if points > 1:
                found.append((Place(module.name, path), points))
    return sorted(found, key=lambda one: -one[1])


def _points(path: str, function: Function, *, in_main: bool) -> int:
    route = syntax.route_of(function)
    sounds = bool(words.GENERATION.search(path.split(".")[-1].lower()))
    if route is not None:
        return 4 + 3 * bool(words.GENERATION.search(route.lower())) + sounds
    prompted = any(words.PARAMETERS.get(one.arg) == "prompt" for one in function.args.args)
    return (sounds + prompted + in_main) if sounds and prompted and "." not in path else 0


class _Reader:
    """Walks from the generation through what it calls."""

    def __init__(self, sources: Sources, generation: Place, ranked: list[tuple[Place, int]]) -> None:
        self._sources, self._generation = sources, generation
        self._callees = Callees(sources)
        self._module = sources.modules[generation.module]
        function = sources.function(generation)
        assert function is not None  # noqa: S101 - the caller looked
        self._function = function
        self._others = [str(place) for place, _ in ranked if place != generation][:5]
        self._walked = {generation: function}

    def proposal(self) -> Proposal:
        stages = self._queues_and(list(self._stages(self._generation, 1)))
        http = syntax.route_of(self._function) is not None
        return Proposal(
            str(self._generation), self._arguments(http=http), self._outputs(), self._outcomes(),
            _distinct(stages), self._config(), self._others, http, self._sources.unread,
        )  # fmt: skip

    # --- stages ----------------------------------------------------------------------------------------
    def _stages(self, place: Place, depth: int, inside: str | None = None) -> Iterator[StageProposal]:
        for callee in self._callees.of(place):
            function = self._sources.function(callee)
            if callee in self._walked or function is None or callee.path.endswith("__init__"):
                continue
            self._walked[callee] = function
            name = words.stage_of(callee.module, callee.path)
            proposed = name is not None and name != inside and not syntax.is_trivial(function)
            yield self._stage(callee, function, name or callee.path.split(".")[-1], sure=proposed)
            if depth < _DEEP:
                yield from self._stages(callee, depth + 1, name or inside)

    def _stage(self, place: Place, function: Function, name: str, *, sure: bool) -> StageProposal:
        arguments = [a.arg for a in syntax.parameters(function) if words.KNOBS.fullmatch(a.arg)]
        outputs: dict[str, str] = {}
        if name == "validation" and syntax.returns(function) in (None, "float"):
            outputs["clip_score"] = "result"
        if name == "prompt_enhancement" and syntax.returns(function) in (None, "str"):
            outputs["enhanced_prompt"] = "result"
        return StageProposal(str(place), name, arguments + self._knobs(function), outputs, sure)

    def _knobs(self, function: Function) -> list[str]:
        """Find settings of a method's object that it reads."""
        found = [
            n.attr for n in ast.walk(function) if isinstance(n, ast.Attribute) and syntax.is_self(n.value)
        ]
        return [f"self.{name}" for name in dict.fromkeys(found) if words.KNOBS.fullmatch(name)]

    def _queues_and(self, stages: list[StageProposal]) -> list[StageProposal]:
        """Put the locks before the stages that are entered on the way: waiting for them is the queue."""
        found: list[StageProposal] = []
        for place, function in self._walked.items():
            module = self._sources.modules[place.module]
            for node in ast.walk(function):
                for item in node.items if isinstance(node, (ast.With, ast.AsyncWith)) else ():
                    target = self._lock(item.context_expr, module, place)
                    found += [StageProposal(target, "queue")] if target else []
        return list({one.target: one for one in found}.values()) + stages

    def _lock(self, node: ast.expr, module: Module, user: Place) -> str | None:
        """Name a lock that a `with` waits for: a module's own, or that of an object which a module holds."""
        if isinstance(node, ast.Attribute) and syntax.is_self(node.value) and "." in user.path:
            return self._held(Place(user.module, user.path.split(".")[0]), node.attr)
        if not isinstance(node, ast.Name):
            return None
        taken = module.imports.get(node.id)
        place = self._sources.origin(taken) if isinstance(taken, Place) else Place(module.name, node.id)
        home = self._sources.modules.get(place.module)
        value = home.values.get(place.path) if home else None
        return str(place) if home and syntax.is_lock(value, home) else None

    def _held(self, owner: Place, name: str) -> str | None:
        module = self._sources.modules[owner.module]
        values = [n.value for n in ast.walk(module.classes[owner.path]) if isinstance(n, ast.Assign)
                  and any(isinstance(t, ast.Attribute) and t.attr == name for t in n.targets)]  # fmt: skip
        if not any(syntax.is_lock(value, module) for value in values):
            return None
        return next((f"{place}.{name}" for place in self._callees.instances(owner)), None)

    # --- the generation --------------------------------------------------------------------------------
    def _arguments(self, *, http: bool) -> dict[str, str]:
        found: dict[str, str] = {}
        for one in syntax.parameters(self._function):
            if one.arg in words.PARAMETERS:
                found.setdefault(words.PARAMETERS[one.arg], one.arg)
            elif isinstance(one.annotation, ast.Name):
                found |= {
                    name: v for name, v in self._fields(one.arg, one.annotation.id) if name not in found
                }
        if http:
            found |= {n: f"http.headers.{header}" for n, header in words.HEADERS.items() if n not in found}
        return found

    def _fields(self, parameter: str, kind: str) -> Iterator[tuple[str, str]]:
        """Look into a request model of the service's own."""
        place = self._callees.class_named(kind, self._module)
        if place is None:
            return
        for node in self._sources.modules[place.module].classes[place.path].body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                known = words.PARAMETERS.get(node.target.id)
                if known:
                    yield known, f"{parameter}.{node.target.id}"

    def _outputs(self) -> dict[str, str]:
        returned = syntax.returns(self._function)
        if returned == "bytes":
            return {"ply": "result"}
        for call in self._calls(self._function):
            name = syntax.full_name(call.func, self._module).rpartition(".")[2]
            if name == "FileResponse":
                return {"ply": "result.path"}
            if name == "Response" and (call.args or any(key.arg == "content" for key in call.keywords)):
                return {"ply": "result.body"}
        return {}

    def _calls(self, function: Function) -> Iterator[ast.Call]:
        return (node for node in ast.walk(function) if isinstance(node, ast.Call))

    def _outcomes(self) -> list[dict[str, Any]]:
        nodes = [node for function in self._walked.values() for node in ast.walk(function)]
        texts = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        headers = {text.lower(): text for text in texts if re.fullmatch(r"[Xx]-[\w-]+", text)}
        rules: list[dict[str, Any]] = []
        for header in headers.values():
            if words.BROKEN.search(header):
                rules.append({"header": header, "outcome": "failed"})
            elif words.SKIPPED.search(header):
                rules.append({"header": header, "outcome": "withheld"})
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        for status in sorted({status for call in calls for status in syntax.statuses(call)}):
            kind = words.ERRORS.get(status, "crash")
            rules.append({"status": status, "outcome": "failed", "error_type": kind})
        return rules

    def _config(self) -> str | None:
        for module in (self._module, *self._sources.modules.values()):
            for name, value in module.values.items():
                if words.CONFIG.match(name) and isinstance(value, (ast.Dict, ast.Call)):
                    return f"{module.name}:{name}"
        return None


def _distinct(stages: list[StageProposal]) -> list[StageProposal]:
    """Name a second stage that sounds like an earlier one by its function."""
    seen = set[str]()
    for stage in stages:
        if stage.sure and stage.name in seen and stage.name != "queue":
            stage.name = stage.target.split(":")[1].split(".")[-1]
            stage.outputs = {}
        if stage.sure:
            seen.add(stage.name)
    return stages
