"""A generation service with the contract of a subnet-17 miner: the example to read. Run it with uvicorn."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from fastapi import FastAPI, Request, Response
from numpy.typing import NDArray
from PIL import Image

import otel_gen
from otel_gen.demo import faults, splats
from otel_gen.demo.background import remove_background
from otel_gen.demo.depth import estimate_depth
from otel_gen.demo.draw import draw
from otel_gen.demo.gpu import gpu, in_thread
from otel_gen.demo.order import BadImageError, Order, read_order
from otel_gen.demo.render import render_views
from otel_gen.demo.similarity import similarity
from otel_gen.integrations.fastapi import CurrentGeneration, instrument

SEED = 42
BACKGROUND_TOLERANCE = 36.0
DEPTH_SMOOTHING = 4.0
MIN_GAUSSIANS = 7_000  # validators refuse less
MIN_SIMILARITY = 0.6
MAX_SECONDS = 35.0  # what takes longer costs more throughput than it earns
CONFIG = {
    "seed": SEED,
    "background_tolerance": BACKGROUND_TOLERANCE,
    "depth_smoothing": DEPTH_SMOOTHING,
    "min_gaussians": MIN_GAUSSIANS,
    "min_similarity": MIN_SIMILARITY,
}
WORKER = {"X-Worker-Pid": str(os.getpid())}


class Splat(NamedTuple):
    """What came out; without `similarity` where it was too sparse to look at."""

    ply: bytes
    gaussians: int
    similarity: float | None
    seconds: float


class Refusal(NamedTuple):
    """Why a finished result is not handed over."""

    header: str
    reason: str
    value: float


app = FastAPI(title="otel_gen reference service")
instrument(app, config=CONFIG, cancel_on_disconnect=True, miner_uid=226, miner_version="demo", network="demo")


@app.post("/generate/")
async def generate(request: Request, gen: CurrentGeneration) -> Response:
    """Make a 3D object of the form field `prompt`: a text, or a picture as base64."""
    order = await read_order(request)
    try:
        picture = await in_thread(order.picture)
    except BadImageError as error:
        gen.failed("bad_image", str(error))
        return Response(status_code=400)
    splat = await produce(order, picture)
    # The similarity goes where a miner records its CLIP score. It is not one.
    gen.output(ply=splat.ply, num_gaussians=splat.gaussians, clip_score=splat.similarity)
    if refusal := gate(splat):
        gen.withheld(refusal.reason, value=refusal.value)
        return Response(headers={refusal.header: refusal.reason})
    return Response(splat.ply, media_type="application/octet-stream")


@app.exception_handler(ConnectionError)
async def down(_request: Request, _error: Exception) -> Response:
    return Response(status_code=503)


@app.exception_handler(MemoryError)
async def exhausted(_request: Request, _error: Exception) -> Response:
    return Response(status_code=500)


@app.get("/health")
async def health() -> Response:
    return Response('{"status": "ok"}', media_type="application/json")


@app.middleware("http")
async def name_worker(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await answer(request)
    response.headers.update(WORKER)
    return response


async def produce(order: Order, picture: Image.Image | None) -> Splat:
    """The pipeline, with the GPU to itself."""
    async with gpu_turn():
        start = time.monotonic()
        image = picture or await in_thread(sdxl, order.prompt)
        cutout = await in_thread(background_removal, image)
        depth = await in_thread(depth_estimation, cutout)
        ply = await trellis(cutout, depth, order)
        count = splats.count(ply)
        score = await in_thread(validation, image, ply) if count >= MIN_GAUSSIANS else None
        return Splat(ply, count, score, time.monotonic() - start)


@asynccontextmanager
async def gpu_turn() -> AsyncIterator[None]:
    """Wait for the GPU in a stage of its own, for waiting is not work; then have it."""
    async with otel_gen.stage("queue"):
        await gpu.acquire()
    try:
        yield
    finally:
        gpu.release()


@otel_gen.stage("sdxl")
def sdxl(prompt: str) -> Image.Image:
    return draw(prompt, seed=SEED)


@otel_gen.stage("background_removal")
def background_removal(image: Image.Image) -> Image.Image:
    return remove_background(image, BACKGROUND_TOLERANCE)


@otel_gen.stage("depth_estimation")
def depth_estimation(cutout: Image.Image) -> NDArray[Any]:
    return estimate_depth(cutout, DEPTH_SMOOTHING)


@otel_gen.stage("trellis")
async def trellis(cutout: Image.Image, depth: NDArray[Any], order: Order) -> bytes:
    fault = faults.wanted(order.fault)
    await faults.strike(fault, order.task_id)
    return await in_thread(splats.relief, cutout, depth, stride=12 if fault == "sparse" else 1)


@otel_gen.stage("validation")
def validation(image: Image.Image, ply: bytes) -> float:
    return similarity(image, render_views(splats.load(ply))[0])


def gate(splat: Splat) -> Refusal | None:
    """Judge it ourselves: too sparse or too slow is skipped, too little like its input fails."""
    if splat.similarity is None:
        return Refusal("X-Skip-Reason", "sparse", splat.gaussians)
    if splat.seconds > MAX_SECONDS:
        return Refusal("X-Skip-Reason", "slow", splat.seconds)
    if splat.similarity < MIN_SIMILARITY:
        return Refusal("X-Validation-Failed", "similarity_below_threshold", splat.similarity)
    return None
