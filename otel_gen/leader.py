"""Leader: the one process that reads all segments, settles generations and delivers their records.

    poll the journal -> fold -> settle -> (sync segments, artifacts, lines, index transaction) -> delete segments

A step that fails raises; its leader is closed and a new one takes everything from disk again. Nothing is skipped.
"""

from __future__ import annotations

import heapq
import time
from typing import Any

from otel_gen import semconv as sc
from otel_gen.attempts import Attempts
from otel_gen.clock import Clock, boot_id
from otel_gen.deliver import Delivery
from otel_gen.events import Began, Command, Configured, Event, Feedback, Noted, Said, Span, Started
from otel_gen.fold import Generation, Verdict
from otel_gen.recall import Recall
from otel_gen.retain import artifacts
from otel_gen.settings import Policy
from otel_gen.settle import Now, Settled, settle
from otel_gen.tree import Tree
from otel_gen.view import Source, View

_SLICE = 0.0002
_PAUSE = 0.00005
_LEAST_WAIT = 60.0


class Open:
    """A generation without a record, and the segments that hold its events."""

    __slots__ = ("gen", "sources")

    def __init__(self, gen: Generation) -> None:
        self.gen = gen
        self.sources: set[Source] = set()


class Leader:
    """State of the journal as the leader knows it; `step` does one pass."""

    BATCH = 256

    def __init__(
        self, tree: Tree, clock: Clock, *, today: dict[str, Any] | None = None, paced: bool = False
    ) -> None:
        self.tree, self.clock = tree, clock
        self._today, self.paced = today or {}, paced
        self._staged_before = set(tree.staging.names())
        self.view = View(tree.segments)
        self.delivery = Delivery(tree, clock, self._today)
        self.recall = Recall(tree, self.view, self.delivery.ledger.set_aside)
        self.open: dict[str, Open] = {}
        self.waiting: list[tuple[Verdict, Source]] = []
        self.afterwords: list[tuple[str, Said, Source]] = []
        self.commands: list[Command] = []
        self._attempts = Attempts()
        self._dirty: set[str] = set()
        self._due: list[tuple[float, str]] = []
        self._alive: dict[str, bool] = {}
        self._slice_start = 0.0
        self._swept = False
        self._known_done: set[str] = set()

    # --- one pass --------------------------------------------------------------------------------------
    def step(self, now: Now | None = None) -> int:
        """Read what is new, deliver what is settled, delete what is done; returns the records written."""
        now = now or Now(self.clock.wall(), self.clock.boot(), boot_id())
        self.delivery.placing.now = now.wall
        self._read()
        self._notice_deaths()
        self._hear_afterwords()
        self._resolve(now)
        written = 0
        while batch := self._settled(now):
            written += self._deliver(batch)
        self.delivery.expire(now.wall)
        self._sweep()
        self.recall.set_aside_damage()
        self._commit_numbers(now)
        self._delete_segments()
        return written

    def _read(self) -> None:
        self._known_done.clear()
        for source, sequence, event in self.view.poll():
            self._take(source, sequence, event)
            self._breathe()

    def _take(self, source: Source, sequence: int, event: Event) -> None:
        if isinstance(event, Said):
            source.refs += 1
            self.afterwords.append((f"{source.worker}-{sequence}", event, source))
        elif isinstance(event, (Span, Noted, Started, Began)):
            self._fold(source, event)
        elif isinstance(event, Feedback):
            source.refs += 1
            event_id = event.origin or f"{source.worker}-{sequence}"
            self.waiting.append((Verdict(event_id, source.boot_id, event), source))
        elif isinstance(event, Configured):
            self.delivery.configured(f"{source.worker}-{sequence}", event)
        elif isinstance(event, Command):
            self.commands.append(event)

    def _fold(self, source: Source, event: Started | Noted | Began | Span) -> None:
        one = self.open.get(event.id)
        if one is None:
            if self._is_done(event):
                self._discard_late_staging(event)
                return
            one = self.open[event.id] = Open(Generation(event.id, source.worker, source.boot_id))
        if source not in one.sources:
            one.sources.add(source)
            source.refs += 1
        gen = one.gen
        gen.apply(event)
        if (event is gen.started or event is gen.root) and gen.task_id:
            self._attempts.add(gen.task_id, (gen.start, gen.id))
        if gen.root is not None or not gen.known:
            self._dirty.add(gen.id)

    def _is_done(self, event: Started | Noted | Began | Span) -> bool:
        """Tell whether the record is written; a start that came after this leader's first pass cannot be."""
        id_ = event.id
        if isinstance(event, Started) and self._swept:
            return False
        if id_ not in self._known_done and self.delivery.index.is_delivered(id_):
            self._known_done.add(id_)
        return id_ in self._known_done

    def _discard_late_staging(self, event: Event) -> None:
        """An artifact staged after its record was written (its worker was thought dead) has no place."""
        attributes = getattr(event, "attributes", {})
        for kind in sc.ARTIFACT_KINDS:
            name = attributes.get(f"{sc.ARTIFACT}{kind}.staged")
            if isinstance(event, Noted) and isinstance(name, str) and "/" not in name:
                self.tree.staging.unlink(name)

    def _notice_deaths(self) -> None:
        workers = {one.gen.worker for one in self.open.values()} if self._deaths_possible() else set()
        dead = {worker for worker in workers if self._alive.get(worker, True) and not self.view.alive(worker)}
        if dead:
            self._alive.update(dict.fromkeys(dead, False))
            self._dirty.update(id_ for id_, one in self.open.items() if one.gen.worker in dead)

    def _deaths_possible(self) -> bool:
        gone = {s.worker for s in self.view.sources.values() if s.dead or s.closed}
        return any(self._alive.get(worker, True) for worker in gone)

    def _hear_afterwords(self) -> None:
        """Give what was said after the end to a generation without a record, else to its record."""
        said, self.afterwords = self.afterwords, []
        for event_id, event, source in said:
            one, row = self.open.get(event.id), self.delivery.known(event.id)
            if one is not None:
                self._fold(source, event)
                one.gen.heard.append(event_id)
            elif row is not None:
                self.delivery.afterword(row, event_id, event)
        self.delivery.flush(self.view)
        for _, _, source in said:
            source.refs -= 1

    # --- feedback ------------------------------------------------------------------------------------------
    def _resolve(self, now: Now) -> None:
        """Give each feedback to its generation; one that nobody knows waits, then is set aside."""
        self.waiting.sort(key=lambda item: item[0].order)
        late: list[tuple[Verdict, Source]] = []
        still: list[tuple[Verdict, Source]] = []
        for verdict, source in self.waiting:
            if self._give_open(verdict, source):
                continue
            done = self._give_late(verdict, source) or self._give_up(verdict, source, now)
            (late if done else still).append((verdict, source))
        self.delivery.flush(self.view)
        self.waiting = still
        for _, source in late:
            source.refs -= 1

    def _give_open(self, verdict: Verdict, source: Source) -> bool:
        """Give feedback to a generation without a record; its segment is then needed by that."""
        target = verdict.feedback.id or self._latest_attempt(verdict.feedback)
        one = self.open.get(target or "")
        if one is None or not one.gen.known:
            return False
        if all(v.event_id != verdict.event_id for v in one.gen.verdicts):
            one.gen.verdicts.append(verdict)
        if source in one.sources:
            source.refs -= 1
        one.sources.add(source)
        self._dirty.add(one.gen.id)
        return True

    def _give_late(self, verdict: Verdict, source: Source) -> bool:
        target = verdict.feedback.id or self._latest_attempt(verdict.feedback)
        row = self.delivery.known(target) if target else None
        if row is None:
            return False
        self.delivery.feedback(row, verdict, self._policy(source.worker))
        return True

    def _latest_attempt(self, feedback: Feedback) -> str | None:
        """Choose the attempt that was the latest submitted one when a verdict came, however late it is read.

        Else the latest that had begun by then, whose submission the verdict proves; else one that came since.
        """
        candidates = self.delivery.index.last_attempts(feedback.task_id, feedback.wall)
        for id_ in self._attempts.latest_first(feedback.task_id):
            gen = self.open[id_].gen
            if gen.said == "submitted":
                then = (gen.submitted_wall or gen.start) <= feedback.wall
                candidates.append((gen.start <= feedback.wall, then, True, gen.start, id_))
                if then:
                    break
        return max(candidates)[-1] if candidates else None

    def _give_up(self, verdict: Verdict, source: Source, now: Now) -> bool:
        feedback = verdict.feedback
        if feedback.source and self.view.alive(source.worker):
            return False  # its generation may come later in the file that is replayed
        patience = max(self._policy(source.worker).feedback_timeout, _LEAST_WAIT)
        if now.age(feedback.wall, feedback.boot, verdict.boot_id) < patience:
            return False
        self.delivery.set_feedback_aside(verdict)
        return True

    # --- settling -----------------------------------------------------------------------------------------
    def _policy(self, worker: str) -> Policy:
        policy = next((s.policy for s in self.view.sources.values() if s.worker == worker), Policy())
        known = {k: v for k, v in self._today.items() if k in Policy.__struct_fields__}
        return (
            policy
            if not known
            else Policy(**{f: known.get(f, getattr(policy, f)) for f in Policy.__struct_fields__})
        )

    def _settled(self, now: Now) -> list[tuple[Open, Settled, Policy]]:
        """Take the next batch of settled generations; those that wait get a time to be looked at again."""
        while self._due and self._due[0][0] <= now.boot / 1e9:
            self._dirty.add(heapq.heappop(self._due)[1])
        batch: list[tuple[Open, Settled, Policy]] = []
        for id_ in sorted(self._dirty):
            if len(batch) >= self.BATCH:
                break
            self._dirty.discard(id_)
            one = self.open.get(id_)
            if one is None:
                continue
            policy = self._policy(one.gen.worker)
            found = settle(one.gen, now, policy, alive=self.view.alive(one.gen.worker))
            if found is not None:
                batch.append((one, found, policy))
            elif one.gen.root is not None or not self.view.alive(one.gen.worker):
                self._look_again(one, now, policy)
            self._breathe()
        return batch

    def _look_again(self, one: Open, now: Now, policy: Policy) -> None:
        if not one.gen.known:
            self.delivery.set_spans_aside(one.gen)  # stages whose generation never began: no phantom
            self._forget(one)
        elif one.gen.submitted_wall is not None:
            left = policy.feedback_timeout - now.age(
                one.gen.submitted_wall, one.gen.submitted_boot, one.gen.boot_id
            )
            heapq.heappush(self._due, (now.boot / 1e9 + max(left, 0.05), one.gen.id))

    def _deliver(self, batch: list[tuple[Open, Settled, Policy]]) -> int:
        for one, found, policy in batch:
            self.delivery.record(one.gen, found, policy, attempt=self._attempt(one.gen))
            self._breathe()
        self.delivery.flush(self.view)
        for one, _, _ in batch:
            self._forget(one)
        return len(batch)

    def _attempt(self, gen: Generation) -> int:
        """Number an attempt: one more than the starts of its task before it."""
        given = gen.attributes.get(sc.TASK_ATTEMPT)
        if isinstance(given, int) and given > 0:
            return given
        if not gen.task_id:
            return 1
        earlier = self._attempts.before(gen.task_id, (gen.start, gen.id))
        index = self.delivery.index
        before, highest, taken = index.attempts(gen.task_id, gen.start, gen.id)
        attempt = max(before + earlier, highest) + 1
        while attempt <= taken and index.attempt_taken(gen.task_id, attempt):
            attempt += 1
        return attempt

    def _forget(self, one: Open) -> None:
        self.open.pop(one.gen.id, None)
        if one.gen.task_id:
            self._attempts.remove(one.gen.task_id, (one.gen.start, one.gen.id))
        for source in one.sources:
            source.refs -= 1

    # --- the rest of a pass ----------------------------------------------------------------------------------
    def _sweep(self) -> None:
        """Once: remove staged files that stood there before the journals were read and that nothing refers to."""
        if self._swept:
            return
        self._swept = True
        self.view.sweep_spares()
        needed = {artifact.staged for one in self.open.values() for artifact in artifacts(one.gen)}
        living = [s.created for s in self.view.sources.values() if not s.dead]
        for name in self._staged_before - needed:
            state = self.tree.staging.stat(name)
            if state is not None and state.st_mtime_ns < min(living, default=state.st_mtime_ns + 1):
                self.tree.staging.unlink(name)

    def _commit_numbers(self, now: Now) -> None:
        counts = self.recall.totals()  # with what is at zero: a validator that was seen and sent nothing yet
        counts.update(self.delivery.aside_counts)
        self.delivery.commit_numbers(counts, self._gauges(now), self.recall.cursors())

    def _gauges(self, now: Now) -> dict[str, float]:
        running = awaiting = 0
        oldest = now.wall
        for one in self.open.values():
            gen = one.gen
            if gen.root is None:
                running += 1
            elif gen.said == "submitted":
                awaiting += 1
            else:
                oldest = min(oldest, gen.root.end)
        return {
            "gen3d_in_flight": running,
            "gen3d_awaiting_feedback": awaiting,
            "gen3d_oldest_undelivered_wall": 0 if oldest == now.wall else oldest / 1e9,
        }

    def _delete_segments(self) -> None:
        done = [source for source in self.view.sources.values() if source.done]
        if done:
            self.recall.retire(done)
            self.delivery.forget_cursors(source.name for source in done)
            for source in done:
                self.view.remove(source)

    def _breathe(self) -> None:
        """Give the interpreter lock away every 0.2 ms, so that the application's threads never wait long."""
        if self.paced and time.perf_counter() - self._slice_start > _SLICE:
            time.sleep(_PAUSE)
            self._slice_start = time.perf_counter()

    def close(self) -> None:
        """Let files go."""
        self.view.close()
        self.delivery.close()
