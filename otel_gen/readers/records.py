"""Read records: every line of every month, its amendments laid over."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from otel_gen import history
from otel_gen.files import Folder
from otel_gen.history import History
from otel_gen.older import completed
from otel_gen.overlay import overlay
from otel_gen.record import Record


def read(data_dir: Any = None) -> Iterator[Record]:
    """Iterate over the records of a data_dir, oldest month first, amendments overlaid.

    data_dir: a path; OTEL_GEN_DATA_DIR, then `data`, unless given. All are of one moment, whatever a service
    writes or rotates meanwhile. Raises StorageError where there is none; what is no whole record is passed
    over (`otel-gen verify` names it).
    """
    root = Folder.root(os.fspath(data_dir or os.environ.get("OTEL_GEN_DATA_DIR") or "data"), create=False)
    try:
        with history.opened(root) as found:
            yield from overlaid(found)
    finally:
        root.close()


def overlaid(found: History) -> Iterator[Record]:
    """Iterate over the records of a snapshot as their amendments make them."""
    amended = amendments(found)
    for part in found.months:
        for record in history.records_in(part):
            yield seen(record, amended)


def seen(record: Record, amended: dict[str, list[Record]]) -> Record:
    """Give a record as readers see it: complete, with what came later laid over."""
    return overlay(completed(record), amended.get(record["metadata"]["generation_id"], []))


def amendments(found: History) -> dict[str, list[Record]]:
    """Collect amendments that are not folded yet, by generation id, in their order."""
    by_id: defaultdict[str, list[Record]] = defaultdict(list)
    for _, line in found.amendments.lines() if found.amendments else ():
        amendment = history.parsed(line)
        if isinstance(amendment.get("generation_id"), str) and isinstance(amendment.get("applied"), bool):
            by_id[amendment["generation_id"]].append(amendment)
    return by_id
