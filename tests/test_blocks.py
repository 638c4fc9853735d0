"""Blocks: `with`, `async with` and decorators; nesting, re-entry, threads, tasks, generators."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import trace

import otel_gen
from otel_gen import scope
from otel_gen.blocks import NOTHING
from otel_gen.handles import Generation
from otel_gen.steps import Stage
from tests.support import settled, the_record


def test_unconfigured_blocks_do_nothing_and_give_a_handle_that_takes_everything():
    with otel_gen.generation(task_type="TEXT-TO-3D", anything=1) as gen:
        with gen.stage("sdxl", steps=4) as stage:
            stage.set(width=512)
        gen.output(ply=b"x")
        gen.submitted()
        gen.withheld("x", value=1)
        gen.failed("oom", "y")
        gen.set(self=1)
    assert (gen.id, gen.durable, gen) == ("", False, NOTHING)
    assert otel_gen.current_generation() is None
    assert not otel_gen.feedback("x", score=1)


def test_unknown_keywords_become_attributes_even_those_that_python_uses_itself(configured):
    with otel_gen.generation(task_type="TEXT-TO-3D", foo=1, self=2, name="n", args=[1]) as gen:
        with otel_gen.stage("a", name="b", self=3, _generation=4, fresh=5) as stage:
            stage.set(self=6, key=7)
        with gen.stage("b", name="c", self=8):
            pass
        gen.set(self=9, keywords=10)
        gen.output(bar="x", self=11, described={"a": 1})
        gen.submitted(channel="http")
    generation = the_record(configured)["generation"]
    assert generation["attributes"] == {
        "foo": 1, "self": 11, "name": "n", "args": [1], "keywords": 10, "bar": "x", "described": {"a": 1},
        "channel": "http",
    }  # fmt: skip
    assert [stage["attributes"] for stage in generation["stages"]] == [
        {"name": "b", "self": 6, "_generation": 4, "fresh": 5, "key": 7},
        {"name": "c", "self": 8},
    ]


def test_decorated_functions_make_one_generation_per_call_recursion_included(configured):
    seen = []

    @otel_gen.generation(task_type="TEXT-TO-3D")
    def make(depth):
        seen.append(otel_gen.current_generation().id)
        return depth and make(depth - 1)

    assert make(2) == 0
    make(0)
    assert len(set(seen)) == 4
    assert sorted(settled(configured)) == sorted(seen)


def test_decorators_keep_name_result_and_methods(configured):
    class Service:
        @otel_gen.stage("a")
        def method(self, x):
            return self, x

        @otel_gen.stage("b")
        @staticmethod
        def static(x):
            return x

        @classmethod
        @otel_gen.stage("c")
        def of_class(cls, x):
            return cls, x

    service = Service()
    with otel_gen.generation():
        assert service.method(1) == (service, 1)
        assert Service.static(2) == 2
        assert Service.of_class(3) == (Service, 3)
    assert Service.method.__name__ == "method"
    assert [stage["name"] for stage in the_record(configured)["generation"]["stages"]] == ["a", "b", "c"]


def test_a_coroutine_function_is_one_generation_per_await(configured):
    @otel_gen.generation()
    async def make():
        async with otel_gen.stage("sdxl"):
            await asyncio.sleep(0)
        return otel_gen.current_generation().id

    class Callable:
        @property
        def __name__(self):
            return "callable"

        async def __call__(self):
            await asyncio.sleep(0)
            return otel_gen.current_generation().id

    async def main():
        return [
            await make(),
            *await asyncio.gather(make(), make()),
            await otel_gen.generation()(Callable())(),
        ]

    ids = asyncio.run(main())
    records = settled(configured)
    assert sorted(records) == sorted(ids)
    assert [len(records[id_]["generation"]["stages"]) for id_ in ids] == [1, 1, 1, 0]


def test_entering_the_same_object_again_starts_a_new_generation(configured):
    block = otel_gen.generation(task_type="TEXT-TO-3D")
    with block as one, block as two:
        assert otel_gen.current_generation() is two
    with block as three:
        pass
    assert sorted(settled(configured)) == sorted({one.id, two.id, three.id})


def test_entering_the_same_stage_again_starts_a_new_one(configured):
    block = otel_gen.stage("work", n=1)
    with otel_gen.generation():
        with block as one, block as two:
            one.set(name="one")
            two.set(name="two")
        with block as three:
            three.set(name="three")
    stages = the_record(configured)["generation"]["stages"]
    assert [stage["attributes"] for stage in stages] == [{"n": 1, "name": n} for n in ("one", "two", "three")]
    assert stages[1]["parent_span_id"] == stages[0]["span_id"]


def test_an_entry_that_records_nothing_leaves_an_open_one_of_the_same_stage_alone(configured):
    block = otel_gen.stage("work")

    def elsewhere():
        with block as stage:
            assert stage is NOTHING

    with block as nothing:
        assert nothing is NOTHING
        with otel_gen.generation(), block as stage:
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
            assert trace.get_current_span() is stage.span
            stage.set(after=True)
    (stage,) = the_record(configured)["generation"]["stages"]
    assert (stage["attributes"], stage["status"]) == ({"after": True}, "ok")


def test_a_stage_that_is_not_entered_takes_what_is_said_of_it_and_does_nothing(configured):
    otel_gen.stage("work").set(n=1)


def test_threads_that_share_a_stage_each_leave_their_own_entry():
    block, wrong, end = Stage(None, "shared", {}), [], time.monotonic() + 1.5

    def enter_and_leave():
        while time.monotonic() < end:
            mine = object()
            block._again.append(mine)
            scope.current.set(mine)
            try:
                found = block._mine()
            except Exception as error:
                found = error
            if found is not mine:
                wrong.append(found)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=enter_and_leave) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert (wrong, block._again) == ([], [])


@pytest.mark.parametrize("opened", [lambda gen: otel_gen.stage("shared"), lambda gen: gen.stage("shared")])
def test_a_stage_that_has_ended_ends_once_whoever_leaves_it_again(
    configured, provider, spans, caplog, opened
):
    async def enter_late(block, go):
        await go.wait()
        with block as stage:
            assert stage is NOTHING

    async def main():
        go = asyncio.Event()
        async with otel_gen.generation() as gen:
            block = opened(gen)
            async with block:
                late = asyncio.create_task(enter_late(block, go))
        go.set()
        await late
        block.__exit__(None, None, None)
        return block

    assert asyncio.run(main())._again == []
    assert sorted(span.name for span in spans.get_finished_spans()) == ["generation", "shared"]
    assert not caplog.records


def test_a_stage_at_module_level_keeps_no_generation_alive(configured):
    block = otel_gen.stage("at module level")
    weakref.ref(block)
    with otel_gen.generation() as gen, block:
        id_ = gen.id
    del gen
    gc.collect()
    assert id_ not in {one.id for one in gc.get_objects() if type(one) is Generation}


def test_a_coroutine_that_is_closed_inside_a_generation_awaits_nothing(configured):
    class Never:
        def __await__(self):
            yield

    async def make():
        async with otel_gen.generation():
            await Never()

    @otel_gen.generation()
    async def decorated():
        await Never()

    async def main():
        for coroutine in (make(), decorated()):
            coroutine.send(None)
            coroutine.close()

    asyncio.run(main())
    assert [record["outcome"] for record in settled(configured).values()] == ["cancelled", "cancelled"]


def test_a_block_that_is_left_in_a_copy_of_its_context_leaves_a_context_there(configured):
    async def produce():
        with otel_gen.generation(), otel_gen.stage("around"):
            yield 1

    async def main():
        produced = produce()
        await produced.__anext__()

        async def rest():
            await produced.aclose()
            return trace.get_current_span(), otel_gen.current_generation()

        return await asyncio.create_task(rest())

    assert asyncio.run(main()) == (trace.INVALID_SPAN, None)


def test_one_object_serves_many_threads_and_tasks_at_once(configured):
    generation, stage = otel_gen.generation(task_type="TEXT-TO-3D"), otel_gen.stage("work")
    barrier = threading.Barrier(8)

    def in_thread(n):
        barrier.wait()
        with generation as gen:
            barrier.wait()
            with stage as one:
                one.set(n=n)
                barrier.wait()
            gen.set(n=n)
            return gen.id

    async def in_task(n):
        async with generation as gen:
            await asyncio.sleep(0)
            async with stage as one:
                one.set(n=n)
                await asyncio.sleep(0)
            gen.set(n=n)
            return gen.id

    async def tasks():
        return await asyncio.gather(*(in_task(n) for n in range(8)))

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(in_thread, range(8))) + asyncio.run(tasks())
    records = settled(configured)
    for n, id_ in enumerate(ids):
        (stage_part,) = records[id_]["generation"]["stages"]
        assert stage_part["attributes"] == records[id_]["generation"]["attributes"] == {"n": n % 8}
    assert len(records) == 16


def test_nested_generations_are_records_of_their_own_in_one_trace(configured):
    with otel_gen.generation() as outer:
        with otel_gen.generation() as inner, otel_gen.stage("deep"):
            pass
        assert otel_gen.current_generation() is outer
    records = settled(configured)
    assert records[outer.id]["generation"]["stages"] == []
    assert [s["name"] for s in records[inner.id]["generation"]["stages"]] == ["deep"]
    assert len({r["metadata"]["trace_id"] for r in records.values()}) == 1


def test_a_block_entered_in_one_thread_may_end_in_another(configured, caplog):
    generation, stage = otel_gen.generation(), otel_gen.stage("moved")
    caplog.set_level(logging.DEBUG)

    def enter():
        gen = generation.__enter__()
        stage.__enter__()
        return gen

    def leave():
        assert stage.__exit__(None, None, None) is None
        assert generation.__exit__(None, None, None) is None

    for step in (enter, leave):
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert [s["status"] for s in the_record(configured)["generation"]["stages"]] == ["ok"]


def test_a_generation_that_ended_elsewhere_is_not_current_any_more(configured):
    block = otel_gen.generation()

    def work():
        block.__enter__()
        thread = threading.Thread(target=block.__exit__, args=(None, None, None))
        thread.start()
        thread.join()
        assert otel_gen.current_generation() is None
        with otel_gen.stage("too late") as stage:
            assert stage is NOTHING

    contextvars.copy_context().run(work)


def test_blocks_that_end_out_of_order_leave_nothing_current(waiting):
    before = trace.get_current_span()
    block, inner, innermost = otel_gen.generation(), otel_gen.stage("inner"), otel_gen.stage("innermost")
    gen, *_ = [one.__enter__() for one in (block, inner, innermost)]
    gen.submitted()
    for one in (inner, block, innermost):
        one.__exit__(None, None, None)
    assert otel_gen.current_generation() is None
    assert trace.get_current_span() is before
    assert otel_gen.feedback(gen.id, score=0.5)  # until then the record waits, also for what ends late
    assert [s["status"] for s in the_record(waiting)["generation"]["stages"]] == ["ok", "ok"]


def test_exit_never_swallows(configured):
    for block in (otel_gen.generation(), otel_gen.stage("x")):
        error = ValueError("mine")
        with pytest.raises(ValueError, match="mine") as caught, otel_gen.generation(), block:
            raise error
        assert caught.value is error


# --- generators -------------------------------------------------------------------------------------
def test_a_generator_is_current_in_its_steps_and_not_for_its_caller(configured):
    inside = []

    @otel_gen.generation()
    def produce():
        inside.append(otel_gen.current_generation())
        got = yield 1
        with otel_gen.stage("around a yield"):
            inside.append(otel_gen.current_generation())
            try:
                yield got
            except KeyError:
                with otel_gen.stage("within"):
                    inside.append(otel_gen.current_generation())
            yield 3
        return "result"

    produced = produce()
    assert next(produced) == 1
    assert otel_gen.current_generation() is None
    assert not trace.get_current_span().get_span_context().is_valid
    assert produced.send("sent") == "sent"
    assert otel_gen.current_generation() is None
    assert produced.throw(KeyError()) == 3
    with pytest.raises(StopIteration) as stop:
        next(produced)
    assert stop.value.value == "result"
    assert otel_gen.current_generation() is None
    assert not trace.get_current_span().get_span_context().is_valid
    (gen,) = set(inside)
    stages = {s["name"]: s for s in the_record(configured)["generation"]["stages"]}
    assert stages["within"]["parent_span_id"] == stages["around a yield"]["span_id"]
    assert gen.durable


def test_a_generator_that_is_closed_early_is_cancelled(configured):
    @otel_gen.generation()
    def produce():
        with otel_gen.stage("open"):
            yield 1

    produced = produce()
    next(produced)
    produced.close()
    record = the_record(configured)
    assert record["outcome"] == "cancelled"
    assert [s["status"] for s in record["generation"]["stages"]] == ["cancelled"]


def test_a_generator_steps_inside_another_generation(configured):
    @otel_gen.generation(kind="inner")
    def produce():
        for n in range(3):
            with otel_gen.stage(f"step{n}"):
                yield n

    with otel_gen.generation(kind="outer") as outer:
        for n in produce():
            assert otel_gen.current_generation() is outer
            with otel_gen.stage(f"outside{n}"):
                pass
    found = {
        r["generation"]["attributes"]["kind"]: r["generation"]["stages"] for r in settled(configured).values()
    }
    assert [s["name"] for s in found["inner"]] == ["step0", "step1", "step2"]
    assert [s["name"] for s in found["outer"]] == ["outside0", "outside1", "outside2"]


def test_an_async_generator_is_current_in_its_steps_and_not_for_its_caller(configured):
    @otel_gen.generation()
    async def produce():
        for n in range(2):
            async with otel_gen.stage(f"step{n}"):
                await asyncio.sleep(0)
                assert otel_gen.current_generation() is not None
                yield n

    async def main():
        async for _ in produce():
            assert otel_gen.current_generation() is None

    asyncio.run(main())
    record = the_record(configured)
    assert record["outcome"] == "unsubmitted"
    assert [s["status"] for s in record["generation"]["stages"]] == ["ok", "ok"]


def test_an_abandoned_async_generator_is_cancelled_without_a_complaint(configured, caplog):
    @otel_gen.generation()
    async def produce():
        async with otel_gen.stage("open"):
            yield 1
            yield 2

    async def main():
        produced = produce()
        await asyncio.create_task(anext(produced))
        await asyncio.create_task(anext(produced))
        del produced  # its finalizer closes it in yet another task

    asyncio.run(main())
    assert the_record(configured)["outcome"] == "cancelled"
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


def test_athrow_and_asend_reach_the_wrapped_generator(configured):
    @otel_gen.generation()
    async def produce():
        try:
            yield (yield 1)
        except KeyError:
            yield "caught"

    async def main():
        produced = produce()
        return [await produced.asend(None), await produced.asend("sent"), await produced.athrow(KeyError())]

    assert asyncio.run(main()) == [1, "sent", "caught"]


# --- threads and executors ----------------------------------------------------------------------------
def test_bind_carries_the_context_into_executors_and_without_it_a_stage_is_a_no_op(configured):
    def work(name):
        with otel_gen.stage(name) as stage:
            return stage is not NOTHING, otel_gen.current_generation()

    async def main():
        async with otel_gen.generation() as gen:
            loop = asyncio.get_running_loop()
            bound = await loop.run_in_executor(None, otel_gen.bind(work), "bound")
            bare = await loop.run_in_executor(None, work, "bare")
            threaded = await asyncio.to_thread(work, "to_thread")
            return gen, bound, bare, threaded

    with otel_gen.generation() as gen, ThreadPoolExecutor(4) as pool:
        assert all(found == (True, gen) for found in pool.map(otel_gen.bind(work), ["a", "b", "c", "d"]))
        assert pool.submit(work, "bare").result() == (False, None)
    inner, bound, bare, threaded = asyncio.run(main())
    assert (bound, bare, threaded) == ((True, inner), (False, None), (True, inner))
    records = settled(configured)
    assert sorted(s["name"] for s in records[gen.id]["generation"]["stages"]) == ["a", "b", "c", "d"]
    assert [s["name"] for s in records[inner.id]["generation"]["stages"]] == ["bound", "to_thread"]


def test_a_stage_opened_from_the_handle_needs_no_context(configured):
    with otel_gen.generation() as gen:
        thread = threading.Thread(target=gen.stage("elsewhere")(lambda: None))
        thread.start()
        thread.join()
    (stage,) = the_record(configured)["generation"]["stages"]
    assert stage["name"] == "elsewhere"
    assert stage["parent_span_id"]
