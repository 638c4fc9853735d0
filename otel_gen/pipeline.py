"""An ordinary OTLP pipeline for an application that has no TracerProvider of its own."""

from __future__ import annotations

import os

from opentelemetry import trace

from otel_gen.errors import MissingExtraError

_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def wanted(otlp: bool) -> bool:
    """Tell whether a pipeline is asked for and the application has none."""
    asked = otlp or any(os.environ.get(name) for name in _VARIABLES)
    return asked and type(trace.get_tracer_provider()) is trace.ProxyTracerProvider


def set_up(version: str) -> None:
    """Set an SDK provider with an OTLP exporter as the application's. Raises MissingExtraError."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - only where a pipeline is wanted
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    try:
        if protocol and protocol.startswith("http"):
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        else:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # type: ignore[assignment]  # noqa: PLC0415
                OTLPSpanExporter,
            )
    except ImportError as error:
        raise MissingExtraError("opentelemetry-exporter-otlp", "otlp") from error
    defaults = {"service.name": os.environ.get("OTEL_SERVICE_NAME", "otel_gen"), "service.version": version}
    provider = TracerProvider(resource=Resource.create(defaults))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def flush(timeout: float) -> None:
    """Flush the application's provider, where it can be flushed; its failure is not ours."""
    provider = trace.get_tracer_provider()
    flush_now = getattr(provider, "force_flush", None)
    if flush_now is not None:
        flush_now(int(timeout * 1000))
