"""The header of a PLY file: where its vertices lie, and whether the file is as long as it says."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from otel_gen.inspectors.source import UnreadableError

__all__ = ["MAX_HEADER", "PlyHeader", "Property", "header", "parse"]

MAX_HEADER: Final = 64 * 1024
"""A longer header is not read, in bytes."""

_MAX_COUNT: Final = 2**40
_COUNT: Final = re.compile(rb"[0-9]{1,13}")
_FORMATS: Final = frozenset({b"ascii", b"binary_little_endian", b"binary_big_endian"})
_TYPES: Final = {
    **dict.fromkeys((b"char", b"int8"), "i1"),
    **dict.fromkeys((b"uchar", b"uint8"), "u1"),
    **dict.fromkeys((b"short", b"int16"), "i2"),
    **dict.fromkeys((b"ushort", b"uint16"), "u2"),
    **dict.fromkeys((b"int", b"int32"), "i4"),
    **dict.fromkeys((b"uint", b"uint32"), "u4"),
    **dict.fromkeys((b"float", b"float32"), "f4"),
    **dict.fromkeys((b"double", b"float64"), "f8"),
}


class Property(NamedTuple):
    """A column of the vertices: numpy type without byte order (`f4`), offset in a vertex in bytes."""

    name: str
    type: str
    offset: int


@dataclass(frozen=True)
class PlyHeader:
    """What a header says about the vertices, set against the size of the file, in bytes.

    `count` is the number declared, `present` the number of whole vertices that are there. In an ascii file,
    or with a list before or in the vertices, nothing has a fixed place: `stride` is 0, `present` is `count`.
    """

    format: str
    count: int
    present: int
    properties: tuple[Property, ...]
    stride: int
    data_offset: int
    expected_size: int | None
    trailing: int
    missing: int

    @property
    def byte_order(self) -> str:
        """`<`, `>`, or "" where the numbers are written out."""
        return {"binary_little_endian": "<", "binary_big_endian": ">"}.get(self.format, "")


@dataclass
class _Element:
    name: str
    count: int
    properties: list[Property] = field(default_factory=list)
    stride: int = 0
    lists: int = 0

    @property
    def size(self) -> int | None:
        return None if self.lists else self.count * self.stride


def header(head: bytes, size: int) -> PlyHeader | None:
    """Return the header at the start of a file of `size` bytes, None where it is malformed."""
    try:
        return parse(head, size)
    except UnreadableError:
        return None


def parse(head: bytes, size: int) -> PlyHeader:
    """Return the header at the start of a file of `size` bytes; raise UnreadableError with the reason."""
    lines, data_offset = _lines(head)
    form, elements = _elements(lines)
    vertex = next((element for element in elements if element.name == "vertex"), None)
    if vertex is None:
        raise UnreadableError("no vertex element")
    if not vertex.properties and not vertex.lists:
        raise UnreadableError("vertices without a property")
    if form == "ascii" or _has_list(elements[: elements.index(vertex) + 1]):
        return _without_places(form, vertex, data_offset, size)
    before = sum(element.size or 0 for element in elements[: elements.index(vertex)])
    total = None if _has_list(elements) else data_offset + sum(element.size or 0 for element in elements)
    start = data_offset + before
    end = start + vertex.count * vertex.stride if total is None else total
    return PlyHeader(
        format=form,
        count=vertex.count,
        present=min(vertex.count, max(size - start, 0) // vertex.stride),
        properties=tuple(vertex.properties),
        stride=vertex.stride,
        data_offset=start,
        expected_size=total,
        trailing=0 if total is None else max(size - total, 0),
        missing=max(end - size, 0),
    )


def _without_places(form: str, vertex: _Element, data_offset: int, size: int) -> PlyHeader:
    # Each number takes at least a character and a separator (ascii) or a byte (a list's length).
    least = max(vertex.count * (len(vertex.properties) + vertex.lists), 0)
    if least > max(size - data_offset, 0):
        raise UnreadableError("more vertices than the file can hold")
    return PlyHeader(
        format=form,
        count=vertex.count,
        present=vertex.count,
        properties=tuple(vertex.properties),
        stride=0,
        data_offset=data_offset,
        expected_size=None,
        trailing=0,
        missing=0,
    )


def _has_list(elements: list[_Element]) -> bool:
    return any(element.lists for element in elements)


def _lines(head: bytes) -> tuple[list[bytes], int]:
    """Split the header by the line ending of its first line; return its lines and where the data begin."""
    head = head[:MAX_HEADER]
    ending = next((end for end in (b"\r\n", b"\n", b"\r") if head.startswith(b"ply" + end)), None)
    if ending is None:
        raise UnreadableError("empty file" if not head else "not a PLY file")
    closing = ending + b"end_header" + ending
    end = head.find(closing)
    if end < 0:
        raise UnreadableError("header too long" if len(head) == MAX_HEADER else "the header is cut short")
    return head[:end].split(ending)[1:], end + len(closing)


def _elements(lines: list[bytes]) -> tuple[str, list[_Element]]:
    form = ""
    elements: list[_Element] = []
    for words in filter(None, map(bytes.split, lines)):
        if words[0] == b"format":
            form = _format(words)
        elif words[0] == b"element":
            elements.append(_element(words))
        elif words[0] == b"property":
            _add_property(elements, words)
        elif words[0] not in (b"comment", b"obj_info"):
            raise UnreadableError("unknown line in the header")
    if not form:
        raise UnreadableError("no format")
    return form, elements


def _format(words: list[bytes]) -> str:
    if len(words) != 3 or words[1] not in _FORMATS or words[2] != b"1.0":
        raise UnreadableError("unknown format")
    return words[1].decode()


def _element(words: list[bytes]) -> _Element:
    if len(words) != 3 or not _COUNT.fullmatch(words[2]) or int(words[2]) > _MAX_COUNT:
        raise UnreadableError("impossible element count")
    return _Element(words[1].decode("ascii", "replace"), int(words[2]))


def _add_property(elements: list[_Element], words: list[bytes]) -> None:
    if not elements:
        raise UnreadableError("a property before any element")
    element = elements[-1]
    if len(words) == 5 and words[1] == b"list" and words[2] in _TYPES and words[3] in _TYPES:
        element.lists += 1
        return
    if len(words) != 3 or words[1] not in _TYPES:
        raise UnreadableError("unknown property type")
    kind = _TYPES[words[1]]
    element.properties.append(Property(words[2].decode("ascii", "replace"), kind, element.stride))
    element.stride += int(kind[1])
