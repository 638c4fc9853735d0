"""A generation service to start under any process manager: see ../processes.md.

The data_dir is OTEL_GEN_DATA_DIR. With TRELLIS_URL the 3D service behind it is asked, else a stand-in.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Form, Request, Response
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from starlette.concurrency import run_in_threadpool

import otel_gen
from otel_gen import propagation

TRELLIS_URL = os.environ.get("TRELLIS_URL", "")
MIN_GAUSSIANS = 7_000
HEAD = "ply\nformat binary_little_endian 1.0\nelement vertex {}\nproperty float x\nend_header\n"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    otel_gen.configure(miner_uid=226)
    async with httpx.AsyncClient(base_url=TRELLIS_URL, timeout=60) as app.state.three_d:
        yield
    await run_in_threadpool(otel_gen.shutdown)  # ends within 10 s; give the manager more patience than that


app = FastAPI(lifespan=lifespan)


@app.post("/generate/")
async def generate(request: Request, prompt: str = Form()) -> Response:
    with propagation.continued(request.headers) as carried:
        async with otel_gen.generation(task_type="TEXT-TO-3D", prompt=prompt, **carried.task()) as gen:
            async with gen.stage("trellis"):
                ply, gaussians = await trellis(prompt)
            gen.output(ply=ply, num_gaussians=gaussians)
            headers = worker() | {propagation.GENERATION_ID: gen.id}
            if gaussians < MIN_GAUSSIANS:
                gen.withheld("sparse", value=gaussians)
                return Response(headers=headers | {"X-Skip-Reason": "sparse"})
            gen.submitted()
    return Response(ply, headers=headers)


async def trellis(prompt: str) -> tuple[bytes, int]:
    if not TRELLIS_URL:
        return splat(prompt)
    three_d = app.state.three_d
    answer = await three_d.post("/splat", data={"prompt": prompt}, headers=propagation.headers())
    answer.raise_for_status()
    return answer.content, int(answer.headers["X-Gaussians"])


def splat(prompt: str) -> tuple[bytes, int]:
    """Your 3D model stands here; one word says too little for many gaussians."""
    gaussians = 10_000 if " " in prompt else 100
    return HEAD.format(gaussians).encode() + bytes(4 * gaussians), gaussians


def worker() -> dict[str, str]:
    return {"X-Worker-Pid": str(os.getpid())}


@app.get("/health")
async def health() -> Response:
    return Response("ok", headers=worker())


@app.get("/metrics")
async def metrics(request: Request) -> Response:
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    return Response(
        await run_in_threadpool(encode, REGISTRY), headers={"Content-Type": media_type, **worker()}
    )


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, port=int(os.environ.get("PORT", "8093")))
