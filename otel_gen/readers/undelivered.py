"""Undelivered: what the journal holds that no record shows, though its time has come."""

from __future__ import annotations

from otel_gen.files import Folder
from otel_gen.fold import Verdict
from otel_gen.readers.findings import RECOVER, Report
from otel_gen.readers.journal import SEGMENTS, Journal
from otel_gen.readers.places import quarantined
from otel_gen.readers.survey import Survey
from otel_gen.settle import Now, verdict_word
from otel_gen.tombs import tomb_id
from otel_gen.tree import DOT

_PLACE = f"{DOT}/{SEGMENTS}"
_ASIDE = f"{RECOVER} (it sets them aside)"


def check_damage(report: Report, root: Folder, journal: Journal, survey: Survey) -> None:
    """Report bytes in the segments of dead processes that are no events and are not set aside yet."""
    aside = quarantined(root)
    for name, damage in journal.damage:
        place, size = f"{_PLACE}/{name}, offset {damage.offset}", len(damage.data)
        if damage.torn:
            report.note("torn", place, f"{size:,} bytes of an event that was never acknowledged")
        elif f"{name}.{damage.offset}.corrupt" not in aside:
            survey.damaged = True
            report.problem("segment", place, f"{size:,} bytes are no event", _ASIDE)
    for name, offset, reason in journal.unreadable:
        if f"{name}.{offset}.unreadable" not in aside:
            survey.damaged = True
            place = f"{_PLACE}/{name}, offset {offset}"
            report.problem("segment", place, f"an event cannot be understood ({reason})", _ASIDE)


def check_denied(report: Report, journal: Journal) -> None:
    """Report segments of another user: nobody delivers what they hold."""
    for name, reason in journal.denied.items():
        hint = f"run as root: chown --reference={{dir}}/{_PLACE} {{dir}}/{_PLACE}/{name}"
        report.problem("segment", f"{_PLACE}/{name}", f"cannot be read ({reason})", hint)


def check_open(report: Report, journal: Journal, survey: Survey, now: Now) -> None:
    """Report generations that ended, or whose process died, and that have no record."""
    for id_, gen in journal.without(survey.ids.keys() | survey.lost).items():
        if tomb_id(id_) in survey.ids:
            continue  # deleted: what came for it since goes with its segment
        settled = journal.settled(gen, now)
        if settled is None:
            report.waiting += 1
            continue
        how = "died" if settled.outcome == "interrupted" else "ended"
        text = f"{how} ({settled.outcome}) and has no record"
        report.problem("open", f"generation {id_}", text, _hint(report))


def check_feedback(report: Report, journal: Journal, survey: Survey) -> None:
    """Report verdicts on recorded generations that neither the record nor an amendment shows."""
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
