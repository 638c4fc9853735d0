"""Fixtures of the tests of readers: a world whose files are its owner's alone, and one with a past."""

from __future__ import annotations

import os

import pytest

from otel_gen import semconv as sc


@pytest.fixture(autouse=True)
def _private():
    """What tests write themselves is as private as what otel_gen writes."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
def past(world):
    """A world at rest: accepted, rejected, withheld, failed, interrupted, and one verdict that came late."""
    worker = world.worker(feedback_timeout=20.0, rejected_sample_rate=0.0)
    gens = []
    for n in range(6):
        gen = worker.start(**{sc.VALIDATOR_UID: 57, sc.TASK_ID: f"task-{n}"})
        gen.stage("queue", 0.5).stage("sdxl", 2.0)
        gen.staged("ply", b"ply %d" % n).submitted().end()
        gens.append(gen)
    for gen, score in zip(gens[:4], (0.8, 0.0, 0.7, 0.9), strict=True):
        worker.feedback(gen, score, validator_uid=57)
    worker.start().stage("sdxl", 1.0).withheld().end()
    worker.start().failed("oom", "trellis").end()
    world.step(later=30)
    worker.feedback(gens[4], 0.0, validator_uid=57)
    worker.start().stage("sdxl", 3.0).begin("trellis")
    worker.die()
    world.step(later=1)
    world.gens = gens
    world.restart()
    return world
