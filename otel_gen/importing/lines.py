"""Lines: the files of the former logger, and the objects in them as far as they can be read."""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from otel_gen.errors import StorageError

MAX_LINE = 64 << 20
PENDING = "pending_generations.json"
ARCHIVE = "archive"
_HISTORY = re.compile(r"generation_history.*\.jsonl(\.gz)?")
Note = Callable[[str, str], None]


@dataclass(slots=True)
class Raw:
    """One object of a file, and what had to be mended to read it."""

    place: str
    value: dict[str, Any]
    pending: bool
    mended: list[str] = field(default_factory=list)


def files_of(source: str) -> list[str]:
    """List the files to read, oldest first: a file, or all of a directory. Raises StorageError for none."""
    if os.path.isfile(source):
        return [source]
    folders = (os.path.join(source, ARCHIVE), source)
    found = [
        os.path.join(folder, name)
        for folder in folders
        for name in (sorted(os.listdir(folder), key=_by_month) if os.path.isdir(folder) else ())
        if _HISTORY.fullmatch(name) or name == PENDING
    ]
    if not found:
        hint = f"name a history file, or the directory with generation_history.jsonl or {PENDING}"
        raise StorageError(source, "holds nothing of the former logger", hint)
    return found


def _by_month(name: str) -> tuple[int, str]:
    return (2 if name == PENDING else 1 if name == "generation_history.jsonl" else 0), name


def objects(path: str, note: Note) -> Iterator[Raw]:
    """Read the objects of a file, whatever is between them; what cannot be read is noted with its place."""
    if path.endswith(".json"):
        yield from _pending(path, note)
        return
    for number, line in _numbered(path, note):
        place = f"{path}:{number}"
        if line.strip():
            value, mended = _parsed(line, place, note)
            if value is not None:
                yield Raw(place, value, False, mended)


def _numbered(path: str, note: Note) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with _opened(path) as file:
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    note("too long", f"{path}:{number}")
                    _skip_line(file, line)
                else:
                    yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile):
        note("archive is damaged", f"{path}:{number + 1}")
    except OSError:
        note("file cannot be read", f"{path}:{number + 1}")


def _opened(path: str) -> Any:
    return gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb")


def _skip_line(file: Any, line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = file.readline(MAX_LINE)


def _parsed(data: bytes, place: str, note: Note) -> tuple[dict[str, Any] | None, list[str]]:
    mended: list[str] = []
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("utf-8-sig", "replace")
        mended.append("not UTF-8")
    try:
        found = json.loads(text, parse_constant=lambda _: mended.append("NaN or Infinity"))
    except (ValueError, RecursionError):
        note("not JSON" if data.endswith(b"\n") else "cut short", place)
        return None, []
    if not isinstance(found, dict):
        note("not a record", place)
        return None, []
    return found, list(dict.fromkeys(mended))


def _pending(path: str, note: Note) -> Iterator[Raw]:
    """Read what was started and not finalised: a list of records, or records by id."""
    data = b"".join(line for _, line in _numbered(path, note))
    if not data.strip():
        return
    found, mended = _parsed(b'{"pending":' + data + b"}\n", f"{path}:1", note)
    pending = (found or {}).get("pending")
    if isinstance(pending, dict) and isinstance(pending.get("pending_generations"), (dict, list)):
        pending = pending["pending_generations"]
    entries = pending.items() if isinstance(pending, dict) else enumerate(pending or ())
    for key, value in entries:
        place = f"{path}:{key}"
        if isinstance(value, dict):
            yield Raw(place, _with_id(value, key), True, mended)
        else:
            note("not a record", place)


def _with_id(value: dict[str, Any], key: object) -> dict[str, Any]:
    metadata = value.get("metadata")
    if isinstance(key, str) and not (isinstance(metadata, dict) and metadata.get("generation_id")):
        return value | {"metadata": {**(metadata or {}), "generation_id": key}}
    return value
