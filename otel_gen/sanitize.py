"""Turn whatever a caller passes into plain, finite, bounded JSON values, without running the caller's code.

Every function here is total: it returns, whatever it is given. Subclasses of builtin types are read through
the C methods of the builtin, so an overridden `__str__`, `items` or `__iter__` never runs. Numbers of numpy,
torch, decimal and fractions count only where the loaded library itself holds that very class under its name.
An object of any other class becomes `{"type": "<its class>"}`.
"""

from __future__ import annotations

import math
import re
import sys
from collections import deque
from datetime import date, datetime, time, timedelta, timezone
from enum import Enum
from itertools import islice
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["MORE", "Json", "clean", "flag", "keyname", "number", "score", "text", "uid"]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MORE: Final = "…"
"""Marks what was cut: a string ends with it, a list with `"… 12 more"`, a dict with `"…": "12 more"`."""

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
_MAX_INTEGER: Final = 10**64
_MAX_KEY: Final = 256
_MAX_NAME: Final = 100
_MAX_NUMERAL: Final = 64
_NUMERAL: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_LIBRARIES: Final = frozenset({"decimal", "fractions", "numpy", "torch", "zoneinfo"})

# The getters of the builtins themselves: no metaclass and no property can stand in between.
_qualname_of: Callable[[type], str] = type.__dict__["__qualname__"].__get__
_name_of: Callable[[type], str] = type.__dict__["__name__"].__get__
_module_of: Callable[[type], object] = type.__dict__["__module__"].__get__
_namespace_of: Callable[[ModuleType], dict[str, Any]] = vars(ModuleType)["__dict__"].__get__
_members_of: Callable[[Enum], dict[str, Any]] = vars(Enum)["__dict__"].__get__


def text(value: object, limit: int = 65536) -> str | None:
    """Return a `str` that encodes as UTF-8 in at most `limit` bytes, None for anything but a `str`.

    Lone surrogates become U+FFFD; control characters stay.
    """
    if type(value) is not str:
        if not issubclass(type(value), str):
            return None
        value = str.__str__(value)
    if len(value) <= limit and value.isascii():
        return value
    return _encodable(value, max(limit, 0))


def keyname(value: object) -> str | None:
    """Return an attribute key of 1 to 128 UTF-8 bytes, else None."""
    return text(value, 128) or None


def number(value: object) -> int | float | None:
    """Return a finite number by value, from numbers, numerals in ASCII, Decimal, Fraction, numpy and torch.

    A bool is no number. An integer outside int64 comes back as a float.
    """
    if type(value) is float:
        return value if math.isfinite(value) else None
    if type(value) is int:
        return value if INT64_MIN <= value <= INT64_MAX else _finite(value)
    if value is None or type(value) is bool:
        return None
    return _measured(value)


def score(value: object) -> float | None:
    """Return a score in 0..1, rounded to 4 decimals, else None."""
    found = number(value)
    return round(float(found), 4) + 0.0 if found is not None and 0 <= found <= 1 else None


def uid(value: object) -> int | None:
    """Return a network uid, an integer in 0..65535, else None."""
    found = number(value)
    return found if type(found) is int and 0 <= found <= 65535 else None


def flag(value: object) -> bool | None:
    """Return a bool from a bool or a numpy or torch bool, else None."""
    if value is True or value is False:
        return value
    plain = _scalar(value)
    return plain if type(plain) is bool else None


def clean(value: object, *, limit: int = 65536, nodes: int = 2000, depth: int = 16) -> Json:
    """Return a JSON value of at most `nodes` values, `limit` bytes of text and `depth` levels of containers.

    What was cut is marked with `MORE`; a container too deep is `{"type", "size"}`, a cycle
    `{"type": "cycle"}`.
    """
    if type(value) is str and len(value) <= limit and value.isascii():
        return value
    if value is None or value is True or value is False:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else None
    if type(value) is int and INT64_MIN <= value <= INT64_MAX:
        return value
    try:
        return _Walk(limit, nodes, depth).value(value)
    except Exception:  # noqa: BLE001 - total: the caller may stand at the recursion or memory limit
        return None


