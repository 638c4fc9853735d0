"""Bad PLY and SPZ files: headers that lie, bodies that are cut, numbers that are none."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from typing import Any

from tests.bad_input.case import Case, Record, named, noise

NAMES = ("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1",
         "scale_2", "rot_0", "rot_1", "rot_2", "rot_3")  # fmt: skip
FLOAT = "<17f"


def head(count: Any = 10, *, form: str = "binary_little_endian", names: Any = NAMES, end: str = "\n",
         kind: str = "float", before: tuple[str, ...] = ()) -> bytes:  # fmt: skip
    lines = ["ply", f"format {form} 1.0", *before, f"element vertex {count}",
             *(f"property {kind} {name}" for name in names), "end_header", ""]  # fmt: skip
    return end.join(lines).encode()


def body(rows: int = 10, *values: float) -> bytes:
    return struct.pack(FLOAT, *((values or (0.5,)) * 17)[:17]) * rows


def whole(**parts: Any) -> bytes:
    return head(**parts) + body()


PLYS: dict[str, Any] = {
    "whole": whole,
    "empty": b"",
    "only the magic": b"ply",
    "header cut": lambda: head()[:60],
    "header without an end": lambda: head()[:-12] + body(),
    "no body": head,
    "body cut in a row": lambda: whole()[:-13],
    "one byte too many": lambda: whole() + b"\0",
    "count too large": lambda: whole(count=1_000_000),
    "count too small": lambda: whole(count=3),
    "count 0": lambda: head(0),
    "count negative": lambda: whole(count=-10),
    "count with a plus": lambda: whole(count="+10"),
    "count 2^31": lambda: whole(count=2**31),
    "count 2^64": lambda: whole(count=2**64),
    "count of 4,000 digits": lambda: whole(count="9" * 4000),
    "count 1e30": lambda: whole(count="1e30"),
    "count a fraction": lambda: whole(count="10.5"),
    "count in Arabic digits": lambda: whole(count="\u0661\u0660"),
    "count with an underscore": lambda: whole(count="1_0"),
    "no count": lambda: whole(count=""),
    "ascii": lambda: head(form="ascii") + b"0.5 " * 170,
    "big-endian": lambda: head(form="binary_big_endian") + body(),
    "a format that is none": lambda: whole(form="binary_middle_endian"),
    "CRLF header": lambda: whole(end="\r\n"),
    "CR header": lambda: whole(end="\r"),
    "doubles": lambda: whole(kind="double"),
    "a type that is none": lambda: whole(kind="quaternion"),
    "100,000 properties": lambda: whole(names=[f"p{n}" for n in range(100_000)]),
    "5 MB header": lambda: whole(before=("comment " + "x" * 1000,) * 5000),
    "5 MB in one comment": lambda: whole(before=("comment " + "x" * 5_000_000,)),
    "1,000 elements": lambda: whole(before=tuple(f"element e{n} 0" for n in range(1000))),
    "the same property twice": lambda: whole(names=(*NAMES, "x")),
    "a list": lambda: head(before=("element face 1", "property list uchar int vertex_indices")) + body(),
    "a list among the vertices": lambda: whole(names=NAMES).replace(b"float nx", b"list uchar int nx"),
    "no vertices": lambda: b"ply\nformat ascii 1.0\nelement face 0\nend_header\n",
    "no properties": lambda: whole(names=()),
    "NaN": lambda: head() + body(10, float("nan")),
    "infinite": lambda: head() + body(10, float("inf"), float("-inf")),
    "largest floats": lambda: head() + body(10, 3.4e38),
    "opacity outside any logit": lambda: head() + body(10, -1e30),
    "random bytes for a body": lambda: head(1000) + noise(68_000),
    "gzip": lambda: gzip.compress(whole()),
    "gzip bomb": lambda: gzip.compress(bytes(200 << 20), 1),
    "SPZ magic and nothing": b"\x28\xb5\x2f\xfd",
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(64),
    "random bytes": lambda: noise(100_000),
    "a name with NUL": lambda: whole(names=("x\0", *NAMES[1:])),
    "names that are no text": lambda: whole().replace(b"opacity", b"\xff\xfe\xfa"),
    "markup in a comment": lambda: whole(before=("comment <script>\x1b[2J",)),
    "a path that is not there": "/nowhere/model.ply",
    "a device": "/dev/zero",
    "an object": object(),
    "a text": "ply\nformat ascii 1.0\n",
    "a number": 17,
    "an empty array": lambda: bytearray(),
}


def _plain(record: Record) -> None:
    count = record["generation"]["output"].get("num_gaussians")
    assert count is None or 0 <= count <= 2**63


def cases() -> Iterator[Case]:
    """Each as a PLY that a service hands over, some as an SPZ."""
    for name, make in named("ply", PLYS):
        yield Case(name, make, act=lambda gen, value: gen.output(ply=value), expect=_plain)
    for name, make in list(named("spz", PLYS))[::8]:
        yield Case(name, make, act=lambda gen, value: gen.output(spz=value), expect=_plain)
