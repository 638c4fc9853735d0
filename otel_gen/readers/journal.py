"""The journal as a reader sees it: what the segments of all processes hold, by files alone."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from otel_gen.errors import StorageError
from otel_gen.events import Began, Feedback, Noted, Span, Started, encode
from otel_gen.files import Folder
from otel_gen.fold import Generation, Verdict
from otel_gen.segment import Damage
from otel_gen.settings import Policy
from otel_gen.settle import Now, Settled, settle
from otel_gen.tree import DOT, LOCK
from otel_gen.view import Source, View

SEGMENTS = "segments"


def inner(root: Folder, *names: str) -> Folder | None:
    """Open a folder of a data_dir without making anything; None where there is none."""
    folder = root
    for name in names:
        found = folder.sub(name, create=False) if folder.exists(name) else None
        if folder is not root:
            folder.close()
        if found is None:
            return None
        folder = found
    return folder


def leader(root: Folder) -> str | None:
    """Name the process that delivers for this data_dir now; None where none does. Raises StorageError."""
    dot = inner(root, DOT)
    if dot is None:
        return None
    try:
        with dot.opened(LOCK) as fd:
            return _holder(fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        path = os.path.join(dot.path, LOCK)
        raise StorageError(
            path, f"cannot be read ({error.strerror})", "make it a plain file of yours"
        ) from error
    finally:
        dot.close()


def _holder(fd: int) -> str | None:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back with the descriptor, at once
    except BlockingIOError:
        return (os.pread(fd, 64, 0).decode("ascii", "replace").split() or ["unknown"])[0]
    return None


@dataclass
class Journal:
    """Everything in the segments at one moment; a live segment's last event may be missing."""

    generations: dict[str, Generation] = field(default_factory=dict)
    feedback: list[Verdict] = field(default_factory=list)
    living: set[str] = field(default_factory=set)
    """Workers whose process lives."""
    policies: dict[str, Policy] = field(default_factory=dict)
    damage: list[tuple[str, Damage]] = field(default_factory=list)
    """Segment, and the stretch in it that holds no event though it is not empty."""
    unreadable: list[tuple[str, int, str]] = field(default_factory=list)
    """Segment, offset and reason of each event that cannot be understood."""
    denied: dict[str, str] = field(default_factory=dict)
    """Segments that we may not open, and why."""

    def without(self, delivered: Iterable[str]) -> dict[str, Generation]:
        """Give the generations that really began and have no record."""
        done = set(delivered)
        return {id_: gen for id_, gen in self.generations.items() if gen.known and id_ not in done}

    def settled(self, gen: Generation, now: Now) -> Settled | None:
        """Decide as a leader would; None means that it still waits."""
        return settle(gen, now, self.policies.get(gen.worker, Policy()), alive=gen.worker in self.living)


def read_journal(root: Folder, about: str = "") -> Journal:
    """Read all segments of a data_dir; verdicts are given to the generations they name.

    about: an id, to read only the events that name it, several times as fast.
    """
    journal = Journal()
    segments = inner(root, DOT, SEGMENTS)
    if segments is None:
        return journal
    view = View(segments, encode(about) if about else b"")
    try:
        for source, sequence, event in view.poll():
            _take(journal, source, sequence, event)
        journal.damage = [(source.name, damage) for source, damage in view.damage()]
        journal.unreadable, journal.denied = view.unreadable, view.denied
        workers = {source.worker: source.policy for source in view.sources.values()}
        journal.policies = workers
        journal.living = {worker for worker in workers if view.alive(worker)}
    finally:
        view.close()
        segments.close()
    _give_feedback(journal)
    return journal


def _take(journal: Journal, source: Source, sequence: int, event: object) -> None:
    if isinstance(event, Feedback):
        journal.feedback.append(Verdict(f"{source.worker}-{sequence}", source.boot_id, event))
    elif isinstance(event, (Started, Noted, Began, Span)):
        gen = journal.generations.get(event.id)
        if gen is None:
            gen = journal.generations[event.id] = Generation(event.id, source.worker, source.boot_id)
        gen.apply(event)


def _give_feedback(journal: Journal) -> None:
    latest: dict[str, Generation] = {}
    for gen in journal.generations.values():
        if gen.known and gen.task_id:
            latest[gen.task_id] = max(latest.get(gen.task_id, gen), gen, key=_submitted_last)
    for verdict in journal.feedback:
        target = journal.generations.get(verdict.feedback.id) or latest.get(verdict.feedback.task_id)
        if target is not None:
            target.verdicts.append(verdict)


def _submitted_last(gen: Generation) -> tuple[bool, int, str]:
    return gen.said == "submitted", gen.start, gen.id
