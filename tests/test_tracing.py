"""Spans: what the application's own pipeline sees of a generation, and what it never sees."""

from __future__ import annotations

import contextlib
import json
import re

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

import otel_gen
from otel_gen import semconv
from tests.support import lines, python, settled, the_record, until

CANARY = "canary"
OTHER_CONTEXT = """
import sys
from opentelemetry import context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

class Counting(ContextVarsRuntimeContext):
    attached = detached = 0

    def attach(self, context):
        self.attached += 1
        return super().attach(context)

    def detach(self, token):
        self.detached += 1
        super().detach(token)
        raise RuntimeError("the API logs this and goes on")

context._RUNTIME_CONTEXT = mine = Counting()
import otel_gen
otel_gen.configure(data_dir=sys.argv[1], registry=None, feedback_timeout=0)
with otel_gen.generation() as gen:
    with otel_gen.stage("outer"), gen.stage("inner"):
        gen.submitted()
assert otel_gen.current_generation() is None
assert otel_gen.shutdown()
print(mine.attached, mine.detached)
"""
PLY = b"ply\nformat binary_little_endian 1.0\nelement vertex 0\nend_header\n"


def ended(spans, count):
    until(lambda: len(spans.get_finished_spans()) >= count)
    return {span.name: span for span in spans.get_finished_spans()}


def test_another_kind_of_context_than_the_usual_is_used_by_the_api(data_dir):
    assert python(OTHER_CONTEXT, data_dir) == "3 3\n"
    (record,) = lines(data_dir)
    inner, outer = sorted(record["generation"]["stages"], key=lambda stage: stage["name"])
    assert inner["parent_span_id"] == outer["span_id"]
    assert outer["parent_span_id"] == record["metadata"]["span_id"]


def test_names_parents_and_ids_are_those_of_the_record(configured, provider, spans):
    with trace.get_tracer("app").start_as_current_span("POST /generate") as request:
        with otel_gen.generation(task_type="TEXT-TO-3D") as gen:
            assert trace.get_current_span().get_span_context().trace_id == request.get_span_context().trace_id
            with gen.stage("sdxl"), otel_gen.stage("inner"):
                pass
        assert trace.get_current_span() is request
    found = ended(spans, 4)
    record = the_record(configured)
    root, stages = found["generation"], {s["name"]: s for s in record["generation"]["stages"]}
    assert f"{root.context.span_id:016x}" == record["metadata"]["span_id"]
    assert f"{root.context.trace_id:032x}" == record["metadata"]["trace_id"]
    assert root.parent.span_id == request.get_span_context().span_id
    assert record["metadata"]["trace_flags"] == 1
    for name, parent in (("sdxl", "generation"), ("inner", "sdxl")):
        assert f"{found[name].context.span_id:016x}" == stages[name]["span_id"]
        assert found[name].parent.span_id == found[parent].context.span_id
    assert {
        span.attributes[semconv.GENERATION_ID]
        for span in found.values()
        if span is not found["POST /generate"]
    } == {gen.id}
    seconds = (root.end_time - root.start_time) / 1e9
    assert record["generation"]["timing"]["total_time"] == pytest.approx(seconds, abs=1e-6)


def test_two_generations_of_one_trace_share_its_id(configured, spans):
    with trace.get_tracer("app").start_as_current_span("batch"):
        for _ in range(2):
            with otel_gen.generation():
                pass
    records = settled(configured).values()
    assert len({r["metadata"]["trace_id"] for r in records}) == 1
    assert len({r["metadata"]["span_id"] for r in records}) == 2


def say_everything(word):
    text = f"{CANARY} text"
    with otel_gen.generation(
        task_type=f"{CANARY}-TYPE", prompt=text, validator_hotkey=text, task_id=text, config={"key": text},
        image=None, note=text, nested={"a": text}, seed=7,
    ) as gen:  # fmt: skip
        with contextlib.suppress(ValueError), gen.stage("sdxl", prompt=text, steps=4):
            raise ValueError(text)
        gen.enhanced_prompt(text, negative=text)
        gen.output(ply=PLY, render_stats={"a": text}, gaussian_stats={"a": text}, num_gaussians=3, label=text)
        word(gen, text)
    otel_gen.feedback(gen.id, score=0.5, validator_uid=3, rejection_reason=text, extra=text)
    return gen


def attributes(spans):
    return json.dumps(
        [
            [dict(s.attributes), s.status.description, [dict(e.attributes) for e in s.events]]
            for s in spans.get_finished_spans()
        ]
    )


WORDS = {
    "submitted": lambda gen, _: gen.submitted(),
    "withheld": lambda gen, text: gen.withheld(text, value=0.5),
    "failed": lambda gen, text: gen.failed(text, text, stage=text),
}


