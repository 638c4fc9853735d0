"""Case: one bad input, the public call that gets it, and what must have become of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import otel_gen

SEED = 20_261_125
"""Random bytes of the corpus are the same in each process."""
TEXT = {"task_type": "TEXT-TO-3D", "prompt": "a chair", "validator_uid": 57}

Record = dict[str, Any]


def anything(_: Record) -> None:
    """Expect no more than one valid record."""


@dataclass(frozen=True)
class Case:
    """`make` builds the input, outside the measured time; `act` gives it to otel_gen inside a generation."""

    name: str
    make: Callable[[], Any]
    act: Callable[[Any, Any], Any] = lambda gen, value: gen.set(value=value)
    expect: Callable[[Record], None] = anything
    keywords: Callable[[Any], dict[str, Any]] = lambda _: TEXT
    refused: str = ""
    """Where the call itself must be refused: the reason that `act` gives."""


@dataclass
class Told:
    """What a process tells of a case it ran."""

    name: str
    id: str
    seconds: float
    megabytes: float
    error: str = ""
    reason: str = ""
    made: dict[str, Any] = field(default_factory=dict)


def noise(n: int, seed: int = SEED) -> bytes:
    """Random bytes that are always the same."""
    return random.Random(seed).randbytes(n)


def run(case: Case, value: Any) -> tuple[str, str]:
    """Do what a service does with one request; returns the generation's id and a refusal's reason."""
    with otel_gen.generation(**case.keywords(value)) as gen:
        with gen.stage("trellis"):
            answer = case.act(gen, value)
        gen.submitted()
    return gen.id, getattr(answer, "reason", "") or ""


def named(kind: str, inputs: dict[str, Any]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Give each input a name with its kind, and a way to make it; what can be called is called for it."""
    for name, value in inputs.items():
        yield f"{kind}: {name}", value if callable(value) else (lambda value=value: value)
