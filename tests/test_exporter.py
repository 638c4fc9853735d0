"""RecordExporter: spans of a foreign provider become records, once."""

from __future__ import annotations

import uuid

import pytest
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult

import otel_gen
from tests.support import lines, settled, until


def identity():
    return {"gen3d.generation.id": str(uuid.uuid4())}


def test_spans_under_a_foreign_provider_become_records(data_dir, provider):
    provider.add_span_processor(SimpleSpanProcessor(otel_gen.RecordExporter(data_dir)))
    tracer, own = provider.get_tracer("somebody"), identity()
    with tracer.start_as_current_span(
        "generation",
        attributes={**own, "gen3d.task.type": "TEXT-TO-3D", "gen3d.prompt": "p", "gen3d.attributes.seed": 7},
    ) as root:
        with tracer.start_as_current_span(
            "sdxl", attributes={**own, "gen3d.stage.name": "sdxl", "gen3d.stage.status": "ok"}
        ):
            pass
        with tracer.start_as_current_span("plain HTTP"):
            pass
    with tracer.start_as_current_span("feedback", attributes={**own, "gen3d.feedback.score": 0.5}):
        pass
    until(lambda: lines(data_dir))
    assert otel_gen.shutdown()
    (record,) = otel_gen.read(data_dir)
    assert record["metadata"]["span_id"] == f"{root.get_span_context().span_id:016x}"
    assert record["task"]["prompt"] == "p"
    assert record["generation"]["attributes"] == {"seed": 7}
    assert [stage["name"] for stage in record["generation"]["stages"]] == ["sdxl"]
    assert record["outcome"] == "accepted"


@pytest.mark.parametrize("capture_content", [False, True])
@pytest.mark.parametrize("batched", [False, True])
def test_on_the_provider_and_through_the_api_at_once_there_are_no_duplicates(
    data_dir, provider, capture_content, batched
):
    otel_gen.configure(data_dir=data_dir, registry=None, capture_content=capture_content)
    processor = (BatchSpanProcessor if batched else SimpleSpanProcessor)(otel_gen.RecordExporter(data_dir))
    provider.add_span_processor(processor)
    for n in range(3):
        with otel_gen.generation(prompt=f"prompt {n}", task_type="TEXT-TO-3D") as gen:
            with gen.stage("a", note="kept"):
                pass
            gen.submitted()
        otel_gen.feedback(gen.id, current_duel_rating=n)
        otel_gen.feedback(gen.id, score=0.5, rejection_reason="none")
    provider.force_flush()
    records = settled(data_dir)
    processor.shutdown()
    assert len(records) == len(lines(data_dir)) == 3
    assert sorted(r["task"]["prompt"] for r in records.values()) == ["prompt 0", "prompt 1", "prompt 2"]
    assert all(
        [s["attributes"] for s in r["generation"]["stages"]] == [{"note": "kept"}] for r in records.values()
    )
    notes = lines(data_dir, "generation_amendments.jsonl")
    assert [note["kind"] for note in notes] == ["note"] * 3


def test_filtered_foreign_and_nameless_spans_are_passed_over(data_dir, provider):
    exporter = otel_gen.RecordExporter(data_dir)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("somebody")
    for attributes in (
        {},
        {"gen3d.generation.id": "../x"},
        {**identity(), "gen3d.filtered": True},
        {"gen3d.generation.id": 5},
    ):
        tracer.start_span("generation", attributes=attributes).end()
    assert exporter.export(()) is SpanExportResult.SUCCESS
    assert not data_dir.exists()


def test_an_exporter_goes_on_after_shutdown_and_configure(data_dir, provider):
    exporter = otel_gen.RecordExporter(data_dir)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for _ in range(2):
        provider.get_tracer("somebody").start_span("generation", attributes=identity()).end()
        assert exporter.force_flush()
        assert otel_gen.shutdown()
    otel_gen.configure(data_dir=data_dir, registry=None)
    provider.get_tracer("somebody").start_span("generation", attributes=identity()).end()
    assert len(settled(data_dir)) == 3


def test_feedback_from_this_process_first_does_not_keep_the_exporter_from_leading(data_dir, provider):
    own = identity()
    assert otel_gen.feedback(own["gen3d.generation.id"], score=0.5, data_dir=data_dir)
    provider.add_span_processor(SimpleSpanProcessor(otel_gen.RecordExporter(data_dir)))
    provider.get_tracer("somebody").start_span("generation", attributes=own).end()
    until(lambda: lines(data_dir))
