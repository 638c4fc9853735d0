"""instrument(app): its options, what it refuses, and the server spans underneath."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import httpx
import prometheus_client
import pytest
from fastapi import APIRouter, FastAPI, Form, Request, Response
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

import otel_gen
from otel_gen.errors import SettingsError
from otel_gen.integrations.fastapi import CurrentGeneration, instrument
from otel_gen.safely import faults
from tests.support import lines, python, settled

PLY = b"ply\nformat binary_little_endian 1.0\nelement vertex 2\nproperty float x\nend_header\n" + bytes(8)


@pytest.fixture(autouse=True)
def _instrumented_apps():
    yield
    FastAPIInstrumentor().uninstrument_app(FastAPI())  # what was changed for all background tasks


def service(data_dir, *, app=None, **options):
    """A service with one generation route, instrumented."""
    app = app or FastAPI()

    @app.post("/generate/")
    async def generate(request: Request, gen: CurrentGeneration):
        await request.body()
        with gen.stage("trellis"):
            pass
        return Response(PLY)

    options = {"data_dir": data_dir, "feedback_timeout": 0, "registry": None} | options
    instrument(app, **options)
    return app


def call(app, *requests, path="/generate/"):
    """Run a whole life of an application with some requests in it; gives the answers."""

    async def live():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            lifespan(app),
            httpx.AsyncClient(transport=transport, base_url="http://service") as client,
        ):
            return [await client.post(**({"url": path} | request)) for request in requests]

    return asyncio.run(live())


@asynccontextmanager
async def lifespan(app):
    """What a server does around the requests, by ASGI's own messages."""
    hear, tell = asyncio.Queue(), asyncio.Queue()
    life = asyncio.ensure_future(app({"type": "lifespan", "app": app, "state": {}}, hear.get, tell.put))
    await hear.put({"type": "lifespan.startup"})
    said = await tell.get()
    if said["type"] != "lifespan.startup.complete":
        await life
        raise RuntimeError(said["message"])
    yield
    await hear.put({"type": "lifespan.shutdown"})
    assert (await tell.get())["type"] == "lifespan.shutdown.complete"
    await life


def one(data_dir):
    (record,) = lines(data_dir)
    return record


# --- options -------------------------------------------------------------------------------------------------
def test_all_is_delivered_when_the_application_has_ended(data_dir):
    (answer,) = call(service(data_dir), {"data": {"prompt": "a chair"}})
    assert answer.headers["x-generation-id"] == one(data_dir)["metadata"]["generation_id"]


def test_a_handler_outside_of_the_routes_has_a_generation_that_records_nothing(data_dir):
    app = service(data_dir, routes=["/elsewhere"])
    (answer,) = call(app, {"data": {"prompt": "a chair"}})
    assert (answer.content, "x-generation-id" in answer.headers, lines(data_dir)) == (PLY, False, [])


@pytest.mark.parametrize(
    ("routes", "path", "count"),
    [
        (["/v1/{model}/make"], "/v1/small/make", 1),
        ("PUT /v1/{model}/make", "/v1/small/make", 0),
        (["/v1/{model}"], "/v1/small/make", 0),
        (["/v1/small.make"], "/v1/small/make", 0),
    ],
)
def test_which_routes_are_generations_is_a_setting_also_for_included_routers(data_dir, routes, path, count):
    router = APIRouter(prefix="/v1")

    @router.post("/{model}/make")
    async def make(model: str):
        return {"model": model}

    app = FastAPI()
    app.include_router(router)
    call(service(data_dir, app=app, routes=routes), {}, path=path)
    assert len(lines(data_dir)) == count


def test_a_json_body_and_another_field(data_dir):
    call(service(data_dir, prompt_field="text"), {"json": {"text": "a lamp", "prompt": "no"}})
    assert one(data_dir)["task"]["prompt"] == "a lamp"


