"""Artifacts through a delivery: what is kept, what goes, and that no path ever leads nowhere."""

from __future__ import annotations

import hashlib
import shutil

import pytest

from otel_gen import retain
from otel_gen import semconv as sc

PLY = b"ply and its splats"
NAME = hashlib.sha256(PLY).hexdigest() + ".ply"


def output(gen):
    return gen.record["generation"]["output"]


def staging(world):
    return world.files(".otel_gen/staging")


@pytest.mark.parametrize(("score", "least", "kept"), [(0.8, 0.0, True), (0.8, 0.9, False), (0.8, 0.8, True)])
def test_an_accepted_output_is_kept_from_ply_min_score_on(world, score, least, kept):
    worker = world.worker(ply_min_score=least)
    gen = worker.start().staged("ply", PLY).submitted().end()
    worker.feedback(gen, score)
    world.step()
    assert output(gen)["ply_file_hash"] == "sha256:" + hashlib.sha256(PLY).hexdigest()
    assert output(gen)["ply_file_path"] == (f"ply_files/{NAME}" if kept else None)
    assert world.files("ply_files") == ({NAME} if kept else set())
    assert staging(world) == set()


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize(
    ("rate", "budget", "kept"), [(0.0, 10**9, False), (1.0, 10**9, True), (1.0, 4, False)]
)
def test_a_rejected_output_goes_unless_it_is_in_the_sample_and_its_budget(world, late, rate, budget, kept):
    worker = world.worker(rejected_sample_rate=rate, rejected_sample_max_bytes=budget, feedback_timeout=10.0)
    gen = worker.start().staged("ply", PLY).staged("spz", b"small", "spz").submitted().end()
    if late:
        world.step(later=20)
        assert output(gen)["ply_file_path"] == f"ply_files/{NAME}"
    elsewhere = world.worker()  # a verdict comes through a process that has other settings
    elsewhere.feedback(gen, 0.0)
    world.step(later=1)
    found = output(gen)
    assert (found["ply_file_path"], found["spz_file_path"]) == (None, None)
    assert found["rejected_sample_path"] == (f"ply_files/rejected_samples/{NAME}" if kept else None)
    assert world.files("ply_files") == set()
    assert world.files("ply_files/rejected_samples") == ({NAME} if kept else set())


def test_the_sample_is_chosen_by_the_id_and_has_about_its_share():
    ids = [f"{n:032x}" for n in range(20_000)]
    chosen = [id_ for id_ in ids if retain.in_sample(id_, 0.1)]
    assert 1_800 < len(chosen) < 2_200
    assert chosen == [id_ for id_ in ids if retain.in_sample(id_, 0.1)]
    assert not any(retain.in_sample(id_, 0.0) for id_ in ids)
    assert all(retain.in_sample(id_, 1.0) for id_ in ids)


def test_withheld_outputs_are_sampled_and_failed_ones_go(world):
    worker = world.worker(rejected_sample_rate=1.0)
    withheld = worker.start().staged("ply", PLY).withheld().end()
    failed = worker.start().staged("ply", b"half a ply").failed().end()
    world.step()
    assert output(withheld)["rejected_sample_path"] == f"ply_files/rejected_samples/{NAME}"
    assert output(failed)["rejected_sample_path"] is output(failed)["ply_file_path"] is None
    assert staging(world) == set()


def test_a_late_rejection_nulls_the_path_and_then_the_file_goes(world):
    worker = world.worker(rejected_sample_rate=0.0)
    gen = worker.start().staged("ply", PLY).submitted().end()
    world.step(later=1000)
    (before,) = world.lines()
    worker.feedback(gen, 0.0)
    world.step()
    assert before["generation"]["output"]["ply_file_path"] == f"ply_files/{NAME}"
    assert world.lines() == [before]
    assert output(gen)["ply_file_path"] is output(gen)["undecided"] is None
    assert world.files("ply_files") == set()


@pytest.mark.parametrize("outcome", ["accepted", "rejected"])
def test_a_file_stays_as_long_as_a_record_refers_to_its_digest(world, outcome):
    worker = world.worker(rejected_sample_rate=0.0)
    first = worker.start().staged("ply", PLY).submitted().end()
    second = worker.start().staged("ply", PLY).submitted().end()
    world.step(later=1000)
    assert world.files("ply_files") == {NAME}
    worker.feedback(first, 0.0)
    world.step()
    assert output(second)["ply_file_path"] == f"ply_files/{NAME}"
    worker.feedback(second, 0.9 if outcome == "accepted" else 0.0)
    world.step()
    assert world.files("ply_files") == ({NAME} if outcome == "accepted" else set())


def test_an_accepted_and_a_rejected_one_of_the_same_bytes_in_one_pass_keep_the_file(world):
    worker = world.worker(rejected_sample_rate=0.0)
    made = [worker.start().staged("ply", PLY).submitted().end() for _ in range(4)]
    for at, gen in enumerate(made):
        worker.feedback(gen, 0.9 if at % 2 else 0.0)
    world.step()
    assert [output(gen)["ply_file_path"] for gen in made] == [None, f"ply_files/{NAME}"] * 2


