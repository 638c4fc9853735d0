"""A generation service as miners run it: FastAPI before the models and a 3D service, one GPU."""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Form, Request, Response
from models.background import BackgroundRemover
from models.images import Image, parse
from models.sd35 import SD35ImageGenerator

TRELLIS_URL = os.environ.get("TRELLIS_URL", "http://127.0.0.1:10006")
CONFIG = {"sd35_steps": 20, "trellis_sparse_steps": 50, "trellis_slat_steps": 90, "clip_threshold": 0.12}
MIN_GAUSSIANS = 7_000
MAX_SECONDS = 35.0

gpu_lock = asyncio.Semaphore(1)
pool = ThreadPoolExecutor(max_workers=2)
generator = SD35ImageGenerator(steps=CONFIG["sd35_steps"])
remover = BackgroundRemover.load()


class BadImageError(ValueError):
    """What was sent as an image is none."""


class State:
    """What lives as long as the service."""

    client: httpx.AsyncClient
    served = 0


state = State()


@asynccontextmanager
async def lifespan(_app: FastAPI):
    async with httpx.AsyncClient(base_url=TRELLIS_URL, timeout=30.0) as client:
        state.client = client
        yield


app = FastAPI(title="3D generation", lifespan=lifespan)


@app.get("/health")
async def health():
    return {"status": "ok", "served": state.served}


@app.post("/generate/")
async def generate(request: Request, prompt: str = Form()) -> Response:
    """Make a gaussian splat of a text, or of an image in base64."""
    started = time.monotonic()
    try:
        image = await prepare_image(prompt)
    except BadImageError as error:
        return Response(status_code=400, content=str(error))
    async with gpu_lock:
        if image is None:
            prompt = await enhance_prompt(prompt)
            loop = asyncio.get_running_loop()
            image = await loop.run_in_executor(pool, generator.generate, prompt, 512)
        cutout = await asyncio.to_thread(remover.remove, image)
        try:
            ply = await generate_3d(cutout, seed=42)
        except httpx.ConnectError:
            return Response(status_code=503, content="3D service unavailable")
        ply, count = await asyncio.to_thread(fix_ply, ply)
        if count < MIN_GAUSSIANS:
            return empty("X-Skip-Reason", f"sparse_{count}")
        score = await asyncio.to_thread(validate, image, prompt)
    if score < CONFIG["clip_threshold"]:
        return empty("X-Validation-Failed", f"clip_score_too_low_{score:.3f}")
    if time.monotonic() - started > MAX_SECONDS:
        return empty("X-Skip-Reason", "slow")
    state.served += 1
    return Response(ply, media_type="application/octet-stream", headers={"X-Gaussians": str(count)})


def empty(header: str, reason: str) -> Response:
    """Answer with nothing, and why."""
    return Response(status_code=200, headers={header: reason})


async def prepare_image(prompt: str) -> Image | None:
    """Decode an image prompt; None for a text."""
    if not looks_like_image(prompt):
        return None
    try:
        raw = base64.b64decode(prompt, validate=True)
    except binascii.Error as error:
        raise BadImageError(str(error)) from error
    image = parse(raw)
    if image is None:
        raise BadImageError("no PNG")
    return image


def looks_like_image(prompt: str) -> bool:
    return len(prompt) > 64 and " " not in prompt


async def enhance_prompt(prompt: str) -> str:
    """Say it as the image model likes it."""
    await asyncio.sleep(0)
    if "explode" in prompt:
        raise RuntimeError("the language model is gone")
    return f"{prompt}, centered, white background, studio light"


async def generate_3d(cutout: Image, seed: int) -> bytes:
    """Ask the 3D service."""
    answer = await state.client.post("/generate", params={"seed": seed}, content=cutout.pixels)
    answer.raise_for_status()
    return answer.content


def fix_ply(ply: bytes) -> tuple[bytes, int]:
    """Read the count of gaussians from the header."""
    header, _, _ = ply.partition(b"end_header")
    (line,) = (line for line in header.splitlines() if line.startswith(b"element vertex"))
    return ply, int(line.split()[-1])


def validate(image: Image, prompt: str) -> float:
    """Compare four views with the prompt."""
    from models.clip import ClipValidator  # loaded late: it takes 47 s of the first request

    scores = [ClipValidator.shared().score(view, prompt) for view in render_views(image)]
    return max(scores)


def render_views(image: Image) -> list[Image]:
    return [image.turned(quarter) for quarter in range(4)]


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