class _Walk:
    """One bounded walk: the nodes, bytes and levels that are left, and the containers it stands in."""

    __slots__ = ("bytes", "depth", "nodes", "open")

    def __init__(self, limit: int, nodes: int, depth: int) -> None:
        self.bytes = limit
        self.nodes = nodes
        self.depth = depth
        self.open: set[int] = set()

    def value(self, value: Any) -> Json:
        self.nodes -= 1
        kind = type(value)
        # A metaclass may define __hash__, so only classes of class `type` are looked up in a dict.
        take = _TAKE.get(kind) if type(kind) is type else None
        return (take or _taker(kind))(self, value)

    def string(self, value: str) -> str:
        if len(value) <= self.bytes and value.isascii():
            self.bytes -= len(value)
            return value
        if len(value) <= self.bytes:
            whole = _encodable(value, 4 * len(value))
            size = len(whole.encode())
            if size <= self.bytes:
                self.bytes -= size
                return whole
        kept = _encodable(value, max(self.bytes - len(MORE.encode()), 0))
        self.bytes = 0
        return kept + MORE

    def mapping(self, value: dict[Any, Any]) -> Json:
        size = dict.__len__(value)
        if not self.enter(value):
            return self.summary(value, size)
        found: dict[str, Json] = {}
        for key, item in _first(dict.items, value, self.nodes):
            if self.nodes <= 0 or self.bytes <= 0:
                break
            name = self.key(key)
            if name is None or name in found:
                self.nodes -= 1
            else:
                found[name] = self.value(item)
        if size > len(found):
            found[MORE] = f"{size - len(found)} more"
        self.leave(value)
        return found

    def sequence(self, value: Any, base: Any) -> Json:
        size = base.__len__(value)
        if not self.enter(value):
            return self.summary(value, size)
        found: list[Json] = []
        for item in _first(base.__iter__, value, self.nodes):
            if self.nodes <= 0 or self.bytes <= 0:
                break
            found.append(self.value(item))
        if size > len(found):
            found.append(f"{MORE} {size - len(found)} more")
        self.leave(value)
        return found

    def enter(self, container: object) -> bool:
        """Step into a container, unless that is too deep or the walk is inside it already."""
        if self.depth <= 0 or id(container) in self.open:
            return False
        self.depth -= 1
        self.open.add(id(container))
        return True

    def leave(self, container: object) -> None:
        self.depth += 1
        self.open.discard(id(container))

    def summary(self, container: object, size: int) -> Json:
        if id(container) in self.open:
            return {"type": "cycle"}
        return {**self.unknown(container), "size": size}

    def key(self, value: object) -> str | None:
        if type(value) is str and len(value) <= _MAX_KEY and value.isascii():
            self.bytes -= len(value)
            return value
        name = _key(value)
        self.bytes -= len(name.encode()) if name else 0
        return name

    def unknown(self, value: object) -> dict[str, Json]:
        return {"type": self.string(_class_name(type(value)))}

    def enumeration(self, value: Enum) -> Json:
        plain = _members_of(value).get("_value_")
        return self.value(plain) if _is_plain(plain) else self.unknown(value)

    def moment(self, value: Any) -> Json:
        zone = None if type(value) is date else value.tzinfo
        # Another library's tzinfo would be asked for its offset.
        if zone is None or type(zone) is timezone or _library(type(zone)) == "zoneinfo":
            return self.string(value.isoformat())
        return self.unknown(value)

    def foreign(self, value: Any) -> Json:
        """Return the value of a genuine number or array of another library."""
        try:
            return self.number_or_array(value)
        except Exception:  # noqa: BLE001 - another library's object may be broken: a CUDA error, a freed buffer
            return self.unknown(value)

    def number_or_array(self, value: Any) -> Json:
        shape = getattr(value, "shape", ())
        if not shape:
            plain = _scalar(value)
            return self.unknown(value) if plain is None else self.value(plain)
        # An empty axis hides the others from the size: (2000, 2000, 0) holds 0 items in 2,000 lists of lists.
        cells = math.prod(max(int(axis), 1) for axis in shape)
        if _library(type(value)) == "numpy" and cells <= self.nodes and value.nbytes <= self.bytes:
            return self.value(value.tolist())
        kind = _class_name(value.dtype.type) if hasattr(value.dtype, "type") else str(value.dtype)
        axes: list[Json] = [int(axis) for axis in shape[:16]]
        return {**self.unknown(value), "shape": axes, "dtype": self.string(kind)}


def _encodable(value: str, limit: int) -> str:
    """Return the start of a string in at most `limit` UTF-8 bytes; lone surrogates are replaced."""
    head = value[:limit]  # a character takes at least a byte
    try:
        data = head.encode()
    except UnicodeEncodeError:
        head = head.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        data = head.encode()
    return head if len(data) <= limit else data[:limit].decode("utf-8", "ignore")