def test_an_undecided_output_is_kept_for_its_time_and_then_given_up(world):
    worker = world.worker(undecided_keep=100.0, feedback_timeout=10.0)
    gen = worker.start().staged("ply", PLY).submitted().end()
    world.step(later=20)
    world.step(later=99)
    assert output(gen)["ply_file_path"] == f"ply_files/{NAME}"
    world.restart()
    world.step(later=2)
    assert output(gen)["ply_file_path"] is None
    assert world.files("ply_files") == set()
    assert [(a["kind"], a["reason"]) for a in world.amendments()] == [("output", "undecided_keep")]
    worker.feedback(gen, 0.9)
    world.step()
    assert gen.record["outcome"] == "accepted"


def test_an_accepted_output_waits_for_nothing_any_more(world):
    worker = world.worker(undecided_keep=100.0, feedback_timeout=10.0)
    gen = worker.start().staged("ply", PLY).submitted().end()
    world.step(later=20)
    worker.feedback(gen, 0.9)
    world.step()
    world.step(later=1000)
    assert output(gen)["ply_file_path"] == f"ply_files/{NAME}"
    assert output(gen)["undecided"] is None


def test_images_stay_whatever_the_verdict_and_the_same_one_is_kept_once(world):
    worker = world.worker()
    picture = b"\x89PNG one picture"
    made = [worker.start().staged("image", picture, "png") for _ in range(2)]
    made[0].withheld().end()
    made[1].failed().end()
    world.step()
    assert world.files("images") == {hashlib.sha256(picture).hexdigest()[:16] + ".png"}
    assert {gen.record["task"]["image_file_path"] for gen in made} == {
        f"images/{name}" for name in world.files("images")
    }


def test_two_images_whose_digests_begin_alike_are_both_kept(world):
    worker = world.worker()
    picture = b"\x89PNG the second"
    digest = hashlib.sha256(picture).hexdigest()
    (world.path / "images").mkdir()
    (world.path / "images" / f"{digest[:16]}.png").write_bytes(b"\x89PNG another")
    gen = worker.start().staged("image", picture, "png").end()
    world.step()
    assert gen.record["task"]["image_file_path"] == f"images/{digest}.png"
    assert len(world.files("images")) == 2


def test_what_is_no_picture_of_its_name_is_replaced(world):
    worker = world.worker()
    (world.path / "ply_files").mkdir()
    (world.path / "ply_files" / NAME).write_bytes(b"torn")
    gen = worker.start().staged("ply", PLY).submitted().end()
    worker.feedback(gen, 0.9)
    world.step()
    assert (world.path / output(gen)["ply_file_path"]).read_bytes() == PLY


def test_an_artifact_that_was_not_staged_keeps_its_hash(world):
    worker = world.worker()
    found = {f"{sc.ARTIFACT}ply.hash": "sha256:" + "ab" * 32, f"{sc.ARTIFACT}ply.size": 5}
    gen = worker.start().note(**found).submitted().end()
    worker.feedback(gen, 0.9)
    world.step()
    assert (output(gen)["ply_file_path"], output(gen)["ply_file_hash"]) == (None, "sha256:" + "ab" * 32)
    assert "shed" not in output(gen)


def test_a_staged_file_that_somebody_removed_is_said_to_be_missing(world):
    worker = world.worker()
    gen = worker.start().staged("ply", PLY).submitted().end()
    for path in (world.path / ".otel_gen" / "staging").iterdir():
        path.unlink()
    worker.feedback(gen, 0.9)
    world.step()
    assert (output(gen)["ply_file_path"], output(gen)["shed"]) == (None, "missing")


def test_a_folder_that_was_removed_under_the_leader_is_made_again(world):
    worker = world.worker()
    first = worker.start().staged("ply", PLY).submitted().end()
    worker.feedback(first, 0.9)
    world.step()
    shutil.rmtree(world.path / "ply_files")
    second = worker.start().staged("ply", b"another").submitted().end()
    worker.feedback(second, 0.9)
    world.leader.step()
    assert len(world.files("ply_files")) == 1


def test_staged_files_that_nothing_refers_to_are_swept(world):
    staging_folder = world.path / ".otel_gen" / "staging"
    (staging_folder / f"{'ab' * 32}.12345678.ply").write_bytes(b"orphan")
    (staging_folder / "half.part").write_bytes(b"half")
    worker = world.worker()
    gen = worker.start().staged("ply", PLY).submitted().end()
    worker.die()
    world.step(later=1)
    assert len(staging(world)) == 1
    world.step(later=1000)
    assert staging(world) == set()
    assert output(gen)["ply_file_path"] == f"ply_files/{NAME}"


def test_everything_kept_is_the_owners_alone(world):
    worker = world.worker()
    gen = worker.start().staged("ply", PLY).submitted().end()
    worker.feedback(gen, 0.9)
    world.step()
    for path in (world.path / "ply_files", world.path / "README.md", world.path / "generation_history.jsonl"):
        assert path.stat().st_mode & 0o077 == 0
