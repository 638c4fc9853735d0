"""A service in a hostile environment (python -m tests.scenario DATA_DIR NAME): its records stay the same."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from opentelemetry import context, trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

import otel_gen

PLY = b"ply\nformat binary_little_endian 1.0\nelement vertex 0\nend_header\n"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
LONG = "a long prompt, " * 100


class Raises(SpanProcessor):
    """A neighbour's processor with a bug."""

    def __init__(self, *places):
        self.places = places

    def on_start(self, span, parent_context=None):
        if "start" in self.places:
            raise RuntimeError("a neighbour's bug in on_start")

    def on_end(self, span):
        if "end" in self.places:
            raise RuntimeError("a neighbour's bug in on_end")


def sdk(*processors):
    provider = TracerProvider(shutdown_on_exit=False)
    for processor in (*processors, SimpleSpanProcessor(InMemorySpanExporter())):
        provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    return provider


def logfire():
    import logfire

    logfire.configure(send_to_logfire=False, console=False, inspect_arguments=False)
    logfire.info("configured")


def unsampled_parent():
    sdk()
    remote = SpanContext(
        0x5B8EFFF798038103D269B633813FC60C, 0xEEE19B7EC3C1B174, is_remote=True, trace_flags=TraceFlags(0)
    )
    context.attach(trace.set_span_in_context(NonRecordingSpan(remote)))


SETUPS = {
    "plain": lambda: None,
    "sdk": sdk,
    "batch": lambda: sdk(BatchSpanProcessor(InMemorySpanExporter())),
    "start": lambda: sdk(Raises("start")),
    "end": lambda: sdk(Raises("end")),
    "both": lambda: sdk(Raises("start", "end")),
    "unsampled": unsampled_parent,
    "shutdown": sdk,
    "logfire": logfire,
}


def work(between=lambda: None):
    """One generation of each kind, one after the other."""
    task = {"task_type": "TEXT-TO-3D", "prompt": LONG, "validator_uid": 7, "validator_hotkey": "5V"}
    attributes = {f"a{n}": n for n in range(30)}
    with otel_gen.generation(**task, task_id="t", config={"steps": 4, "text": LONG}, **attributes) as gen:
        with gen.stage("queue"), otel_gen.stage("inner", **attributes):
            pass
        between()
        with gen.stage("sdxl") as stage:
            stage.set(text=LONG)
        gen.enhanced_prompt(LONG, negative=LONG)
        gen.output(ply=PLY, num_gaussians=3, clip_score=0.5, render_stats={"text": LONG})
        gen.submitted()
    assert otel_gen.feedback(gen.id, score=0.81, validator_uid=57, rejection_reason=LONG)
    asyncio.run(asynchronous())
    with otel_gen.generation(**task, task_id="t") as gen:
        gen.withheld("sparse", value=0.09)
    with contextlib.suppress(MemoryError), otel_gen.generation(**task) as gen, gen.stage("trellis"):
        raise MemoryError(LONG)
    list(stream())
    with otel_gen.generation(**task) as outer, otel_gen.generation(**task), otel_gen.stage("nested"):
        outer.set(nested=True)


async def asynchronous():
    async with otel_gen.generation(task_type="IMAGE-TO-3D", image=PNG) as gen:
        async with gen.stage("depth"):
            await asyncio.sleep(0)
        gen.submitted()
    assert await otel_gen.feedback_async(gen.id, score=0)


@otel_gen.generation(task_type="TEXT-TO-3D")
def stream():
    with otel_gen.stage("streaming"):
        yield 1
        yield 2


def main():
    data_dir, name = sys.argv[1:]
    provider = SETUPS[name]()
    otel_gen.configure(
        data_dir=data_dir,
        registry=None,
        miner_uid=226,
        miner_hotkey="5H",
        miner_version="v1",
        rejected_sample_rate=0,
    )
    work(provider.shutdown if name == "shutdown" else lambda: None)
    assert otel_gen.shutdown()


if __name__ == "__main__":
    main()
