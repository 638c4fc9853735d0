"""Late verdicts: which of them change a record, and what is written of the others."""

from __future__ import annotations

import pytest

from otel_gen import maintain
from otel_gen import semconv as sc
from otel_gen.deletion import delete

CLOSED = {
    "withheld": lambda g: g.withheld(),
    "failed": lambda g: g.failed(),
    "cancelled": lambda g: g.note(**{sc.SAID: "cancelled"}),
}


def settled(world, worker, say=lambda gen: gen.submitted()):
    """A generation whose record is written without a verdict."""
    gen = say(worker.start(**{sc.VALIDATOR_UID: 57})).end()
    world.step(later=1000)
    return gen


@pytest.mark.parametrize(("score", "outcome"), [(0.81, "accepted"), (0.0, "rejected")])
def test_a_late_verdict_changes_what_is_read_and_keeps_what_is_written(world, score, outcome):
    worker = world.worker()
    gen = settled(world, worker)
    worker.feedback(gen, score, validator_uid=57)
    world.step(later=1)
    (line,), (amendment,) = world.lines(), world.amendments()
    assert (line["outcome"], gen.record["outcome"]) == ("unscored", outcome)
    assert amendment["applied"] is True
    assert gen.record["validator_feedback"]["score"] == score
    assert gen.record["validator_feedback"]["feedback_delay_seconds"] == 1000.0


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("outcome", sorted(CLOSED))
def test_a_verdict_for_what_was_not_submitted_is_only_noted(world, outcome, early):
    worker = world.worker()
    gen = CLOSED[outcome](worker.start()).end()
    if not early:
        world.step()
    worker.feedback(gen, 0.9)
    world.step(later=1)
    (amendment,) = world.amendments()
    assert (amendment["applied"], amendment["verdict"], gen.record["outcome"]) == (False, "accepted", outcome)
    assert gen.record["validator_feedback"]["received"] is False


@pytest.mark.parametrize("early", [True, False])
def test_a_verdict_proves_the_submission_that_nobody_said(world, early):
    worker = world.worker()
    gen = worker.start().end()
    if not early:
        world.step()
    worker.feedback(gen, 0.9)
    world.step(later=1)
    one = gen.record
    assert (one["outcome"], one["generation"]["submission"]["submitted"]) == ("accepted", True)
    assert one["generation"]["submission"]["pre_submission_rejection"] is False


@pytest.mark.parametrize("early", [True, False])
def test_a_verdict_turns_an_interrupted_record_into_one_that_was_submitted(world, early):
    worker = world.worker()
    gen = worker.start().begin("trellis")
    worker.die()
    if not early:
        world.step()
    other = world.worker()
    other.feedback(gen, 0.9)
    world.step(later=1)
    one = gen.record
    assert (one["outcome"], one["failure_analysis"]["failed"]) == ("accepted", False)
    assert one["generation"]["error_after_submission"]["error_type"] == "interrupted"


def test_the_first_verdict_wins_and_a_second_is_noted(world):
    worker = world.worker()
    gen = settled(world, worker)
    worker.feedback(gen, 0.8, validator_uid=57)
    worker.feedback(gen, 0.1, validator_uid=58)
    world.step(later=1)
    worker.feedback(gen, 0.0, validator_uid=57)
    world.step(later=1)
    assert [(a["score"], a["applied"]) for a in world.amendments()] == [
        (0.8, True),
        (0.1, False),
        (0.0, False),
    ]
    assert gen.record["outcome"] == "accepted"


@pytest.mark.parametrize("late", [True, False])
def test_the_same_verdict_again_writes_nothing(world, late):
    worker = world.worker()
    gen = settled(world, worker) if late else worker.start().submitted().end()
    for _ in range(3):
        worker.feedback(gen, 0.8, validator_uid=57)
        world.step(later=1)
    assert len(world.amendments()) == (1 if late else 0)
    worker.feedback(gen, 0.8, validator_uid=58)
    world.step(later=1)
    assert world.amendments()[-1]["applied"] is False


