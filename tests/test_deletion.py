"""A deleted generation is nowhere any more, what it counted still counts, and nothing brings it back."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

import otel_gen
from otel_gen import maintain
from otel_gen import semconv as sc
from otel_gen.checked import feedback
from otel_gen.deletion import delete
from otel_gen.errors import DamageError, OtelGenError, StorageError, UnknownGenerationError
from otel_gen.events import Said, encode
from otel_gen.index import Index, open_reader
from otel_gen.readers.pending import pending
from otel_gen.readers.tail import tail
from otel_gen.readers.verify import verify
from otel_gen.record import seal
from otel_gen.recover import recover
from otel_gen.replay import replay
from otel_gen.request import delete as request
from otel_gen.tree import Tree
from tests.crash.shim import compiled
from tests.otlp_lines import LineExporter
from tests.readers.conftest import _private, past  # noqa: F401 - fixtures
from tests.support import python
from tests.test_maintain import months  # noqa: F401 - a fixture

HISTORY, AMENDMENTS = "generation_history.jsonl", "generation_amendments.jsonl"
SECRET = "a-very-private-prompt-7f3a"


def holding(path, *words):
    """Files below a directory, compressed ones inflated, that hold any of the words or have it in their name."""
    found = []
    for file in (file for file in Path(path).rglob("*") if file.is_file()):
        data = file.read_bytes()
        data = gzip.decompress(data) if file.suffix == ".gz" else data
        found += [(file.name, word) for word in words if word.encode() in data or word in file.name]
    return found


def ids(path):
    return [record["metadata"]["generation_id"] for record in otel_gen.read(path)]


@pytest.fixture
def private(months):  # noqa: F811
    """The world of two months and one generation more that has everything; its worker lives."""
    worker = months.worker(feedback_timeout=1.0)
    task = {sc.TASK_ID: f"task-{SECRET}", sc.VALIDATOR_UID: 57, sc.VALIDATOR_HOTKEY: f"5F{SECRET}"}
    gen = worker.start(**{sc.PROMPT: SECRET, **task}).staged("image", SECRET.encode(), "png")
    gen.stage("sdxl", 1.0, note=SECRET).stage("queue", 0.5).staged("ply", b"ply of " + SECRET.encode())
    gen.submitted().end()
    months.step(later=2)
    worker.feedback(None, 0.7, validator_uid=57, task_id=f"task-{SECRET}", fields={"cooldown_until": SECRET})
    worker.feedback(gen, 0.1, validator_uid=57)
    months.step(later=1)
    assert [a["applied"] for a in months.amendments()[-2:]] == [True, False]
    months.secret, months.worker_alive = gen, worker
    return months


def test_nothing_of_it_is_left_and_what_it_counted_stays(private):
    gen, counted, before = private.secret, private.counters(), ids(private.path)
    assert len(holding(private.path, SECRET, gen.id)) > 4
    found = delete(private.leader, gen.id)
    assert found | {"events": 0} == {
        "already": False, "records": 1, "amendments": 2, "files": 2, "shared": 0, "events": 0
    }  # fmt: skip
    assert found["events"] >= 8
    assert holding(private.path, SECRET, gen.id, gen.trace) == []
    assert ids(private.path) == [one for one in before if one != gen.id]
    assert private.counters() == counted
    private.check()
    private.restart()
    private.step()
    assert private.counters() == counted
    assert verify(private.path, private.clock).problems == []
    assert verify(private.path, private.clock).deleted == 1


@pytest.mark.parametrize("n", range(6))
def test_each_outcome_leaves_a_valid_line_that_counts_the_same_made_anew(months, n):  # noqa: F811
    counted = months.counters()
    everything = ids(months.path)
    for id_ in everything[n::6]:
        assert delete(months.leader, id_)["records"] == 1
    assert holding(months.path, *everything[n::6]) == []
    assert months.counters() == counted
    rows = months.rows()
    assert verify(months.path, months.clock).problems == []
    months.restart()
    (months.path / ".otel_gen" / "index").unlink()
    months.step()
    assert (months.counters(), months.rows()) == (counted, rows)
    maintain.rotate(months.leader)
    assert (months.counters(), len(ids(months.path))) == (counted, len(everything) - len(everything[n::6]))
    assert verify(months.path, months.clock).problems == []


@pytest.mark.parametrize("place", ["rotated", "compressed", "archived"])
def test_it_is_found_in_old_months(months, place):  # noqa: F811
    maintain.rotate(months.leader)
    month = months.path / "generation_history_2026-09.jsonl"
    if place != "rotated":
        folder = months.path / ("archive" if place == "archived" else ".")
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / f"{month.name}.gz").write_bytes(gzip.compress(month.read_bytes()))
        month.unlink()
    gen, counted = months.gens[0], months.counters()
    assert delete(months.leader, gen.id)["records"] == 1
    assert holding(months.path, gen.id) == []
    assert gen.id not in ids(months.path)
    assert len(ids(months.path)) == 11
    assert months.counters() == counted
    assert verify(months.path, months.clock).problems == []


def test_a_file_that_another_record_refers_to_stays(world):
    worker = world.worker(feedback_timeout=0.0)
    one, two = (worker.start().staged("image", b"the same", "png").submitted().end() for _ in range(2))
    world.step()
    assert delete(world.leader, one.id)["shared"] == 1
    assert len(world.files("images")) == 1
    assert delete(world.leader, two.id)["files"] == 1
    assert world.files("images") == set()


def test_a_later_repeat_of_a_deleted_output_still_is_one(world):
    worker = world.worker(feedback_timeout=0.0)

    def made():
        gen = worker.start().stage("sdxl", 1.0).staged("ply", b"the same").submitted().end()
        world.step()
        return gen

    first, second = made(), made()
    for gen in (first, second):
        delete(world.leader, gen.id)
    made()
    counted = world.counters()
    assert counted["gen3d_repeated_outputs", ()] == 2
    assert verify(world.path, world.clock).problems == []
    world.restart()
    (world.path / ".otel_gen" / "index").unlink()
    world.step()
    assert world.counters() == counted


def test_one_that_waits_for_its_verdict_is_written_and_deleted(world):
    worker = world.worker(feedback_timeout=600.0)
    gen = worker.start(**{sc.PROMPT: SECRET}).staged("ply", SECRET.encode()).submitted().end()
    world.step()
    assert world.records() == {}
    assert delete(world.leader, gen.id)["records"] == 1
    assert holding(world.path, SECRET, gen.id) == []
    assert (world.step(later=700), world.records()) == (0, {})
    assert world.counters()["gen3d_generations", ("TEXT-TO-3D", "unscored")] == 1


def test_without_a_leader_the_command_reads_the_journal_first(data_dir):
    python(
        "import sys, otel_gen; otel_gen.configure(data_dir=sys.argv[1], registry=None)\n"
        f"with otel_gen.generation(task_type='TEXT-TO-3D', prompt={SECRET!r}) as gen: gen.submitted()\n"
        "import os; os._exit(0)",
        data_dir,
    )
    assert len(pending(data_dir).waiting) == 1
    assert request(data_dir, pending(data_dir).waiting[0].id)["records"] == 1
    assert holding(data_dir, SECRET) == []


def test_a_second_line_of_it_goes_too(months):  # noqa: F811
    id_ = months.gens[0].id
    (line,) = [
        line
        for line in (months.path / HISTORY).read_bytes().splitlines(keepends=True)
        if id_.encode() in line
    ]
    (months.path / "generation_history_2026-08.jsonl").write_bytes(line)
    assert [one.kind for one in verify(months.path, months.clock).problems] == ["duplicate"]
    delete(months.leader, id_)
    assert holding(months.path, id_) == []
    assert verify(months.path, months.clock).problems == []


@pytest.mark.parametrize("folded", [False, True])
def test_what_was_said_late_and_not_counted_is_not_counted_by_the_tombstone(world, folded):
    worker = world.worker(feedback_timeout=0.0)
    gen = worker.start().stage("sdxl", 2.0).note(**{sc.NUM_GAUSSIANS: 100, sc.CLIP_SCORE: 0.2}).end()
    world.step()
    at, late = (world.clock.wall(), world.clock.boot()), {sc.NUM_GAUSSIANS: 300_000, sc.CLIP_SCORE: 0.3}
    worker.put(Said(gen.id, *at, late | {f"{sc.TIMING}total_time": 500.0, f"{sc.TIMING}sdxl_time": 499.0}))
    worker.put(Said(gen.id, *at, {sc.SAID: "withheld", sc.REJECTION_REASON: "clip_below_threshold"}))
    world.step(later=1)
    assert [a["applied"] for a in world.amendments()] == [True, True]
    if folded:
        maintain.fold(world.leader)
    counted = world.counters()
    delete(world.leader, gen.id)
    (tombstone,) = world.lines()
    assert (tombstone["outcome"], tombstone["settled_outcome"]) == ("withheld", "unsubmitted")
    assert (world.counters(), verify(world.path, world.clock).problems) == (counted, [])
    world.restart()
    (world.path / ".otel_gen" / "index").unlink()
    world.step()
    assert world.counters() == counted


def test_a_line_that_is_no_whole_record_is_said_and_nothing_is_changed(world):
    worker = world.worker(feedback_timeout=0.0)
    gen = worker.start().submitted().end()
    world.step()
    (record,) = world.lines()
    del record["checksum"], record["generation"]["submission"]
    (world.path / HISTORY).write_bytes(seal(record))
    before = (world.path / HISTORY).read_bytes()
    with pytest.raises(DamageError, match="not shaped like a record"):
        delete(world.leader, gen.id)
    assert (world.path / HISTORY).read_bytes() == before


@pytest.mark.parametrize("key", ["settled_feedback", "kind", "applied", "changes", "received"])
def test_a_folded_record_whose_parts_are_damaged_is_said_and_nothing_is_changed(months, key):  # noqa: F811
    maintain.fold(months.leader)
    path, id_ = months.path / HISTORY, months.gens[4].id
    before, _, after = path.read_bytes().partition(f'"generation_id":"{id_}"'.encode())
    path.write_bytes(
        before + f'"generation_id":"{id_}"'.encode() + after.replace(f'"{key}"'.encode(), b'"other"', 9)
    )
    damaged = path.read_bytes()
    with pytest.raises(DamageError, match=rf"{HISTORY}: offset \d+: is not shaped like a record"):
        delete(months.leader, id_)
    assert path.read_bytes() == damaged


def test_one_that_runs_is_refused_and_one_that_nobody_knows(world):
    running = world.worker().start()
    world.step()
    with pytest.raises(OtelGenError, match="still running"):
        delete(world.leader, running.id)
    with pytest.raises(UnknownGenerationError, match="nothing was deleted"):
        delete(world.leader, "0198c0de-0000-7000-8000-0123456789ab")
    with pytest.raises(UnknownGenerationError, match="no generation id"):
        request(world.path, "../../etc/passwd")
    running.withheld().end()
    assert world.step() == 1


def test_what_comes_later_for_it_is_dropped(private):
    gen, worker = private.secret, private.worker_alive
    delete(private.leader, gen.id)
    counted, lines = private.counters(), (private.path / HISTORY).read_bytes()
    worker.feedback(gen, 0.9, validator_uid=57)
    gen.note(**{sc.PROMPT: SECRET})
    gen.end()
    private.step(later=700)
    assert private.counters() == counted
    assert gen.id not in {amendment["generation_id"] for amendment in private.amendments()}
    assert (private.path / HISTORY).read_bytes() == lines
    assert pending(private.path, private.clock).waiting == []
    assert verify(private.path, private.clock).problems == []
    with pytest.raises(UnknownGenerationError):
        feedback(private.path, gen.id, score=1)
    assert gen.id not in {record["metadata"]["generation_id"] for record in tail(private.path, 100)}
    worker.die()
    private.step(later=1)
    assert holding(private.path, SECRET, gen.id) == []


def test_a_refused_record_in_quarantine_goes_too(world, monkeypatch):
    worker = world.worker(feedback_timeout=0.0)
    with monkeypatch.context() as patched:
        patched.setattr("otel_gen.deliver.build", lambda *_, **__: {}["x"])
        gen = worker.start(**{sc.PROMPT: SECRET}).submitted().end()
        world.step()
    assert holding(world.path, SECRET)
    counted = world.counters()
    delete(world.leader, gen.id)
    assert holding(world.path, SECRET, gen.id) == []
    world.restart()
    world.step()
    assert world.counters() == counted
    assert verify(world.path, world.clock).problems == []


def test_what_was_set_aside_of_it_is_emptied_and_still_counts(world):
    worker = world.worker(feedback_timeout=0.0)
    gen = worker.start().submitted().end()
    aside = {"kind": "feedback", "reason": "no such generation"}
    rows = [
        aside | {"event_id": "w-1", "event": {"id": gen.id, "fields": SECRET}},
        aside | {"event_id": "w-2", "event": {"id": "other"}},
    ]
    world.tree.quarantine.append("aside.jsonl", b"".join(encode(row) + b"\n" for row in rows))
    world.tree.set_aside("x.seg.0.torn", f"{gen.id} {SECRET}".encode())
    world.step()
    counted = world.counters()
    assert counted["gen3d_capture_errors", ("unknown_feedback",)] == 2
    delete(world.leader, gen.id)
    assert holding(world.path, gen.id, SECRET) == []
    assert [one for one, _ in holding(world.path, "w-2")] == ["aside.jsonl"]
    world.restart()
    world.step()
    assert world.counters() == counted
    assert verify(world.path, world.clock).problems == []


def test_damage_is_said_before_anything_is_changed(months):  # noqa: F811
    (months.path / "archive").mkdir(mode=0o700)
    (months.path / "archive" / "generation_history_2026-01.jsonl.gz").write_bytes(b"\x1f\x8b no gzip")
    lines = (months.path / HISTORY).read_bytes()
    with pytest.raises(DamageError, match="2026-01"):
        delete(months.leader, months.gens[0].id)
    assert (months.path / HISTORY).read_bytes() == lines
    assert not (months.path / ".otel_gen" / "deleting.json").exists()


def test_scrubbed_frames_keep_their_place_for_whoever_reads_and_writes(world):
    worker = world.worker(feedback_timeout=0.0)
    gen = worker.start(**{sc.PROMPT: SECRET}).submitted().end()
    world.step()
    (segment,) = (world.path / ".otel_gen" / "segments").glob("*.seg")
    size, inode = segment.stat().st_size, segment.stat().st_ino
    delete(world.leader, gen.id)
    other = worker.start().withheld().end()
    assert world.step() == 1
    world.restart()
    assert (segment.stat().st_size, segment.stat().st_ino) == (size, inode)
    assert world.step() == 0
    assert list(world.records()) == [other.id]
    assert world.counters()["gen3d_generations_started", ("TEXT-TO-3D",)] == 2


def test_replaying_its_spans_or_making_the_index_anew_does_not_bring_it_back(data_dir, provider, tmp_path):
    provider.add_span_processor(SimpleSpanProcessor(LineExporter(tmp_path / "spans.jsonl")))
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0, capture_content=True)
    for prompt in (SECRET, "another"):
        with otel_gen.generation(task_type="TEXT-TO-3D", prompt=prompt) as gen:
            gen.submitted()
    assert otel_gen.shutdown()
    secret, other = ids(data_dir)
    assert request(data_dir, secret)["records"] == 1
    assert SECRET in (tmp_path / "spans.jsonl").read_text()
    assert replay([tmp_path / "spans.jsonl"], data_dir).records == 0
    recover(str(data_dir), rebuild=True)
    assert ids(data_dir) == [other]
    assert holding(data_dir, secret, SECRET) == []
    assert verify(data_dir).problems == []
    assert request(data_dir, secret)["already"]


def test_the_command_says_what_went(data_dir):
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0)
    with otel_gen.generation(task_type="TEXT-TO-3D", prompt=SECRET) as gen:
        gen.output(ply=b"ply")
        gen.submitted()
    assert otel_gen.shutdown()

    def run(*args):
        command = [sys.executable, "-m", "otel_gen.cli", "delete", "--data-dir", data_dir, *args]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    assert run(gen.id) == (0, "deleted: 1 record, 0 amendments, 1 file, 0 journal events\n")
    assert run(gen.id.upper()) == (0, "it was deleted before\n")
    code, text = run("--json", gen.id[:-1])
    assert (code, json.loads(text)["ok"]) == (1, False)
    assert holding(data_dir, SECRET, gen.id) == []


def test_while_a_reader_holds_the_index_it_is_unfinished_and_said_so(world, monkeypatch):
    monkeypatch.setattr(Index, "rewrite", lambda _: False)
    worker = world.worker(feedback_timeout=0.0)
    gen = worker.start().submitted().end()
    world.step()
    with pytest.raises(StorageError, match="held open by a reader"):
        delete(world.leader, gen.id)
    with pytest.raises(StorageError, match="held open by a reader"):
        delete(world.leader, gen.id)
    assert [one.kind for one in verify(world.path, world.clock).problems] == ["deletion"]
    monkeypatch.undo()
    worker.die()
    world.restart()
    world.step()
    assert verify(world.path, world.clock).problems == []
    assert holding(world.path, gen.id) == []


SERVICE = """
import sys, otel_gen
otel_gen.configure(data_dir=sys.argv[1], registry=None, feedback_timeout=0, durability="process")
for n in range(100_000):
    with otel_gen.generation(task_type="TEXT-TO-3D", prompt=f"prompt {n} of a service", validator_uid=n % 5) as gen:
        with gen.stage("sdxl"):
            gen.output(ply=b"ply %d" % n)
        gen.submitted()
    print(gen.id, flush=True)
    if not sys.stdin.readline().strip():
        break