@pytest.mark.parametrize("word", WORDS)
def test_no_content_leaves_unless_it_is_switched_on(data_dir, spans, word):
    otel_gen.configure(data_dir=data_dir, registry=None, miner_hotkey=f"{CANARY} hotkey", miner_uid=226)
    say_everything(WORDS[word])
    found = ended(spans, 3)
    assert CANARY not in attributes(spans)
    root = found["generation"].attributes
    assert (root["gen3d.filtered"], root["gen3d.miner.uid"], root["gen3d.output.num_gaussians"]) == (
        True,
        226,
        3,
    )
    assert (root["gen3d.task.type"], root["gen3d.attributes.seed"]) == ("other", 7)
    assert re.fullmatch("sha256:[0-9a-f]{64}", root["gen3d.artifact.ply.hash"])
    assert not [key for key in root if key.endswith(".staged")]
    assert found["sdxl"].attributes["gen3d.attributes.steps"] == 4
    assert CANARY in json.dumps(the_record(data_dir))


@pytest.mark.parametrize("word", WORDS)
def test_an_exceptions_text_leaves_only_with_the_content(data_dir, spans, word):
    otel_gen.configure(
        data_dir=data_dir, registry=None, capture_content=True, miner_hotkey=f"{CANARY} hotkey"
    )
    gen = say_everything(WORDS[word])
    root = ended(spans, 3)["generation"].attributes
    assert semconv.FILTERED not in root
    assert (root["gen3d.prompt"], root["gen3d.miner.hotkey"]) == (f"{CANARY} text", f"{CANARY} hotkey")
    assert root[semconv.GENERATION_ID] == gen.id


def test_an_exception_that_ends_a_generation_is_an_error_without_its_text(configured, spans):
    with pytest.raises(ValueError, match=CANARY), otel_gen.generation() as gen, gen.stage("a"):
        raise ValueError(CANARY)
    found = ended(spans, 2)
    assert {span.status.status_code for span in found.values()} == {StatusCode.ERROR}
    assert CANARY not in attributes(spans)
    assert found["generation"].attributes["gen3d.error.type"] == "crash"


def test_feedback_is_a_linked_root_span_and_an_evaluation_event(configured, spans, log_events):
    with otel_gen.generation() as gen:
        gen.submitted()
    with trace.get_tracer("app").start_as_current_span("POST /feedback"):
        otel_gen.feedback(gen.id, score=0.81, validator_uid=57)
    found = ended(spans, 3)
    root, span = found["generation"], found["feedback"]
    assert span.parent is None
    assert [link.context.span_id for link in span.links] == [root.context.span_id]
    assert span.attributes["gen3d.feedback.score"] == 0.81
    (log,) = (data.log_record for data in log_events.get_finished_logs())
    assert (log.event_name, log.trace_id, log.span_id) == (
        "gen_ai.evaluation.result", root.context.trace_id, root.context.span_id,
    )  # fmt: skip
    assert dict(log.attributes) == {
        "gen_ai.evaluation.name": "validator", "gen_ai.evaluation.score.value": 0.81,
        "gen_ai.evaluation.score.label": "accepted", "gen_ai.response.id": gen.id,
    }  # fmt: skip


@pytest.mark.parametrize(("score", "label"), [(0, "rejected"), ("?", "invalid")])
def test_the_event_of_a_verdict_without_a_score_has_none(configured, log_events, score, label):
    with otel_gen.generation() as gen:
        gen.submitted()
    otel_gen.feedback(gen.id, score=score)
    otel_gen.feedback(gen.id, current_duel_rating=5)
    (log,) = (data.log_record for data in log_events.get_finished_logs())
    assert log.attributes["gen_ai.evaluation.score.label"] == label
    assert ("gen_ai.evaluation.score.value" in log.attributes) == (label == "rejected")


def test_a_log_pipeline_that_raises_takes_no_feedback_back(configured, log_events, monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("no logs today")

    monkeypatch.setattr("otel_gen.feedbacks._logs.LogRecord", broken)
    with otel_gen.generation() as gen:
        gen.submitted()
        assert otel_gen.feedback(gen.id, score=0.5)
    assert the_record(configured)["outcome"] == "accepted"
    assert "no logs today" in caplog.text


def test_a_stage_name_is_a_harmless_span_name(configured, spans):
    with otel_gen.generation() as gen, gen.stage("render (4 views)\n" + "x" * 100):
        pass
    names = {span.name for span in spans.get_finished_spans()}
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) for name in names)
    (stage,) = the_record(configured)["generation"]["stages"]
    assert stage["name"].startswith("render (4 views)\n")
