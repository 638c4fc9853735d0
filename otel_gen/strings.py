"""Cut whatever text a caller passes to bytes of UTF-8, and name keys and classes, without running the caller's code.

Every function here is total. Subclasses of `str` are read through the C methods of `str`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otel_gen.scalars import number

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_KEY", "class_name", "dict_key", "encodable", "keyname", "text"]

MAX_KEY: Final = 256
_MAX_NAME: Final = 100

# The getter of the builtin itself: no metaclass and no property can stand in between.
_qualname_of: Callable[[type], str] = type.__dict__["__qualname__"].__get__


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
    return encodable(value, max(limit, 0))


def keyname(value: object) -> str | None:
    """Return an attribute key of 1 to 128 UTF-8 bytes, else None."""
    return text(value, 128) or None


def dict_key(value: object) -> str | None:
    """Return a dict key as JSON writes it, None for one that is not a plain scalar."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if issubclass(type(value), str):
        return text(value, MAX_KEY)
    if issubclass(type(value), (int, float)):
        found = number(value)
        return None if found is None else str(found)
    return None


def class_name(kind: type) -> str:
    """Return the qualified name of a class, as the class itself holds it."""
    return text(_qualname_of(kind), _MAX_NAME) or "object"


def encodable(value: str, limit: int) -> str:
    """Return the start of a string in at most `limit` UTF-8 bytes; lone surrogates are replaced."""
    head = value[:limit]  # a character takes at least a byte
    try:
        data = head.encode()
    except UnicodeEncodeError:
        head = head.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        data = head.encode()
    return head if len(data) <= limit else data[:limit].decode("utf-8", "ignore")
