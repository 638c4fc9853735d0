"""OpenTelemetry instrumentation for generative 3D services: a trace, metrics and one record per generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_gen._version import __version__
from otel_gen.blocks import bind, current_generation, generation, stage
from otel_gen.errors import OtelGenError, SettingsError

if TYPE_CHECKING:
    from otel_gen.readers.records import read
    from otel_gen.runtime import RecordExporter, collector, configure, feedback, feedback_async, shutdown

_LATER = {
    "RecordExporter": "otel_gen.runtime",
    "collector": "otel_gen.runtime",
    "configure": "otel_gen.runtime",
    "feedback": "otel_gen.runtime",
    "feedback_async": "otel_gen.runtime",
    "read": "otel_gen.readers.records",
    "shutdown": "otel_gen.runtime",
}

__all__ = [
    "OtelGenError",
    "RecordExporter",
    "SettingsError",
    "__version__",
    "bind",
    "collector",
    "configure",
    "current_generation",
    "feedback",
    "feedback_async",
    "generation",
    "read",
    "shutdown",
    "stage",
]


def __getattr__(name: str) -> Any:
    """Import on first use what an application that is not configured never pays for."""
    if name in _LATER:
        from importlib import import_module

        found = globals()[name] = getattr(import_module(_LATER[name]), name)
        return found
    raise AttributeError(f"module 'otel_gen' has no attribute {name!r}")
