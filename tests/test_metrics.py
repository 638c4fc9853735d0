"""What /metrics shows: the catalogue, closed sets at zero, and numbers that equal an independent count."""

from __future__ import annotations

import json
import random
import re
import threading
from collections import Counter, defaultdict

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from otel_gen import catalog
from otel_gen import semconv as sc
from otel_gen.clock import Clock
from otel_gen.metrics import RecordsCollector
from otel_gen.snapshot import Snapshot
from otel_gen.tree import LeaderLock
from tests.world import SECOND

DESIGN = [
    "gen3d_generations_started_total", "gen3d_generations_total", "gen3d_generation_duration_seconds",
    "gen3d_queue_wait_seconds", "gen3d_stage_duration_seconds", "gen3d_failures_total",
    "gen3d_withheld_total", "gen3d_submissions_total", "gen3d_feedback_total",
    "gen3d_feedback_delay_seconds", "gen3d_validator_score", "gen3d_clip_score", "gen3d_gaussians",
    "gen3d_output_bytes", "gen3d_task_redeliveries_total", "gen3d_repeated_outputs_total",
    "gen3d_wasted_seconds_total", "gen3d_in_flight", "gen3d_awaiting_feedback",
    "gen3d_oldest_undelivered_seconds", "gen3d_snapshot_age_seconds", "gen3d_artifact_bytes",
    "gen3d_artifacts", "gen3d_data_dir_free_ratio", "gen3d_data_dir_free_bytes", "gen3d_records_total",
    "gen3d_capture_errors_total", "gen3d_not_durable_total", "gen3d_shed_total",
    "gen3d_last_feedback_timestamp_seconds", "gen3d_config_info", "gen3d_build_info",
]  # fmt: skip


def snapshot(world, **more):
    return Snapshot(str(world.path), world.clock, **more)


def scrape(world, **more):
    """Every sample of one scrape: (name, labels) -> value."""
    return samples(RecordsCollector(snapshot(world, **more)))


def samples(collector):
    registry = CollectorRegistry()
    registry.register(collector)
    text, more = generate_latest(registry).decode(), generate_openmetrics(registry).decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    parsed = list(openmetrics.text_string_to_metric_families(more))
    assert sum(len(family.samples) for family in parsed) == len(found)
    return found


def value(found, name, **labels):
    return found.get((name, tuple(sorted(labels.items()))))


def test_the_catalogue_is_that_of_the_design():
    shown = {f"{m.name}_total" if m.kind == "counter" else m.name for m in catalog.METRICS.values()}
    assert shown == set(DESIGN)


def test_everything_known_beforehand_is_at_zero_from_the_start(world):
    found = scrape(world)
    for kind in (*sc.TASK_TYPES, "other"):
        assert value(found, "gen3d_generations_started_total", task_type=kind) == 0
        assert value(found, "gen3d_generation_duration_seconds_count", task_type=kind) == 0
        for outcome in sc.OUTCOMES:
            assert value(found, "gen3d_generations_total", task_type=kind, outcome=outcome) == 0
    for error in (*sc.ERROR_TYPES, "other"):
        assert value(found, "gen3d_failures_total", error_type=error, stage="none") == 0
    for cause in ("withheld", "unsubmitted", "failed", "cancelled", "interrupted", "repeated"):
        assert value(found, "gen3d_wasted_seconds_total", cause=cause) == 0
    for name in ("records", "task_redeliveries", "repeated_outputs", "not_durable"):
        assert value(found, f"gen3d_{name}_total") == 0
    assert not [labels for name, labels in found if "config_info" in name]
    assert value(found, "gen3d_data_dir_free_bytes") == 0 or value(found, "gen3d_data_dir_free_ratio") > 0


def test_a_validator_is_at_zero_as_soon_as_it_is_seen(world):
    worker = world.worker()
    worker.start(**{sc.VALIDATOR_UID: 57})
    world.step()
    for _ in range(2):
        found = scrape(world)
        for word in sc.VERDICTS:
            assert value(found, "gen3d_feedback_total", validator_uid="57", verdict=word) == 0
        assert value(found, "gen3d_submissions_total", validator_uid="57") == 0
        assert value(found, "gen3d_validator_score_count", validator_uid="57") == 0
        world.restart()
        world.step()