assert otel_gen.shutdown()
"""


def test_a_service_that_works_meanwhile_deletes_what_it_is_asked_to(tmp_path):
    data_dir = tmp_path / "data"
    with subprocess.Popen(
        [sys.executable, "-c", SERVICE, data_dir], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as service:
        made, deleted = [], []
        for n in range(60):
            made.append(service.stdout.readline().strip())
            if n % 20 == 10:
                assert request(data_dir, made[n - 5])["events"] > 3
                deleted.append(made[n - 5])
            service.stdin.write("go on\n" if n < 59 else "\n")
            service.stdin.flush()
        assert service.wait(30) == 0
    assert len(deleted) == 3
    assert sorted(ids(data_dir)) == sorted(set(made) - set(deleted))
    recover(str(data_dir), rebuild=True)
    report = verify(data_dir)
    assert (report.problems, report.records, report.deleted) == ([], 60, 3)
    assert holding(data_dir, *deleted) == []


MAKE = """
import sys, otel_gen
otel_gen.configure(data_dir=sys.argv[1], registry=None, rejected_sample_rate=0)
for n in range(4):
    prompt, png = f"{sys.argv[2]} {n}", b"\\x89PNG\\r\\n\\x1a\\n" + bytes([n])
    with otel_gen.generation(task_type="TEXT-TO-3D", prompt=prompt, image=png, validator_uid=n, config={"n": n}) as gen:
        with gen.stage("sdxl"):
            gen.output(ply=b"ply %d" % (n % 2))
        gen.submitted()
    if n < 3:
        otel_gen.feedback(gen.id, score=0.8, validator_uid=n)
        otel_gen.feedback(gen.id, score=0.1, validator_uid=n)
    print(gen.id)
