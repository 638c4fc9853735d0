"""Fixtures of the tests of zero code: services to map, a 3D service, an OTLP endpoint."""

from __future__ import annotations

import importlib
import itertools

import pytest

from otel_gen.zerocode.instrumentor import Service
from otel_gen.zerocode.mapping import read
from tests.zerocode.world import Sink, Trellis, mapped, serving

_number = itertools.count()


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


@pytest.fixture
def load(tmp_path, monkeypatch, configured):
    """Give a function that writes a module, maps targets of it and loads it; what it maps ends with the test."""
    monkeypatch.syspath_prepend(tmp_path)
    services = []

    def load(source, *stages, generation="generate", more="", early=False):
        name = f"service_{next(_number)}"
        (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        module = importlib.import_module(name) if early else None
        path = tmp_path / "mapping.toml"
        path.write_text(mapped(name, generation, stages, more))
        services.append(Service(read(path)))
        services[-1].begin()
        return module or importlib.import_module(name)

    yield load
    for one in services:
        one.end()