def test_a_stage_that_was_seen_has_its_failures_at_zero_before_the_first(world):
    world.worker().start().stage("trellis", 1.0).end()
    world.step()
    found = scrape(world)
    for error in (*sc.ERROR_TYPES, "other"):
        assert value(found, "gen3d_failures_total", error_type=error, stage="trellis") == 0


def test_values_below_zero_leave_a_page_that_every_parser_takes(world):
    world.worker().start().note(**{sc.CLIP_SCORE: -0.03}).end()
    world.step()
    found = scrape(world)
    assert value(found, "gen3d_clip_score_count", task_type="TEXT-TO-3D") == 1
    assert value(found, "gen3d_clip_score_sum", task_type="TEXT-TO-3D") == 0


@pytest.mark.parametrize("leads", [True, False])
def test_numbers_that_were_read_while_a_commit_could_not_be_seen_are_read_again(world, monkeypatch, leads):
    worker, lock = world.worker(), LeaderLock(world.tree.dot)
    worker.start()
    world.step()
    assert lock.take()
    lock.beat(world.clock.boot())
    page = snapshot(world)
    page.refresh()
    worker.start()
    world.step(later=1)
    lock.beat(world.clock.boot())
    with monkeypatch.context() as patch:  # the files have changed, their commit cannot be seen yet
        patch.setattr(page, "_take", lambda dot: None)
        page.refresh()
    page.refresh()
    assert page.counters["gen3d_in_flight", ()] == 1
    world.now += 1
    if leads:
        lock.beat(world.clock.boot())
    else:
        page._doubt = (page._doubt[0], 0.0)
    page.refresh()
    assert page.counters["gen3d_in_flight", ()] == 2
    read_again: list = []
    monkeypatch.setattr(page, "_take", read_again.append)
    world.now += 1
    lock.beat(world.clock.boot())
    page.refresh()
    lock.release()
    assert read_again == [], "once is enough"


def test_labels_come_from_closed_sets_whatever_is_said(world):
    worker = world.worker()
    for at in range(40):
        gen = worker.start(**{sc.TASK_TYPE: f"kind {at}", sc.VALIDATOR_UID: 250 + at})
        gen.stage(f"stage-{at}", 1.0).stage("a prompt, not a name", 1.0)
        gen.withheld(f"reason_{'abcdefghij'[at % 10]}{'klmnopqrst'[at // 10]}_0.{at}").end()
        worker.start().failed(f"Error{at}", f"stage-{at}").end()
        worker.count("shed", f"kind-{at}", 1)
    world.step()
    found = scrape(world)
    stages = {dict(labels)["stage"] for name, labels in found if name == "gen3d_stage_duration_seconds_count"}
    assert len(stages) == 33
    assert "other" in stages
    errors = {dict(labels)["error_type"] for name, labels in found if name == "gen3d_failures_total"}
    assert errors == {*sc.ERROR_TYPES, "other"}
    reasons = {dict(labels)["reason"] for name, labels in found if name == "gen3d_withheld_total"}
    assert len(reasons) == 33
    assert not [reason for reason in reasons if re.search(r"\d", reason)]
    assert {dict(labels)["validator_uid"] for name, labels in found if name == "gen3d_submissions_total"} == {
        *map(str, range(250, 256)), "other",
    }  # fmt: skip
    assert value(found, "gen3d_shed_total", kind="other") == 40
    assert value(found, "gen3d_generations_total", task_type="other", outcome="withheld") == 40


@pytest.mark.parametrize(
    ("reason", "label"),
    [
        ("clip_score_too_low_0.093", "clip_score_too_low"), ("clip_0.093_below_0.1", "clip_below"),
        ("generation_error_OSError", "generation_error_OSError"), ("sparse: 5000", "sparse"),
        ("2d_check", "2d_check"), ("took_1e-05", "took"), ("a b", "other"), ("42", "other"), (None, "other"),
    ],
)  # fmt: skip
def test_the_label_of_a_reason_is_its_text_without_its_number(reason, label):
    from otel_gen.aggregate import Names

    assert Names().reason(reason) == label