otel_gen.shutdown()
"""
DELETE = "import sys; from otel_gen.request import delete; delete(*sys.argv[1:])"


def counted(data_dir):
    """The counters and histograms of an index."""
    tree = Tree(str(data_dir))
    reader = open_reader(tree.dot)
    rows = {key: value for key, value in reader.aggregates() if "artifact" not in key}
    reader.close()
    tree.close()
    return rows


def kill_at(shim, data_dir, id_, mode, at):
    """Delete under the shim that kills at the N-th call on files; the call that was hit, if any was."""
    log = data_dir.parent / "log"
    env = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    env |= {"LD_PRELOAD": str(shim), "SHIM_PREFIX": str(data_dir), "SHIM_MODE": mode}
    env |= {"SHIM_AT": str(at), "SHIM_LOG": str(log)}
    done = subprocess.run(
        [sys.executable, "-c", DELETE, data_dir, id_], env=env, capture_output=True, timeout=60, check=False
    )
    ended = {0, -signal.SIGKILL} if mode in ("kill", "tear") else {0, 1}
    assert done.returncode in ended, done.stderr
    assert done.returncode != 1 or b"otel_gen.errors." in done.stderr.splitlines()[-1], done.stderr
    return log.read_text() if log.exists() else ""


def killed_everywhere(tmp_path, mode, step):
    shim, whole = compiled(tmp_path), tmp_path / "whole"
    made = python(MAKE, whole, SECRET).split()
    before, calls = counted(whole), []
    for at in range(1, 2000, step):
        data_dir = tmp_path / str(at) / "data"
        shutil.copytree(whole, data_dir)
        call = kill_at(shim, data_dir, made[1], mode, at)
        recover(str(data_dir), today={})
        report = verify(data_dir)
        assert (report.problems, report.records, report.waiting) == ([], 3, 1), (at, call)
        assert report.deleted == (made[1] not in ids(data_dir))
        assert bool(report.deleted) == (holding(data_dir, made[1], f"{SECRET} 1") == []), (at, call)
        request(data_dir, made[1])
        assert holding(data_dir, made[1], f"{SECRET} 1") == [], (at, call)
        assert sorted(ids(data_dir)) == sorted([made[0], made[2]])
        assert verify(data_dir).problems == []
        assert counted(data_dir) == before, (at, call)
        shutil.rmtree(data_dir)
        if not call:
            return calls
        calls.append((call, report.deleted))
    raise AssertionError


@pytest.mark.crash
@pytest.mark.parametrize(("mode", "step"), [("kill", 11), ("tear", 17), ("enospc", 23), ("eio", 29)])
def test_killed_or_refused_at_any_call_on_files_it_is_done_or_not_begun_and_done_the_next_time(
    tmp_path, mode, step
):
    calls = killed_everywhere(tmp_path, mode, step)
    assert len(calls) >= 3
    assert {deleted for _, deleted in calls} == {0, 1}


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", ["kill", "tear", "enospc", "eio", "short"])
def test_killed_or_refused_at_every_call_on_files(tmp_path, mode):
    assert len(killed_everywhere(tmp_path, mode, 1)) > 50
