"""A configured process from end to end: what is said becomes lines, files and numbers, by its own leader."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest

import otel_gen
from otel_gen import semconv as sc
from otel_gen.files import Folder
from otel_gen.recover import recover
from tests.world import validator

PLY = b"ply\nformat binary\nend_header\n" + bytes(500)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)
RECORD = validator("record")


def records(data_dir):
    found = list(otel_gen.read(data_dir))
    for one in found:
        RECORD.validate(one)
    return found


def files(data_dir, folder):
    place = data_dir / folder
    return sorted(path.name for path in place.iterdir() if path.is_file()) if place.exists() else []


def one_accepted(**output):
    with otel_gen.generation(task_type="TEXT-TO-3D", prompt="a chair", validator_uid=57) as gen:
        gen.output(**output)
        gen.submitted()
    assert otel_gen.feedback(gen.id, score=0.8, validator_uid=57)
    return gen


def test_an_accepted_output_stands_in_the_record_and_on_disk(data_dir):
    otel_gen.configure(data_dir=data_dir, registry=None)
    one_accepted(ply=PLY)
    assert otel_gen.shutdown()
    (one,) = records(data_dir)
    path = data_dir / one["generation"]["output"]["ply_file_path"]
    assert path.read_bytes() == PLY
    assert one["generation"]["output"]["ply_file_hash"] == "sha256:" + hashlib.sha256(PLY).hexdigest()


@pytest.mark.parametrize("store", [True, False])
def test_storage_switched_off_drops_files_and_keeps_hashes(data_dir, store):
    otel_gen.configure(data_dir=data_dir, registry=None, store_images=store, store_ply=store)
    with otel_gen.generation(task_type="IMAGE-TO-3D", image=PNG) as gen:
        gen.output(ply=PLY)
        gen.submitted()
    assert otel_gen.feedback(gen.id, score=0.8)
    assert otel_gen.shutdown()
    (one,) = records(data_dir)
    assert one["task"]["base64_image_hash"] == "sha256:" + hashlib.sha256(PNG).hexdigest()
    assert one["generation"]["output"]["ply_file_hash"] == "sha256:" + hashlib.sha256(PLY).hexdigest()
    assert bool(one["task"]["image_file_path"]) is store
    assert bool(one["generation"]["output"]["ply_file_path"]) is store
    assert bool(files(data_dir, "images")) is bool(files(data_dir, "ply_files")) is store
    assert "shed" not in one["generation"]["output"]


def test_what_is_over_max_artifact_bytes_is_hashed_and_said_to_be_shed(data_dir):
    otel_gen.configure(data_dir=data_dir, registry=None, max_artifact_bytes=100)
    one_accepted(ply=PLY)
    assert otel_gen.shutdown()
    (one,) = records(data_dir)
    output = one["generation"]["output"]
    assert (output["ply_file_path"], output["shed"]) == (None, "max_artifact_bytes")
    assert output["ply_file_hash"] == "sha256:" + hashlib.sha256(PLY).hexdigest()
    assert files(data_dir, "ply_files") == files(data_dir, ".otel_gen/staging") == []


def test_the_same_image_twice_is_kept_once(data_dir):
    otel_gen.configure(data_dir=data_dir, registry=None)
    for _ in range(2):
        with otel_gen.generation(task_type="IMAGE-TO-3D", image=PNG) as gen:
            gen.withheld("clip_below_threshold")
    assert otel_gen.shutdown()
    assert files(data_dir, "images") == [hashlib.sha256(PNG).hexdigest()[:16] + ".png"]
    assert len({one["task"]["image_file_path"] for one in records(data_dir)}) == 1


CHILD = """
import os, sys, otel_gen
otel_gen.configure(data_dir=sys.argv[1], registry=None, feedback_timeout=600, rejected_sample_rate=0.0)
with otel_gen.generation(task_type="TEXT-TO-3D", prompt="x", task_id=sys.argv[2]) as done:
    done.output(ply=b"bytes of " + sys.argv[2].encode())
    done.submitted()
with otel_gen.generation(task_type="TEXT-TO-3D", prompt="y") as gen:
    with gen.stage("sdxl"):
        pass
    with gen.stage("trellis"):
        print(done.id, gen.id, flush=True)
        os.read(0, 1)
        os._exit(9)
