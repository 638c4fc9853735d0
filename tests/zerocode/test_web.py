"""Handlers are recorded however FastAPI and Starlette are told of them, and answer as they did."""

from __future__ import annotations

import asyncio
import functools

import httpx
import pytest

from tests.support import settled, the_record

SERVICE = """
from fastapi import APIRouter, Depends, FastAPI, Form, HTTPException, Response
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

class Order(BaseModel):
    prompt: str
    seed: int = 1

def known(name: str = "dependency"):
    return name

app, router = FastAPI(), APIRouter(prefix="/v1")

async def generate(order: Order, response: Response, name: str = Depends(known)):
    response.headers["X-Skip"] = order.prompt
    return {"prompt": order.prompt, "seed": order.seed, "name": name}

router.post("/generate")(generate)

@router.post("/sync")
def sync(order: Order) -> dict:
    return {"prompt": order.prompt}

@app.post("/form")
async def form(prompt: str = Form()):
    if prompt == "bad":
        raise HTTPException(400, detail="bad prompt")
    return Response(content=prompt.encode())

@app.post("/streamed")
async def streamed(order: Order):
    from fastapi.responses import StreamingResponse
    return StreamingResponse(iter([b"a", b"b"]))

app.add_api_route("/added", generate, methods=["POST"])
app.include_router(router)

async def plain(request):
    return PlainTextResponse((await request.json())["prompt"])

starlette = Starlette(routes=[Route("/generate", plain, methods=["POST"])])
"""
MORE = """
id_header = "X-Generation-Id"
arguments = {{ prompt = "{prompt}", task_id = "http.headers.x-task-id", seed = "http.path" }}

[[generation.outcome]]
header = "X-Skip"
outcome = "withheld"
"""
ASKED = {
    "router": ("generate", "/v1/generate", "order.prompt", "app"),
    "added": ("generate", "/added", "order.prompt", "app"),
    "sync": ("sync", "/v1/sync", "order.prompt", "app"),
    "streamed": ("streamed", "/streamed", "order.prompt", "app"),
    "starlette": ("plain", "/generate", "request.prompt", "starlette"),
}


def ask(app, path, method="POST", **more):
    """Ask an ASGI application in this process."""

    async def asked():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(method, path, **more)

    return asyncio.run(asked())


@pytest.fixture
def web(load):
    """Give a function that loads the service with one handler mapped."""

    def web(handler, prompt):
        return load(SERVICE, generation=handler, more=MORE.replace("{prompt}", prompt))

    return web


@pytest.mark.parametrize(("handler", "path", "prompt", "app"), ASKED.values(), ids=ASKED)
def test_each_way_to_register_a_handler_is_seen(web, configured, handler, path, prompt, app):
    s = web(handler, prompt)
    answer = ask(getattr(s, app), path, json={"prompt": "a chair"}, headers={"X-Task-Id": "t-1"})
    assert answer.status_code == 200
    record = the_record(configured)
    assert record["metadata"]["task_id"] == "t-1"
    assert record["generation"]["attributes"]["seed"] == path
    assert record["outcome"] == ("withheld" if handler == "generate" else "unscored")


def test_signatures_bodies_and_dependencies_are_what_they_were(web, configured):
    s = web("generate", "order.prompt")
    assert ask(s.app, "/v1/generate", json={"prompt": "x", "seed": 3}).json() == {
        "prompt": "x", "seed": 3, "name": "dependency",
    }  # fmt: skip
    assert ask(s.app, "/v1/generate", json={}).status_code == 422
    schema = ask(s.app, "/openapi.json", "GET").json()["paths"]["/v1/generate"]["post"]
    assert schema["operationId"].startswith("generate_v1_generate")
    assert the_record(configured)["generation"]["submission"]["rejection_reason"] == "x"


def test_an_http_exception_is_the_answer_it_was_and_a_failure(web, configured):
    s = web("form", "prompt")
    answer = ask(s.app, "/form", data={"prompt": "bad"})
    assert (answer.status_code, answer.json()) == (400, {"detail": "bad prompt"})
    record = the_record(configured)
    assert (record["outcome"], record["task"]["prompt"]) == ("failed", "bad")
    assert record["failure_analysis"]["error_message"]


def test_the_answer_tells_the_id(web, configured):
    s = web("form", "prompt")
    answer = ask(s.app, "/form", data={"prompt": "a chair"})
    assert answer.content == b"a chair"
    assert answer.headers["x-generation-id"] == the_record(configured)["metadata"]["generation_id"]


def test_the_end_of_the_service_delivers_before_the_server_hears_of_it(web, configured):
    s = web("form", "prompt")
    assert ask(s.app, "/form", data={"prompt": "a chair"}).status_code == 200
    delivered = []

    async def live():
        messages = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]

        async def receive():
            return messages.pop()

        async def send(message):
            history = configured / "generation_history.jsonl"
            delivered.append((message["type"], history.read_bytes().count(b"\n") if history.exists() else 0))

        await s.app({"type": "lifespan", "state": {}}, receive, send)

    asyncio.run(live())
    assert delivered[-1] == ("lifespan.shutdown.complete", 1)


def test_a_handler_that_is_wrapped_already_is_one_generation(web, configured):
    s = web("generate", "order.prompt")

    @functools.wraps(s.generate)
    async def limited(*args, **kwargs):
        return await s.generate(*args, **kwargs)

    s.app.add_api_route("/later", s.generate, methods=["POST"])
    s.app.add_api_route("/limited", limited, methods=["POST"])
    for path in ("/later", "/limited", "/added"):
        assert ask(s.app, path, json={"prompt": "a chair"}).status_code == 200
    found = settled(configured)
    asked = sorted(record["generation"]["attributes"]["seed"] for record in found.values())
    assert asked == ["/added", "/later", "/limited"]