def _first(read: Callable[[Any], Iterable[Any]], container: Any, count: int, tries: int = 3) -> list[Any]:
    """Copy up to `count` items, so that the walk does not see what other threads do to the container."""
    try:
        return list(islice(read(container), max(count, 0)))
    except RuntimeError:  # changed while it was copied
        return _first(read, container, count, tries - 1) if tries > 1 else []


def _key(value: object) -> str | None:
    """Return a dict key as JSON writes it, None for one that is not a plain scalar."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if issubclass(type(value), str):
        return text(value, _MAX_KEY)
    if issubclass(type(value), (int, float)):
        found = number(value)
        return None if found is None else str(found)
    return None


def _is_plain(value: object) -> bool:
    return value is None or any(type(value) is kind for kind in (str, int, float, bool))


def _class_name(kind: type) -> str:
    return text(_qualname_of(kind), _MAX_NAME) or "object"


def _library(kind: type) -> str:
    """Return the library that itself holds this class under its name, "" where none of those known does."""
    try:
        home = _module_of(kind)
    except AttributeError:
        return ""
    if type(home) is not str or home not in _LIBRARIES:
        return ""
    module = sys.modules.get(home)
    if module is None or not issubclass(type(module), ModuleType):
        return ""
    return home if _namespace_of(module).get(str.__str__(_name_of(kind))) is kind else ""


def _scalar(value: Any) -> object:
    """Return the plain value of another library's scalar or one-element array, else None."""
    library = _library(type(value))
    try:
        if library in ("decimal", "fractions"):
            return float(value)
        if library in ("numpy", "torch"):
            plain = value.item()
            return (
                float(plain) if type(plain) is type(value) else plain
            )  # a longdouble's item() is a longdouble
    except Exception:  # noqa: BLE001 - item() and float() of another library: out of range, many elements, no device
        return None
    return None


def _measured(value: object) -> int | float | None:
    kind = type(value)
    if issubclass(kind, str):
        return _numeral(str.__str__(value))
    if issubclass(kind, float):
        return number(float.__float__(value))  # type: ignore[arg-type]
    if issubclass(kind, int):
        return number(int.__int__(value))  # type: ignore[arg-type]
    plain = _scalar(value)
    return number(plain) if _is_plain(plain) else None


def _numeral(value: str) -> int | float | None:
    if len(value) > _MAX_NUMERAL or not _NUMERAL.fullmatch(value.strip(" \t\r\n")):
        return None
    try:
        return number(int(value))
    except ValueError:
        return number(float(value))


def _finite(value: int) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return None


def _take_int(walk: _Walk, value: int) -> Json:
    if INT64_MIN <= value <= INT64_MAX:
        return value
    return walk.string(str(value)) if -_MAX_INTEGER < value < _MAX_INTEGER else None


def _take_float(walk: _Walk, value: float) -> Json:
    return value if math.isfinite(value) else None


def _sized(measure: Callable[[Any], int], kind: str) -> _Taker:
    return lambda _, value: {"type": kind, "size": measure(value)}


def _taker(kind: type) -> _Taker:
    """Return what reads an instance of a subclass of a builtin, or of another library's class."""
    for base, take in _BASES:
        if issubclass(kind, base):
            return take
    return _Walk.foreign if _library(kind) else _Walk.unknown


_Taker: TypeAlias = "Callable[[_Walk, Any], Json]"

_BASES: Final[tuple[tuple[type, _Taker], ...]] = (
    (str, lambda walk, value: walk.string(str.__str__(value))),
    (int, lambda walk, value: _take_int(walk, int.__int__(value))),
    (float, lambda walk, value: _take_float(walk, float.__float__(value))),
    (bytes, _sized(bytes.__len__, "bytes")),
    (bytearray, _sized(bytearray.__len__, "bytes")),
    (dict, _Walk.mapping),
    *(
        (base, lambda walk, value, base=base: walk.sequence(value, base))
        for base in (list, tuple, set, frozenset, deque)
    ),
    (Enum, _Walk.enumeration),
)

_TAKE: Final[dict[type, _Taker]] = {
    **dict(_BASES),
    type(None): lambda _, value: value,
    bool: lambda _, value: value,
    str: _Walk.string,
    int: _take_int,
    float: _take_float,
    memoryview: _sized(lambda value: value.nbytes, "bytes"),
    datetime: _Walk.moment,
    date: _Walk.moment,
    time: _Walk.moment,
    timedelta: lambda _, value: value.total_seconds(),
    **dict.fromkeys(
        (UUID, PurePosixPath, PosixPath, PureWindowsPath, WindowsPath),
        lambda walk, value: walk.string(str(value)),
    ),
}
