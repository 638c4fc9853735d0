"""Fixtures of the tests of zero code: a 3D service and an OTLP endpoint."""

from __future__ import annotations

import pytest

from tests.zerocode.world import Sink, Trellis, serving


@pytest.fixture(scope="module")
def trellis():
    """A 3D service with its address."""
    made = Trellis()
    with serving(made.handler) as made.url:
        yield made


@pytest.fixture(scope="module")
def sink():
    """An OTLP endpoint with its address."""
    made = Sink()
    with serving(made.handler) as made.url:
        yield made
