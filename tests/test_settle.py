"""Settling is a pure function of a generation's state, the moment and the settings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_gen import semconv as sc
from otel_gen.events import Feedback, Noted, Span, Started
from otel_gen.fold import Generation, Verdict, chronology, in_order
from otel_gen.settings import Policy
from otel_gen.settle import Now, choose, replaceable, settle, verdict_word

SECOND = 10**9
POLICY = Policy(feedback_timeout=60.0)


def state(said=None, *, ended=True, verdicts=(), submitted_at=0):
    gen = Generation("id", "worker", "boot")
    gen.apply(Started("id", 0, 1, "t", "s", "", 0, {}))
    attributes = {sc.SAID: said} if said else {}
    if said == "submitted":
        attributes[sc.SUBMISSION_TIME] = submitted_at * SECOND + 1
    if attributes:
        gen.apply(Noted("id", submitted_at * SECOND + 1, submitted_at * SECOND + 1, attributes))
    if ended:
        gen.apply(Span("id", "generation", "t", "s", "", 0, 0, submitted_at * SECOND + 2, 1, attributes))
    gen.verdicts = list(verdicts)
    return gen


def verdict(at=0, **more):
    return Verdict(f"e{at}", "boot", Feedback(at, at, "id", said=True, **more))


def outcome(gen, *, at=0, alive=False, policy=POLICY, **more):
    found = settle(gen, Now(at * SECOND + 1, at * SECOND + 1, "boot", **more), policy, alive=alive)
    return found and found.outcome


@pytest.mark.parametrize(
    ("said", "ended", "alive", "expected"),
    [
        (None, False, True, None), (None, False, False, "interrupted"), (None, True, True, "unsubmitted"),
        ("withheld", True, True, "withheld"), ("failed", True, True, "failed"),
        ("cancelled", True, True, "cancelled"),
        ("withheld", False, False, "interrupted"), ("withheld", False, True, None),
        ("submitted", True, True, None), ("submitted", False, False, None), ("submitted", False, True, None),
    ],
)  # fmt: skip
def test_without_a_verdict(said, ended, alive, expected):
    assert outcome(state(said, ended=ended), alive=alive) == expected


def test_a_submission_waits_for_feedback_timeout_and_no_longer():
    gen = state("submitted", submitted_at=100)
    assert outcome(gen, at=159) is None
    assert outcome(gen, at=160) == "unscored"
    assert outcome(gen, at=100, policy=Policy(feedback_timeout=0.0)) == "unscored"


def test_waits_go_by_boot_time_within_a_boot_and_by_wall_time_across():
    gen = state("submitted", submitted_at=100)
    wall_jumped = Now(10_000 * SECOND, 101 * SECOND, "boot")
    assert settle(gen, wall_jumped, POLICY, alive=True) is None
    assert settle(gen, Now(10_000 * SECOND, 101 * SECOND, "other"), POLICY, alive=True).outcome == "unscored"
    assert settle(gen, Now(10_000 * SECOND, 101 * SECOND, "boot", fixed=True), POLICY, alive=True) is not None


@pytest.mark.parametrize("said", [None, "submitted"])
@pytest.mark.parametrize(("score", "expected"), [(0.0, "rejected"), (0.0001, "accepted"), (1.0, "accepted")])
def test_a_verdict_decides_what_was_or_may_have_been_submitted(said, score, expected):
    assert outcome(state(said, verdicts=[verdict(score=score)])) == expected


@pytest.mark.parametrize("said", ["withheld", "failed", "cancelled"])
def test_a_verdict_decides_nothing_about_the_rest(said):
    found = settle(state(said, verdicts=[verdict(score=0.9)]), Now(1, 1, "boot"), POLICY, alive=False)
    assert (found.outcome, found.verdict, len(found.others)) == (said, None, 1)


_FEEDBACK = st.builds(
    verdict,
    at=st.integers(0, 50),
    score=st.one_of(st.none(), st.sampled_from([0.0, 0.6, 0.9])),
    invalid=st.booleans(),
    fields=st.sampled_from([{}, {"validation_failed": True}]),
)


@given(st.lists(_FEEDBACK, max_size=6), st.randoms())
def test_the_first_firm_verdict_wins_in_whatever_order_they_are_read(verdicts, dice):
    mixed = list(verdicts)
    dice.shuffle(mixed)
    chosen, order = choose(mixed), chronology(verdicts)
    assert (chosen and order(chosen)) == (choose(verdicts) and order(choose(verdicts)))
    firm = [v for v in verdicts if not replaceable(v.feedback)]
    if firm:
        assert order(chosen) == min(map(order, firm))
    if chosen is not None:
        assert (verdict_word(chosen.feedback) == "invalid") is chosen.feedback.invalid


def given(wall, boot, boot_id="one", place="w-1"):
    return Verdict(place, boot_id, Feedback(wall, boot, "id", said=True, score=0.5))


@pytest.mark.parametrize(
    "verdicts",
    [
        [given(100, 10), given(50, 20)],  # set back in between
        [given(100, 10), given(900, 11), given(110, 20)],  # set ahead, and back
        [given(100, 10), given(200, 5, "two")],  # another boot: by wall time
        [given(100, 0), given(200, 0)],  # of a clock that nobody knows
        [given(100, 10, place="w-9"), given(100, 10, place="w-10")],
    ],
)
def test_verdicts_are_in_the_order_in_which_they_came_whatever_the_wall_clock_did(verdicts):
    assert in_order(verdicts) == in_order(verdicts[::-1]) == verdicts