# --- an independent count ------------------------------------------------------------------------------
def recount(world):
    """Count lines and amendments again, naively."""
    n, hist, seen = Counter(), defaultdict(list), set()
    lines = world.lines()
    by_id = {line["metadata"]["generation_id"]: line for line in lines}
    for line in lines:
        if "source" in line["metadata"]:
            continue
        kind, outcome, gen = line["task"]["task_type"], line["outcome"], line["generation"]
        n["gen3d_records_total", ()] += 1
        n["gen3d_generations_total", (("outcome", outcome), ("task_type", kind))] += 1
        n["gen3d_task_redeliveries_total", ()] += line["metadata"]["attempt"] > 1
        digest = gen["output"].get("ply_file_hash")
        repeated = digest in seen
        seen |= {digest} - {None}
        n["gen3d_repeated_outputs_total", ()] += repeated
        work = times(hist, gen, kind)
        cause = outcome if not gen["submission"]["submitted"] else "repeated" if repeated else None
        if cause:
            n["gen3d_wasted_seconds_total", (("cause", cause),)] += work
        if line["failure_analysis"]["failed"]:
            stage = line["failure_analysis"]["stage"] or "none"
            error = line["failure_analysis"]["error_type"]
            n["gen3d_failures_total", (("error_type", error), ("stage", stage))] += 1
        if outcome == "withheld":
            n["gen3d_withheld_total", (("reason", gen["submission"]["rejection_reason"]),)] += 1
        if "file_size_bytes" in gen["output"]:
            hist["gen3d_output_bytes", (("task_type", kind),)].append(gen["output"]["file_size_bytes"])
        judge(n, hist, line["validator_feedback"], line)
    for amendment in world.amendments():
        line = by_id[amendment["generation_id"]]
        if amendment["applied"] and amendment["kind"] == "feedback" and "source" not in line["metadata"]:
            judge(n, hist, amendment["changes"]["validator_feedback"], line)
    return n, hist


def times(hist, gen, kind):
    for stage in gen["stages"]:
        if stage["name"] == "queue":
            hist["gen3d_queue_wait_seconds", (("task_type", kind),)].append(stage["duration_seconds"])
        elif stage["duration_seconds"] is not None:
            labels = (("stage", stage["name"]), ("status", stage["status"]))
            hist["gen3d_stage_duration_seconds", labels].append(stage["duration_seconds"])
    work = gen["timing"]["total_time"] - gen["timing"].get("queue_time", 0)
    hist["gen3d_generation_duration_seconds", (("task_type", kind),)].append(work)
    return work


def judge(n, hist, feedback, line):
    if not feedback["received"]:
        return
    uid = feedback["validator_uid"]
    uid = line["metadata"]["validator_uid"] if uid is None else uid
    uid = "none" if uid is None else str(uid)
    n["gen3d_feedback_total", (("validator_uid", uid), ("verdict", feedback["verdict"]))] += 1
    if feedback["feedback_delay_seconds"] is not None:
        hist["gen3d_feedback_delay_seconds", ()].append(feedback["feedback_delay_seconds"])
    if feedback["verdict"] == "accepted":
        hist["gen3d_validator_score", (("validator_uid", uid),)].append(feedback["score"])


def one_generation(world, worker, dice, told):
    kind = dice.choice(sc.TASK_TYPES)
    source = {sc.SOURCE: "replay"} if dice.random() < 0.1 else {}
    gen = worker.start(**{sc.TASK_TYPE: kind, sc.TASK_ID: f"t{dice.randrange(60)}", **source})
    gen.attributes[sc.VALIDATOR_UID] = dice.choice([27, 57, 142])
    told["gen3d_generations_started_total", (("task_type", kind),)] += 1
    for _ in range(dice.randrange(4)):
        name, status = dice.choice(["queue", "sdxl", "trellis"]), dice.choice(["ok", "ok", "error"])
        gen.stage(name, dice.random() * 12, status)
    if dice.random() < 0.8:
        gen.staged("ply", b"x" * dice.randrange(1, 90))
    if dice.random() < 0.05:
        return gen.begin("trellis")
    ending = dice.randrange(8)
    if ending < 4:
        gen.submitted()
        told["gen3d_submissions_total", (("validator_uid", str(gen.attributes[sc.VALIDATOR_UID])),)] += 1
    elif ending == 4:
        gen.withheld(dice.choice(["clip_below_threshold", "sparse"]))
    elif ending == 5:
        gen.failed(dice.choice(["oom", "timeout"]), dice.choice(["trellis", None]))
    return gen.end()


