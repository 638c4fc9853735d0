"""Watch: what the leader's process says in the log: running totals, and where space runs short."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from otel_gen.aggregate import Key
from otel_gen.clock import Clock
from otel_gen.settings import Settings
from otel_gen.snapshot import Snapshot

log = logging.getLogger("otel_gen")

Counters = Mapping[Key, float]
_SECOND = 1_000_000_000
_OUTPUTS = ("ply", "spz", "rejected_sample")
_KEEP_LESS = "keep less (ply_min_score, rejected_sample_rate, store_ply)"


class Watch:
    """Look at the numbers after each pass; costs a comparison but once a minute and once in a while."""

    LOOK = 60 * _SECOND  # between two looks at the space
    AGAIN = 3600 * _SECOND  # before the same warning is given again

    def __init__(self, settings: Settings, snapshot: Snapshot, clock: Clock) -> None:
        self._settings, self._snapshot, self._clock = settings, snapshot, clock
        self._steps: float | None = None
        self._next = 0
        self._said: dict[str, int] = {}

    def look(self, *, leads: bool) -> None:
        """Say what there is to say; a process that does not lead keeps up in silence, to go on from there."""
        counters = self._snapshot.counters
        self._totals(counters, leads=leads)
        if leads and self._clock.boot() >= self._next:
            self._next = self._clock.boot() + self.LOOK
            self._free()
            self._outputs(counters)

    def _totals(self, counters: Counters, *, leads: bool) -> None:
        """Give the totals whenever the records reach another multiple of the interval."""
        every = self._settings.stats_interval
        steps = counters.get(("gen3d_records", ()), 0) // every if every else 0
        if leads and self._steps is not None and steps > self._steps:
            log.info("otel_gen: %s", totals(counters, self._settings.data_dir))
        self._steps = steps

    def _free(self) -> None:
        free, size = self._snapshot.free
        limit = self._settings.disk_free_alert_ratio
        if size and free / size < limit and self._due("free"):
            log.warning(
                "otel_gen: %.1f %% (%s) of the file system of %s is free, below disk_free_alert_ratio = %g: "
                "make room there, or %s",
                100 * free / size, _gigabytes(free), self._settings.data_dir, limit, _KEEP_LESS,
            )  # fmt: skip

    def _outputs(self, counters: Counters) -> None:
        size = sum(counters.get(("gen3d_artifact_bytes", (kind,)), 0) for kind in _OUTPUTS)
        limit = self._settings.ply_storage_alert_bytes
        if size > limit and self._due("outputs"):
            log.warning(
                "otel_gen: the outputs in %s/ply_files take %s, above ply_storage_alert_bytes = %s: "
                "%s, or raise the limit",
                self._settings.data_dir, _gigabytes(size), _gigabytes(limit), _KEEP_LESS,
            )  # fmt: skip

    def _due(self, what: str) -> bool:
        now, last = self._clock.boot(), self._said.get(what)
        if last is not None and now - last < self.AGAIN:
            return False
        self._said[what] = now
        return True


def totals(counters: Counters, data_dir: str) -> str:
    """Write the running totals of a data_dir in one line."""
    accepted, rejected = (_sum(counters, "gen3d_feedback", word) for word in ("accepted", "rejected"))
    n = accepted + rejected
    judged = f"{accepted / n:.1%} of n = {n:g} verdicts" if n else "no verdict yet"
    failed, withheld = (_sum(counters, "gen3d_generations", word) for word in ("failed", "withheld"))
    records = counters.get(("gen3d_records", ()), 0)
    return (
        f"{records:.0f} records in {data_dir}: {accepted:.0f} accepted ({judged}), "
        f"{failed:.0f} failed, {withheld:.0f} withheld"
    )


def _sum(counters: Counters, name: str, word: str) -> float:
    return sum(n for (metric, labels), n in counters.items() if metric == name and labels[-1] == word)


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.1f} GB"
