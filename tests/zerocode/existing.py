"""A service that uses otel_gen's API beside whichever OpenTelemetry set-up the variable SETUP names."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Form
from starlette.concurrency import run_in_threadpool

import otel_gen

SETUP = os.environ["SETUP"]


@asynccontextmanager
async def lifespan(_app):
    if SETUP != "auto":  # there the variables do it
        otel_gen.configure(feedback_timeout=0)
    yield
    await run_in_threadpool(otel_gen.shutdown)


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health():
    return {}


@app.post("/generate/")
async def generate(prompt: str = Form()):
    async with otel_gen.generation(task_type="TEXT-TO-3D", prompt=prompt) as gen:
        async with gen.stage("trellis"), httpx.AsyncClient() as client:
            answer = await client.post(os.environ["TRELLIS_URL"], content=prompt.encode())
        gen.output(ply=answer.content)
        gen.submitted()
    return {"id": gen.id}


def processor():
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    return SimpleSpanProcessor(OTLPSpanExporter())


if SETUP == "sdk":
    from opentelemetry import trace
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider()
    provider.add_span_processor(processor())
    trace.set_tracer_provider(provider)
    FastAPIInstrumentor.instrument_app(app, excluded_urls="health")
    HTTPXClientInstrumentor().instrument()

if SETUP == "logfire":
    import logfire

    # It exports to OTEL_EXPORTER_OTLP_ENDPOINT by itself.
    logfire.configure(send_to_logfire=False, console=False, distributed_tracing=True)
    logfire.instrument_fastapi(app, excluded_urls="health")
    logfire.instrument_httpx()
