"""A line is strict JSON or it is named as what it is instead."""

from __future__ import annotations

import pytest

from otel_gen.readers.strict import NotStrictError, fault, strict
from otel_gen.record import seal

WRONG = {
    b'{"a":1}': "newline",
    b"\n": "JSON",
    b"[1]\n": "object",
    b"5\n": "object",
    b'{"a":NaN}\n': "NaN",
    b'{"a":-Infinity}\n': "Infinity",
    b'{"a":1e999}\n': "finite",
    b'{"a":1,"a":1}\n': "twice",
    b'{"b":{"a":1,"a":2}}\n': "twice",
    b'{"a":"\\ud800"}\n': "surrogate",
    b'{"a":"\xff"}\n': "UTF-8",
    b'\xef\xbb\xbf{"a":1}\n': "JSON",
    b'{"a":1}{"a":2}\n': "JSON",
    b'{"a":"\x01"}\n': "JSON",
    b'{"a":' + b"[" * 100_000 + b"\n": "JSON",
    b'{"a":' + b"9" * 5000 + b"}\n": "JSON",
}


@pytest.mark.parametrize("line", WRONG, ids=[repr(line[:20]) for line in WRONG])
def test_what_is_no_strict_line_is_refused_in_words(line):
    with pytest.raises(NotStrictError, match=WRONG[line]):
        strict(line)


def test_a_whole_surrogate_pair_is_a_character():
    assert strict(b'{"a":"\\ud83d\\ude00"}\n') == {"a": "\U0001f600"}


def test_a_sealed_line_has_no_fault():
    line = seal({"a": "ä", "b": [1, 2.5, None, True]})
    assert fault(line) == (strict(line), "")


def test_every_flipped_byte_is_a_fault():
    line = seal({"a": "text", "b": 12})
    for at in range(len(line)):
        assert fault(line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :])[1], at


def test_a_line_without_checksum_says_so():
    assert "no checksum" in fault(b'{"a":1}\n')[1]