@pytest.mark.parametrize("body", [b"{", b"[1]", b'{"prompt": 5}', b"[" * 100_000, b"\xff"])
def test_a_body_that_says_no_prompt_is_a_generation_without_one(data_dir, body):
    (answer,) = call(service(data_dir), {"content": body, "headers": {"Content-Type": "application/json"}})
    assert (answer.status_code, one(data_dir)["task"]["prompt"]) == (200, None)


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_describe_adds_what_only_the_service_knows_and_wins(data_dir, kind):
    def plain(request):
        return {"task_id": request.query_params["task"], "prompt": "described", "gpu": 1}

    async def asynchronous(request):
        return plain(request) | {"prompt": (await request.json())["words"]}

    app = service(data_dir, describe=plain if kind == "plain" else asynchronous, config=lambda: {"steps": 4})
    call(
        app,
        {"json": {"words": "described", "prompt": "x"}, "headers": {"X-Task-Id": "no"}},
        path="/generate/?task=t7",
    )
    record = one(data_dir)
    assert (record["metadata"]["task_id"], record["task"]["prompt"]) == ("t7", "described")
    assert (record["generation"]["attributes"], record["miner_config"]) == ({"gpu": 1}, {"steps": 4})


def broken(*_request):
    raise KeyError("mine")


async def broken_later(_request):
    raise KeyError("mine")


@pytest.mark.parametrize(
    ("option", "function"),
    [
        ("describe", broken),
        ("describe", broken_later),
        ("describe", lambda _: None),
        ("describe", lambda _: {5: "no keyword"}),
        ("config", broken),
    ],
)
def test_what_goes_wrong_in_a_function_of_the_service_costs_no_more_than_what_it_would_say(
    data_dir, caplog, monkeypatch, option, function
):
    monkeypatch.setattr(faults, "_said", {})  # a place is logged once a minute
    options = {"config": {"steps": 4}, "describe": lambda _: {"gpu": 1}} | {option: function}
    request = {"json": {"prompt": "a lamp"}, "headers": {"X-Task-Id": "t"}}
    (answer,) = call(service(data_dir, **options), request)
    record = one(data_dir)
    assert (answer.content, record["outcome"]) == (PLY, "unscored")
    assert (record["metadata"]["task_id"], record["task"]["prompt"]) == ("t", "a lamp")
    assert record["task"]["task_type"] == "TEXT-TO-3D"
    assert record["miner_config"] == ({"steps": 4} if option == "describe" else {})
    assert record["generation"]["attributes"] == ({} if option == "describe" else {"gpu": 1})
    assert f"could not record ({option}= of instrument())" in caplog.text


def test_a_body_over_the_limit_goes_through_whole_and_is_not_looked_at(data_dir):
    app, seen = FastAPI(), []

    @app.post("/raw")
    async def raw(request: Request):
        seen.append(len(await request.body()))
        return Response(b"done")

    service(data_dir, app=app, routes=["/raw"], body_limit=1000)
    parts = (b"x" * 700 for _ in range(10))

    async def body():
        for part in parts:
            yield part

    call(app, {"content": body()}, path="/raw")
    assert (seen, one(data_dir)["outcome"]) == ([7000], "unscored")


@pytest.mark.parametrize(("options", "kept"), [({}, True), ({"keep_product": False}, False)])
def test_the_product_is_kept_unless_that_is_not_wanted_or_it_is_too_large(data_dir, options, kept):
    call(service(data_dir, **options), {"data": {"prompt": "x"}})
    assert bool(one(data_dir)["generation"]["output"].get("ply_file_hash")) is kept


def test_a_product_over_the_limit_is_an_answer_and_no_artifact(data_dir):
    (answer,) = call(service(data_dir, max_artifact_bytes=10), {"data": {"prompt": "x"}})
    record = one(data_dir)
    assert (answer.content, record["outcome"]) == (PLY, "unscored")
    assert record["generation"]["output"].get("ply_file_hash") is None


