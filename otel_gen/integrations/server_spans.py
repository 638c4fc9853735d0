"""Server spans: opentelemetry-instrumentation-fastapi, without the spans that nobody wants."""

from __future__ import annotations

import os
from typing import Any

from otel_gen.errors import MissingExtraError

_EXCLUDED = ("/metrics/?$", "/health/?$")


def instrument_server(app: Any) -> None:
    """Let an application's requests be spans, once; where somebody has seen to that, nothing is changed."""
    try:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    except ImportError as error:
        raise MissingExtraError("opentelemetry-instrumentation-fastapi", "fastapi") from error
    if not getattr(app, "_is_instrumented_by_opentelemetry", False):
        # A 35 MB file is sent in 560 parts, and each would be a span.
        FastAPIInstrumentor.instrument_app(app, excluded_urls=_excluded(), exclude_spans=["send", "receive"])


def _excluded() -> str:
    """The user's own exclusions, by the instrumentation's variables, and ours."""
    own = os.environ.get("OTEL_PYTHON_FASTAPI_EXCLUDED_URLS", os.environ.get("OTEL_PYTHON_EXCLUDED_URLS", ""))
    return ",".join(filter(None, (own, *_EXCLUDED)))
