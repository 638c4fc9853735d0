"""Leader: the one process that reads all segments, settles generations and delivers their records.

    poll the journal -> fold -> settle -> (sync segments, artifacts, lines, index transaction) -> delete segments

A step that fails raises; its leader is closed and a new one takes everything from disk again. Nothing is skipped.
"""

from __future__ import annotations

import time
from typing import Any

from msgspec import structs

from otel_gen import deletion
from otel_gen import semconv as sc
from otel_gen.clock import Clock, boot_id
from otel_gen.deliver import Delivery
from otel_gen.events import Began, Command, Configured, Event, Feedback, Noted, Said, Span, Started
from otel_gen.files import closed_on_failure
from otel_gen.fold import Generation
from otel_gen.inbox import Inbox
from otel_gen.recall import Recall
from otel_gen.retain import artifacts
from otel_gen.settings import Policy
from otel_gen.settle import Now, Settled, settle
from otel_gen.tree import Tree
from otel_gen.unwritten import Open, Unwritten, Word
from otel_gen.view import Source, View

_SLICE = 0.0002
_PAUSE = 0.00005


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
        self.open = Unwritten()
        self.commands: list[Command] = []
        self._alive: dict[str, bool] = {}
        self._slice_start = 0.0
        self._swept = False
        self._known_done: set[str] = set()
        self.delivery = Delivery(tree, clock, self._today)
        self.inbox = Inbox(self.view, self.delivery, self.open, self._policy)
        with closed_on_failure(self):
            self.recall = Recall(tree, self.view, self.delivery.ledger.set_aside)
            deletion.finish(self)

    # --- one pass --------------------------------------------------------------------------------------
    def step(self, now: Now | None = None) -> int:
        """Read what is new, deliver what is settled, delete what is done; returns the records written."""
        self._read()
        if self.inbox.ripen():
            self._read()
        # Not before: what was read would be of the future, and a wait of 0 seconds would last until the next pass.
        now = now or Now(self.clock.wall(), self.clock.boot(), boot_id())
        self.delivery.placing.at(now)
        self._notice_deaths()
        self.inbox.hand_out(now)
        written = 0
        while batch := self._settled(now):
            written += self._deliver(batch)
        self.delivery.expire(now.wall)
        self._sweep()
        self.recall.set_aside_damage()
        self.recall.warn_of_denied()
        self._commit_numbers(now)
        self._delete_segments()
        return written

    def _read(self) -> None:
        self._known_done.clear()
        for source, sequence, event in self.view.poll():
            self._take(source, sequence, event)
            self._breathe()

    def _take(self, source: Source, sequence: int, event: Event) -> None:
        if isinstance(event, (Feedback, Said)):
            self.inbox.take(source, sequence, event)
        elif isinstance(event, (Span, Noted, Started, Began)):
            self._fold(source, event)
        elif isinstance(event, Configured):
            self.delivery.configured(f"{source.worker}-{sequence}", event)
        elif isinstance(event, Command):
            self.commands.append(event)

    def _fold(self, source: Source, event: Word) -> None:
        if event.id not in self.open and self._is_done(event.id):
            self._discard_late_staging(event)
        else:
            gen = self.open.take(source, event)
            if not self._alive.get(gen.worker, True):  # read late, behind what told of its death
                self.open.look_at(gen.id)

    def _is_done(self, id_: str) -> bool:
        """Tell whether the record is written; a start too may be read after it, behind damage."""
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
        workers = {one.gen.worker for one in self.open} if self._deaths_possible() else set()
        dead = {worker for worker in workers if self._alive.get(worker, True) and not self.view.alive(worker)}
        self._alive.update(dict.fromkeys(dead, False))
        for one in self.open if dead else ():
            if one.gen.worker in dead:
                self.open.look_at(one.gen.id)

    def _deaths_possible(self) -> bool:
        gone = {s.worker for s in self.view.sources.values() if s.dead or s.closed}
        return any(self._alive.get(worker, True) for worker in gone)

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
        batch: list[tuple[Open, Settled, Policy]] = []
        for one in self.open.changed(now.boot / 1e9):
            policy = self._policy(one.gen.worker)
            found = settle(one.gen, now, policy, alive=self.view.alive(one.gen.worker))
            if found is not None:
                batch.append((one, found, policy))
            elif one.gen.root is not None or not self.view.alive(one.gen.worker):
                self._look_again(one, now, policy)
            self._breathe()
            if len(batch) >= self.BATCH:
                break
        return batch

    def _look_again(self, one: Open, now: Now, policy: Policy) -> None:
        if not one.gen.known:
            self.delivery.set_spans_aside(one.gen)  # stages whose generation never began: no phantom
            self.open.forget(one)
        elif one.gen.submitted_wall is not None:
            left = policy.feedback_timeout - now.age(
                one.gen.submitted_wall, one.gen.submitted_boot, one.gen.boot_id
            )
            self.open.look_at(one.gen.id, now.boot / 1e9 + max(left, 0.05))

    def settle_now(self, generation_id: str, now: Now) -> bool:
        """Write the record of an open generation without waiting for a verdict; False while it runs."""
        one = self.open.get(generation_id)
        if one is None:
            return False
        policy = self._policy(one.gen.worker)
        impatient = structs.replace(policy, feedback_timeout=0.0)
        found = settle(one.gen, now, impatient, alive=self.view.alive(one.gen.worker))
        return found is not None and bool(self._deliver([(one, found, policy)]))

    def _deliver(self, batch: list[tuple[Open, Settled, Policy]]) -> int:
        for one, found, policy in batch:
            self.delivery.record(one.gen, found, policy, attempt=self._attempt(one.gen))
            self._breathe()
        self.delivery.flush(self.view)
        for one, _, _ in batch:
            self.open.forget(one)
        return len(batch)

    def _attempt(self, gen: Generation) -> int:
        """Number an attempt: one more than the starts of its task before it."""
        given = gen.attributes.get(sc.TASK_ATTEMPT)
        if isinstance(given, int) and given > 0:
            return given
        if not gen.task_id:
            return 1
        earlier = self.open.earlier_attempts(gen)
        index = self.delivery.index
        before, highest, taken = index.attempts(gen.task_id, gen.start, gen.id)
        attempt = max(before + earlier, highest) + 1
        while attempt <= taken and index.attempt_taken(gen.task_id, attempt):
            attempt += 1
        return attempt

    # --- the rest of a pass ----------------------------------------------------------------------------------
    def _sweep(self) -> None:
        """Once: remove staged files that stood there before the journals were read and that nothing refers to."""
        if self._swept or self.view.denied:  # what cannot be read may refer to them
            return
        self._swept = True
        self.view.sweep_spares()
        needed = {artifact.staged for one in self.open for artifact in artifacts(one.gen)}
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
        for one in self.open:
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

    def breathe(self) -> None:
        """Do the same in longer work that is done on this thread for others."""
        self._breathe()

    def close(self) -> None:
        """Let files go."""
        self.view.close()
        self.delivery.close()
