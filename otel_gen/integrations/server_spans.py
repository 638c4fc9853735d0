"""Server spans: opentelemetry-instrumentation-fastapi, without the spans that nobody wants."""

from __future__ import annotations

import os
from typing import Any

from opentelemetry.trace import Span, Status, StatusCode

from otel_gen import install
from otel_gen.errors import MissingExtraError

_EXCLUDED = ("/metrics/?$", "/health/?$")


def instrument_server(app: Any) -> None:
    """Let an application's requests be spans, once; where somebody has seen to that, nothing is changed."""
    try:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    except ImportError as error:
        raise MissingExtraError("opentelemetry-instrumentation-fastapi", "fastapi") from error
    if not getattr(app, "_is_instrumented_by_opentelemetry", False):
        FastAPIInstrumentor.instrument_app(
            app, excluded_urls=_excluded(), server_request_hook=_without_text,
            exclude_spans=["send", "receive"],  # a 35 MB file is sent in 560 parts, and each would be a span
        )  # fmt: skip


def _without_text(span: Span, _: dict[str, Any]) -> None:
    """Have a server span tell the class of an exception and no more: its text may hold a prompt."""
    capture = install.active()
    if not span.is_recording() or (capture is not None and capture.settings.capture_content):
        return
    set_status = span.set_status

    def tell_class(error: BaseException, *_: Any, **__: Any) -> None:
        span.set_attribute("error.type", type(error).__qualname__)

    def tell_code(status: Status | StatusCode, description: str | None = None) -> None:
        set_status(status.status_code if isinstance(status, Status) else status)

    span.record_exception, span.set_status = tell_class, tell_code  # type: ignore[method-assign,assignment]


def _excluded() -> str:
    """The user's own exclusions, by the instrumentation's variables, and ours."""
    own = os.environ.get("OTEL_PYTHON_FASTAPI_EXCLUDED_URLS", os.environ.get("OTEL_PYTHON_EXCLUDED_URLS", ""))
    return ",".join(filter(None, (own, *_EXCLUDED)))
