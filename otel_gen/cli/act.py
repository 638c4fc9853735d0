"""Commands that act on a data_dir: feedback, recover, fold, rotate, delete."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from otel_gen.cli.options import DEFAULT, DataDir, Json, begun
from otel_gen.cli.output import errors, finish


def _share(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and 0 <= value <= 1):
        raise typer.BadParameter(f"{value} is no number from 0 to 1")
    return value


def _moment(text: str | None) -> int | None:
    """Read a time as wall nanoseconds: ISO 8601, or seconds since 1970."""
    from otel_gen.clock import parse_iso

    if text is None:
        return None
    try:
        return int(float(text) * 1e9)
    except (ValueError, OverflowError):
        pass
    try:
        return parse_iso(text)
    except ValueError:
        wanted = "write 2026-11-30T12:00:00Z, or seconds since 1970"
        raise typer.BadParameter(f"{text!r} is no time; {wanted}", param_hint="--now") from None


def feedback(
    generation_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Its id, or give --task-id.", show_default=False)
    ] = None,
    task_id: Annotated[str | None, typer.Option(help="The latest submitted attempt at this task.")] = None,
    score: Annotated[float | None, typer.Option(callback=_share, help="0 to 1; 0: rejected.")] = None,
    validator_uid: Annotated[int | None, typer.Option(min=0, max=65_535)] = None,
    validation_failed: Annotated[bool, typer.Option("--validation-failed", help="It was not valid.")] = False,
    task_fidelity_score: Annotated[float | None, typer.Option(callback=_share)] = None,
    average_fidelity_score: Annotated[float | None, typer.Option()] = None,
    cooldown_until: Annotated[str | None, typer.Option()] = None,
    generations_within_the_window: Annotated[int | None, typer.Option(min=0)] = None,
    current_duel_rating: Annotated[float | None, typer.Option()] = None,
    current_miner_reward: Annotated[float | None, typer.Option()] = None,
    rejection_reason: Annotated[str | None, typer.Option()] = None,
    data_dir: Annotated[
        str, typer.Option(envvar="OTEL_GEN_DATA_DIR", metavar="DIR", help="Where the service records.")
    ] = DEFAULT,
    url: Annotated[
        str | None, typer.Option(envvar="OTEL_GEN_FEEDBACK_URL", help="Its endpoint, on another machine.")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="With its key; or OTEL_GEN_FEEDBACK_KEY.")
    ] = None,
    spool: Annotated[
        str, typer.Option(envvar="OTEL_GEN_SPOOL", metavar="DIR", help="Keeps what cannot be sent now.")
    ] = "~/.local/state/otel-gen/spool",
    json: Json = False,
) -> None:  # fmt: skip
    """Record a validator's verdict; returns once it is durable."""
    if (generation_id is None) == (task_id is None):
        raise typer.BadParameter("give either a generation id or --task-id", param_hint="ID")
    if task_id == "":
        raise typer.BadParameter("is empty, and no task has such an id", param_hint="--task-id")
    said: dict[str, Any] = {
        "score": score, "validator_uid": validator_uid, "validation_failed": validation_failed or None,
        "task_fidelity_score": task_fidelity_score, "average_fidelity_score": average_fidelity_score,
        "cooldown_until": cooldown_until, "generations_within_the_window": generations_within_the_window,
        "current_duel_rating": current_duel_rating, "current_miner_reward": current_miner_reward,
        "rejection_reason": rejection_reason,
    }  # fmt: skip
    said = {name: value for name, value in said.items() if value is not None}
    if not said:
        raise typer.BadParameter("say something: --score, or --validation-failed", param_hint="--score")
    said |= {"task_id": task_id} if task_id else {}
    if url is None:
        _record_feedback(data_dir, generation_id, said, as_json=json)
    else:
        _send_feedback(url, _key(key_file), spool, generation_id, said, as_json=json)


def _record_feedback(
    data_dir: str, generation_id: str | None, said: dict[str, Any], *, as_json: bool
) -> None:
    from otel_gen.checked import feedback as record
    from otel_gen.cli import words

    with errors(data_dir, as_json=as_json):
        result = record(begun(data_dir), generation_id, **said)
    found = {"id": generation_id, "task_id": said.get("task_id"), "reason": result.reason}
    finish(
        found, ok=bool(result), as_json=as_json, acted=True, show=lambda to: words.show_feedback(to, found)
    )


def _key(file: Path | None) -> str | bytes | None:
    """Read the key from a file, else from the environment: never from the command line, which others see."""
    if file is not None:
        return file.read_bytes().strip()
    return os.environ.get("OTEL_GEN_FEEDBACK_KEY") or None


def _send_feedback(
    url: str,
    key: str | bytes | None,
    spool: str,
    generation_id: str | None,
    said: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    from otel_gen.cli import words
    from otel_gen.remote import send

    with errors(spool, as_json=as_json):
        result = send(url, key, spool, generation_id, **said)
    found = {"id": generation_id, "task_id": said.get("task_id"), "reason": result.reason}
    finish(
        found, ok=bool(result), as_json=as_json, acted=True, show=lambda to: words.show_feedback(to, found)
    )


def recover(
    data_dir: DataDir = DEFAULT,
    now: Annotated[
        str | None, typer.Option(metavar="TIME", help="Settle as of this time, ISO 8601 or Unix.")
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make index and metrics anew from files.")
    ] = False,
    json: Json = False,
) -> None:
    """Write the records of generations whose process died or ended without them."""
    moment = _moment(now)
    from otel_gen.cli import words
    from otel_gen.recover import recover as run

    with errors(data_dir, as_json=json):
        found = run(begun(data_dir), now=moment, rebuild=rebuild)
    finish(found, ok=True, as_json=json, acted=True, show=lambda to: words.show_recovery(to, found))


def fold(data_dir: DataDir = DEFAULT, json: Json = False) -> None:
    """Fold late verdicts into the records they belong to."""
    from otel_gen.cli import words
    from otel_gen.request import fold as run

    with errors(data_dir, as_json=json):
        found = run(begun(data_dir))
    finish(found, ok=True, as_json=json, acted=True, show=lambda to: words.show_fold(to, found))


def rotate(data_dir: DataDir = DEFAULT, json: Json = False) -> None:
    """Move records of past months to the files of their months."""
    from otel_gen.cli import words
    from otel_gen.request import rotate as run

    with errors(data_dir, as_json=json):
        found = run(begun(data_dir))
    finish(found, ok=True, as_json=json, acted=True, show=lambda to: words.show_rotation(to, found))


def delete(
    generation_id: Annotated[str, typer.Argument(metavar="ID", help="The generation's id.")],
    data_dir: DataDir = DEFAULT,
    json: Json = False,
) -> None:
    """Remove a generation for good: record, amendments, files, journal; its counts stay."""
    from otel_gen.cli import words
    from otel_gen.request import delete as run

    with errors(data_dir, as_json=json):
        found = run(begun(data_dir), generation_id)
    finish(found, ok=True, as_json=json, acted=True, show=lambda to: words.show_deletion(to, found))


COMMANDS = {"feedback": feedback, "recover": recover, "fold": fold, "rotate": rotate, "delete": delete}
