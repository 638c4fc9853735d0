"""Replay: exported spans become the records that the live path wrote."""

from __future__ import annotations

import contextlib
import json
import uuid

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

import otel_gen
from otel_gen import semconv as sc
from otel_gen.errors import StorageError
from otel_gen.recover import recover
from otel_gen.replay import replay
from otel_gen.settings import Policy
from otel_gen.tree import Tree
from tests.otlp_lines import LineExporter
from tests.support import AMENDMENTS, HISTORY, differences, lines, settled, small_disk, until

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
PLY = b"ply\nformat binary_little_endian 1.0\nelement vertex 0\nend_header\n"
VALIDATOR = {
    "validator_uid": 9, "average_fidelity_score": "0.5", "cooldown_until": "2026-01-01", "extra": {"a": [1]},
    "said": False, "invalid": 7, "event_id": "mine",
}  # fmt: skip


@pytest.fixture
def exported(provider, tmp_path):
    """The file into which the application's pipeline writes its spans."""
    path = tmp_path / "spans.jsonl"
    provider.add_span_processor(SimpleSpanProcessor(LineExporter(path)))
    return path


def live(data_dir, **settings):
    otel_gen.configure(
        data_dir=data_dir, registry=None, capture_content=True,
        miner_uid=226, miner_hotkey="5Hk", network="main",
        **settings,
    )  # fmt: skip


def every_outcome():
    """Make generations of all kinds; their verdicts come before the window ends, where they come."""
    task = {"task_type": "TEXT-TO-3D", "prompt": "a réd chair", "validator_uid": 7, "validator_hotkey": "5V"}
    with otel_gen.generation(**task, task_id="t1", config={"steps": 4, "x": [1.5, None]}, tag=1.0) as gen:
        with gen.stage("queue"):
            pass
        with gen.stage("sd xl/é", steps=4, scale=3.0) as stage:
            stage.set(shape=[1, 2], big=2**62)
            with otel_gen.stage("inner"):
                pass
        gen.enhanced_prompt("better", negative="worse")
        gen.output(
            ply=PLY, num_gaussians=0, clip_score=0.5, clip_threshold_pass=True, render_stats={"a": 1.0}
        )
        gen.submitted()
    otel_gen.feedback(gen.id, score="0.81", **VALIDATOR)
    with otel_gen.generation(**task, task_id="t1") as gen:
        gen.submitted()
        otel_gen.feedback(gen.id, score=0, validator_uid=7, rejection_reason="looks flat")
        otel_gen.feedback(gen.id, score=0.9, validator_uid=8)
    with otel_gen.generation(**task) as gen:
        gen.submitted()
    otel_gen.feedback(gen.id, validation_failed=True, average_fidelity_score=float("nan"))
    with otel_gen.generation(task_type="IMAGE-TO-3D", image=PNG, prompt="beside it", task_id="t2") as gen:
        gen.submitted()
    otel_gen.feedback(task_id="t2", score=1, validator_uid=1)
    otel_gen.feedback(gen.id, current_duel_rating=5)
    with otel_gen.generation(**task) as gen:
        gen.withheld("clip_below_threshold", value=0.09)
    with pytest.raises(MemoryError), otel_gen.generation(**task) as gen, gen.stage("trellis"):
        raise MemoryError("no room")
    with pytest.raises(KeyboardInterrupt), otel_gen.generation(**task):
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="late"), otel_gen.generation(**task) as gen:
        gen.submitted()
        otel_gen.feedback(gen.id, score=0.2)
        raise ValueError("late")
    with otel_gen.generation(**task) as gen:
        gen.failed("weights missing", "no such file", stage="load")
    with otel_gen.generation(**task):
        pass


OUTCOMES = ["accepted"] * 3 + ["cancelled"] + ["failed"] * 2 + ["rejected"] * 2 + ["unsubmitted", "withheld"]


def comparable(record):
    """A record without what a replay cannot know: where it comes from and where its files are."""
    assert record["metadata"].pop("source", None) in (None, "replay")
    record["task"].pop("image_file_path")
    for key in ("ply_file_path", "spz_file_path", "rejected_sample_path", "rejected_sample_hash"):
        record["generation"]["output"].pop(key, None)
    return {key: value for key, value in record.items() if key != "checksum"}


def compared(data_dir):
    return {r["metadata"]["generation_id"]: comparable(r) for r in lines(data_dir)}


