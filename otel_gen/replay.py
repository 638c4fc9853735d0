"""Replay: read OTLP JSON lines, as the Collector's file exporter writes them, into records.

Each line is one request: {"resourceSpans": [{"scopeSpans": [{"spans": [...]}]}]}, ids in hexadecimal, 64-bit
integers as text. Generations that a data_dir knows already are left as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from opentelemetry.sdk.trace import ReadableSpan

from otel_gen import index
from otel_gen.clock import Clock
from otel_gen.errors import StorageError
from otel_gen.events import Span
from otel_gen.exporter import JournalExporter
from otel_gen.foreign import to_event, why_not
from otel_gen.journal import LOST
from otel_gen.otlp import MalformedError, spans_of
from otel_gen.settings import Policy, resolve
from otel_gen.tree import Tree
from otel_gen.wiring import Runtime

SOURCE = "replay"
"""`metadata.source` of a replayed record."""
MALFORMED = "malformed line"
_NAME = "name files of OTLP JSON lines, as the Collector's file exporter writes them"


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What a replay did: records written, spans taken, spans and lines skipped, and why."""

    records: int
    spans: int
    skipped: int
    reasons: dict[str, int]


def replay(
    paths: Iterable[Any], data_dir: Any, *, policy: Policy | None = None, timeout: float = 60.0
) -> ReplayResult:
    """Turn exported spans into records of a data_dir, by its living leader or by leading for a moment.

    The feedback window is that of `policy`, today's settings unless given, judged by the times in the spans.
    Raises StorageError for a file of which nothing can be read and where the records are not delivered in time.
    """
    settings = resolve({"data_dir": data_dir, "metrics_port": None})
    runtime = Runtime(settings, Clock(), policy=policy)
    exporter = JournalExporter(runtime.journal, SOURCE)
    taken: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    known = _Known(settings.data_dir)
    try:
        for path in paths:
            for found in _read(path):
                reason = found if isinstance(found, str) else _take(exporter, found, taken)
                skipped.update([reason] if reason else [])
        new = known.missing(taken)
    finally:
        delivered = runtime.close(timeout)
    if not delivered:
        raise runtime.undelivered()
    records = len(new) - len(known.missing(new))
    return ReplayResult(records, sum(taken.values()), sum(skipped.values()), dict(skipped))


def _read(path: Any) -> Iterator[ReadableSpan | str]:
    """Give the spans of a file, and for each line or span that cannot be read the reason."""
    lines = malformed = 0
    try:
        with open(path, "rb") as file:
            for line in filter(bytes.strip, file):
                lines += 1
                for found in _spans(line):
                    malformed += found == MALFORMED
                    yield found
    except OSError as error:
        raise StorageError(path, error.strerror or str(error), _NAME) from error
    if lines and malformed == lines:
        raise StorageError(path, "no line of it is a request in OTLP JSON", _NAME)


def _spans(line: bytes) -> Iterator[ReadableSpan | str]:
    try:
        yield from spans_of(msgspec.json.decode(line))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MalformedError):
        yield MALFORMED


def _take(exporter: JournalExporter, span: ReadableSpan, taken: Counter[str]) -> str:
    reason = why_not(span)
    if reason:
        return reason
    event = to_event(span, SOURCE)
    if event is None or exporter.take(event) == LOST:
        return "no room in the journal"
    taken[event.id if isinstance(event, Span) else ""] += 1
    return ""


class _Known:
    """Ask the index of a data_dir which generations have a record."""

    def __init__(self, data_dir: str) -> None:
        self._data_dir = data_dir

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Choose the generations that have none."""
        tree = Tree(self._data_dir)
        try:
            reader = index.open_reader(tree.dot)
            if reader is None:
                return [id_ for id_ in ids if id_]
            try:
                return [id_ for id_ in ids if id_ and not reader.is_delivered(id_)]
            finally:
                reader.close()
        finally:
            tree.close()
