"""Read records: every line of every month, its amendments laid over."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import msgspec

from otel_gen import months
from otel_gen.files import Folder
from otel_gen.lines import AMENDMENTS
from otel_gen.overlay import overlay
from otel_gen.record import Record

_loads = msgspec.json.Decoder().decode


def read(data_dir: Any = None) -> Iterator[Record]:
    """Iterate over the records of a data_dir, oldest month first, amendments overlaid.

    data_dir: a path; OTEL_GEN_DATA_DIR, then `data`, unless given. Raises StorageError where there is none;
    lines that are no JSON are passed over (`otel-gen verify` names them).
    """
    root = Folder.root(os.fspath(data_dir or os.environ.get("OTEL_GEN_DATA_DIR") or "data"), create=False)
    try:
        amended = amendments(root)
        for record in months.records(root):
            yield overlay(record, amended.get(record["metadata"]["generation_id"], []))
    finally:
        root.close()


def amendments(root: Folder) -> dict[str, list[Record]]:
    """Collect amendments that are not folded yet, by generation id, in their order."""
    found: defaultdict[str, list[Record]] = defaultdict(list)
    if root.exists(AMENDMENTS):
        for _, line in months.read_lines(root, AMENDMENTS):
            try:
                amendment = _loads(line)
                found[amendment["generation_id"]].append(amendment)
            except (msgspec.DecodeError, KeyError):
                continue
    return found
