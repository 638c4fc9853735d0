"""Times: what is written is read back, and what no index could hold is refused."""

from __future__ import annotations

import json

import pytest

import otel_gen
from otel_gen.clock import iso, parse_iso
from otel_gen.recover import recover
from tests.support import HISTORY, lines


@pytest.mark.parametrize("ns", [0, 1_790_000_000_123_456_000, 4 * 10**18])
def test_a_time_that_is_written_is_read_back(ns):
    assert parse_iso(iso(ns)) == ns


@pytest.mark.parametrize(
    "text", ["9999-12-31T23:59:59+00:00", "0001-01-02T00:00:00+00:00", "2262-04-12", "x"]
)
def test_what_is_no_time_or_too_far_away_is_refused(text):
    with pytest.raises(ValueError, match=r"far away|isoformat"):
        parse_iso(text)


def test_a_line_from_the_year_9999_keeps_nobody_from_recording(configured):
    with otel_gen.generation() as gen:
        gen.withheld("x")
    assert otel_gen.shutdown()
    (record,) = lines(configured)
    record["metadata"] |= {
        "generation_id": gen.id[:-1] + "0",
        "timestamp": "9999-12-31T23:59:59.000000+00:00",
    }
    with (configured / HISTORY).open("a") as file:
        file.write(json.dumps(record) + "\n")
    recover(str(configured))
    otel_gen.configure(data_dir=configured, registry=None)
    with otel_gen.generation() as later:
        later.withheld("y")
    assert otel_gen.shutdown()
    assert [one["metadata"]["generation_id"] for one in lines(configured)][2:] == [later.id]
