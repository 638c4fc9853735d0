"""Prompts: find in a request what a generation is asked for: a form's or a JSON object's field, headers."""

from __future__ import annotations

import json
from typing import Any

from otel_gen import propagation
from otel_gen.inspectors import image

_LOOK = 4096
_HEADERS = {
    "task_id": propagation.TASK_ID.lower(),
    "validator_uid": propagation.VALIDATOR_UID.lower(),
    "validator_hotkey": propagation.VALIDATOR_HOTKEY.lower(),
}


def from_headers(headers: dict[str, str]) -> dict[str, Any]:
    """Take the keywords that stand in the headers of a request."""
    return {name: headers[header] for name, header in _HEADERS.items() if headers.get(header)}


async def read(request: Any, headers: dict[str, str], body: bytes, field: str, limit: int) -> Any:
    """Find a field of the body: of a form (by `request.form`) or of a JSON object; None where there is none."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return await _in_form(request, field, limit)
    if kind == "application/json":
        return _in_json(body, field)
    return None


async def _in_form(request: Any, field: str, limit: int) -> Any:
    async with request.form(max_part_size=limit) as form:
        value = form.get(field)
        return value if value is None or isinstance(value, str) else await value.read()


def _in_json(body: bytes, field: str) -> Any:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None  # the application says what it thinks of it
    value = found.get(field) if isinstance(found, dict) else None
    return value if isinstance(value, str) else None


def task_type(prompt: Any) -> str | None:
    """Tell text from image by signature or data URL, never by length; None without a prompt."""
    if prompt is None:
        return None
    claims = isinstance(prompt, str) and prompt[:11].lower() == "data:image/"
    return "IMAGE-TO-3D" if claims or image.decode(prompt[:_LOOK]) is not None else "TEXT-TO-3D"
