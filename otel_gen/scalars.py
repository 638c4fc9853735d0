"""Read a number, score, uid or flag from whatever scalar a caller passes, without running the caller's code.

Every function here is total. Subclasses of builtin types are read through the C methods of the builtin; numbers
of numpy, torch, decimal and fractions count only where the loaded library itself holds that very class under its
name.
"""

from __future__ import annotations

import math
import re
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["INT64_MAX", "INT64_MIN", "flag", "is_plain", "library_of", "number", "scalar_of", "score", "uid"]

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
_MAX_NUMERAL: Final = 64
_NUMERAL: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_LIBRARIES: Final = frozenset({"decimal", "fractions", "numpy", "torch", "zoneinfo"})

# The getters of the builtins themselves: no metaclass and no property can stand in between.
_name_of: Callable[[type], str] = type.__dict__["__name__"].__get__
_module_of: Callable[[type], object] = type.__dict__["__module__"].__get__
_namespace_of: Callable[[ModuleType], dict[str, Any]] = vars(ModuleType)["__dict__"].__get__


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
    if type(value) is float and 0.0 <= value <= 1.0:
        return round(value, 4) + 0.0
    found = number(value)
    return round(float(found), 4) + 0.0 if found is not None and 0 <= found <= 1 else None


def uid(value: object) -> int | None:
    """Return a network uid, an integer in 0..65535, else None."""
    if type(value) is int:
        return value if 0 <= value <= 65535 else None
    found = number(value)
    return found if type(found) is int and 0 <= found <= 65535 else None


def flag(value: object) -> bool | None:
    """Return a bool from a bool or a numpy or torch bool, else None."""
    if value is True or value is False:
        return value
    if value is None:
        return None
    plain = scalar_of(value)
    return plain if type(plain) is bool else None


def is_plain(value: object) -> bool:
    """Return whether a value is None or of the very class str, int, float or bool."""
    return value is None or any(type(value) is kind for kind in (str, int, float, bool))


def scalar_of(value: Any) -> object:
    """Return the plain value of another library's scalar or one-element array, else None."""
    library = library_of(type(value))
    try:
        if library in ("decimal", "fractions"):
            return float(value)
        if library in ("numpy", "torch"):
            plain = value.item()
            # A longdouble's item() is a longdouble.
            return float(plain) if type(plain) is type(value) else plain
    except Exception:  # noqa: BLE001 - item() and float() of another library: out of range, many elements, no device
        return None
    return None


def library_of(kind: type) -> str:
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


def _measured(value: object) -> int | float | None:
    kind = type(value)
    if issubclass(kind, str):
        return _numeral(str.__str__(value))
    if issubclass(kind, float):
        return number(float.__float__(value))  # type: ignore[arg-type]
    if issubclass(kind, int):
        return number(int.__int__(value))  # type: ignore[arg-type]
    plain = scalar_of(value)
    return number(plain) if is_plain(plain) else None


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