"""


def child(data_dir, task):
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(data_dir), task],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, process.stdout.readline().split()


def test_records_of_several_processes_that_die_come_once_and_go_on_by_verdicts_of_others(data_dir):
    children = [child(data_dir, f"task-{n}") for n in range(3)]
    os.kill(children[0][0].pid, signal.SIGSTOP)  # it may be the leader
    for process, _ in children[1:]:
        process.communicate("x")
    os.kill(children[0][0].pid, signal.SIGKILL)
    children[0][0].communicate()
    assert otel_gen.feedback(children[0][1][0], score=0.9, data_dir=data_dir)
    assert otel_gen.feedback(task_id="task-1", score=0.0, data_dir=data_dir)
    otel_gen.shutdown()
    recover(str(data_dir), today={"feedback_timeout": 0.0})
    by_id = {one["metadata"]["generation_id"]: one for one in records(data_dir)}
    assert len(by_id) == 6
    assert [by_id[ids[0]]["outcome"] for _, ids in children] == ["accepted", "rejected", "unscored"]
    for _, (_, killed) in children:
        stages = by_id[killed]["generation"]["stages"]
        assert by_id[killed]["outcome"] == "interrupted"
        assert ("sdxl", "ok") in [(stage["name"], stage["status"]) for stage in stages]
    assert len(files(data_dir, "ply_files")) == 2
    before = {path: path.read_bytes() for path in data_dir.glob("*.jsonl")}
    recover(str(data_dir), today={"feedback_timeout": 0.0})
    assert {path: path.read_bytes() for path in data_dir.glob("*.jsonl")} == before


def test_a_record_appears_while_the_process_goes_on(data_dir):
    otel_gen.configure(data_dir=data_dir, registry=None)
    one_accepted(num_gaussians=300_000)
    until = time.monotonic() + 20
    while not (data_dir / "generation_history.jsonl").exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert len(records(data_dir)) == 1


def test_what_is_written_while_a_pass_reads_is_settled_in_that_pass(world):
    worker = world.worker(feedback_timeout=0.0)
    read, gens = world.leader.view.poll, []

    def poll():
        world.now += 1
        gens.append(worker.start().submitted().end())
        yield from read()

    world.leader.view.poll = poll
    assert world.step() == 1, "a wait of 0 seconds is over"
    assert gens[0].record["outcome"] == "unscored"


# --- what is read late -------------------------------------------------------------------------------------
def roll(worker):
    """Have the next event go to a segment of its own."""
    worker.journal.chain.newest.full = 0


def test_what_a_worker_did_while_segments_were_listed_counts_though_it_is_dead(world):
    worker = world.worker(feedback_timeout=0.0)
    first = worker.start()
    world.step()
    folder, then = world.leader.view._folder, []
    listed = folder.names

    def names():
        found = listed()
        if not then:
            then.append(roll(worker))
            first.withheld().end()
            then.append(worker.start().stage("sdxl", 1.0))
            worker.die()
        return found

    folder.names = names
    for _ in range(2):
        world.step()
    assert first.record["outcome"] == "withheld"
    assert then[1].record["outcome"] == "interrupted"
    assert [stage["name"] for stage in then[1].record["generation"]["stages"]] == ["sdxl"]


@pytest.mark.parametrize("word", ["start", "end"])
def test_what_is_read_of_a_worker_after_it_was_found_dead_is_looked_at(world, word):
    worker = world.worker(feedback_timeout=0.0)
    done = worker.start().withheld().end()
    world.step()
    world.leader._alive[worker.journal.worker] = False
    late = worker.start()
    if word == "end":
        late.withheld().end()
    worker.die()
    world.step()
    assert done.record["outcome"] == "withheld"
    assert late.record["outcome"] == ("interrupted" if word == "start" else "withheld")


def test_a_segment_that_cannot_be_opened_today_is_waited_for_and_nothing_is_doubled(world, monkeypatch):
    worker = world.worker(feedback_timeout=0.0)
    gen = worker.start().stage("sdxl", 1.0)
    roll(worker)
    gen.withheld().end()
    first = worker.journal.chain.names[0]
    real = Folder.open

    def no_more_descriptors(folder, name, flags=os.O_RDONLY):
        if name == first:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(folder, name, flags)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "open", no_more_descriptors)
        with pytest.raises(OSError, match="Too many"):
            world.leader.step()
        world.restart()
    world.step()
    worker.die()
    world.step()
    assert [stage["name"] for stage in gen.record["generation"]["stages"]] == ["sdxl"]
    assert len(world.lines()) == 1
    assert world.files(".otel_gen/quarantine") == set()


def test_a_start_that_is_read_behind_damage_after_its_record_makes_no_second(world):
    worker = world.worker(feedback_timeout=0.0)
    worker.start().withheld().end()
    gen = worker.start()
    roll(worker)
    gen.withheld().end()
    path = world.path / ".otel_gen" / "segments" / worker.journal.chain.names[0]
    at = path.read_bytes().index(b"withheld")
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), b"?", at)
    world.step()
    assert gen.record["outcome"] == "withheld"
    worker.die()
    for _ in range(2):
        world.step()
    assert sum(line["metadata"]["generation_id"] == gen.id for line in world.lines()) == 1


def test_two_segments_with_damaged_headers_are_two_workers(world):
    gens = []
    for _ in range(3):
        worker = world.worker(feedback_timeout=0.0)
        gens.append(worker.start().withheld().end())
        if len(gens) < 3:
            path = world.path / ".otel_gen" / "segments" / worker.journal.chain.names[0]
            with path.open("r+b") as file:
                os.pwrite(file.fileno(), b"\xff" * 8, 24)
        worker.die()
    for _ in range(2):
        world.step()
    assert [gen.record["outcome"] for gen in gens] == ["withheld"] * 3
    assert len(world.files(".otel_gen/quarantine")) == 2


def test_a_verdict_for_a_task_goes_to_the_attempt_that_was_submitted_while_others_were_read(world):
    worker, judge = world.worker(), world.worker()
    worker.journal.worker, judge.journal.worker = "0" * 32, "f" * 32  # read in this order
    first = worker.start(**{sc.TASK_ID: "t"}).submitted().end()
    judge.feedback(first, said=False)
    world.step()
    world.now += 1
    second = worker.start(**{sc.TASK_ID: "t"})
    judge.feedback(first, said=False)
    poll, then = world.leader.view.poll, []

    def meanwhile():
        for found in poll():
            yield found
            if found[0].worker == judge.journal.worker and not then:
                world.now += 1
                then.append(second.submitted().end())
                world.now += 1
                judge.feedback(None, score=0.9, task_id="t")

    world.leader.view.poll = meanwhile
    world.step()
    assert then
    assert second.record["outcome"] == "accepted"
    assert first.id not in world.records()
