"""Fixtures of the stack tests: the tools, or a reason why they are missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from . import binaries


def need(find: Callable[[], Path], *, optional: bool = False) -> Path:
    """A tool, a visible skip without it; an error with CI=true, unless it is an extra."""
    try:
        return find()
    except binaries.UnavailableError as reason:
        if os.environ.get("CI") == "true" and not optional:
            raise
        pytest.skip(str(reason))


@pytest.fixture(params=["path", "3.13.5"])
def promtool(request: pytest.FixtureRequest) -> Path:
    """Debian's promtool and a modern one in turn: rules and configuration have to please both."""
    return need(binaries.promtool) if request.param == "path" else need(binaries.promtool_3, optional=True)


@pytest.fixture(params=["path", "3.13.5"])
def prometheus(request: pytest.FixtureRequest) -> Path:
    """Debian's Prometheus and a modern one in turn."""
    return (
        need(binaries.prometheus) if request.param == "path" else need(binaries.prometheus_3, optional=True)
    )


@pytest.fixture
def otelcol() -> Path:
    """The Collector."""
    return need(binaries.collector)
