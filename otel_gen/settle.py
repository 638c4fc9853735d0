"""Settle: decide, purely, whether a generation's record is final and with which outcome.

unended, worker alive ........................ wait
replayed, worker alive ....................... wait: its feedback may come later in the file
unended, worker gone, no submission .......... interrupted
left behind by its caller, worker gone ....... as if it had ended
withheld / failed / cancelled, ended ......... that, at once
ended, nothing said, no verdict .............. unsubmitted
submitted (or a verdict proves it) ........... accepted / rejected by its verdict,
                                               unscored after feedback_timeout, or at once where
                                               the caller has no more to say, else wait
"""

from __future__ import annotations

from dataclasses import dataclass

from otel_gen import semconv as sc
from otel_gen.events import Feedback
from otel_gen.fold import Generation, Verdict, in_order
from otel_gen.settings import Policy


@dataclass(frozen=True, slots=True)
class Now:
    """The moment of a decision; with `fixed` all ages go by wall time (`recover --now`)."""

    wall: int
    boot: int
    boot_id: str
    fixed: bool = False

    def age(self, wall: int, boot: int, boot_id: str) -> float:
        """Seconds since an event, by boot time within one boot."""
        if boot and not self.fixed and boot_id == self.boot_id:
            return (self.boot - boot) / 1e9
        return (self.wall - wall) / 1e9


@dataclass(frozen=True, slots=True)
class Settled:
    """A final decision."""

    outcome: str
    verdict: Verdict | None
    others: list[Verdict]
    """Verdicts and notes that did not decide, in order; they become amendments."""


def verdict_word(feedback: Feedback) -> str | None:
    """Name a verdict: accepted, rejected, invalid; None for a note."""
    if not feedback.said:
        return None
    if feedback.invalid:
        return "invalid"
    return "accepted" if (feedback.score or 0) > 0 else "rejected"


def outcome_word(feedback: Feedback) -> str:
    """Name the outcome that a verdict leads to."""
    return "accepted" if verdict_word(feedback) == "accepted" else "rejected"


def replaceable(feedback: Feedback) -> bool:
    """Tell whether a later finite score replaces this verdict: its own was no number in 0..1."""
    return feedback.invalid and feedback.fields.get("validation_failed") is not True


def choose(verdicts: list[Verdict]) -> Verdict | None:
    """Pick the deciding verdict: the first, but a score that is no number yields to a later finite one."""
    said = [v for v in in_order(verdicts) if v.feedback.said]
    firm = [v for v in said if not replaceable(v.feedback)]
    return firm[0] if firm else said[0] if said else None


def settle(gen: Generation, now: Now, policy: Policy, *, alive: bool) -> Settled | None:
    """Decide; None means wait."""
    if not gen.known or (alive and (gen.root is None or gen.pending or gen.source)):
        return None
    verdict = choose([v for v in gen.verdicts if _timely(gen, v, policy)])
    outcome = _outcome(gen, verdict, now, policy)
    if outcome is None:
        return None
    if outcome not in ("accepted", "rejected"):
        verdict = None
    others = [v for v in in_order(gen.verdicts) if v is not verdict]
    return Settled(outcome, verdict, others)


def _outcome(gen: Generation, verdict: Verdict | None, now: Now, policy: Policy) -> str | None:
    said = gen.said
    if said == "submitted" or (verdict is not None and (said is None or not gen.ended)):
        if verdict is not None:
            return outcome_word(verdict.feedback)
        return "unscored" if _overdue(gen, now, policy) else None
    if not gen.ended:
        return "interrupted"
    return said or "unsubmitted"


def _timely(gen: Generation, verdict: Verdict, policy: Policy) -> bool:
    """Tell whether a verdict came before its record was written; of a replayed one its spans tell."""
    if not gen.source or gen.root is None:
        return True
    submitted = gen.submitted_wall
    last = gen.root.end if submitted is None else submitted + int(policy.feedback_timeout * 1e9)
    return verdict.feedback.wall <= last


def _overdue(gen: Generation, now: Now, policy: Policy) -> bool:
    wall = gen.submitted_wall or gen.last_wall
    waits = not gen.source and gen.attributes.get(sc.FINAL) is not True
    return not waits or now.age(wall, gen.submitted_boot, gen.boot_id) >= policy.feedback_timeout