def test_metrics_are_shown_where_wanted(data_dir):
    registry = prometheus_client.CollectorRegistry()
    app = service(data_dir, metrics="/internal/metrics", registry=registry)

    async def look():
        async with (
            lifespan(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client,
        ):
            return [await client.get(path) for path in ("/internal/metrics", "/metrics")]

    found, absent = asyncio.run(look())
    assert "gen3d_generations_total" in found.text
    assert absent.status_code == 404


def ask_without_lifespan(app, count=1):
    async def ask():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return [await client.post("/generate/", data={"prompt": "x"}) for _ in range(count)]

    return asyncio.run(ask())


def test_without_a_lifespan_the_first_request_configures(data_dir):
    answers = ask_without_lifespan(service(data_dir), 2)
    assert {answer.headers["x-generation-id"] for answer in answers} == set(settled(data_dir))


def test_without_a_lifespan_what_was_shut_down_stays_so(data_dir):
    app = service(data_dir)
    ask_without_lifespan(app)
    assert len(settled(data_dir)) == 1
    (answer,) = ask_without_lifespan(app)
    assert (answer.content, len(settled(data_dir))) == (PLY, 1)


def test_without_a_lifespan_what_goes_wrong_at_the_start_costs_neither_answer_nor_record(data_dir, caplog):
    class Registry(prometheus_client.CollectorRegistry):
        def register(self, collector):
            raise RuntimeError("no more collectors")

    (answer,) = ask_without_lifespan(service(data_dir, registry=Registry()))
    assert (answer.content, len(settled(data_dir))) == (PLY, 1)
    assert "no more collectors" in caplog.text


def test_a_mounted_application_is_recorded(data_dir):
    outer = FastAPI()
    outer.mount("/api", service(data_dir))
    (answer,) = call(outer, {"data": {"prompt": "a chair"}}, path="/api/generate/")
    (record,) = settled(data_dir).values()
    assert record["metadata"]["generation_id"] == answer.headers["x-generation-id"]
    assert record["task"]["prompt"] == "a chair"


def test_a_mounted_application_goes_by_the_settings_in_force_and_says_where_its_own_differ(data_dir, caplog):
    outer = service(data_dir)
    outer.mount("/api", service(data_dir.parent / "other", metrics=None))
    call(outer, {"data": {"prompt": "a chair"}}, path="/api/generate/")
    assert one(data_dir)["task"]["prompt"] == "a chair"
    assert "already configured with another data_dir" in caplog.text
    assert not (data_dir.parent / "other").exists()


# --- refusals ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options",
    [
        {"routes": ["generate"]},
        {"routes": ["POST"]},
        {"routes": 5},
        {"routes": [5]},
        {"routes": None},
        {"prompt_field": None},
        {"prompt_field": ""},
        {"describe": "x"},
        {"metrics": "metrics"},
        {"metrics": 5},
        {"feedback": "too short"},
        {"feedback": b""},
        {"feedback": 32},
        {"feedback": True},
        {"cancel_on_disconnect": "perhaps"},
        {"cancel_on_disconnect": None},
        {"keep_product": 2},
        {"body_limit": None},
        {"body_limit": "32 MB"},
        {"body_limit": -1},
        {"drain_seconds": None},
        {"drain_seconds": "soon"},
        {"drain_seconds": -1},
        {"drain_seconds": 1e300},
        {"registry": "nope"},
        {"miner_uid": "perhaps"},
        {"unheard_of": 1},
    ],
)
def test_wrong_options_are_said_at_once_and_the_application_stays_as_it_was(data_dir, options):
    app = FastAPI()
    before = list(app.routes)
    with pytest.raises(SettingsError):
        instrument(app, **{"data_dir": data_dir} | options)
    assert (app.user_middleware, app.routes) == ([], before)


def test_options_that_come_from_variables_may_be_text(data_dir):
    options = {"body_limit": "1000", "drain_seconds": "9", "keep_product": "false"}
    call(service(data_dir, **options), {"data": {"prompt": "a chair"}}, {"data": {"prompt": "x" * 2000}})
    found = [(r["task"]["prompt"], r["generation"]["output"].get("ply_file_hash")) for r in lines(data_dir)]
    assert found == [("a chair", None), (None, None)]


@pytest.mark.parametrize("package", ["fastapi", "opentelemetry.instrumentation.fastapi"])
def test_what_is_not_installed_is_named_with_its_extra(package):
    code = """
import sys
sys.modules[sys.argv[1]] = None
from otel_gen.errors import MissingExtraError
try:
    from otel_gen.integrations.fastapi import instrument
    from fastapi import FastAPI
    instrument(FastAPI())
except MissingExtraError as error:
    print(error)
"""
    assert "pip install 'otel-gen[fastapi]'" in python(code, package)


def test_twice_is_refused(data_dir):
    app = service(data_dir)
    with pytest.raises(SettingsError, match="once"):
        instrument(app)


def test_settings_that_differ_from_those_in_force_keep_the_application_from_starting(data_dir):
    otel_gen.configure(data_dir=data_dir, registry=None, miner_uid=1)
    with pytest.raises(RuntimeError, match="already configured with another"):
        call(service(data_dir, miner_uid=2))


