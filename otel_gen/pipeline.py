"""An ordinary OTLP pipeline for an application that has no TracerProvider of its own."""

from __future__ import annotations

import os
import threading
from typing import Any

from opentelemetry import trace

from otel_gen.errors import MissingExtraError
from otel_gen.tracing import provider_now

_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def wanted(otlp: bool) -> bool:
    """Tell whether a pipeline is asked for and the application has none."""
    asked = otlp or any(os.environ.get(name) for name in _VARIABLES)
    return asked and type(provider_now()) is trace.ProxyTracerProvider


_own: list[Any] = []
"""The provider that set_up() made, if any."""


def set_up(version: str) -> None:
    """Set an SDK provider with an OTLP exporter as the application's. Raises MissingExtraError."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    try:
        if protocol and protocol.startswith("http"):
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        else:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # type: ignore[assignment]
                OTLPSpanExporter,
            )
    except ImportError as error:
        raise MissingExtraError("opentelemetry-exporter-otlp", "otlp") from error
    defaults = {"service.name": os.environ.get("OTEL_SERVICE_NAME", "otel_gen"), "service.version": version}
    provider = TracerProvider(resource=Resource.create(defaults))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    _own.append(provider)


def flush(timeout: float) -> None:
    """Flush the provider that is ours; an application flushes its own."""
    _flush(_own, timeout)


def flush_application(timeout: float) -> None:
    """Flush the application's provider, where nobody else does before a signal ends the process."""
    provider = provider_now()
    _flush([provider] if hasattr(provider, "force_flush") else [], timeout)


def _flush(providers: list[Any], timeout: float) -> None:
    """Flush each on a thread that is not waited for beyond the timeout: the SDK's force_flush does not keep its own."""
    for provider in providers:
        thread = threading.Thread(target=provider.force_flush, name="otel_gen-flush", daemon=True)
        thread.start()
        thread.join(timeout)
