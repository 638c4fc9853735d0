"""Retain: decide which artifacts of a settled generation are kept, and where."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from otel_gen import semconv as sc
from otel_gen.fold import Generation
from otel_gen.settings import Policy
from otel_gen.store import Artifact

UNDECIDED = ("unscored", "unsubmitted", "interrupted")
"""Outcomes after which a verdict may still come: outputs wait for it."""
SAMPLED = ("rejected", "withheld")
_STAGED = re.compile(r"([0-9a-f]{64})\.[0-9a-f]{8}\.[a-z0-9]{1,8}")
_HASH = re.compile(r"sha256:([0-9a-f]{64})")


def artifacts(gen: Generation) -> list[Artifact]:
    """List what a generation staged; names that are not ours are not believed."""
    found = []
    for kind in sc.ARTIFACT_KINDS:
        prefix = f"{sc.ARTIFACT}{kind}."
        digest = _HASH.fullmatch(str(gen.attributes.get(f"{prefix}hash")))
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


def output_fate(outcome: str, score: float | None, generation_id: str, policy: Policy) -> str:
    """Say what becomes of an output: keep, undecided, sample or discard."""
    if outcome == "accepted":
        return "keep" if (score or 0) >= policy.ply_min_score else "discard"
    if outcome in UNDECIDED:
        return "undecided" if policy.undecided_keep > 0 else "discard"
    if outcome in SAMPLED and in_sample(generation_id, policy.rejected_sample_rate):
        return "sample"
    return "discard"
