"""Inbox: verdicts and afterwords, which come on their own: to an open generation, to a record, or set aside."""

from __future__ import annotations

from collections.abc import Callable

from otel_gen.deliver import Delivery
from otel_gen.events import Feedback, Said
from otel_gen.fold import Generation, Verdict, chronology
from otel_gen.settings import Policy
from otel_gen.settle import Now
from otel_gen.unwritten import Unwritten
from otel_gen.view import Source, View

_LEAST_WAIT = 60.0


class Inbox:
    """Keep what came until it is handed out; meanwhile its segments are needed."""

    def __init__(
        self, view: View, delivery: Delivery, unwritten: Unwritten, policy: Callable[[str], Policy]
    ) -> None:
        self._view, self._delivery, self._unwritten, self._policy = view, delivery, unwritten, policy
        self._verdicts: list[tuple[Verdict, Source]] = []
        self._unripe: list[tuple[Verdict, Source]] = []
        """Verdicts for a task: the attempt they are for may stand in a segment that was read before theirs."""
        self._afterwords: list[tuple[str, Said, Source]] = []

    def take(self, source: Source, sequence: int, event: Feedback | Said) -> None:
        """Keep an event."""
        source.refs += 1
        place = f"{source.worker}-{sequence}"
        if isinstance(event, Said):
            self._afterwords.append((place, event, source))
        else:
            verdict = Verdict(event.origin or place, source.boot_id, event)
            (self._verdicts if event.id else self._unripe).append((verdict, source))

    def ripen(self) -> bool:
        """Let the verdicts for a task be handed out after one more reading; tell whether there are any."""
        ripe, self._unripe = self._unripe, []
        self._verdicts += ripe
        return bool(ripe)

    def hand_out(self, now: Now) -> None:
        """Give everything to its generation; a verdict for one that nobody knows waits, then is set aside."""
        self._hear_afterwords()
        self._resolve(now)

    def _hear_afterwords(self) -> None:
        """Give what was said after the end to a generation without a record, else to its record."""
        said, self._afterwords = self._afterwords, []
        for event_id, event, source in said:
            row = self._delivery.known(event.id)
            if event.id in self._unwritten:
                self._unwritten.take(source, event).heard.append(event_id)
            elif row is not None:
                self._delivery.afterword(row, event_id, event)
        self._delivery.flush(self._view)
        for _, _, source in said:
            source.refs -= 1

    def _resolve(self, now: Now) -> None:
        when = chronology(verdict for verdict, _ in self._verdicts)
        self._verdicts.sort(key=lambda item: when(item[0]))
        late: list[tuple[Verdict, Source]] = []
        still: list[tuple[Verdict, Source]] = []
        for verdict, source in self._verdicts:
            target = verdict.feedback.id or self._attempt(verdict)
            if self._give_open(target, verdict, source):
                continue
            done = self._give_late(target, verdict, source) or self._give_up(verdict, source, now)
            (late if done else still).append((verdict, source))
        self._delivery.flush(self._view)
        self._verdicts = still
        for _, source in late:
            source.refs -= 1

    def _give_open(self, target: str | None, verdict: Verdict, source: Source) -> bool:
        """Give feedback to a generation without a record; its segment is then needed by that."""
        one = self._unwritten.get(target)
        if one is None or not one.gen.known:
            return False
        if all(v.event_id != verdict.event_id for v in one.gen.verdicts):
            one.gen.verdicts.append(verdict)
        if not one.needs(source):
            source.refs -= 1
        self._unwritten.look_at(one.gen.id)
        return True

    def _give_late(self, target: str | None, verdict: Verdict, source: Source) -> bool:
        row = self._delivery.known(target) if target else None
        if row is None or row.deleted:  # what comes for a deleted generation is dropped
            return target is not None and self._delivery.index.is_delivered(target)
        self._delivery.feedback(row, verdict, self._policy(source.worker))
        return True

    def _attempt(self, verdict: Verdict) -> str | None:
        """Choose the attempt that a verdict for a task means, once: a leader that reads it again asks the index."""
        given_to = self._delivery.index.given_to(verdict.event_id, verdict.feedback.task_id)
        return given_to or self._latest_attempt(verdict)

    def _latest_attempt(self, verdict: Verdict) -> str | None:
        """Choose the attempt that was the latest submitted one when a verdict came, however late it is read.

        Else the latest that had begun by then, whose submission the verdict proves; else one that came since.
        """
        feedback = verdict.feedback
        boot, boot_id = (feedback.boot, verdict.boot_id) if feedback.boot else (0, "")
        candidates = self._delivery.index.last_attempts(feedback.task_id, feedback.wall, boot, boot_id)
        for gen in self._unwritten.submitted_attempts(feedback.task_id):
            then = _was_submitted(gen, verdict)
            candidates.append((then or gen.start <= feedback.wall, then, True, gen.start, gen.id))
            if then:
                break
        return max(candidates)[-1] if candidates else None

    def _give_up(self, verdict: Verdict, source: Source, now: Now) -> bool:
        feedback = verdict.feedback
        if feedback.source and self._view.alive(source.worker):
            return False  # its generation may come later in the file that is replayed
        patience = max(self._policy(source.worker).feedback_timeout, _LEAST_WAIT)
        if now.age(feedback.wall, feedback.boot, verdict.boot_id) < patience:
            return False
        self._delivery.set_feedback_aside(verdict)
        return True


def _was_submitted(gen: Generation, verdict: Verdict) -> bool:
    if gen.submitted_wall is None:
        return verdict.follows(gen.start, 0, "")
    return verdict.follows(gen.submitted_wall, gen.submitted_boot, gen.boot_id)
