"""Scrub: write over the events of one generation, in the segments where they stand, and in quarantine.

A frame keeps its place, length and sequence number, so that whoever reads or writes the segment goes on as
before; what it counted it still counts. Only frames that were read whole are touched: their owner never
comes back to them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

import msgspec

from otel_gen import events
from otel_gen import semconv as sc
from otel_gen.counted import count_of
from otel_gen.errors import StorageError
from otel_gen.events import Command, Counted, Event, Feedback, Header, Noted, Sealed
from otel_gen.files import Folder, write_all
from otel_gen.segment import HEAD_SIZE, SUFFIX, Reader, framed


class Patch(msgspec.Struct):
    """A frame to write: where, and what in place of what stands there."""

    segment: str
    offset: int
    sequence: int
    payload: bytes


class Found(msgspec.Struct):
    """What the journal holds of a generation: the patches that take it out, and the names of staged files."""

    patches: list[Patch] = []
    staged: list[str] = []


def find(segments: Folder, generation_id: str, event_ids: Iterable[str]) -> Found:
    """Look through all segments for the events of a generation; `event_ids`: verdicts given by task id."""
    found, verdicts = Found(), set(event_ids)
    for name in segments.names():
        if name.endswith(SUFFIX):
            for patch, event in _frames(segments, name, generation_id, verdicts):
                found.patches.append(patch)
                found.staged += _staged(event)
    return found


def _frames(
    segments: Folder, name: str, generation_id: str, verdicts: set[str]
) -> Iterator[tuple[Patch, Event]]:
    try:
        reader = Reader(segments, name)
    except (OSError, StorageError):
        return  # gone, or no segment: the leader says so
    worker = ""
    try:
        for sequence, payload, behind in _whole(reader):
            event = events.understood(payload)
            if isinstance(event, Header):
                worker = event.worker
            elif event is not None and (
                _of(event) == generation_id
                or (isinstance(event, Feedback) and f"{worker}-{sequence}" in verdicts)
            ):
                offset = behind - len(payload) - HEAD_SIZE
                yield Patch(name, offset, sequence, _instead(event).ljust(len(payload))), event
    finally:
        reader.close()


def _whole(reader: Reader) -> Iterator[tuple[int, bytes, int]]:
    while True:
        frames = reader.read()
        yield from frames
        if not frames and (reader.alive() or not reader.skip_damage()):
            return


def _of(event: Event) -> str:
    """Tell whose event it is."""
    if isinstance(event, Command):
        return event.argument
    return "" if isinstance(event, (Header, Counted, Sealed)) else str(getattr(event, "id", ""))


def _instead(event: Event) -> bytes:
    """Give an event that counts the same and says nothing else."""
    return events.encode(Counted(*(count_of(event) or ("", "", 0))))


def _staged(event: Event) -> list[str]:
    if not isinstance(event, Noted):
        return []
    names = (event.attributes.get(f"{sc.ARTIFACT}{kind}.staged") for kind in sc.ARTIFACT_KINDS)
    return [name for name in names if isinstance(name, str) and name and "/" not in name]


def apply(segments: Folder, patches: list[Patch]) -> None:
    """Write all patches; a segment that is gone took what was in it along."""
    for name in dict.fromkeys(patch.segment for patch in patches):
        with suppress(FileNotFoundError), segments.opened(name, os.O_RDWR) as fd:
            _write_over(fd, [patch for patch in patches if patch.segment == name])


def _write_over(fd: int, patches: list[Patch]) -> None:
    for patch in patches:
        os.lseek(fd, patch.offset, os.SEEK_SET)
        write_all(fd, framed(patch.sequence, patch.payload))
    os.fdatasync(fd)
