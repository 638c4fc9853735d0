"""Index and files: each record is in both, and what was counted of them is the same."""

from __future__ import annotations

from otel_gen.files import Folder
from otel_gen.index import Index
from otel_gen.readers import counters
from otel_gen.readers.findings import REBUILD, RECOVER, RESTORE, Report
from otel_gen.readers.journal import Journal
from otel_gen.readers.places import quarantined
from otel_gen.readers.survey import Survey
from otel_gen.tree import DOT


def check_index(report: Report, root: Folder, index: Index, survey: Survey, journal: Journal) -> None:
    """Report what the index and the files do not agree on."""
    whole = index.db.execute("PRAGMA quick_check").fetchone()
    if whole != ("ok",):
        report.problem("index", f"{DOT}/{index.name}", f"is damaged ({whole[0]})", REBUILD)
        return
    for id_ in survey.unknown:
        text = f"the index does not know the record of generation {id_}"
        report.problem("unindexed", survey.ids[id_], text, RECOVER)
    _check_missing(report, root, index, survey, journal)
    if survey.damaged:
        report.note("counters", "/metrics", "not compared with the files while they are damaged")
    else:
        counters.compare(report, root, index, survey)


def _check_missing(report: Report, root: Folder, index: Index, survey: Survey, journal: Journal) -> None:
    for (id_,) in index.db.execute("SELECT id FROM delivered"):
        if id_ in survey.ids or f"{id_}.record" in quarantined(root):
            continue
        again = f"the journal still has it: {REBUILD}" if id_ in journal.generations else RESTORE
        text = "its record was written and is in no file any more"
        report.problem("missing", f"generation {id_}", text, again)
        survey.damaged = True
        survey.lost.add(id_)
