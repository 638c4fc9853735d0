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
from otel_gen.fold import Verdict
from otel_gen.index import Index
from otel_gen.lines import CONFIG_HISTORY
from otel_gen.readers import counters
from otel_gen.readers.artifacts import Hashes, check_named, check_unnamed
from otel_gen.readers.findings import REBUILD, RECOVER, RESTORE, Report
from otel_gen.readers.indexed import opened_index
from otel_gen.readers.journal import Journal, inner, leader, read_journal
from otel_gen.readers.places import check_modes, check_quarantine, check_totals
from otel_gen.readers.strict import fault
from otel_gen.readers.survey import Survey, Surveyor
from otel_gen.settle import Now, verdict_word
from otel_gen.tree import DOT

_ASIDE = f"{RECOVER} (it sets them aside)"
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
        report = Report(leader=leader(self.root))
        try:
            with opened_index(self.root) as index:
                self._with_index(report, index)
        except (StorageError, sqlite3.Error) as error:
            report.problem("index", f"{DOT}/index", str(error), REBUILD)
            self._with_index(report, None)
        check_config(report, self.root)
        check_modes(report, self.root)
        check_quarantine(report, self.root)
        check_totals(report, self.root)
        return report

    def _with_index(self, report: Report, index: Index | None) -> None:
        journal = read_journal(self.root)
        self.somebody_works = report.leader is not None or bool(journal.living)
        asked = {v.feedback.id for v in journal.feedback} - {""}
        with history.opened(self.root) as files:
            surveyor = Surveyor(report, index, Aggregates(counters.names_of(index)), asked)
            survey = surveyor.read(files)
        _check_journal(report, journal, survey, Now(self.clock.wall(), self.clock.boot(), boot_id()))
        check_named(report, self.root, survey, self.hashes)
        check_unnamed(report, self.root, survey)
        if index is not None:
            _check_index(report, self.root, index, survey)
        elif self.root.exists(DOT) and survey.ids:
            report.problem("index", f"{DOT}/index", "there is no index of the records", RECOVER)


def check_config(report: Report, root: Folder) -> None:
    """Report damage in the history of the miner's settings."""
    offset = 0
    for line in root.read(CONFIG_HISTORY).splitlines(keepends=True) if root.exists(CONFIG_HISTORY) else ():
        wrong = fault(line)[1]
        if wrong:
            report.problem("line", f"{CONFIG_HISTORY}, offset {offset}", f"the line {wrong}", RESTORE)
        offset += len(line)


# --- the index ----------------------------------------------------------------------------------------------
def _check_index(report: Report, root: Folder, index: Index, survey: Survey) -> None:
    whole = index.db.execute("PRAGMA quick_check").fetchone()
    if whole != ("ok",):
        report.problem("index", f"{DOT}/{index.name}", f"is damaged ({whole[0]})", REBUILD)
        return
    for id_ in survey.unknown:
        report.problem(
            "unindexed", survey.ids[id_], f"the index does not know the record of generation {id_}", RECOVER
        )
    _check_missing(report, root, index, survey)
    if survey.damaged:
        report.note("counters", "/metrics", "not compared with the files while lines are damaged")
    elif not survey.unknown:
        counters.compare(report, root, index, survey)


def _check_missing(report: Report, root: Folder, index: Index, survey: Survey) -> None:
    refused = _refused(root)
    for (id_,) in index.db.execute("SELECT id FROM delivered"):
        if id_ not in survey.ids and id_ not in refused:
            text = "its record was written and is in no file any more"
            report.problem("missing", f"generation {id_}", text, RESTORE)
            survey.damaged = True


def _refused(root: Folder) -> set[str]:
    folder = inner(root, DOT, "quarantine")
    if folder is None:
        return set()
    found = {name.removesuffix(".record") for name in folder.names() if name.endswith(".record")}
    folder.close()
    return found


# --- the journal ------------------------------------------------------------------------------------------
def _check_journal(report: Report, journal: Journal, survey: Survey, now: Now) -> None:
    for name, damage in journal.damage:
        place, size = f"{DOT}/segments/{name}, offset {damage.offset}", len(damage.data)
        if damage.torn:
            report.note("torn", place, f"{size:,} bytes of an event that was never acknowledged")
        else:
            report.problem("segment", place, f"{size:,} bytes are no event", _ASIDE)
    for name, offset, reason in journal.unreadable:
        place = f"{DOT}/segments/{name}, offset {offset}"
        report.problem("segment", place, f"an event cannot be understood ({reason})", _ASIDE)
    _check_open(report, journal, survey, now)
    _check_feedback(report, journal, survey)


def _check_open(report: Report, journal: Journal, survey: Survey, now: Now) -> None:
    for id_, gen in journal.without(survey.ids).items():
        settled = journal.settled(gen, now)
        if settled is None:
            report.waiting += 1
            continue
        how = "died" if settled.outcome == "interrupted" else "ended"
        text = f"{how} ({settled.outcome}) and has no record"
        report.problem("open", f"generation {id_}", text, _hint(report))


def _check_feedback(report: Report, journal: Journal, survey: Survey) -> None:
    for verdict in journal.feedback:
        id_ = verdict.feedback.id
        if id_ in survey.ids and not _applied(verdict, survey):
            text = f"feedback {verdict.event_id} is not in its record yet"
            report.problem("feedback", f"generation {id_}", text, _hint(report))


def _applied(verdict: Verdict, survey: Survey) -> bool:
    feedback = verdict.feedback
    said = (verdict_word(feedback), feedback.score, feedback.validator_uid)
    known = survey.events.get(feedback.id, set())
    return verdict.event_id in known or (feedback.said and said in survey.verdicts.get(feedback.id, set()))


def _hint(report: Report) -> str:
    if report.leader is None:
        return f"nobody delivers now; start the service or {RECOVER}"
    return f"process {report.leader} should deliver it and does not; see its log"
