"""Whatever kind of function a mapping names, it does what it did, and its call is on record."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

import otel_gen
from tests.support import the_record

SERVICE = '''
import asyncio, threading

aio_lock, lock = asyncio.Semaphore(1), threading.Lock()
NUMBER = 5

def plain(x, *, twice=False):
    """Do it."""
    return x * 2 if twice else x

async def awaited(x):
    await asyncio.sleep(0)
    return x

def steps(x):
    try:
        got = yield x
    except KeyError:
        got = "thrown"
    yield got
    return "end"

async def asteps(x):
    try:
        got = yield x
    except KeyError:
        got = "thrown"
    yield got

class Base:
    def inherited(self, x):
        return x

class Model(Base):
    size = 3
    def __init__(self, steps=1):
        self.steps = steps
    def method(self, x):
        return x, self.steps
    async def amethod(self, x):
        return x
    @classmethod
    def kind(cls, x):
        return cls.__name__, x
    @staticmethod
    def free(x):
        return x
    def __call__(self, x):
        return x

model = Model(7)

def fails(x):
    raise ValueError(x)

def generate(do):
    return do()

async def agenerate(do):
    return await do()
'''


@pytest.fixture
def service(load):
    """Give a function that loads the service of this module with targets of it mapped."""
    return partial(load, SERVICE)


def names(record):
    return [stage["name"] for stage in record["generation"]["stages"]]


SYNC = {
    "plain": lambda s: s.plain(2, twice=True) == 4,
    "Model.method": lambda s: s.model.method(1) == (1, 7) and s.Model.method(s.model, 2) == (2, 7),
    "Model.inherited": lambda s: s.model.inherited(1) == 1,
    "Model.kind": lambda s: s.Model.kind(1) == ("Model", 1) and s.model.kind(2) == ("Model", 2),
    "Model.free": lambda s: s.Model.free(1) == 1 and s.model.free(2) == 2,
    "Model.__call__": lambda s: s.model(1) == 1,
    "steps": lambda s: list(s.steps(1)) == [1, None],
}


@pytest.mark.parametrize(("target", "use"), SYNC.items(), ids=SYNC)
@pytest.mark.parametrize("early", [False, True], ids=["loaded later", "loaded before"])
def test_functions_do_what_they_did_and_are_stages(service, configured, target, use, early):
    s = service(target, early=early)
    assert s.generate(lambda: use(s)) is True
    found = names(the_record(configured))
    assert found
    assert set(found) == {target.rsplit(".", 1)[-1]}


ASYNC = {
    "awaited": lambda s: s.awaited(1),
    "Model.amethod": lambda s: s.model.amethod(1),
}


@pytest.mark.parametrize(("target", "use"), ASYNC.items(), ids=ASYNC)
def test_coroutine_functions_stay_what_they_are(service, configured, target, use):
    s = service(target, generation="agenerate")
    assert asyncio.run(s.agenerate(lambda: use(s))) == 1
    function = s.awaited if target == "awaited" else s.Model.amethod
    assert inspect.iscoroutinefunction(function)
    assert names(the_record(configured)) == [target.rsplit(".", 1)[-1]]


def test_a_generator_takes_what_is_sent_and_thrown_and_returns_its_value(service, configured):
    s = service("steps")

    def use():
        steps = s.steps(1)
        first, sent = next(steps), steps.send("sent")
        with pytest.raises(StopIteration) as stop:
            next(steps)
        other = s.steps(2)
        next(other)
        thrown = other.throw(KeyError())
        other.close()
        return first, sent, stop.value.value, thrown

    assert s.generate(use) == (1, "sent", "end", "thrown")
    stages = the_record(configured)["generation"]["stages"]
    assert [(stage["name"], stage["status"]) for stage in stages] == [("steps", "ok"), ("steps", "cancelled")]


def test_an_async_generator_takes_what_is_sent_and_thrown(service, configured):
    s = service("asteps", generation="agenerate")

    async def use():
        steps = s.asteps(1)
        found = [await steps.__anext__(), await steps.asend("sent")]
        assert [item async for item in steps] == []
        other = s.asteps(2)
        await other.__anext__()
        found.append(await other.athrow(KeyError()))
        await other.aclose()
        return found

    assert asyncio.run(s.agenerate(use)) == [1, "sent", "thrown"]
    record = the_record(configured)
    assert [(stage["name"], stage["status"]) for stage in record["generation"]["stages"]] == [
        ("asteps", "ok"), ("asteps", "cancelled"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "targets", [("Base.inherited", "Model.inherited"), ("Model.inherited", "Base.inherited")]
)
def test_a_method_and_the_one_it_is_inherited_from_are_a_stage_each(service, configured, targets):
    more = '[[stage]]\ntarget = "{module}:%s"\nname = "one"\n[[stage]]\ntarget = "{module}:%s"\nname = "two"'
    s = service(more=more % targets)
    s.generate(lambda: (s.Base().inherited(1), s.Model().inherited(1)))
    found = names(the_record(configured))
    assert found == (["one", "two"] if targets[0].startswith("Base") else ["two", "one"])


def test_a_signature_name_and_docstring_stay(service):
    s = service("plain")
    assert str(inspect.signature(s.plain)) == "(x, *, twice=False)"
    assert (s.plain.__name__, s.plain.__doc__) == ("plain", "Do it.")


def test_outside_a_generation_there_is_the_call_alone(service, configured):
    s = service("plain")
    assert s.plain(1) == 1
    s.generate(lambda: None)
    assert names(the_record(configured)) == []


def test_an_exception_goes_on_unchanged_and_is_on_record(service, configured):
    s = service("fails")
    with pytest.raises(ValueError, match="no"):
        s.generate(lambda: s.fails("no"))
    record = the_record(configured)
    assert (record["outcome"], record["failure_analysis"]["stage"]) == ("failed", "fails")


def test_arguments_and_results_become_attributes(service, configured):
    s = service(
        more='[[stage]]\ntarget = "{module}:Model.method"\nname = "model"\nattributes = {{ version = 3 }}\n'
        'arguments = ["x", "self.steps"]\nresults = {{ first = "result.0", size = "len(result)" }}\n'
        'outputs = {{ clip_score = "result.0", enhanced_prompt = "self.steps" }}'
    )
    s.generate(lambda: s.model.method(0.25))
    record = the_record(configured)
    (stage,) = record["generation"]["stages"]
    assert stage["attributes"] == {"version": 3, "x": 0.25, "steps": 7, "first": 0.25, "size": 2}
    assert record["generation"]["output"]["quality_metrics"]["clip_score"] == 0.25


def test_what_leads_nowhere_is_told_once_and_costs_nothing_else(service, configured, caplog):
    s = service(more='[[stage]]\ntarget = "{module}:plain"\narguments = ["x", "y"]')
    s.generate(lambda: (s.plain(1), s.plain(2)))
    stages = the_record(configured)["generation"]["stages"]
    assert [stage["attributes"] for stage in stages] == [{"x": 1}, {"x": 2}]
    assert caplog.text.count("no 'y' here; there are x, twice") == 1


MISSING = {
    "plian": "there is no plian in service_\\d+; did you mean plain",
    "Model.methods": "did you mean method",
    "Nothing.method": "there is no Nothing.method",
    "Model": "is a class; name one of its methods",
    "NUMBER": "is a int; name a function",
}


@pytest.mark.parametrize(("target", "told"), MISSING.items(), ids=MISSING)
def test_a_target_that_is_none_is_told_and_harms_nobody(service, configured, caplog, target, told):
    s = service(target, "plain")
    assert s.generate(lambda: s.plain(1)) == 1
    assert names(the_record(configured)) == ["plain"]
    assert len(re.findall(told, caplog.text)) == 1
    assert f"2 of 3 targets are wrapped; cannot be wrapped: {s.__name__}:{target}" in caplog.text


def test_a_module_that_never_comes_is_told_with_the_first_generation(service, configured, caplog):
    s = service(more='[[stage]]\ntarget = "nowhere.at_all:f"')
    s.generate(lambda: None)
    s.generate(lambda: None)
    assert caplog.text.count("not loaded so far: nowhere.at_all:f") == 1


def test_all_wrapped_is_no_warning(service, configured, caplog):
    s = service("plain")
    with caplog.at_level(logging.WARNING):
        s.generate(lambda: s.plain(1))
    assert caplog.text == ""
    assert the_record(configured)


def test_waiting_for_a_lock_is_a_stage(service, configured):
    s = service("lock", generation="generate")

    def use():
        with s.lock:
            assert s.lock.locked()
        assert s.lock.acquire(timeout=1)
        s.lock.release()

    s.generate(use)
    assert not s.lock.locked()
    assert names(the_record(configured)) == ["lock", "lock"]


def test_waiting_for_an_asyncio_semaphore_is_a_stage(service, configured):
    s = service("aio_lock", generation="agenerate")

    async def use():
        async with s.aio_lock:
            assert s.aio_lock.locked()
        await s.aio_lock.acquire()
        s.aio_lock.release()

    asyncio.run(s.agenerate(use))
    assert names(the_record(configured)) == ["aio_lock", "aio_lock"]


def test_a_pool_s_thread_is_in_the_generation_and_its_next_work_is_not(service, configured):
    s = service("plain")
    with ThreadPoolExecutor(1) as pool:
        assert s.generate(lambda: pool.submit(s.plain, 1).result()) == 1
        assert pool.submit(s.plain, 2).result() == 2
    assert names(the_record(configured)) == ["plain"]


def test_concurrent_generations_do_not_mix(service, configured):
    s = service("awaited", generation="agenerate")

    async def both():
        await asyncio.gather(*(s.agenerate(lambda n=n: s.awaited(n)) for n in range(20)))

    asyncio.run(both())
    assert otel_gen.shutdown()
    found = list(otel_gen.read(configured))
    assert len(found) == 20
    assert {tuple(names(record)) for record in found} == {("awaited",)}


def test_nothing_is_recorded_once_it_is_shut_down(service, configured):
    s = service("plain")
    otel_gen.shutdown()
    assert s.generate(lambda: s.plain(1)) == 1
    assert not list(configured.rglob("generation_history.jsonl"))
