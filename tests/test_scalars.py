"""Scalars: what counts as a number, a score, a uid or a flag, and what does not."""

import enum
import math
from decimal import Decimal
from fractions import Fraction

import pytest

from otel_gen.scalars import flag, number, score, uid

np = pytest.importorskip("numpy", reason="scalars of numpy are part of what is read")


class Level(enum.IntEnum):
    HIGH = 3


NUMBERS = [
    (0.5, 0.5),
    (1, 1),
    ("0.5", 0.5),
    (" 5\n", 5),
    ("+1e-3", 0.001),
    (".5", 0.5),
    ("5.", 5.0),
    (2**63, float(2**63)),
    ("9" * 64, float("9" * 64)),
    (Decimal("0.81"), 0.81),
    (Fraction(1, 8), 0.125),
    (np.float32(0.5), 0.5),
    (np.int8(3), 3),
    (np.longdouble(0.5), 0.5),
    (np.array(0.5), 0.5),
    (np.array([[0.5]]), 0.5),
    (Level.HIGH, 3),
]


NO_NUMBERS = [
    None,
    True,
    np.bool_(True),
    math.nan,
    math.inf,
    10**400,
    "",
    "nan",
    "inf",
    "-Infinity",
    "1_000",
    "0x10",
    "1,5",
    "٣",
    "１",
    "9" * 65,
    "1e999",
    "\x005",
    b"5",
    Decimal("NaN"),
    Decimal("sNaN"),
    Decimal("Infinity"),
    Decimal("1e400"),
    Fraction(10**400),
    np.float32("nan"),
    np.array([1, 2]),
    np.datetime64("2026"),
    np.complex64(1),
    [1],
    {},
    object(),
    1j,
]


@pytest.mark.parametrize(("value", "expected"), NUMBERS, ids=lambda value: repr(value)[:24])
def test_a_number_counts_by_value(value, expected):
    assert number(value) == expected
    assert type(number(value)) is type(expected)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: repr(value)[:24])
def test_what_is_not_finite_or_no_number_is_none(value):
    assert number(value) is None
    assert score(value) is None
    assert uid(value) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *(
            (0, 0.0),
            (1, 1.0),
            (0.81234567, 0.8123),
            ("0.7", 0.7),
            (Decimal("0.65"), 0.65),
            (np.float32(0.1), 0.1),
        ),
        *((1.00001, None), (-0.1, None), (-1e-9, None), (1e308, None), ("1.5", None), (True, None)),
    ],
)
def test_a_score_lies_in_0_to_1_with_4_decimals(value, expected):
    assert score(value) == expected


def test_a_score_of_minus_zero_is_zero():
    assert math.copysign(1, score(-0.0)) == 1.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((57, 57), ("57", 57), (np.int64(57), 57), (0, 0), (65535, 65535)),
        *((65536, None), (-1, None), (57.0, None), ("57.0", None), (True, None), ("٥٧", None)),
    ],
)
def test_a_uid_is_an_integer_of_16_bits(value, expected):
    assert uid(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (False, False),
        (np.bool_(False), False),
        (1, None),
        (0, None),
        ("true", None),
        (None, None),
    ],
)
def test_a_flag_is_a_bool_and_nothing_else(value, expected):
    assert flag(value) is expected
