"""Placing: decide where artifacts go, bring them there before a record names them, note what goes away after.

Nothing is moved: a staged file gets a final name beside its own and loses that one after the commit, so
that a crash at any moment leaves it to be found again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from otel_gen import retain, verdicts
from otel_gen.clock import Clock
from otel_gen.fold import Generation, Verdict
from otel_gen.index import Index
from otel_gen.plan import Plan
from otel_gen.record import Record
from otel_gen.retain import Placed
from otel_gen.settings import Policy
from otel_gen.settle import Now, Settled, outcome_word, replaceable
from otel_gen.store import SAMPLE_PREFIX, Artifact, Store
from otel_gen.tables import FOREVER, AmendmentRow, ArtifactRow, Delivered

_PICTURES = ("image", "output_image")
_JUMP = 1_000_000_000


class Placing:
    """Add to a plan what a record, a late verdict or a wait that is over means for files.

    Waits count from the wall time of the pass (`now`), and last by boot time within one boot.
    """

    def __init__(self, index: Index, store: Store, clock: Clock, today: dict[str, Any]) -> None:
        self._index, self._store, self._today = index, store, today
        self.pressed = 0
        """Bytes that the disk is short of: nothing is sampled meanwhile, and what may go goes."""
        self.now = clock.wall()
        self._pace = index.meta("pace").split()
        """Boot, and by how much the wall clock was ahead of its boot time."""
        self.totals: dict[str, tuple[int, int]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Learn anew, after a commit, what is kept and what waits for a verdict."""
        self.totals = self._index.totals()
        self._sample_bytes = self.totals.get("rejected_sample", (0, 0))[1]
        self._due = self._index.next_due()

    def at(self, now: Now) -> None:
        """Take the time of a pass; after a jump of the wall clock, waits end as much later or earlier."""
        self.now, ahead = now.wall, now.wall - now.boot
        same_boot = self._pace[:1] == [now.boot_id]
        jump = ahead - int(self._pace[1]) if same_boot else 0
        if now.fixed or (same_boot and abs(jump) < _JUMP):
            return
        self._pace = [now.boot_id, str(ahead)]
        with self._index.transaction():
            self._index.wait_longer(jump)
            self._index.set_meta(pace=" ".join(self._pace))
        self._due = self._index.next_due()

    # --- a record --------------------------------------------------------------------------------------
    def place(self, gen: Generation, settled: Settled, policy: Policy, plan: Plan) -> Placed:
        """Keep or give up the artifacts of a settled generation."""
        placed = Placed()
        found = [artifact for artifact in retain.artifacts(gen) if artifact.staged]
        fate = retain.fate_of(settled, gen.id, policy) if found else ""
        for artifact in found:
            plan.staged.append(artifact.staged)
            if artifact.kind in _PICTURES:
                self._keep(gen.id, artifact, artifact.kind, placed, plan)
            elif fate == "undecided":
                self._wait(gen.id, artifact, policy, placed, plan)
            elif fate == "keep":
                self._keep(gen.id, artifact, artifact.kind, placed, plan)
                self._leave(artifact, plan, (True,))
            elif fate == "sample" and not placed.sample_hash and self._room(artifact.size, policy, plan):
                self._keep(gen.id, artifact, "rejected_sample", placed, plan)
                self._leave(artifact, plan, (False,))
            else:
                self._leave(artifact, plan, (False, True))
        return placed

    def _wait(self, id_: str, artifact: Artifact, policy: Policy, placed: Placed, plan: Plan) -> None:
        until = int(min(self.now + policy.undecided_keep * 1e9, FOREVER)) // 1000 * 1000
        waits = placed.undecided or retain.undecided(until, policy)
        row = self._keep(id_, artifact, artifact.kind, placed, plan)
        if row is not None:
            placed.undecided = waits
            row.due, row.terms = until, retain.terms(waits)
        self._leave(artifact, plan, (True,))

    def _keep(
        self, id_: str, artifact: Artifact, kind: str, placed: Placed, plan: Plan
    ) -> ArtifactRow | None:
        path = self._path(artifact, plan, sample=kind == "rejected_sample")
        if not self._store.keep(artifact, path):
            placed.missing = True
            return None
        placed.paths[kind] = path
        if kind == "rejected_sample":
            placed.sample_hash = f"sha256:{artifact.digest}"
            plan.sample_bytes += artifact.size
        row = ArtifactRow(id_, kind, artifact.digest, path, artifact.size)
        plan.artifacts[id_, kind] = row
        return row

    def _path(self, artifact: Artifact, plan: Plan, *, sample: bool) -> str:
        """Choose a name that no other content has; images are named by the beginning of their digest."""
        for long in (False, True):
            path = self._store.final(artifact, sample=sample, long=long)
            other = plan.at_path(path) or self._index.at_path(path)
            if other.digest == artifact.digest if other else self._is_free(path, artifact):
                return path
        self._store.remove(path)  # named by its whole digest, and not what that name says
        return path

    def _is_free(self, path: str, artifact: Artifact) -> bool:
        return self._store.digest(path) in (None, artifact.digest)

    def _leave(self, artifact: Artifact, plan: Plan, samples: tuple[bool, ...]) -> None:
        """Remove what an interrupted delivery, that decided otherwise, has named already."""
        for sample in samples:
            path = self._store.final(artifact, sample=sample)
            if self._store.exists(path):
                plan.paths.append(path)

    def _room(self, size: int, policy: Policy, plan: Plan) -> bool:
        budget = 0 if self.pressed else policy.rejected_sample_max_bytes
        return self._sample_bytes + plan.sample_bytes + size <= budget

    # --- a late verdict --------------------------------------------------------------------------------
    def move(self, row: Delivered, verdict: Verdict, amendment: Record, policy: Policy, plan: Plan) -> None:
        """After an applied verdict: an accepted output stays, a rejected one goes or becomes a sample."""
        kept = [one for one in self._references(row.id, plan) if one.kind in ("ply", "spz")]
        if not kept or replaceable(verdict.feedback):
            return  # a score that is no number may be replaced: outputs wait on
        policy = retain.by_terms(kept[0].terms, policy, self._today)
        word = outcome_word(verdict.feedback)
        fate = retain.decided_fate(word, verdict.feedback.score, row.id, policy)
        output: dict[str, Any] = {"undecided": None} if any(one.due for one in kept) else {}
        for one in sorted(kept, key=lambda one: one.kind):
            plan.drop(one)
            if fate == "keep":
                plan.artifacts[one.id, one.kind] = ArtifactRow(
                    one.id, one.kind, one.digest, one.path, one.size
                )
                continue
            output[verdicts.PATH_KEYS[one.kind]] = None
            if (
                fate == "sample"
                and "rejected_sample_path" not in output
                and self._room(one.size, policy, plan)
            ):
                output |= self._to_sample(one, plan)
            plan.paths.append(one.path)
        amendment["changes"].setdefault("generation", {})["output"] = output

    def _references(self, generation_id: str, plan: Plan) -> list[ArtifactRow]:
        rows = {(one.id, one.kind): one for one in self._index.artifacts_of(generation_id)}
        rows |= {key: one for key, one in plan.artifacts.items() if key[0] == generation_id}
        return [one for key, one in rows.items() if key in plan.artifacts or key not in plan.dropped]

    def _to_sample(self, one: ArtifactRow, plan: Plan) -> Record:
        path = f"{SAMPLE_PREFIX}{one.path.rpartition('/')[2]}"
        if not self._store.copy(one.path, path):
            return {}
        plan.artifacts[one.id, "rejected_sample"] = ArtifactRow(
            one.id, "rejected_sample", one.digest, path, one.size
        )
        plan.sample_bytes += one.size
        return {"rejected_sample_path": path, "rejected_sample_hash": f"sha256:{one.digest}"}

    # --- a wait that is over ---------------------------------------------------------------------------
    def overdue(self, wall: int, plan: Plan) -> list[tuple[Delivered, Record, AmendmentRow]]:
        """Give up outputs whose verdict never came; returns what is to be amended."""
        if self._due is None or self._due > wall:
            return []
        return self._given_up(self._index.overdue(wall), plan, partial(verdicts.retention, wall=wall))

    def spare(self, wall: int, plan: Plan) -> list[tuple[Delivered, Record, AmendmentRow]]:
        """Give files up until the disk has room, some in each pass; returns what is to be amended.

        Samples of rejected outputs go first, then outputs that wait for a verdict, the oldest of each first.
        """
        going: list[ArtifactRow] = []
        for one in self._index.spare() if self.pressed else ():
            if sum(row.size for row in going) >= self.pressed:
                break
            going.append(one)
        return self._given_up(going, plan, partial(verdicts.shed, wall=wall))

    def _given_up(
        self, going: list[ArtifactRow], plan: Plan, amend: Callable[[ArtifactRow], Record]
    ) -> list[tuple[Delivered, Record, AmendmentRow]]:
        found = []
        for one in going:
            if (one.id, one.kind) in plan.dropped:
                continue
            plan.drop(one)
            plan.paths.append(one.path)
            row, amendment = self._index.delivered(one.id), amend(one)
            if row is not None and not self._index.amended(amendment["event_id"]):
                amended = AmendmentRow(
                    amendment["event_id"], one.id, "output", None, None, None, applied=True
                )
                found.append((row, amendment, amended))
        return found
