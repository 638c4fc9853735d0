"""Delivery: the effects of settling, in the one order that survives a crash anywhere.

    segments synced -> artifacts at their final names -> lines appended and synced -> index transaction -> deletions

After a crash a line that is there is marked delivered by its id; what is not there is delivered again.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from otel_gen import aggregate, catalog, retain, verdicts
from otel_gen.clock import Clock
from otel_gen.configlog import ConfigLog
from otel_gen.fold import Generation, Verdict
from otel_gen.index import AmendmentRow, ArtifactRow, Delivered
from otel_gen.ledger import Ledger
from otel_gen.plan import Plan
from otel_gen.record import Record, build, seal
from otel_gen.rows import from_settled
from otel_gen.settings import Policy
from otel_gen.settle import Settled, verdict_word
from otel_gen.store import SAMPLE_PREFIX, Artifact, Store
from otel_gen.tree import Tree
from otel_gen.view import Counts, View

_loads = msgspec.json.Decoder().decode
_PATH_KEYS = {"ply": "ply_file_path", "spz": "spz_file_path"}


class Delivery:
    """Gather a plan, then `flush` it; until then nothing outside the journal has changed but file names."""

    def __init__(self, tree: Tree, clock: Clock) -> None:
        self.tree, self.clock = tree, clock
        self.store = Store(tree.root, tree.staging)
        self.ledger = Ledger(tree, self.store)
        self.index = self.ledger.index
        self.aggregates = self.ledger.aggregates
        self.config = ConfigLog(tree)
        self.plan = Plan()
        self._sample_bytes = self.index.totals().get("rejected_sample", (0, 0))[1]
        self._due = self.index.next_due()
        self._artifacts_changed = True

    # --- what the leader asks -----------------------------------------------------------------------------
    def known(self, generation_id: str) -> Delivered | None:
        """Find a generation that is delivered, or about to be."""
        return self.plan.delivered.get(generation_id) or self.index.delivered(generation_id)

    @property
    def aside_counts(self) -> Counts:
        """What was set aside, as capture errors."""
        return self.ledger.aside_counts

    # --- gathering ------------------------------------------------------------------------------------------
    def record(self, gen: Generation, settled: Settled, policy: Policy, *, attempt: int) -> None:
        """Plan the record of a settled generation, its artifacts and the amendments of what came beside."""
        paths = self._place(gen, settled, policy)
        record = build(gen, settled, attempt=attempt, paths=paths)
        digest = aggregate.output_digest(record)
        repeated = digest is not None and (digest in self.plan.digests or self.index.repeats(digest))
        row = from_settled(gen, settled, record, digest)
        self.plan.delivered[gen.id] = row
        self.plan.digests |= {digest} if digest else set()
        try:
            line = seal(record)
        except (TypeError, ValueError, msgspec.EncodeError) as error:
            self.tree.set_aside(
                f"{gen.id}.record", repr(error).encode() + b"\n" + repr(record).encode("utf-8", "replace")
            )
            self.ledger.quarantined()
            return
        self.plan.history.append(line)
        self.plan.config += self.config.line(record)
        self.ledger.count_record(_loads(line), repeated=repeated)
        for verdict in settled.others:
            self.feedback(row, verdict, policy)

    def _place(self, gen: Generation, settled: Settled, policy: Policy) -> dict[str, str]:
        score = settled.verdict.feedback.score if settled.verdict else None
        fate = retain.output_fate(settled.outcome, score, gen.id, policy)
        paths: dict[str, str] = {}
        for artifact in retain.artifacts(gen):
            if not artifact.staged:
                continue
            if artifact.kind in ("image", "output_image"):
                self._keep(gen.id, artifact, artifact.kind, paths)
            elif fate == "keep":
                self._keep(gen.id, artifact, artifact.kind, paths)
            elif fate == "undecided":
                due = self.clock.wall() + int(policy.undecided_keep * 1e9)
                self._keep(gen.id, artifact, artifact.kind, paths, due=due)
            elif fate == "sample" and self._sample_room(artifact.size, policy):
                self._keep(gen.id, artifact, "rejected_sample", paths)
            else:
                self.plan.staged.append(artifact.staged)
                self.plan.paths += [self.store.final(artifact), self.store.final(artifact, sample=True)]
        return paths

    def _sample_room(self, size: int, policy: Policy) -> bool:
        return self._sample_bytes + self.plan.sample_bytes + size <= policy.rejected_sample_max_bytes

    def _keep(
        self, id_: str, artifact: Artifact, kind: str, paths: dict[str, str], due: int | None = None
    ) -> None:
        sample = kind == "rejected_sample"
        path = self.store.final(artifact, sample=sample)
        other = self.index.at_path(path)
        if other is not None and other.digest != artifact.digest:
            path = self.store.final(artifact, sample=sample, long=True)
        if not self.store.keep(artifact, path):
            return
        paths[kind] = path
        self.plan.artifacts.append(ArtifactRow(id_, kind, artifact.digest, path, artifact.size, due))
        self.plan.sample_bytes += artifact.size if sample else 0

    def feedback(self, row: Delivered, verdict: Verdict, policy: Policy) -> None:
        """Plan what feedback does to a record that is written, or about to be."""
        earlier = self.index.amendments_of(row.id) + [a for a in self.plan.amended.values() if a.id == row.id]
        if verdicts.known_already(row, verdict, earlier):
            return
        late = verdicts.late(row, verdict, applied=verdicts.applies(row, verdict))
        if late.applied:
            self._move_output(row, verdict, late.amendment, policy)
            self.plan.delivered[row.id] = row
        self._amend(late.amendment, late.row, row)

    def _amend(self, amendment: Record, amended: AmendmentRow, row: Delivered) -> None:
        self.plan.amendments.append(seal(amendment))
        self.plan.amended[amended.event_id] = amended
        metadata = {"validator_uid": row.validator, "source": row.source}
        self.ledger.count_amendment(amendment, metadata)

    def _move_output(self, row: Delivered, verdict: Verdict, amendment: Record, policy: Policy) -> None:
        """After a late verdict: an accepted output stays, a rejected one goes or becomes a sample."""
        word = "accepted" if verdict_word(verdict.feedback) == "accepted" else "rejected"
        fate = retain.output_fate(word, verdict.feedback.score, row.id, policy)
        for kept in self._kept_outputs(row.id):
            self.plan.dropped.append((kept.id, kept.kind))
            if fate == "keep":
                self.plan.artifacts.append(ArtifactRow(kept.id, kept.kind, kept.digest, kept.path, kept.size))
                continue
            output: dict[str, Any] = {_PATH_KEYS.get(kept.kind, "rejected_sample_path"): None}
            if fate == "sample" and self._sample_room(kept.size, policy):
                output |= self._to_sample(kept)
            amendment["changes"].setdefault("generation", {})["output"] = output
            self.plan.paths.append(kept.path)

    def _kept_outputs(self, generation_id: str) -> list[ArtifactRow]:
        rows = {(a.id, a.kind): a for a in self.index.artifacts_of(generation_id)}
        rows |= {(a.id, a.kind): a for a in self.plan.artifacts if a.id == generation_id}
        return [row for row in rows.values() if row.kind in ("ply", "spz")]

    def _to_sample(self, kept: ArtifactRow) -> dict[str, Any]:
        path = f"{SAMPLE_PREFIX}{kept.path.rpartition('/')[2]}"
        if not self.store.copy(kept.path, path):
            return {}
        self.plan.artifacts.append(ArtifactRow(kept.id, "rejected_sample", kept.digest, path, kept.size))
        self.plan.sample_bytes += kept.size
        return {"rejected_sample_path": path, "rejected_sample_hash": f"sha256:{kept.digest}"}

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
        """Take back the paths of outputs whose verdict never came."""
        if self._due is None or self._due > wall:
            return
        for kept in self.index.overdue(wall):
            row = self.index.delivered(kept.id)
            self.plan.dropped.append((kept.id, kept.kind))
            self.plan.paths.append(kept.path)
            if row is not None:
                amendment = verdicts.retention(kept, wall)
                amended = AmendmentRow(amendment["event_id"], kept.id, "output", None, None, None, True)
                if not self.index.amended(amended.event_id):
                    self._amend(amendment, amended, row)
        self.flush(None)

    # --- the effects, in order ---------------------------------------------------------------------------------
    def flush(self, view: View | None) -> None:
        """Carry the plan out. After an error this object is of no more use: a new one takes all from disk again."""
        plan = self.plan
        if plan.empty:
            return
        if view is not None:
            view.sync()
        places = self.ledger.append(plan)
        with self.index.transaction():
            self.ledger.commit(plan, places)
        self._after(plan)

    def _after(self, plan: Plan) -> None:
        self.plan = Plan()
        for name in plan.staged:
            self.tree.staging.unlink(name)
        for path in plan.paths:
            if self.index.at_path(path) is None:
                self.store.remove(path)
        if plan.artifacts or plan.dropped:
            self._artifacts_changed = True
            self._sample_bytes = self.index.totals().get("rejected_sample", (0, 0))[1]
            self._due = self.index.next_due()

    # --- numbers -----------------------------------------------------------------------------------------------------
    def commit_numbers(self, counts: Counts, gauges: dict[str, float], cursors: dict[str, int]) -> None:
        """Store event counts, gauges and cursors where they changed."""
        found: dict[tuple[str, tuple[str, ...]], float] = {
            (name, (label,) if catalog.METRICS[name].labels else ()): n
            for (name, label), n in _known(counts).items()
        }
        found |= {(name, ()): value for name, value in gauges.items()}
        if self._artifacts_changed:
            found |= self._artifact_gauges()
        self.ledger.commit_numbers(found, cursors)
        self._artifacts_changed = False

    def _artifact_gauges(self) -> dict[tuple[str, tuple[str, ...]], float]:
        sums: dict[str, list[int]] = {kind: [0, 0] for kind in catalog.KINDS}
        for kind, (count, size) in self.index.totals().items():
            of = sums["image" if kind == "output_image" else kind]
            of[0] += count
            of[1] += size
        found: dict[tuple[str, tuple[str, ...]], float] = {}
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


def _known(counts: Counts) -> Counts:
    """Put unknown names and labels under what is in the catalogue."""
    found: Counts = Counter()
    for (name, label), n in counts.items():
        metric = catalog.METRICS.get(name)
        if metric is not None:
            known = metric.known[0] if metric.known else None
            found[name, label if known is None or label in known else "other"] += n
    return found
