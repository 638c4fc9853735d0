"""The reference service as it runs: uvicorn with two workers on a free port of 127.0.0.1."""

import pytest

from otel_gen.demo.server import Server

WINDOW = 2.0


@pytest.fixture(scope="package")
def server(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    control = tmp_path_factory.mktemp("control")
    with Server(data_dir, control, feedback_timeout=WINDOW) as running:
        running.data_dir = data_dir
        yield running
