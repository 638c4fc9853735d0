"""Checked feedback: look the generation up, then record the verdict, for people and outside requests."""

from __future__ import annotations

import os
from typing import Any

from otel_gen import runtime, sanitize
from otel_gen.errors import UnknownGenerationError, WrongValidatorError
from otel_gen.feedbacks import FeedbackResult
from otel_gen.files import Folder
from otel_gen.foreign import valid_id
from otel_gen.readers.known import find
from otel_gen.settings import resolve


def feedback(data_dir: Any, generation_id: str | None = None, **keywords: Any) -> FeedbackResult:
    """Record a verdict like `otel_gen.feedback`, for a generation id or `task_id=` that is known.

    Raises UnknownGenerationError for one that no record and no journal of the data_dir knows, and
    WrongValidatorError for a validator_uid that is not the one who asked for the generation; SettingsError.
    """
    # A wrong variable is the caller's to hear of, before anything is looked at.
    resolve({"data_dir": data_dir})
    task_id = keywords.get("task_id")
    generation_id = generation_id.strip().lower() if generation_id is not None else None
    if generation_id is not None and not valid_id(generation_id):
        raise UnknownGenerationError(f"{generation_id[:80]!r} is no generation id: it has the form of a UUID")
    root = Folder.root(os.fspath(data_dir), create=False)
    try:
        found = find(root, generation_id, task_id)
    finally:
        root.close()
    if found is None:
        what = f"generation {generation_id}" if generation_id else f"submitted generation of task {task_id}"
        raise UnknownGenerationError(f"{root.path} knows no {what}; nothing was recorded")
    uid = sanitize.uid(keywords.get("validator_uid"))
    if uid is not None and found.validator_uid is not None and uid != found.validator_uid:
        asked = f"generation {found.id} was made for validator {found.validator_uid}"
        raise WrongValidatorError(f"{asked}, not for {uid}; nothing was recorded")
    return runtime.feedback(generation_id, data_dir=data_dir, **keywords)
