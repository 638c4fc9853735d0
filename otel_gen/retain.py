"""Retain: decide which artifacts of a settled generation are kept, and as what."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from otel_gen import semconv as sc
from otel_gen.clock import iso
from otel_gen.fold import Generation
from otel_gen.settings import Policy
from otel_gen.settle import Settled, replaceable
from otel_gen.store import Artifact

UNDECIDED: Final = ("unscored", "unsubmitted", "interrupted")
"""Outcomes after which a verdict may still come: outputs wait for it."""
SAMPLED: Final = ("rejected", "withheld")
TERMS: Final = ("ply_min_score", "rejected_sample_rate", "rejected_sample_max_bytes")
"""Settings of the generation's worker by which a late verdict decides; they stand in the record meanwhile."""
_STAGED = re.compile(r"([0-9a-f]{64})\.[0-9a-f]{8}\.[a-z0-9]{1,8}")
_HASH = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(slots=True)
class Placed:
    """Where the artifacts of one generation went."""

    paths: dict[str, str] = field(default_factory=dict)
    """Kind -> kept file, relative to data_dir."""
    sample_hash: str | None = None
    undecided: dict[str, Any] | None = None
    """Until when outputs wait for a verdict, and by which settings it will decide."""
    missing: bool = False
    """A staged file was nowhere to be found."""


def artifacts(gen: Generation) -> list[Artifact]:
    """List what a generation staged; names that are not ours are not believed."""
    found = []
    for kind in sc.ARTIFACT_KINDS:
        prefix = f"{sc.ARTIFACT}{kind}."
        if f"{prefix}hash" not in gen.attributes:
            continue
        digest = _HASH.fullmatch(str(gen.attributes[f"{prefix}hash"]))
        if digest is not None:
            size: Any = gen.attributes.get(f"{prefix}size")
            staged = str(gen.attributes.get(f"{prefix}staged") or "")
            named = _STAGED.fullmatch(staged)
            staged = staged if named and named[1] == digest[1] else ""
            found.append(Artifact(kind, digest[1], size if isinstance(size, int) else 0, staged))
    return found


def in_sample(generation_id: str, rate: float) -> bool:
    """Choose by a hash of the id, so that a repeat decides the same."""
    drawn = int.from_bytes(hashlib.sha256(generation_id.encode()).digest()[:8], "big")
    return drawn < rate * 2**64


def fate_of(settled: Settled, generation_id: str, policy: Policy) -> str:
    """Say what becomes of the outputs of a settled generation: keep, undecided, sample or discard."""
    verdict = settled.verdict
    waits = settled.outcome in UNDECIDED or (verdict is not None and replaceable(verdict.feedback))
    if waits:
        return "undecided" if policy.undecided_keep > 0 else "discard"
    score = verdict.feedback.score if verdict is not None else None
    return decided_fate(settled.outcome, score, generation_id, policy)


def decided_fate(outcome: str, score: float | None, generation_id: str, policy: Policy) -> str:
    """Say what becomes of outputs that wait for nothing: keep, sample or discard."""
    if outcome == "accepted":
        return "keep" if (score or 0) >= policy.ply_min_score else "discard"
    if outcome in SAMPLED and in_sample(generation_id, policy.rejected_sample_rate):
        return "sample"
    return "discard"


def undecided(until: int, policy: Policy) -> dict[str, Any]:
    """Describe a wait for a verdict, for the record."""
    return {"until": iso(until), **{name: getattr(policy, name) for name in TERMS}}


def terms(found: dict[str, Any]) -> str:
    """Take the settings of a wait as the index keeps them."""
    return msgspec.json.encode({name: found[name] for name in TERMS if name in found}).decode()


def by_terms(text: str | None, policy: Policy, today: dict[str, Any]) -> Policy:
    """Give the policy for a late verdict: the generation's own terms, today's settings above them."""
    own = msgspec.json.decode(text) if text else {}
    known = own | {name: today[name] for name in TERMS if name in today}
    return Policy(**{name: known.get(name, getattr(policy, name)) for name in Policy.__struct_fields__})
