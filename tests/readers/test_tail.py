"""Tail gives the newest records, and each new one once."""

from __future__ import annotations

import itertools

import otel_gen
from otel_gen.readers.tail import follow, tail
from otel_gen.request import rotate


def ids(records):
    return [record["metadata"]["generation_id"] for record in records]


def test_the_last_ones_come_in_their_order(past):
    every = ids(otel_gen.read(past.path))
    for n in range(len(every) + 2):
        assert ids(tail(past.path, n)) == every[len(every) - n if n < len(every) else 0 :]


def test_they_come_from_past_months_too(past):
    every = ids(otel_gen.read(past.path))
    rotate(past.path)
    assert ids(tail(past.path, 3)) == every[-3:]


def test_late_verdicts_are_laid_over(past):
    outcomes = {record["metadata"]["generation_id"]: record["outcome"] for record in tail(past.path, 99)}
    assert outcomes[past.gens[4].id] == "rejected"


def write_one(world):
    worker = world.worker()
    gen = worker.start().withheld().end()
    world.step()
    worker.die()
    return gen.id


def test_new_records_follow_once_over_torn_lines_folds_and_rotations(past):
    """Between two looks: a record, half a line, its other half, a fold and rotation, another record."""
    written, path = [], past.path / "generation_history.jsonl"

    def half():
        data = path.read_bytes()
        written.append(write_one(past))
        whole = path.read_bytes()
        path.write_bytes(whole[: len(data) + 100])
        return whole

    def steps():
        written.append(write_one(past))
        yield
        whole = half()
        yield
        path.write_bytes(whole)
        yield
        past.restart()
        rotate(past.path)
        yield
        past.now += 30 * 86_400
        written.append(write_one(past))
        yield
        yield

    todo = steps()
    found = follow(past.path, 2, wait=lambda: next(todo))
    first = ids(itertools.islice(found, 2))
    later = ids(itertools.islice(found, 3))
    assert first == ids(tail(past.path, 99))[7:9]
    assert later == written
