"""Mapping: the TOML file that says which functions are the generation and its stages, checked and frozen."""

from __future__ import annotations

import difflib
import os
import re
import sys
from typing import Any, TypeVar

import msgspec

from otel_gen.errors import SettingsError
from otel_gen.settings import resolve
from otel_gen.zerocode.values import Value

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

VARIABLE = "OTEL_GEN_MAPPING"
OUTCOMES = ("submitted", "withheld", "failed", "unsubmitted")
_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_Table = TypeVar("_Table", bound=msgspec.Struct)


class Target(msgspec.Struct, frozen=True):
    """A place in a module: `models.sd35:SD35ImageGenerator.generate`."""

    module: str
    path: str

    def __str__(self) -> str:
        return f"{self.module}:{self.path}"


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an outcome is told from; all that is given must hold."""

    outcome: str
    header: str | None = None
    status: int | list[int] | None = None
    raises: str | None = None
    value: str | None = None
    equals: str | int | float | bool | None = None
    empty: bool | None = None
    reason: str | None = None
    error_type: str | None = None


class StageTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `[[stage]]` as it is written."""

    target: str
    name: str = ""
    arguments: dict[str, str] | list[str] = []
    results: dict[str, str] = {}
    outputs: dict[str, str] = {}
    attributes: dict[str, Any] = {}


class GenerationTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[generation]` as it is written."""

    target: str | list[str]
    task_type: str = "auto"
    arguments: dict[str, str] | list[str] = []
    results: dict[str, str] = {}
    outputs: dict[str, str] = {}
    attributes: dict[str, Any] = {}
    config: str | dict[str, str] = {}
    id_header: str | None = None
    outcome: list[Any] = []


class Plan(msgspec.Struct, frozen=True):
    """What is done around one target: values by the name that they get. A stage has a name."""

    target: Target
    arguments: dict[str, Value]
    results: dict[str, Value]
    outputs: dict[str, Value]
    attributes: dict[str, Any]
    name: str | None = None
    task_type: str = "auto"
    config: Target | dict[str, Target] = {}
    id_header: str | None = None
    rules: tuple[tuple[Rule, Value | None], ...] = ()


class Mapping(msgspec.Struct, frozen=True):
    """A whole file."""

    path: str
    plans: tuple[Plan, ...]
    settings: dict[str, Any] = {}


def read(path: Any) -> Mapping:
    """Read and check a mapping file. Raises SettingsError with every mistake: file, table, key."""
    path = os.path.abspath(os.path.expanduser(os.fspath(path)))
    try:
        with open(path, "rb") as file:
            tables = tomllib.load(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"{path}: cannot be read ({reason}); {VARIABLE} names the mapping file") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: is no TOML: {error}") from None
    return _Reader(path).mapping(tables)


class _Reader:
    """Collects the mistakes of one file, so that they are told at once."""

    def __init__(self, path: str) -> None:
        self.path, self.mistakes = path, list[str]()

    def mapping(self, tables: dict[str, Any]) -> Mapping:
        for name in tables.keys() - {"generation", "stage", "settings"}:
            self.wrong(f"[{name}]", "unknown table; known are [generation], [[stage]], [settings]")
        plans = self.generations(tables.get("generation")) + self.stages(tables.get("stage", []))
        settings = tables.get("settings", {})
        if not isinstance(settings, dict):
            self.wrong("[settings]", "is no table")
            settings = {}
        try:
            resolve(settings, {})
        except SettingsError as error:
            self.wrong("[settings]", str(error).removeprefix("configure(): "))
        self.distinct(plans)
        if self.mistakes:
            raise SettingsError("\n".join(self.mistakes))
        return Mapping(self.path, tuple(plans), settings)

    def wrong(self, table: str, text: str) -> None:
        self.mistakes.append(f"{self.path}: {table}: {text}")

    def generations(self, given: Any) -> list[Plan]:
        where = "[generation]"
        if given is None:
            self.wrong(where, "is missing; it names the function that makes one generation: target = ...")
            return []
        table = self.table(where, given, GenerationTable)
        if table is None:
            return []
        names = [table.target] if isinstance(table.target, str) else table.target
        targets = [self.target(where, "target", name) for name in names]
        rules = [self.rule(n, rule) for n, rule in enumerate(table.outcome, 1)]
        if table.task_type not in ("auto", "TEXT-TO-3D", "IMAGE-TO-3D"):
            self.wrong(where, f"task_type: {table.task_type!r} is not auto, TEXT-TO-3D or IMAGE-TO-3D")
        return [
            Plan(
                target, **self.values(where, table), task_type=table.task_type,
                config=self.config(where, table.config), id_header=table.id_header,
                rules=tuple(rule for rule in rules if rule is not None),
            )
            for target in targets if target is not None
        ]  # fmt: skip

    def stages(self, given: Any) -> list[Plan]:
        if not isinstance(given, list):
            self.wrong("[stage]", "write it with two brackets, [[stage]]: there may be several")
            return []
        found = [self.stage(f"[[stage]] {n}", one) for n, one in enumerate(given, 1)]
        return [plan for plan in found if plan is not None]

    def stage(self, where: str, given: Any) -> Plan | None:
        if isinstance(given, dict) and isinstance(given.get("target"), str):
            where += f" ({given['target'][:128]})"
        table = self.table(where, given, StageTable)
        target = None if table is None else self.target(where, "target", table.target)
        if table is None or target is None:
            return None
        name = table.name or target.path.rsplit(".", 1)[-1]
        return Plan(target, **self.values(where, table), name=name)

    def table(self, where: str, given: Any, kind: type[_Table]) -> _Table | None:
        known = kind.__struct_fields__
        unknown = sorted(given.keys() - set(known)) if isinstance(given, dict) else []
        for key in unknown:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            self.wrong(where, f"{key}: unknown key; {hint}")
        if unknown:
            return None
        try:
            return msgspec.convert(given, kind)
        except msgspec.ValidationError as error:
            self.wrong(where, _in_words(str(error)))
            return None

    def target(self, where: str, key: str, text: str) -> Target | None:
        if not _TARGET.fullmatch(text):
            self.wrong(
                where, f"{key}: {text[:128]!r} is no target; write module:function or module:Class.method"
            )
            return None
        return Target(*text.split(":"))

    def values(self, where: str, table: StageTable | GenerationTable) -> dict[str, Any]:
        given = table.arguments
        arguments = {path.split(".")[-1]: path for path in given} if isinstance(given, list) else given
        named = {"arguments": arguments, "results": table.results, "outputs": table.outputs}
        found: dict[str, Any] = {
            key: {name: self.value(where, f"{key}.{name}", text) for name, text in one.items()}
            for key, one in named.items()
        }
        return {**found, "attributes": table.attributes}

    def value(self, where: str, key: str, text: str) -> Value:
        try:
            return Value.of(text)
        except ValueError as error:
            self.wrong(where, f"{key}: {error}")
            return Value.of("result")

    def config(self, where: str, given: str | dict[str, str]) -> Target | dict[str, Target]:
        if isinstance(given, str):
            return self.target(where, "config", given) or {}
        found = {name: self.target(where, f"config.{name}", text) for name, text in given.items()}
        return {name: target for name, target in found.items() if target is not None}

    def rule(self, number: int, given: Any) -> tuple[Rule, Value | None] | None:
        where = f"[[generation.outcome]] {number}"
        rule = self.table(where, given, Rule)
        if rule is None:
            return None
        if rule.outcome not in OUTCOMES:
            self.wrong(where, f"outcome: {rule.outcome[:64]!r} is not one of {', '.join(OUTCOMES)}")
        if (rule.header, rule.status, rule.raises, rule.value, rule.empty) == (None,) * 5:
            self.wrong(where, "tell it from something: header, status, raises, value or empty")
        return rule, None if rule.value is None else self.value(where, "value", rule.value)

    def distinct(self, plans: list[Plan]) -> None:
        seen = set[str]()
        for plan in plans:
            if str(plan.target) in seen:
                self.wrong("target", f"{plan.target} is there twice")
            seen.add(str(plan.target))


def _in_words(text: str) -> str:
    """Turn `Expected str, got int - at $.name` around: the key first."""
    what, _, place = text.partition(" - at `$")
    place = place.strip("`.")
    what = what.replace("Object missing required field", "missing key")
    return f"{place}: {what}" if place else what