def amended(data_dir):
    found = [{k: v for k, v in line.items() if k != "checksum"} for line in lines(data_dir, AMENDMENTS)]
    return sorted(found, key=lambda line: line["event_id"])


def test_the_same_spans_give_the_same_records(data_dir, exported, tmp_path):
    live(data_dir)
    every_outcome()
    assert otel_gen.shutdown()
    result = replay([exported], tmp_path / "again")
    assert (result.records, result.skipped) == (10, 0)
    assert sorted(r["outcome"] for r in lines(data_dir)) == OUTCOMES
    assert differences(compared(tmp_path / "again"), compared(data_dir)) == []
    assert differences(amended(tmp_path / "again"), amended(data_dir)) == []
    assert {r["metadata"]["source"] for r in lines(tmp_path / "again")} == {"replay"}


def test_replaying_again_and_into_the_live_data_dir_changes_no_byte(data_dir, exported, tmp_path):
    live(data_dir)
    every_outcome()
    assert otel_gen.shutdown()
    replay([exported], tmp_path / "again")
    for target in (data_dir, tmp_path / "again"):
        files = {name: (target / name).read_bytes() for name in (HISTORY, AMENDMENTS)}
        assert replay([exported, exported], target).records == 0
        assert {name: (target / name).read_bytes() for name in files} == files


def test_a_living_leader_delivers_what_another_process_replays(data_dir, exported, tmp_path):
    live(data_dir)
    every_outcome()
    otel_gen.shutdown()
    target = tmp_path / "again"
    otel_gen.configure(data_dir=target, registry=None)
    with otel_gen.generation() as gen:
        pass
    until(lambda: lines(target))
    assert replay([exported], target).records == 10
    records = settled(target)
    assert len(records) == 11
    assert "source" not in records[gen.id]["metadata"]


def test_feedback_after_the_window_is_an_amendment_as_it_was_live(data_dir, exported, tmp_path):
    live(data_dir, feedback_timeout=0)
    with otel_gen.generation() as late:
        late.submitted()
    until(lambda: lines(data_dir))
    with otel_gen.generation() as never:
        never.submitted()
    otel_gen.feedback(late.id, score=0.7, validator_uid=3)
    assert otel_gen.shutdown()
    target = tmp_path / "again"
    replay([exported], target, policy=Policy(feedback_timeout=0))
    assert [r["outcome"] for r in lines(data_dir)] == ["unscored", "unscored"]
    assert differences(compared(target), compared(data_dir)) == []
    assert [line["applied"] for line in amended(target)] == [True]
    assert differences(amended(target), amended(data_dir)) == []


def test_feedback_before_its_generation_in_the_file_is_kept(data_dir, exported, tmp_path):
    live(data_dir)
    every_outcome()
    otel_gen.shutdown()
    backwards = tmp_path / "backwards.jsonl"
    backwards.write_text("".join(reversed(exported.read_text().splitlines(keepends=True))))
    replay([backwards], tmp_path / "again")
    assert differences(compared(tmp_path / "again"), compared(data_dir)) == []


def test_filtered_foreign_and_malformed_spans_are_skipped_and_counted(data_dir, exported, provider, tmp_path):
    otel_gen.configure(data_dir=data_dir, registry=None)
    with otel_gen.generation(prompt="x") as gen:
        with gen.stage("a"):
            pass
        gen.submitted()
    otel_gen.feedback(gen.id, score=1)
    provider.get_tracer("app").start_span("GET /").end()
    with exported.open("a") as file:
        file.write(
            '{"resourceSpans": 5}\nnot json\n\n{"resourceSpans": [{"scopeSpans": [{"spans": [{}, 7]}]}]}\n'
        )
    result = replay([exported], tmp_path / "again")
    assert (result.records, result.spans) == (0, 0)
    assert result.reasons == {
        "filtered": 3, "not of otel_gen": 1, "malformed line": 2, "malformed span": 2,
    }  # fmt: skip
    assert result.skipped == 8
    assert lines(tmp_path / "again") == []


def line_of(attributes):
    """A line with one generation's span."""
    plain = [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()]
    span = {
        "traceId": uuid.uuid4().hex, "spanId": uuid.uuid4().hex[:16], "name": "generation",
        "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000001000000000", "attributes": plain,
    }  # fmt: skip
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}) + "\n"


