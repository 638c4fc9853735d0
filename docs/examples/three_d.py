"""A 3D service that knows nothing of otel_gen: with OpenTelemetry alone it is part of the same trace."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Form, Request, Response
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from service import splat

provider = TracerProvider()  # OTEL_SERVICE_NAME, OTEL_EXPORTER_OTLP_ENDPOINT
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield
    provider.shutdown()  # under uvicorn nothing else flushes the last spans


app = FastAPI(lifespan=lifespan)
FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, exclude_spans=["send", "receive"])


@app.post("/splat")
def make(request: Request, prompt: str = Form()) -> Response:
    span = trace.get_current_span()
    span.set_attribute("generation.id", request.headers.get("X-Generation-Id", ""))
    with provider.get_tracer("three_d").start_as_current_span("gaussians"):
        ply, gaussians = splat(prompt)
    return Response(ply, headers={"X-Gaussians": str(gaussians)})


@app.get("/health")
def health() -> Response:
    return Response("ok")
