"""Bad scores: numbers that are none, numbers of other libraries, objects that only look like one."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import otel_gen
from tests.bad_input.case import Case, Record, named

ACCEPTED, REJECTED, INVALID, NOTHING = "accepted", "rejected", "invalid", None


class Tensor:
    """Looks like a tensor whose device is gone."""

    shape = ()

    def item(self) -> float:
        raise RuntimeError("CUDA error: device-side assert triggered")

    __float__ = __index__ = __bool__ = item


class Eager(float):
    """A number whose own methods must not run."""

    def __float__(self) -> float:
        raise RuntimeError("__float__ ran")

    __round__ = __eq__ = __lt__ = __repr__ = __float__  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


def _numpy(text: str) -> Any:
    def make() -> Any:
        import numpy

        return eval(text, {"np": numpy})  # noqa: S307 - the texts below

    return make


SCORES: dict[str, tuple[Any, str | None]] = {
    "0.81": (0.81, ACCEPTED),
    "1": (1, ACCEPTED),
    "0": (0, REJECTED),
    "-0.0": (-0.0, REJECTED),
    "below four decimals": (0.00004, REJECTED),
    "NaN": (float("nan"), INVALID),
    "infinite": (float("inf"), INVALID),
    "-infinite": (float("-inf"), INVALID),
    "-0.1": (-0.1, INVALID),
    "just above 1": (1.0000001, INVALID),
    "1e308": (1e308, INVALID),
    "10 to the 400": (lambda: 10**400, INVALID),
    "smallest float": (5e-324, REJECTED),
    "true": (True, INVALID),
    "false": (False, INVALID),
    "text": ("0.81", ACCEPTED),
    "text with blanks": (" 0.81\n", ACCEPTED),
    "text NaN": ("nan", INVALID),
    "text with a comma": ("0,81", INVALID),
    "text in Arabic digits": ("\u0660.\u0668", INVALID),
    "text with an underscore": ("0_1", INVALID),
    "text hexadecimal": ("0x1p-1", INVALID),
    "text of 1 MB": (lambda: "0." + "8" * 1_000_000, INVALID),
    "empty text": ("", INVALID),
    "bytes": (b"0.81", INVALID),
    "Decimal": (Decimal("0.81"), ACCEPTED),
    "Decimal NaN": (Decimal("nan"), INVALID),
    "Decimal signalling NaN": (Decimal("snan"), INVALID),
    "Decimal of a million digits": (lambda: Decimal("1e-1000000"), REJECTED),
    "Fraction": (Fraction(81, 100), ACCEPTED),
    "complex": (0.81 + 0j, INVALID),
    "numpy float32": (_numpy("np.float32(0.81)"), ACCEPTED),
    "numpy float16 NaN": (_numpy("np.float16('nan')"), INVALID),
    "numpy int64": (_numpy("np.int64(1)"), ACCEPTED),
    "numpy bool": (_numpy("np.bool_(True)"), INVALID),
    "numpy array of one": (_numpy("np.array([0.81])"), ACCEPTED),
    "numpy array of two": (_numpy("np.array([0.81, 0.2])"), INVALID),
    "numpy array of a million": (_numpy("np.ones(1_000_000)"), INVALID),
    "numpy text": (_numpy("np.str_('0.81')"), ACCEPTED),
    "a tensor whose item() raises": (Tensor, INVALID),
    "a number whose methods raise": (lambda: Eager(0.81), ACCEPTED),
    "a list": ([0.81], INVALID),
    "a dict": ({"score": 0.81}, INVALID),
    "an object": (object(), INVALID),
    "a class": (lambda: float, INVALID),
    "none": (None, NOTHING),
}


def _verdict(word: str | None) -> Any:
    def look(record: Record) -> None:
        feedback = record["validator_feedback"]
        assert feedback.get("verdict") == word, feedback
        assert feedback["accepted"] is (word == ACCEPTED)
        assert record["outcome"] == ("unscored" if word is None else REJECTED if word == INVALID else word)

    return look


def cases() -> Iterator[Case]:
    """Each as the verdict of a validator, and as a number that a service says of its output."""
    for name, (given, word) in SCORES.items():
        make = given if callable(given) else (lambda given=given: given)
        yield Case(
            f"score: {name}", make, expect=_verdict(word),
            act=lambda gen, value: otel_gen.feedback(gen.id, score=value, validator_uid=57),
        )  # fmt: skip
    for name, make in list(named("number", {name: given for name, (given, _) in SCORES.items()}))[::3]:
        yield Case(name, make, act=_numbers)


def _numbers(gen: Any, value: Any) -> None:
    gen.output(num_gaussians=value, clip_score=value, file_size_mb=value, validation_pass=value)
    gen.withheld("clip_below_threshold", value=value)
