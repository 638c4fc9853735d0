"""Bad ids: paths, other alphabets, a megabyte, and what is nearly a UUID."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import otel_gen
from tests.bad_input.case import Case, Record, named

UUID = "0198c0de-0000-7000-8000-0123456789ab"

IDS: dict[str, Any] = {
    "empty": "",
    "blank": "   ",
    "up and away": "../../../../etc/passwd",
    "up, encoded": "..%2f..%2fetc%2fpasswd",
    "up, with backslashes": "..\\..\\windows",
    "absolute": "/etc/passwd",
    "dot": ".",
    "dot dot": "..",
    "a hidden file": ".otel_gen/index",
    "a journal segment": ".otel_gen/segments/x.seg",
    "home": "~root",
    "NUL": "a\0b",
    "newline": "a\nb",
    "a UUID and a newline": UUID + "\n",
    "a UUID in braces": "{" + UUID + "}",
    "a UUID as URN": "urn:uuid:" + UUID,
    "a UUID without dashes": UUID.replace("-", ""),
    "a UUID too short": UUID[:-1],
    "a UUID too long": UUID + "0",
    "a UUID in full-width digits": UUID.translate(dict(zip(range(48, 58), range(0xFF10, 0xFF1A), strict=True))),
    "a UUID with a letter of another alphabet": UUID.replace("c", "\u0441"),
    "a UUID and a path": UUID + "/../../x",
    "lone surrogate": "\ud800",
    "bidi": "\u202etxt.exe",
    "1 MB": lambda: "a" * 1_000_000,
    "1 MB of dots": lambda: "../" * 350_000,
    "wildcards": "*?[a-z]",
    "SQL": "' OR 1=1; --",
    "a label": 'x",outcome="accepted',
    "a shell": "$(touch made)`touch made`",
    "integer": 7,
    "huge integer": lambda: 10**5000,
    "bytes": UUID.encode(),
    "a list": [UUID],
    "an object": object(),
    "true": True,
}  # fmt: skip


def _a_text(record: Record) -> None:
    task_id = record["metadata"]["task_id"]
    assert task_id is None or len(task_id.encode()) <= 140


def _harmless(record: Record) -> None:
    assert record["metadata"]["validator_uid"] in (None, *range(65_536))
    assert isinstance(record["metadata"]["validator_hotkey"], str)


def cases() -> Iterator[Case]:
    """Each as the id of a verdict (refused), as a task id, as a validator's uid and hotkey."""
    for name, make in named("feedback id", IDS):
        yield Case(
            name, make, act=lambda gen, value: otel_gen.feedback(value, score=1, validator_uid=57),
            refused="malformed id", expect=lambda record: _not_touched(record),
        )  # fmt: skip
    for name, make in named("task id", IDS):
        yield Case(
            name, make, act=lambda gen, _: None, expect=_a_text,
            keywords=lambda value: {"task_type": "TEXT-TO-3D", "prompt": "x", "task_id": value},
        )  # fmt: skip
    for name, make in list(named("validator", IDS))[::4]:
        yield Case(
            name, make, act=lambda gen, _: None, expect=_harmless,
            keywords=lambda value: {"task_type": "TEXT-TO-3D", "validator_uid": value, "validator_hotkey": value},
        )  # fmt: skip


def _not_touched(record: Record) -> None:
    assert record["validator_feedback"]["received"] is False