def test_verdicts_are_ordered_by_the_time_they_were_given(world):
    first, second = world.worker(), world.worker()
    gen = settled(world, first)
    second.feedback(gen, 0.3, validator_uid=2)
    world.now -= 1
    first.feedback(gen, 0.9, validator_uid=1)
    world.step()
    assert [a["score"] for a in world.amendments()] == [0.9, 0.3]
    assert gen.record["validator_feedback"]["score"] == 0.9


@pytest.mark.parametrize("late", [True, False])
def test_validation_failed_is_final(world, late):
    worker = world.worker()
    gen = settled(world, worker) if late else worker.start().submitted().end()
    worker.feedback(gen, invalid=True, fields={"validation_failed": True})
    world.step(later=1)
    worker.feedback(gen, 0.9)
    world.step(later=1)
    one = gen.record
    assert (one["outcome"], one["validator_feedback"]["verdict"]) == ("rejected", "invalid")
    assert one["validator_feedback"]["validation_failed"] is True
    assert world.amendments()[-1]["applied"] is False


@pytest.mark.parametrize("when", ["early", "between", "late"])
def test_a_score_that_is_no_number_yields_to_a_finite_one(world, when):
    worker = world.worker()
    gen = worker.start().staged("ply", b"splats").submitted().end()
    if when == "late":
        world.step(later=1000)
    worker.feedback(gen, invalid=True)
    if when != "early":
        world.step(later=1)
        one = gen.record
        assert (one["outcome"], one["validator_feedback"]["verdict"], one["validator_feedback"]["score"]) == (
            "rejected", "invalid", None,
        )  # fmt: skip
    worker.feedback(gen, 0.9)
    world.step(later=1)
    worker.feedback(gen, 0.1)
    world.step(later=1)
    assert (gen.record["outcome"], gen.record["validator_feedback"]["score"]) == ("accepted", 0.9)
    assert gen.record["generation"]["output"]["ply_file_path"]


def test_a_note_closes_nothing_and_is_kept_once(world):
    worker = world.worker()
    gen = settled(world, worker)
    worker.feedback(gen, said=False, fields={"cooldown_until": 5})
    world.step(later=1)
    world.restart()
    world.step(later=1)
    (amendment,) = world.amendments()
    assert (amendment["kind"], amendment["applied"], amendment["fields"]) == (
        "note",
        False,
        {"cooldown_until": 5},
    )
    assert gen.record["outcome"] == "unscored"


def test_a_field_with_the_name_of_a_members_own_key_changes_nothing(world):
    worker = world.worker()
    gen = settled(world, worker)
    worker.feedback(gen, 0.0, fields={"accepted": True, "score": 1.0, "event_id": "mine"})
    world.step(later=1)
    feedback = gen.record["validator_feedback"]
    assert (feedback["accepted"], feedback["score"]) == (False, 0.0)
    assert feedback["event_id"] != "mine"


def test_a_task_id_means_its_latest_submitted_attempt(world):
    worker = world.worker(feedback_timeout=10.0)
    task = {sc.TASK_ID: "task-1"}
    first = worker.start(**task).submitted().end()
    world.step(later=20)
    second = worker.start(**task).submitted().end()
    world.step(later=20)
    third = worker.start(**task).withheld().end()
    world.step(later=1)
    worker.feedback(None, 0.7, task_id="task-1")
    world.step(later=1)
    assert [gen.record["outcome"] for gen in (first, second, third)] == ["unscored", "accepted", "withheld"]


@pytest.mark.parametrize("seen", ["at once", "late", "after a restart"])
def test_a_task_id_means_the_attempt_that_was_submitted_when_the_verdict_came(world, seen):
    worker = world.worker()
    task, scores = {sc.TASK_ID: "task-1"}, (0.0, 0.7, 0.8)
    gens = []
    for score in scores:
        gens.append(worker.start(**task).submitted().end())
        world.now += 1
        worker.feedback(None, score, task_id="task-1")
        if seen == "at once":
            world.step()
        world.now += 1
    if seen == "after a restart":
        world.restart()
    world.step()
    assert [gen.record["validator_feedback"]["score"] for gen in gens] == list(scores)
    assert world.amendments() == []


def test_a_verdict_that_came_first_means_the_attempt_that_turns_up(world):
    worker = world.worker()
    worker.feedback(None, 0.7, task_id="task-1")
    world.step(later=1)
    gen = worker.start(**{sc.TASK_ID: "task-1"}).submitted().end()
    world.step(later=1)
    assert gen.record["outcome"] == "accepted"


