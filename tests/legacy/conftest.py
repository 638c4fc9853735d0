"""Fixtures of the legacy facade: a logger that waits for no verdict, a service made of the guide."""

from __future__ import annotations

import pytest

from otel_gen import legacy
from tests.legacy.document import Running


@pytest.fixture
def logger(data_dir):
    """The logger of this process."""
    return legacy.init_logger(data_dir, registry=None)


@pytest.fixture
def start(tmp_path, data_dir):
    """Start the service of the guide on the data_dir; all of them end with the test."""
    started = []

    def run(*options, **env):
        started.append(Running(tmp_path, data_dir, *options, **env))
        return started[-1]

    yield run
    for one in started:
        one.close()
