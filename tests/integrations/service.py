"""A service that knows nothing of otel_gen but one line, and answers in every way there is."""

from __future__ import annotations

import asyncio
import os
import time

import anyio.to_thread
from fastapi import BackgroundTasks, FastAPI, Form, HTTPException, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

import otel_gen
from otel_gen.integrations.fastapi import CurrentGeneration, instrument

PLY = b"ply\nformat binary_little_endian 1.0\nelement vertex 2\nproperty float x\nend_header\n" + bytes(8)
HELD = os.environ.get("TEST_HELD", "")

app = FastAPI()


class DownError(ConnectionError):
    """The 3D service refuses the connection."""


@app.exception_handler(DownError)
async def down(_request, _error):
    return Response(status_code=503)


@otel_gen.stage("trellis")
def trellis(prompt):
    return PLY


@app.post("/generate/")
async def generate(
    request: Request, background: BackgroundTasks, gen: CurrentGeneration, prompt: str = Form("")
):
    answer = ANSWERS.get(prompt.split(" ")[0])
    if answer is None:
        return Response(await asyncio.to_thread(trellis, prompt), media_type="application/octet-stream")
    return await answer(request, background, gen)


async def bad(_request, _background, _gen):
    raise HTTPException(400, "no image that can be read")


async def caught(_request, _background, _gen):
    with otel_gen.stage("trellis"):
        raise DownError("refused on port 8096")


def exhaust():
    raise MemoryError("CUDA out of memory")


async def handled(_request, _background, _gen):
    try:
        with otel_gen.stage("sdxl"):
            exhaust()
    except MemoryError:
        return Response(status_code=500)


async def crashed(_request, _background, _gen):
    raise ValueError("a bug")


async def refused(_request, _background, _gen):
    return Response(headers={"X-Validation-Failed": "true"})


async def skipped(_request, _background, _gen):
    return Response(headers={"X-Skip-Reason": "sparse"})


async def empty(_request, _background, _gen):
    return Response()


async def said(_request, _background, gen):
    gen.output(ply=PLY, clip_score=0.25)
    gen.withheld("too_plain", value=0.25)
    return Response(PLY)


async def own_headers(_request, _background, _gen):
    return Response(PLY, headers={"X-Generation-Id": "mine"})


async def streamed(_request, _background, _gen):
    return StreamingResponse(iter([PLY[:20], PLY[20:50], PLY[50:]]))


async def broken(_request, _background, _gen):
    def parts():
        yield PLY[:20]
        raise OSError("the disk is gone")

    return StreamingResponse(parts())


async def endless(_request, _background, _gen):
    async def parts():
        while True:
            yield PLY
            await asyncio.sleep(0.01)

    return StreamingResponse(parts())


async def filed(_request, _background, _gen):
    return FileResponse(os.environ["TEST_FILE"])


async def followed(_request, background, _gen):
    async def after():
        with otel_gen.stage("later"):
            raise RuntimeError("after the answer")

    background.add_task(after)
    return Response(PLY, background=background)


async def later(_request, background, gen):
    def work():
        with otel_gen.stage("trellis"):
            time.sleep(0.05)
        gen.output(ply=PLY)
        gen.submitted()

    background.add_task(otel_gen.bind(work))
    return Response(status_code=202, background=background)


async def held(request, _background, _gen):
    announce()
    await asyncio.sleep(float(request.headers.get("x-hold", "60")))
    return Response(PLY)


async def threaded(request, _background, _gen):
    """Work in a thread, as a handler without async does."""

    def work():
        announce()
        time.sleep(float(request.headers["x-hold"]))

    await anyio.to_thread.run_sync(work)
    return Response(PLY)


def announce():
    """Say that a request is in the middle of its work."""
    with open(HELD, "a", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")


@app.get("/health")
async def health():
    return {"pid": os.getpid()}


ANSWERS = {
    f.__name__: f
    for f in (
        bad, caught, handled, crashed, refused, skipped, empty, said, own_headers, streamed, broken, endless,
        filed, followed, later, held, threaded,
    )
}  # fmt: skip


async def passing(request, answer):
    response = await answer(request)
    response.headers["X-Passed"] = "yes"
    return response


if os.environ.get("TEST_SPANS"):
    provider = TracerProvider()
    exporter = ConsoleSpanExporter(out=open(os.environ["TEST_SPANS"], "a", encoding="utf-8"))  # noqa: SIM115
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=600_000))
    trace.set_tracer_provider(provider)

KEY = os.environ.get("TEST_KEY")
MIDDLEWARE = os.environ.get("TEST_MIDDLEWARE")
if MIDDLEWARE == "inside":
    app.middleware("http")(passing)
instrument(
    app,
    feedback=KEY,
    config={"steps": 60},
    cancel_on_disconnect=bool(os.environ.get("TEST_CANCELS")),
    miner_uid=226,
)
if MIDDLEWARE == "around":
    app.middleware("http")(passing)
