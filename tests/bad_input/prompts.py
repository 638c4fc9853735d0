"""Bad prompts: whatever a network hands over as text."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from tests.bad_input.case import Case, Record, noise

LIMIT = 65_536


class Loud(str):
    """A text whose every method of its own would fail."""

    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("__str__ ran")

    __repr__ = __len__ = encode = __iter__ = __getitem__ = __str__  # type: ignore[assignment]


PROMPTS: dict[str, Any] = {
    "empty": "",
    "blank": " \t\r\n ",
    "none": None,
    "10 MB": lambda: "a red chair, " * 800_000,
    "10 MB of four-byte characters": lambda: "\N{CHAIR}" * 2_500_000,
    "NUL": "a\0chair",
    "only NULs": "\0" * 1000,
    "control characters": "".join(map(chr, range(32))) + "\x7f" + "".join(map(chr, range(0x80, 0xA0))),
    "escape sequences": "\x1b[2J\x1b]0;owned\x07a chair\x1b[31m",
    "lone high surrogate": "a\ud83dchair",
    "lone low surrogate": "\udc00",
    "surrogates in the wrong order": "\udc00\ud83d" * 100,
    "surrogate escape of bytes": b"a \xff\xfe chair".decode("utf-8", "surrogateescape"),
    "bidi overrides": "a \u202erriahc\u202c \u2066red\u2069 \u200f",
    "zero width": "\u200b\u200c\u200d\ufeff" * 300,
    "combining marks": "e" + "\u0301" * 10_000,
    "line separators": "one\u2028two\u2029three\x85four\x0bfive",
    "newlines": '{"generation_id":"x"}\n{"generation_id":"y"}\r\n',
    "looks like a record": '{"metadata":{"generation_id":"00000000-0000-0000-0000-000000000000"},"outcome":"accepted"}',
    "looks like the end of a record": '"},"outcome":"accepted","checksum":"0000000000000000"}\n',
    "looks like a metric": 'gen3d_records_total{outcome="accepted"} 99999\n# EOF\n',
    "looks like an exemplar": '# {trace_id="00"} 1.0',
    "looks like a format string": "%s %d %n {0} {self.__class__} ${jndi:ldap://x/y}",
    "looks like markup": "<script>alert(1)</script> [bold red]x[/] {{7*7}}",
    "looks like a path": "../../../../etc/passwd\0.png",
    "looks like an option": "--data-dir=/ ; rm -rf /",
    "looks like SQL": "'; DROP TABLE delivered; --",
    "looks like a data URL": "data:image/png;base64,",
    "700 characters like base64": lambda: base64.b64encode(noise(525)).decode(),
    "base64 of a PNG": lambda: base64.b64encode(b"\x89PNG\r\n\x1a\n" + noise(600)).decode(),
    "500 equal letters": "A" * 500,
    "100,000 opening brackets": lambda: "[" * 100_000,
    "a number": 42,
    "a huge integer": lambda: 10**4000,
    "not a number": float("nan"),
    "bytes": b"a chair",
    "bytes that are no text": lambda: noise(4096),
    "a list": ["a", "chair"],
    "a dict": {"prompt": "a chair"},
    "an object": object(),
    "a text whose methods raise": lambda: Loud("a chair"),
    "a class": lambda: dict,
}


def _stays_text(record: Record) -> None:
    task = record["task"]
    assert task["is_base64_image"] is False
    assert task["image_file_path"] is None
    assert len((task["prompt"] or "").encode()) <= LIMIT


def _is_read(record: Record) -> None:
    assert (record["task"]["prompt"], record["task"]["prompt_length"]) == ("a chair", 7)


def cases() -> Iterator[Case]:
    """Each as the prompt of a text task, some as the enhanced one."""
    for name, make in named_prompts("prompt"):
        yield Case(
            name, make, act=lambda gen, _: None, expect=_is_read if name.endswith("methods raise") else _stays_text,
            keywords=lambda value: {"task_type": "TEXT-TO-3D", "prompt": value},
        )  # fmt: skip
    for name, make in list(named_prompts("enhanced prompt"))[::4]:
        yield Case(name, make, act=lambda gen, value: gen.enhanced_prompt(value, negative=value))
    for name, make in list(named_prompts("task type"))[::6]:
        yield Case(
            name, make, act=lambda gen, _: None,
            keywords=lambda value: {"task_type": value, "prompt": "a chair"},
        )  # fmt: skip


def named_prompts(kind: str) -> Iterator[tuple[str, Any]]:
    from tests.bad_input.case import named

    yield from named(kind, PROMPTS)
