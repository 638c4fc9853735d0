"""Metrics are served beside the files; a followed tail ends when it is told to."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from otel_gen.errors import OtelGenError, StorageError
from otel_gen.server import MetricsServer
from tests.readers.conftest import _private, past  # noqa: F401 - fixtures


def get(url, accept="*/*"):
    request = urllib.request.Request(url, headers={"Accept": accept})  # noqa: S310 - our own http URL
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return answer.headers["Content-Type"], answer.read().decode()


@pytest.fixture
def server(past):  # noqa: F811
    server = MetricsServer(past.path)
    yield server
    server.close()


def test_the_counts_are_those_of_the_files(server):
    _, text = get(server.url)
    samples = {
        (s.name, s.labels.get("outcome")): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
        if s.labels.get("task_type", "TEXT-TO-3D") == "TEXT-TO-3D"
    }
    assert samples["gen3d_records_total", None] == 9
    assert samples["gen3d_generations_total", "accepted"] == 3
    assert samples["gen3d_generations_total", "cancelled"] == 0


def test_a_scraper_that_knows_openmetrics_gets_it(server):
    kind, text = get(server.url, "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    assert get(server.url)[0].startswith("text/plain")


def test_it_listens_on_this_machine_only(server):
    assert server.url.startswith("http://127.0.0.1:")


def test_a_taken_port_is_said(past):  # noqa: F811
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OtelGenError, match="choose another port"):
            MetricsServer(past.path, taken.getsockname()[1])


def test_a_data_dir_that_comes_later_is_shown_and_one_that_cannot_be_read_is_no_page_of_zeros(past, tmp_path):  # noqa: F811
    server = MetricsServer(tmp_path / "later")
    assert "gen3d_records_total 0.0" in get(server.url)[1]
    server.close()
    (index,) = (past.path / ".otel_gen").glob("index-*.db")
    index.write_bytes(b"no database")
    with pytest.raises(StorageError, match=f"{index}: cannot be read .*; run: otel-gen recover --rebuild"):
        MetricsServer(past.path)
    (past.path / ".otel_gen").rename(past.path / "moved")
    (past.path / ".otel_gen").symlink_to("moved")
    with pytest.raises(StorageError, match="not a plain directory"):
        MetricsServer(past.path)


@contextmanager
def program(*args):
    """The command as a terminal would start it: who runs the tests in the background ignores interrupts."""
    command = [sys.executable, "-m", "otel_gen.cli", *args]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:  # fmt: skip
        try:
            yield running
        finally:
            running.kill()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_program_serves_until_it_is_told_to_end(past, end):  # noqa: F811
    with program("metrics", "--port", "0", "--json", "--data-dir", past.path) as running:
        try:
            url = json.loads(running.stdout.readline())["url"]
            assert "gen3d_records_total 9.0" in get(url)[1]
        finally:
            running.send_signal(end)
            _, said = running.communicate(timeout=30)
    assert (running.returncode, said) == (0, b"")


def test_a_followed_tail_ends_well_on_an_interrupt(past):  # noqa: F811
    with program("tail", "-f", "-n", "1", "--json", "--data-dir", past.path) as running:
        try:
            json.loads(running.stdout.readline())
            past.worker().start().withheld().end()
            past.step()
            assert json.loads(running.stdout.readline())["outcome"] == "withheld"
        finally:
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=30)
    assert (running.returncode, said) == (0, b"")
