"""metrics_port: a configured process serves /metrics, quietly gives way, and keeps no child's port."""

from __future__ import annotations

import logging
import os
import socket
import threading
import urllib.error
import urllib.request

import pytest

import otel_gen
from otel_gen.server import MetricsPort
from tests.support import lines, python, until
from tests.test_fork import ignore_fork_warning, in_child


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(autouse=True)
def _fast(monkeypatch, caplog):
    monkeypatch.setattr(MetricsPort, "AGAIN", 0.05)
    caplog.set_level(logging.INFO, "otel_gen")


def one():
    with otel_gen.generation() as gen:
        gen.withheld("x")


def page(port):
    """The page on that port, or nothing where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return answer.read().decode()
    except urllib.error.URLError:
        return ""


def listening(port):
    return socket.create_server(("127.0.0.1", port))


def test_the_port_is_served_from_the_first_event_until_shutdown(data_dir, port, caplog):
    otel_gen.configure(data_dir=data_dir, registry=None, metrics_port=port)
    assert page(port) == ""
    one()
    until(lambda: "gen3d_records_total 1.0" in page(port))
    assert f"otel_gen serves http://127.0.0.1:{port}/metrics" in caplog.messages
    assert otel_gen.shutdown() is True
    assert page(port) == ""
    assert not [t.name for t in threading.enumerate() if t.name == "otel_gen-metrics"]
    otel_gen.configure(data_dir=data_dir, registry=None, metrics_port=port)
    one()
    until(lambda: "gen3d_records_total 2.0" in page(port))


def test_where_nothing_can_be_written_it_still_shows_what_is_counted_in_memory(tmp_path, port):
    (tmp_path / "file").write_text("in the way")
    otel_gen.configure(data_dir=tmp_path / "file" / "data", registry=None, metrics_port=port, deadline=0.05)
    try:
        one()
        until(lambda: "gen3d_not_durable_total 1.0" in page(port))
    finally:
        otel_gen.shutdown(timeout=0.2)


def test_a_taken_port_is_one_quiet_line_and_is_had_once_it_is_free(data_dir, port, caplog):
    with listening(port):
        otel_gen.configure(data_dir=data_dir, registry=None, metrics_port=port)
        one()
        until(lambda: lines(data_dir))
        until(lambda: [text for text in caplog.messages if "cannot be served" in text])
    until(lambda: "gen3d_records_total 1.0" in page(port))
    (said,) = (r for r in caplog.records if "cannot be served" in r.getMessage())
    assert said.levelno == logging.INFO
    assert "another worker has it" in said.getMessage()
    assert otel_gen.shutdown() is True


def test_a_process_that_waits_for_its_port_shuts_down(data_dir, port):
    with listening(port):
        otel_gen.configure(data_dir=data_dir, registry=None, metrics_port=port)
        one()
        assert otel_gen.shutdown() is True


@ignore_fork_warning
def test_a_master_that_only_forks_leaves_the_port_to_its_child(data_dir, port):
    otel_gen.configure(data_dir=data_dir, registry=None, metrics_port=port)

    def work():
        one()
        until(lambda: "gen3d_records_total 1.0" in page(port))
        assert otel_gen.shutdown() is True

    assert in_child(work) == 0
    assert page(port) == ""


@ignore_fork_warning
def test_a_child_does_not_hold_its_parents_port(data_dir, port):
    otel_gen.configure(data_dir=data_dir, registry=None, metrics_port=port)
    one()
    until(lambda: page(port))
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(tell)
        os.read(told, 1)
        os._exit(0)
    try:
        assert "gen3d_records_total" in page(port)
        assert otel_gen.shutdown() is True
        listening(port).close()
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    finally:
        os.close(told)
        os.close(tell)
        os.waitpid(pid, 0)


def test_only_what_was_configured_serves(tmp_path, port):
    code = """
import sys, threading, uuid, otel_gen
otel_gen.feedback(str(uuid.uuid4()), score=1, data_dir=sys.argv[1])
otel_gen.RecordExporter(sys.argv[1])
from otel_gen.replay import replay
replay([], sys.argv[1])
print([t.name for t in threading.enumerate() if "metrics" in t.name])
"""
    assert python(code, tmp_path / "data", OTEL_GEN_METRICS_PORT=str(port)).strip() == "[]"