def workload(world, told, seed, count=200):
    """Two workers, kills, restarts of the leader, verdicts early, late, twice and wrong."""
    dice = random.Random(seed)
    workers, made = [world.worker(feedback_timeout=60.0) for _ in range(2)], []
    for _ in range(count):
        at = dice.randrange(2)
        made.append(one_generation(world, workers[at], dice, told))
        if dice.random() < 0.6:
            worker, gen = workers[at], made[-1 - min(dice.randrange(8), len(made) - 1)]
            verdict = dice.choice(
                [(0.0, {}), (0.7, {}), (0.9, {}), (None, {"invalid": True}), (None, {"said": False})]
            )
            worker.feedback(gen, verdict[0], validator_uid=dice.choice([None, 27, 57]), **verdict[1])
        if dice.random() < 0.2:
            workers[at].count("shed", "ply", 2)
            told["gen3d_shed_total", (("kind", "ply"),)] += 2
        if dice.random() < 0.1:
            world.leader.step()
        if dice.random() < 0.04:
            world.restart()
        if dice.random() < 0.05:
            workers[at].die()
            workers[at] = world.worker(feedback_timeout=60.0)
    for worker in workers:
        worker.die()
    world.step(later=1000)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_counter_equals_a_recount_of_the_files(world, seed):
    told = Counter()
    workload(world, told, seed)
    n, hist = recount(world)
    first, second = scrape(world), scrape(world)
    world.restart()
    world.step()
    assert len(world.lines()) == 200
    for found in (first, second, scrape(world)):
        shown = {key: v for key, v in found.items() if key[0].endswith("_total") and v}
        shown = {key: v for key, v in shown.items() if key[0] != "gen3d_capture_errors_total"}
        assert shown == pytest.approx({key: v for key, v in (n + told).items() if v})
        for (name, labels), seen in hist.items():
            assert found[f"{name}_count", labels] == len(seen)
            assert found[f"{name}_sum", labels] == pytest.approx(sum(seen))
            assert_buckets(found, name, labels, seen)
        counted = {(name, labels) for (name, labels), v in found.items() if name.endswith("_count") and v}
        assert counted == {(f"{name}_count", labels) for name, labels in hist}


def assert_buckets(found, name, labels, seen):
    for edge in catalog.METRICS[name].buckets:
        key = tuple(sorted((*labels, ("le", str(float(edge))))))
        assert found[f"{name}_bucket", key] == sum(1 for v in seen if v <= edge)


def test_the_gauges_tell_what_is_open_and_what_is_kept(world):
    worker = world.worker()
    worker.start()
    worker.start().staged("image", b"\x89PNG 1", "png").submitted().end()
    worker.start().staged("ply", b"12345").submitted().end()
    gen = worker.start().staged("ply", b"1234567").submitted().end()
    worker.feedback(gen, 0.9, validator_uid=57)
    world.step(later=5)
    found = scrape(world)
    assert value(found, "gen3d_in_flight") == 1
    assert value(found, "gen3d_awaiting_feedback") == 2
    assert value(found, "gen3d_artifacts", kind="ply") == 1
    assert value(found, "gen3d_artifact_bytes", kind="ply") == 7
    assert value(found, "gen3d_last_feedback_timestamp_seconds") == world.clock.wall() // SECOND - 5


def test_exemplars_lead_to_sampled_generations_and_outlive_the_leader(world):
    worker = world.worker()
    gen = worker.start().stage("sdxl", 2.0).end()
    world.step()
    world.restart()
    worker.start().stage("trellis", 1.0).end()
    world.step()
    registry = CollectorRegistry()
    registry.register(RecordsCollector(snapshot(world)))
    found = {
        sample.exemplar.labels["trace_id"]
        for family in openmetrics.text_string_to_metric_families(generate_openmetrics(registry).decode())
        for sample in family.samples
        if sample.exemplar is not None and sample.labels.get("stage") == "sdxl"
    }
    assert found == {gen.trace}


def test_the_config_in_force_is_shown_by_its_hash_and_replays_do_not_change_it(world):
    worker = world.worker()
    mine, theirs = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    worker.start(**{sc.MINER_CONFIG: json.dumps({"steps": 4}), sc.MINER_CONFIG_HASH: mine}).end()
    world.step()
    worker.start(**{sc.MINER_CONFIG_HASH: theirs, sc.SOURCE: "replay"}).end()
    worker.die()
    world.step()
    hashes = [labels for name, labels in scrape(world) if name == "gen3d_config_info"]
    assert hashes == [(("hash", mine),)]