def test_values_nested_too_deep_for_a_reader_are_cut_and_repeat_nothing(data_dir, tmp_path):
    path, ids = tmp_path / "spans.jsonl", [str(uuid.uuid4()) for _ in range(50)]
    keys = (sc.MINER_CONFIG, sc.GAUSSIAN_STATS, sc.LATER_ERROR, f"{sc.STRUCTURED}x")
    path.write_text(
        "".join(
            line_of({sc.GENERATION_ID: id_} | dict.fromkeys(keys, "[" * (950 + n) + "]" * (950 + n)))
            for n, id_ in enumerate(ids)
        )
        + "[" * 5000
        + "\n"
        + line_of({sc.GENERATION_ID: str(uuid.uuid4())})
    )
    result = replay([path], data_dir)
    assert (result.records, result.reasons) == (51, {"malformed line": 1})
    assert len(lines(data_dir)) == len(list(otel_gen.read(data_dir))) == 51
    assert all(line.count(b"[") < 500 for line in (data_dir / HISTORY).read_bytes().splitlines())
    recover(str(data_dir), rebuild=True)
    replay([path], data_dir)
    assert len(lines(data_dir)) == 51


def test_stages_whose_generation_is_missing_make_no_record(data_dir, exported, tmp_path):
    live(data_dir)
    with otel_gen.generation() as gen, gen.stage("alone"):
        pass
    otel_gen.shutdown()
    first = tmp_path / "first.jsonl"
    first.write_text(exported.read_text().splitlines()[0] + "\n")
    result = replay([first], tmp_path / "again")
    assert (result.records, result.spans) == (0, 1)
    assert lines(tmp_path / "again") == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gen3d.task.id", {"arrayValue": {"values": [{"stringValue": "a"}]}}),
        ("gen3d.said", {"stringValue": "won"}),
        ("gen3d.submission.time_unix_nano", {"stringValue": "yesterday"}),
        ("gen3d.submission.time_unix_nano", {"doubleValue": "NaN"}),
        ("gen3d.artifact.ply.size", {"stringValue": "big"}),
        ("gen3d.artifact.ply.staged", {"stringValue": "../../etc/passwd"}),
        ("gen3d.artifacts.pending", {"stringValue": "ply"}),
        ("gen3d.validator.uid", {"intValue": str(2**63)}),
        ("gen3d.stage.name", {"kvlistValue": {"values": [{"key": "a", "value": {"intValue": "1"}}]}}),
        ("gen3d.output.clip_score", {"doubleValue": "Infinity"}),
        ("gen3d.attributes.x", {"kvlistValue": {"values": [{"key": "a", "value": {"doubleValue": 1}}]}}),
    ],
)
def test_a_value_of_the_wrong_kind_stops_nothing(tmp_path, key, value):
    span = {
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "generation",
        "startTimeUnixNano": "18446744073709551615", "endTimeUnixNano": "1", "flags": 769,
        "attributes": [
            {"key": "gen3d.generation.id", "value": {"stringValue": "019a206d-e9ba-7353-9a0c-de3a3c69c974"}},
            {"key": key, "value": value},
        ],
    }  # fmt: skip
    path = tmp_path / "spans.jsonl"
    path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}) + "\n")
    assert replay([path], tmp_path / "data").records == 1
    (record,) = lines(tmp_path / "data")
    assert record["outcome"] == "unsubmitted"
    assert record["metadata"]["trace_flags"] == 1


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(StorageError, match="nowhere"):
        replay([tmp_path / "nowhere.jsonl"], tmp_path / "data")


def test_a_file_of_which_nothing_can_be_read_is_named(exported, data_dir, tmp_path):
    live(data_dir, feedback_timeout=0)
    every_outcome()
    with exported.open("a") as file:
        file.write("half a line\n")
    garbage, empty = tmp_path / "garbage", tmp_path / "empty"
    garbage.write_bytes(b"\x7fELF\n\n[]\n")
    empty.touch()
    assert replay([empty, exported], tmp_path / "two").reasons["malformed line"] == 1
    with pytest.raises(StorageError, match=f"{garbage}: no line of it is a request in OTLP JSON; name files"):
        replay([garbage], tmp_path / "three")


def test_what_a_full_disk_refuses_is_said_to_be_lost(exported, data_dir, tmp_path):
    live(data_dir, feedback_timeout=0)
    every_outcome()
    otel_gen.shutdown()
    with small_disk(tmp_path / "disk", 4) as place:
        Tree(str(place / "data")).close()
        with (place / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(1 << 12)):
                pass
        with pytest.raises(StorageError, match="bytes of events could not be written and are lost"):
            replay([exported], place / "data", timeout=1.0)