def test_the_applications_own_lifespan_stands_inside(data_dir):
    seen = []

    @asynccontextmanager
    async def own(_app):
        seen.append(otel_gen.generation().begin().id)
        yield {"mine": 1}
        with otel_gen.generation() as gen:
            seen.append(gen.id)

    call(service(data_dir, app=FastAPI(lifespan=own)))
    assert all(seen)
    assert seen[1] in {record["metadata"]["generation_id"] for record in lines(data_dir)}


# --- spans ---------------------------------------------------------------------------------------------------
def test_ours_stand_between_the_servers_span_and_the_handlers(data_dir, spans):
    app = service(data_dir)

    @app.get("/health")
    async def health():
        return {}

    async def ask():
        transport = httpx.ASGITransport(app)
        async with lifespan(app), httpx.AsyncClient(transport=transport, base_url="http://s") as client:
            await client.get("/health")
            await client.get("/metrics")
            await client.post("/generate/", data={"prompt": "a chair"})

    asyncio.run(ask())
    found = {span.name: span for span in spans.get_finished_spans()}
    assert set(found) == {"POST /generate/", "generation", "trellis"}
    server, root, stage = found["POST /generate/"], found["generation"], found["trellis"]
    assert root.parent.span_id == server.context.span_id
    assert stage.parent.span_id == root.context.span_id
    assert one(data_dir)["metadata"]["trace_id"] == f"{server.context.trace_id:032x}"
    assert "a chair" not in json.dumps([dict(span.attributes) for span in found.values()], default=str)


def test_an_application_that_is_instrumented_already_is_not_instrumented_twice(data_dir, spans, caplog):
    app = FastAPI()
    FastAPIInstrumentor.instrument_app(app)
    call(service(data_dir, app=app, disk_free_alert_ratio=0), {"data": {"prompt": "x"}})
    assert [s.name for s in spans.get_finished_spans()].count("POST /generate/") == 1
    assert caplog.messages == []


def test_a_handler_without_async_and_a_form_see_their_generation(data_dir):
    app = FastAPI()

    @app.post("/sync")
    def sync(prompt: str = Form()):
        with otel_gen.stage("sdxl"):
            otel_gen.current_generation().withheld(prompt)
        return Response()

    call(service(data_dir, app=app, routes=["/sync"]), {"data": {"prompt": "plain"}}, path="/sync")
    record = settled(data_dir).popitem()[1]
    assert record["generation"]["submission"]["rejection_reason"] == "plain"
    assert [stage["name"] for stage in record["generation"]["stages"]] == ["sdxl"]


def test_requests_at_once_do_not_mix(data_dir):
    app = FastAPI()

    @app.post("/slow")
    async def slow(request: Request, gen: CurrentGeneration):
        name = request.headers["x-task-id"]
        await asyncio.sleep(0.01)
        with otel_gen.stage(name):
            await asyncio.sleep(0.01)
        assert otel_gen.current_generation() is gen
        return Response(name)

    service(data_dir, app=app, routes=["/slow"])

    async def ask():
        transport = httpx.ASGITransport(app)
        async with lifespan(app), httpx.AsyncClient(transport=transport, base_url="http://s") as client:
            await asyncio.gather(*(client.post("/slow", headers={"X-Task-Id": f"t{n}"}) for n in range(20)))

    asyncio.run(ask())
    found = {
        r["metadata"]["task_id"]: [s["name"] for s in r["generation"]["stages"]] for r in lines(data_dir)
    }
    assert found == {f"t{n}": [f"t{n}"] for n in range(20)}


@pytest.mark.parametrize("shown", [False, True])
def test_a_server_span_tells_the_class_of_an_exception_and_its_text_only_when_asked(data_dir, spans, shown):
    app = FastAPI()

    @app.post("/generate/")
    async def generate():
        raise ValueError("a red chair")

    instrument(app, data_dir=data_dir, feedback_timeout=0, registry=None, capture_content=shown)
    (answer,) = call(app, {})
    assert answer.status_code == 500
    (server,) = [span for span in spans.get_finished_spans() if span.kind.name == "SERVER"]
    assert ("a red chair" in server.to_json()) is shown
    assert server.status.status_code.name == "ERROR"
    assert "ValueError" in server.to_json()
    (record,) = settled(data_dir).values()
    assert record["failure_analysis"]["error_message"] == "a red chair"