@pytest.mark.parametrize("seen", ["at once", "late"])
def test_a_late_verdict_proves_the_attempt_of_its_time_not_one_submitted_since(world, seen):
    worker = world.worker()
    task = {sc.TASK_ID: "task-1"}
    first = worker.start(**task).end()
    world.step(later=1)
    worker.feedback(None, 0.7, task_id="task-1")
    world.step(later=1) if seen == "at once" else None
    world.now += 1
    second = worker.start(**task).submitted().end()
    world.step(later=1)
    worker.feedback(second, 0.0)
    world.step(later=1)
    assert [gen.record["outcome"] for gen in (first, second)] == ["accepted", "rejected"]


def test_feedback_that_no_generation_turns_up_for_is_set_aside_and_counted(world):
    worker = world.worker(feedback_timeout=0.0)
    worker.feedback(None, 0.5, id="0" * 8 + "-0000-0000-0000-" + "0" * 12)
    world.step(later=30)
    assert world.leader.delivery.aside_counts["gen3d_capture_errors", "unknown_feedback"] == 0
    world.step(later=40)
    world.restart()
    world.step(later=1)
    assert world.leader.delivery.aside_counts["gen3d_capture_errors", "unknown_feedback"] == 1
    assert world.lines() == []


# --- what a leader reads again -------------------------------------------------------------------------------
TASK = {sc.TASK_ID: "t", sc.VALIDATOR_UID: 57}


def again(world, *, rebuilt=False):
    """Have another leader read the journal anew, which an open generation holds; gives the files it made."""
    before = world.lines(), world.amendments(), world.records()
    world.restart()
    if rebuilt:
        for path in (world.path / ".otel_gen").glob("index*"):
            path.unlink()
    world.step(later=1)
    assert (world.lines(), world.amendments(), world.records()) == before


@pytest.fixture
def held(world):
    """A worker whose segment stays, for one of its generations goes on."""
    worker = world.worker(feedback_timeout=5.0)
    worker.start()
    return worker


@pytest.mark.parametrize("score", [0.5, float("nan")])
@pytest.mark.parametrize("rebuilt", [False, True])
def test_a_verdict_for_a_task_stays_with_the_attempt_it_was_given_to(world, held, rebuilt, score):
    first = held.start(**TASK).submitted().end()
    world.step(later=10)
    second = held.start(**TASK).end()
    world.step(later=1)
    held.feedback(None, 0.8, task_id="t", validator_uid=57)
    world.step(later=1)
    held.feedback(second, None if score != score else score, invalid=score != score, validator_uid=57)
    world.step(later=1)
    assert first.record["validator_feedback"]["score"] == 0.8
    assert second.record["outcome"] == ("rejected" if score != score else "accepted")
    again(world, rebuilt=rebuilt)


def test_the_same_verdict_for_a_task_again_is_no_other_attempts_after_a_deletion(world, held):
    first = held.start(**TASK).submitted().end()
    world.step(later=10)
    second = held.start(**TASK).submitted().end()
    for _ in range(2):
        held.feedback(None, 0.8, task_id="t", validator_uid=57)
        world.step(later=1)
    assert second.record["outcome"] == "accepted"
    delete(world.leader, second.id)
    again(world)
    assert first.record["outcome"] == "unscored"


@pytest.mark.parametrize("rebuilt", [False, True])
@pytest.mark.parametrize("folded", [False, True])
def test_a_verdict_that_another_replaced_is_not_told_again(world, held, rebuilt, folded):
    gen = held.start(**{sc.VALIDATOR_UID: 57}).submitted().end()
    held.feedback(gen, None, invalid=True, validator_uid=57)
    world.step(later=1)
    held.feedback(gen, 0.8, validator_uid=57)
    world.step(later=1)
    assert len(world.amendments()) == 1
    if folded:
        maintain.fold(world.leader)
    again(world, rebuilt=rebuilt)
    held.feedback(gen, None, invalid=True, validator_uid=57)
    again(world)
    assert gen.record["outcome"] == "accepted"
