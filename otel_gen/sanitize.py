"""Turn whatever a caller passes into plain, finite, bounded JSON values, without running the caller's code.

Every function here is total: it returns, whatever it is given. Subclasses of builtin types are read through
the C methods of the builtin, so an overridden `__str__`, `items` or `__iter__` never runs. Numbers of numpy,
torch, decimal and fractions count only where the loaded library itself holds that very class under its name.
An object of any other class becomes `{"type": "<its class>"}`.
"""

from __future__ import annotations

import math
from collections import deque
from datetime import date, datetime, time, timedelta, timezone
from enum import Enum
from itertools import islice
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import UUID

from otel_gen.scalars import INT64_MAX, INT64_MIN, flag, is_plain, library_of, number, scalar_of, score, uid
from otel_gen.strings import MAX_KEY, class_name, dict_key, encodable, keyname, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["MORE", "Json", "clean", "flag", "keyname", "number", "score", "text", "uid"]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MORE: Final = "…"
"""Marks what was cut: a string ends with it, a list with `"… 12 more"`, a dict with `"…": "12 more"`."""

_MAX_INTEGER: Final = 10**64

# The getter of the builtin itself: no property can stand in between.
_members_of: Callable[[Enum], dict[str, Any]] = vars(Enum)["__dict__"].__get__


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
            whole = encodable(value, 4 * len(value))
            size = len(whole.encode())
            if size <= self.bytes:
                self.bytes -= size
                return whole
        kept = encodable(value, max(self.bytes - len(MORE.encode()), 0))
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
        if type(value) is str and len(value) <= MAX_KEY and value.isascii():
            self.bytes -= len(value)
            return value
        name = dict_key(value)
        self.bytes -= len(name.encode()) if name else 0
        return name

    def unknown(self, value: object) -> dict[str, Json]:
        return {"type": self.string(class_name(type(value)))}

    def enumeration(self, value: Enum) -> Json:
        plain = _members_of(value).get("_value_")
        return self.value(plain) if is_plain(plain) else self.unknown(value)

    def moment(self, value: Any) -> Json:
        zone = None if type(value) is date else value.tzinfo
        # Another library's tzinfo would be asked for its offset.
        if zone is None or type(zone) is timezone or library_of(type(zone)) == "zoneinfo":
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
            plain = scalar_of(value)
            return self.unknown(value) if plain is None else self.value(plain)
        # An empty axis hides the others from the size: (2000, 2000, 0) holds 0 items in 2,000 lists of lists.
        cells = math.prod(max(int(axis), 1) for axis in shape)
        if library_of(type(value)) == "numpy" and cells <= self.nodes and value.nbytes <= self.bytes:
            return self.value(value.tolist())
        kind = class_name(value.dtype.type) if hasattr(value.dtype, "type") else str(value.dtype)
        axes: list[Json] = [int(axis) for axis in shape[:16]]
        return {**self.unknown(value), "shape": axes, "dtype": self.string(kind)}


def _first(read: Callable[[Any], Iterable[Any]], container: Any, count: int, tries: int = 3) -> list[Any]:
    """Copy up to `count` items, so that the walk does not see what other threads do to the container."""
    try:
        return list(islice(read(container), max(count, 0)))
    except RuntimeError:  # changed while it was copied
        return _first(read, container, count, tries - 1) if tries > 1 else []


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
    return _Walk.foreign if library_of(kind) else _Walk.unknown


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
