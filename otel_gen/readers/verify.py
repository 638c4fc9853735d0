"""Verify: look at every promise that files can show, while a service writes or after it is gone."""

from __future__ import annotations

import os
import sqlite3
import time
from dataclasses import dataclass
from typing import Any

from otel_gen import history
from otel_gen.aggregate import Aggregates
from otel_gen.clock import Clock, boot_id
from otel_gen.errors import StorageError
from otel_gen.files import Folder
from otel_gen.index import Index
from otel_gen.lines import CONFIG_HISTORY
from otel_gen.readers import counters
from otel_gen.readers.artifacts import Hashes, check_named, check_unnamed
from otel_gen.readers.findings import REBUILD, RECOVER, RESTORE, Report
from otel_gen.readers.indexed import opened_index
from otel_gen.readers.indexing import check_index
from otel_gen.readers.journal import leader, read_journal
from otel_gen.readers.places import check_deletion, check_modes, check_quarantine, check_totals
from otel_gen.readers.strict import fault
from otel_gen.readers.survey import Surveyor
from otel_gen.readers.undelivered import check_damage, check_denied, check_feedback, check_open
from otel_gen.settle import Now
from otel_gen.tree import DOT

LOOKS = 4
BETWEEN = 0.7  # seconds; a leader passes every 0.25 s, and a new one takes over within 1 s


def verify(data_dir: Any, clock: Clock | None = None) -> Report:
    """Check a data_dir, read-only. What is only on its way while a service works is not reported.

    A problem counts when every one of several looks finds it; without one the first look is the last.
    Raises StorageError where there is no such directory.
    """
    root = Folder.root(os.fspath(data_dir), create=False)
    look = _Look(root, clock or Clock(), Hashes())
    try:
        report = look.report()
        for _ in range(LOOKS - 1):
            if report.ok or not look.somebody_works:
                break
            time.sleep(BETWEEN)
            before = {(one.kind, one.place) for one in report.problems}
            report = look.report()
            report.problems = [one for one in report.problems if (one.kind, one.place) in before]
        return report
    finally:
        root.close()


@dataclass
class _Look:
    root: Folder
    clock: Clock
    hashes: Hashes
    somebody_works: bool = False

    def report(self) -> Report:
        """Look at everything once: index, then segments, then files, so that nothing is missed on its way."""
        report = Report(self.root.path, leader=leader(self.root))
        try:
            with opened_index(self.root) as index:
                self._with_index(report, index)
        except (StorageError, sqlite3.Error) as error:
            report = Report(self.root.path, leader=report.leader)  # what was found by half may come again
            reason = error.reason if isinstance(error, StorageError) else str(error)
            report.problem("index", f"{DOT}/index", reason, REBUILD)
            self._with_index(report, None, broken=True)
        check_config(report, self.root)
        check_quarantine(report, self.root)
        check_totals(report, self.root)
        check_deletion(report, self.root)
        report.notes = list(dict.fromkeys(report.notes))
        return report

    def _with_index(self, report: Report, index: Index | None, *, broken: bool = False) -> None:
        journal = read_journal(self.root)
        self.somebody_works = report.leader is not None or bool(journal.living)
        asked = {v.feedback.id for v in journal.feedback} - {""}
        with history.opened(self.root) as files:
            surveyor = Surveyor(report, index, Aggregates(counters.names_of(index)), asked)
            survey = surveyor.read(files)
        check_damage(report, self.root, journal, survey)
        check_denied(report, journal)
        if index is not None:
            check_index(report, self.root, index, survey, journal)
        elif survey.ids and not broken and self.root.exists(DOT):
            report.problem("index", f"{DOT}/index", "there is no index of the records", RECOVER)
        check_open(report, journal, survey, Now(self.clock.wall(), self.clock.boot(), boot_id()))
        check_feedback(report, journal, survey)
        check_modes(report, self.root, survey)
        check_named(report, self.root, survey, self.hashes)
        check_unnamed(report, self.root, survey, self.clock.wall())


def check_config(report: Report, root: Folder) -> None:
    """Report damage in the history of the miner's settings."""
    offset = 0
    for line in root.read(CONFIG_HISTORY).splitlines(keepends=True) if root.exists(CONFIG_HISTORY) else ():
        wrong = fault(line)[1]
        if wrong:
            report.problem("line", f"{CONFIG_HISTORY}, offset {offset}", f"the line {wrong}", RESTORE)
        offset += len(line)
