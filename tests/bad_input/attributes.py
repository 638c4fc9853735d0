"""Bad attributes: cycles, depth, size, and objects whose methods raise, sleep or change what they are."""

from __future__ import annotations

import time
from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Iterator
from typing import Any

import otel_gen
from tests.bad_input.case import Case, Record, named, noise


class Raises:
    """Raises at whatever is asked of it."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError("__repr__")

    __str__ = __bool__ = __len__ = __iter__ = __hash__ = __eq__ = __repr__  # type: ignore[assignment]


class Sleeps:
    """Takes half a minute for whatever is asked of it."""

    def __str__(self) -> str:
        time.sleep(30)
        return ""

    __repr__ = __len__ = __iter__ = __bool__ = __hash__ = __eq__ = __float__ = __str__  # type: ignore[assignment]


class Mutating(dict):
    """Grows while it is looked at."""

    def items(self) -> Any:
        for n in range(10**9):
            self[n] = n
            yield n, n

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items())

    __len__ = lambda self: 1  # noqa: E731
    keys = values = items


class Hostile(type):
    """A class that raises when it is asked about itself."""

    def __hash__(cls) -> int:
        raise RuntimeError("hash of a class")

    def __instancecheck__(cls, _: Any) -> bool:
        raise RuntimeError("isinstance")

    __eq__ = __instancecheck__  # type: ignore[assignment]

    @property
    def __name__(cls) -> str:
        raise RuntimeError("name of a class")


def cycle() -> dict[str, Any]:
    found: dict[str, Any] = {"list": []}
    found["list"].append(found)
    found["self"] = found
    return found


def deep(n: int, kind: Any = list) -> Any:
    """Nest without recursion."""
    found: Any = "end"
    for _ in range(n):
        found = [found] if kind is list else {"a": found}
    return found


def exploding() -> list[Any]:
    """Make a few lists that would be 10^12 values written out."""
    found: list[Any] = ["lol"] * 10
    for _ in range(11):
        found = [found] * 10
    return found


class Exits:
    """Asks the process to end."""

    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __iter__ = __len__ = __str__  # type: ignore[assignment]


ATTRIBUTES: dict[str, Any] = {
    "a cycle": cycle,
    "100,000 lists deep": lambda: deep(100_000),
    "100,000 dicts deep": lambda: deep(100_000, dict),
    "references to references": exploding,
    "raises at everything": Raises,
    "a dict of what raises": lambda: {"a": Raises(), "b": [Raises()]},
    "sleeps at everything": Sleeps,
    "asks the process to end": Exits,
    "a class that raises": lambda: Hostile("H", (), {}),
    "an instance of such a class": lambda: Hostile("H", (), {})(),
    "a dict that grows": Mutating,
    "a million keys": lambda: dict.fromkeys(map(str, range(1_000_000)), 1),
    "a million values": lambda: list(range(1_000_000)),
    "50 MB of text": lambda: "x" * 50_000_000,
    "20 MB of bytes": lambda: noise(20_000_000),
    "an endless generator": lambda: iter(int, 1),
    "an endless range": lambda: range(10**18),
    "keys of every kind": {1: 1, None: 2, (1, 2): 3, b"x": 4, 1.5: 5, 2**64: 6},
    "keys that collide": {"a": 1, "a ": 2, "A": 3, "\ufeffa": 4},
    "an empty key": {"": 1},
    "a key of 1 MB": lambda: {"k" * 1_000_000: 1},
    "surrogates as key and value": {"\ud800": "\udfff"},
    "NaN and infinities": [float("nan"), float("inf"), {"a": float("-inf")}],
    "integers beyond 64 bit": [2**63, -(2**63) - 1, 2**64, 10**100],
    "an integer of 100,000 digits": lambda: 1 << 332_192,
    "bytes": b"\xff\x00",
    "a view": lambda: memoryview(noise(1000)),
    "a set": {1, 2, 3},
    "an ordered dict": lambda: OrderedDict(a=1),
    "a default dict": lambda: defaultdict(list, a=[1]),
    "a user dict": lambda: UserDict(a=1),
    "an exception": lambda: ValueError("x" * 100_000),
    "a function": lambda: print,
    "a module": time,
    "a lock": lambda: __import__("threading").Lock(),
    "an open file": lambda: __import__("pathlib").Path("/dev/null").open("rb"),
    "a coroutine": lambda: _closed(),
    "a numpy array of objects": lambda: __import__("numpy").array([object(), {1: 2}], dtype=object),
    "a numpy array of 10^7": lambda: __import__("numpy").zeros(10_000_000),
    "a numpy structured array": lambda: __import__("numpy").zeros(3, dtype=[("a", "f4"), ("b", "i4")]),
    "a time out of range": lambda: __import__("datetime").datetime.max,
    "the environment": lambda: __import__("os").environ,
}


def _closed() -> Any:
    async def nothing() -> None:
        """Never awaited."""

    made = nothing()
    made.close()
    return made


NAMES: dict[str, str] = {
    "our own": "gen3d.generation.id",
    "of the handle": "self",
    "with a dot": "a.b",
    "with NUL": "a\0b",
    "with a newline": "a\nb",
    "a lone surrogate": "\ud800",
    "of 100,000 characters": "n" * 100_000,
    "empty": "",
    "dunder": "__class__",
    "the checksum": "checksum",
}


def cases() -> Iterator[Case]:
    """Each as an attribute of the generation, some of a stage, as settings, as statistics and in feedback."""
    every = list(named("attribute", ATTRIBUTES))
    for name, make in every:
        yield Case(name, make)
    for at, (kind, act) in enumerate(OTHER_WAYS.items()):
        for name, make in every[at :: len(OTHER_WAYS)]:
            yield Case(name.replace("attribute", kind), make, act=act)
    for name, key in NAMES.items():
        yield Case(
            f"attribute name: {name}",
            lambda: "value",
            act=lambda gen, value, key=key: gen.set(**{key: value}),
        )
    yield Case("attributes: 100,000 at once", lambda: {f"a{n}": n for n in range(100_000)},
               act=lambda gen, value: gen.set(**value), expect=_core_stays)  # fmt: skip
    yield Case("attributes: 2,000 calls", lambda: range(2000), act=_many_calls, expect=_core_stays)
    yield Case("stages: 1,000", lambda: range(1000), act=_many_stages)


def _core_stays(record: Record) -> None:
    """What is too long loses the caller's own, never who, what and how it ended."""
    assert 10 < len(record["generation"]["attributes"]) < 100_000
    assert (record["task"]["prompt"], record["metadata"]["validator_uid"]) == ("a chair", 57)
    assert record["outcome"] == "unscored"


def _many_calls(gen: Any, value: Any) -> None:
    for n in value:
        gen.set(**{f"a{n}": "x" * 1000})


def _many_stages(gen: Any, value: Any) -> None:
    for n in value:
        with gen.stage(f"stage {n}\0"):
            pass


def _stage(gen: Any, value: Any) -> None:
    with gen.stage(value if isinstance(value, str) else "named", value=value) as stage:
        stage.set(again=value)


def _inner(gen: Any, value: Any) -> None:
    with otel_gen.generation(task_type="TEXT-TO-3D", config=value, task_id=value, attempt=value):
        pass


OTHER_WAYS: dict[str, Any] = {
    "stage attribute": _stage,
    "settings of an inner generation": _inner,
    "statistics": lambda gen, value: gen.output(gaussian_stats=value, render_stats={"a": value}),
    "feedback field": lambda gen, value: otel_gen.feedback(
        gen.id, score=0.5, cooldown_until=value, validation_failed=value, validator_uid=value
    ),
    "reason": lambda gen, value: gen.withheld(value, value=value),
    "failure": lambda gen, value: gen.failed(value, value, stage=value),
}
