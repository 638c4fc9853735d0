"""Delivery: the effects of settling, in the one order that survives a crash anywhere.

    segments synced -> artifacts named -> lines appended and synced -> index transaction -> deletions

After a crash a line that is there is marked delivered by its id; what is not there is delivered again. What
is to be deleted stands in the index until it is.
"""

from __future__ import annotations

from typing import Any

import msgspec

from otel_gen import afterwords, aggregate, catalog, room, rows, verdicts
from otel_gen.aggregate import Key
from otel_gen.clock import Clock
from otel_gen.configlog import ConfigLog
from otel_gen.events import Configured, Said
from otel_gen.files import closed_on_failure
from otel_gen.fold import Generation, Verdict
from otel_gen.ledger import Ledger
from otel_gen.placing import Placing
from otel_gen.plan import Plan
from otel_gen.record import Record, build, seal
from otel_gen.settings import Policy
from otel_gen.settle import Settled
from otel_gen.store import Store
from otel_gen.tables import AmendmentRow, Delivered
from otel_gen.tree import Tree
from otel_gen.view import Counts, View

_loads = msgspec.json.Decoder().decode


class Delivery:
    """Gather a plan, then `flush` it; until then nothing outside the journal has changed but file names."""

    def __init__(self, tree: Tree, clock: Clock, today: dict[str, Any] | None = None) -> None:
        self.tree = tree
        self.store = Store(tree.root, tree.staging)
        self.ledger = Ledger(tree, self.store)
        self.index = self.ledger.index
        self.aggregates = self.ledger.aggregates
        with closed_on_failure(self):
            self.config = ConfigLog(tree)
        self.plan = Plan()
        self.placing = Placing(self.index, self.store, clock, today or {})
        self._artifacts_changed = True

    # --- what the leader asks --------------------------------------------------------------------------
    def known(self, generation_id: str) -> Delivered | None:
        """Find a generation that is delivered, or about to be."""
        return self.plan.delivered.get(generation_id) or self.index.delivered(generation_id)

    @property
    def aside_counts(self) -> Counts:
        """What was set aside, as capture errors."""
        return self.ledger.aside_counts

    # --- gathering -------------------------------------------------------------------------------------
    def record(self, gen: Generation, settled: Settled, policy: Policy, *, attempt: int) -> None:
        """Plan the record of a settled generation, its artifacts and the amendments of what came beside."""
        placed = self.placing.place(gen, settled, policy, self.plan)
        try:
            record = build(gen, settled, attempt=attempt, placed=placed)
            line = seal(record)
            digest = aggregate.output_digest(record)
            row = rows.from_settled(gen, settled, record, digest)
        except (TypeError, ValueError, LookupError, AttributeError, msgspec.MsgspecError) as error:
            self._refuse(gen, settled, attempt, error)
            return
        repeated = digest is not None and (digest in self.plan.digests or self.index.repeats(digest))
        self.plan.delivered[gen.id] = row
        if digest is not None and row.source is None:
            self.plan.digests.add(digest)
        self.plan.history.append(line)
        self.plan.amended[gen.id] += rows.said_late(record)
        self.plan.config += self.config.line(record)
        self.ledger.count_record(_loads(line), repeated=repeated)
        for verdict in settled.others:
            self.feedback(row, verdict, policy)

    def _refuse(self, gen: Generation, settled: Settled, attempt: int, error: Exception) -> None:
        """Keep in quarantine what makes no record, so that it blocks no other."""
        self.plan.delivered[gen.id] = Delivered(gen.id, None, attempt, gen.start, settled.outcome)
        text = f"{error!r}\n{gen.head!r}\n{gen.attributes!r}\n{list(gen.stages.values())!r}"
        self.ledger.set_aside(f"{gen.id}.record", text.encode("utf-8", "replace"))

    def feedback(self, row: Delivered, verdict: Verdict, policy: Policy) -> None:
        """Plan what feedback does to a record that is written, or about to be."""
        earlier = self.index.amendments_of(row.id) + self.plan.amended[row.id]
        if verdicts.known_already(row, verdict, earlier):
            self.plan.amended[row.id] += rows.acknowledged(row, verdict, earlier)
            return
        applied = verdicts.applies(row, verdict)
        replaced = rows.replaced(row) if applied else []
        late = verdicts.late(row, verdict, applied=applied)
        if late.applied:
            self.plan.amended[row.id] += replaced
            self.placing.move(row, verdict, late.amendment, policy, self.plan)
            self.plan.delivered[row.id] = row
        self._amend(late.amendment, late.row, row)

    def afterword(self, row: Delivered, event_id: str, said: Said) -> None:
        """Plan the amendment of what was said of a generation whose record is written."""
        known = self.plan.amended[row.id]
        if self.index.amended(event_id) or any(one.event_id == event_id for one in known):
            return
        amendment, amended = afterwords.amendment(row, event_id, said)
        if amended.applied:
            self.plan.delivered[row.id] = row
        self._amend(amendment, amended, row)

    def configured(self, event_id: str, event: Configured) -> None:
        """Plan the line of settings that the application told itself."""
        self.plan.config += self.config.told(event_id, event)

    def _amend(self, amendment: Record, amended: AmendmentRow, row: Delivered) -> None:
        self.plan.amendments.append(seal(amendment))
        self.plan.amended[row.id].append(amended)
        metadata = {"validator_uid": row.validator, "source": row.source}
        self.ledger.count_amendment(amendment, metadata)

    def set_feedback_aside(self, verdict: Verdict) -> None:
        """Plan to set feedback aside that no generation turned up for."""
        event = msgspec.to_builtins(verdict.feedback)
        line = {
            "event_id": verdict.event_id,
            "kind": "feedback",
            "reason": "no such generation",
            "event": event,
        }
        self.plan.aside += self.ledger.aside_line(verdict.event_id, line)

    def set_spans_aside(self, gen: Generation) -> None:
        """Plan to set stages aside whose generation never began."""
        line = {
            "event_id": gen.id,
            "kind": "spans",
            "reason": "stages without a generation",
            "n": len(gen.stages),
        }
        self.plan.aside += self.ledger.aside_line(gen.id, line)

    def expire(self, wall: int) -> None:
        """Take back the paths of outputs whose verdict never came, and of those that a full disk cannot hold."""
        self.placing.pressed = room.missing(self.tree.root)
        for given_up in (self.placing.overdue, self.placing.spare):
            for row, amendment, amended in given_up(wall, self.plan):
                self._amend(amendment, amended, row)
        self.flush(None)

    # --- the effects, in order -------------------------------------------------------------------------
    def flush(self, view: View | None) -> None:
        """Carry the plan out. After an error this object is of no more use: a new one begins from disk."""
        plan = self.plan
        if plan.empty:
            return
        if view is not None:
            view.sync()
        self.store.sync()
        places = self.ledger.append(plan)
        with self.index.transaction():
            self.ledger.commit(plan, places)
        self._after(plan)

    def _after(self, plan: Plan) -> None:
        self.plan = Plan()
        for name in plan.staged:
            self.tree.staging.unlink(name)
        self.ledger.bury()
        if plan.artifacts or plan.dropped:
            self.refresh()

    def refresh(self) -> None:
        """Learn anew what is kept, after references changed."""
        self._artifacts_changed = True
        self.placing.refresh()

    # --- numbers ---------------------------------------------------------------------------------------
    def commit_numbers(self, counts: Counts, gauges: dict[str, float], cursors: dict[str, int]) -> None:
        """Store event counts, gauges and cursors where they changed."""
        found = _known(counts)
        found |= {(name, ()): value for name, value in gauges.items()}
        if self._artifacts_changed:
            found |= self._artifact_gauges()
        self.ledger.commit_numbers(found, cursors)
        self._artifacts_changed = False

    def _artifact_gauges(self) -> dict[Key, float]:
        sums: dict[str, list[int]] = {kind: [0, 0] for kind in catalog.KINDS}
        for kind, (count, size) in self.placing.totals.items():
            of = sums["image" if kind == "output_image" else kind]
            of[0] += count
            of[1] += size
        found: dict[Key, float] = {}
        for kind, (count, size) in sums.items():
            found["gen3d_artifacts", (kind,)] = count
            found["gen3d_artifact_bytes", (kind,)] = size
        return found

    def forget_cursors(self, names: Any) -> None:
        """Forget how far segments were read that are about to be deleted."""
        with self.index.transaction():
            self.index.set_cursors((), names)

    def close(self) -> None:
        """Let files go."""
        self.store.close()
        self.ledger.close()


def _known(counts: Counts) -> dict[Key, float]:
    """Add up event counts by their series."""
    found: dict[Key, float] = {}
    for (name, label), n in counts.items():
        key = catalog.key(name, label)
        if key is not None:
            found[key] = found.get(key, 0) + n
    return found