# --- each process by its own clock ----------------------------------------------------------------------
def test_a_leader_that_stands_still_is_told_by_the_clock_of_whoever_is_asked(world):
    lock = LeaderLock(world.tree.dot)
    assert lock.take()
    world.step()
    lock.beat(world.clock.boot())
    written = [0]
    shown = snapshot(world, last=lambda: written[0])
    shown.STALE = -1.0
    collector = RecordsCollector(shown)
    world.now += 1
    assert value(samples(collector), "gen3d_oldest_undelivered_seconds") == 0
    written[0] = 7
    samples(collector)
    world.now += 30
    found = samples(collector)
    assert value(found, "gen3d_snapshot_age_seconds") == 31
    assert value(found, "gen3d_oldest_undelivered_seconds") == 30
    lock.beat(world.clock.boot())
    found = samples(collector)
    assert value(found, "gen3d_oldest_undelivered_seconds") == value(found, "gen3d_snapshot_age_seconds") == 0
    lock.release()


def test_a_beat_of_another_boot_is_no_young_one(world):
    world.step()
    (world.path / ".otel_gen" / "leader.lock").write_bytes(b"1 999999999999999999 deadbeef\n")
    world.clock = type(world.clock)(
        lambda: (world.path / ".otel_gen/leader.lock").stat().st_mtime_ns + 60 * SECOND, world.clock.boot
    )
    assert value(scrape(world), "gen3d_snapshot_age_seconds") == 60


def test_what_is_counted_in_memory_is_shown_and_never_goes_back(world):
    world.step()
    counted = {
        ("capture_errors", "api"): 3,
        ("not_durable", "exit"): 1,
        ("not_durable", "feedback"): 1,
        ("?", "x"): 1,
    }
    shown = snapshot(world, uncounted=lambda: dict(counted))
    collector = RecordsCollector(shown)
    for _ in range(2):
        found = samples(collector)
        assert value(found, "gen3d_capture_errors_total", place="api") == 3
        assert value(found, "gen3d_not_durable_total") == 2
        counted.clear()  # journalled, and the leader has not read it


def test_counts_without_a_label_are_added_up(world):
    worker = world.worker()
    worker.count("not_durable", "exit", 1)
    worker.count("not_durable", "feedback", 2)
    world.step()
    assert value(scrape(world), "gen3d_not_durable_total") == 3


@pytest.mark.parametrize("state", ["nothing", "no index", "garbage", "spoiled rows", "a folder"])
def test_collect_never_raises(world, state):
    worker = world.worker()
    worker.start().stage("sdxl", 1.0).end()
    world.step()
    world.restart()
    dot = world.path / ".otel_gen"
    if state == "nothing":
        world.path.rename(world.path.parent / "gone")
    elif state == "no index":
        (dot / "index").unlink()
    elif state == "garbage":
        (dot / "index-1.db").write_bytes(b"garbage" * 999)
    elif state == "a folder":
        (dot / "index").unlink()
        (dot / "index").mkdir()
    else:
        import sqlite3

        db = sqlite3.connect(dot / "index-1.db")
        db.execute("UPDATE aggregates SET value = '[1, 2]'")
        db.commit()
        db.close()
    assert value(scrape(world), "gen3d_records_total") == 0


def test_scrapes_beside_each_other_and_a_working_leader_never_go_back(world):
    worker = world.worker()
    world.step()
    collector, told, errors = RecordsCollector(snapshot(world)), [0.0], []

    def look():
        try:
            last = 0.0
            while told[0] < 20:
                now = value(samples(collector), "gen3d_records_total")
                assert now >= last
                last = now
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        worker.start().end()
        world.leader.step()
        told[0] += 1
    for thread in threads:
        thread.join()
    assert errors == []


def test_the_first_page_waits_for_the_numbers_that_another_thread_is_reading(world):
    worker = world.worker()
    worker.start().withheld().end()
    world.step()
    found, inside = snapshot(world), threading.Event()

    def read():
        with found._reading:
            inside.set()
            threading.Event().wait(0.2)

    reading = threading.Thread(target=read)
    reading.start()
    inside.wait()
    assert found.current()["gen3d_records", ()] == 1, "zeros would look like counters that began anew"
    reading.join()


def test_the_first_page_of_a_data_dir_without_anything_waits_for_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Snapshot, "FIRST", 1e6)
    found = Snapshot(str(tmp_path / "none"), Clock())
    assert found.current()["gen3d_data_dir_free_bytes", ()] == 0
