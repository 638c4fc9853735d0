"""Fixtures of the tests of capture: a data_dir, a process configured for it, a provider to look at."""

from __future__ import annotations

import pytest
from opentelemetry import _logs, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_gen
from tests.world import World


@pytest.fixture
def data_dir(tmp_path):
    """A data_dir that does not exist yet; whatever was configured for it ends with the test."""
    yield tmp_path / "data"
    otel_gen.shutdown()


@pytest.fixture
def configured(data_dir):
    """This process records into data_dir and waits for no verdict."""
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0)
    return data_dir


@pytest.fixture
def waiting(data_dir):
    """This process records and waits for verdicts."""
    otel_gen.configure(data_dir=data_dir, registry=None)
    return data_dir


@pytest.fixture
def provider(monkeypatch):
    """An SDK provider as the application's, for one test."""
    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return provider


@pytest.fixture
def spans(provider):
    """Everything that the application's pipeline exports."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


@pytest.fixture
def log_events(monkeypatch):
    """Every log record that the application's log pipeline exports."""
    provider, exporter = LoggerProvider(shutdown_on_exit=False), InMemoryLogRecordExporter()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    monkeypatch.setattr(_logs._internal, "_LOGGER_PROVIDER", provider)
    return exporter


@pytest.fixture
def world(tmp_path):
    """A data_dir driven by hand: journal, clock and leader."""
    made = World(tmp_path / "data")
    yield made
    made.close()
