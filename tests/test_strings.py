"""Strings: text is cut by bytes on a character and always encodes as UTF-8."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_gen.strings import keyname, text


@pytest.mark.parametrize(
    ("value", "limit", "expected"),
    [
        ("plain", 65536, "plain"),
        ("", 10, ""),
        ("abc", 2, "ab"),
        ("aé", 2, "a"),
        ("😀😀", 7, "😀"),
        ("\ud800", 2, ""),
        ("\ud800", 3, "\ufffd"),
        ("abc", 0, ""),
        ("abc", -5, ""),
        (b"abc", 10, None),
        (None, 10, None),
        (5, 10, None),
    ],
)
def test_text_is_cut_by_bytes_on_a_character(value, limit, expected):
    assert text(value, limit) == expected


@given(st.text(st.characters(exclude_categories=())), st.integers(0, 200))
def test_text_is_always_utf8_within_its_limit(value, limit):
    result = text(value, limit)
    assert len(result.encode()) <= limit
    if limit >= 4 * len(value) and not any("\ud800" <= char <= "\udfff" for char in value):
        assert result == value


@pytest.mark.parametrize(
    ("value", "expected"), [("steps", "steps"), ("", None), (5, None), ("k" * 200, "k" * 128)]
)
def test_a_key_is_text_of_1_to_128_bytes(value, expected):
    assert keyname(value) == expected
