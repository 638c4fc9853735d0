"""Keywords of the API become gen3d.* attributes: sanitised and bounded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from otel_gen import sanitize
from otel_gen import semconv as sc
from otel_gen.events import canonical
from otel_gen.scalars import INT64_MAX, INT64_MIN
from otel_gen.settings import Settings

Attributes = dict[str, Any]

MAX_PROMPT = 65_536
_MAX_CUSTOM = 16_384
_SHORT, _FEW = 128, 64
_MOST_ATTEMPTS = 10**9
_TASK_ID = 128  # bytes


def structured(value: Any, limit: int = 32_768) -> str:
    """Write any value as a canonical JSON string."""
    return canonical(sanitize.clean(value, limit=limit)).decode()


def identity(settings: Settings) -> Attributes:
    """Say who mines; the same on every root span of a process."""
    found = {
        sc.MINER_UID: settings.miner_uid,
        sc.MINER_HOTKEY: settings.miner_hotkey,
        sc.MINER_VERSION: settings.miner_version,
        sc.NETWORK: settings.network,
    }
    return {key: value for key, value in found.items() if value is not None}


def config_attributes(config: Any) -> Attributes:
    """Describe the miner's settings in force, with their hash."""
    if config is None:
        return {}
    written = _plain_json(config)
    found = _config_of(written) if written is not None and len(written) <= _MAX_CUSTOM else None
    return found or _described(structured(config))


def _plain_json(config: Any) -> bytes | None:
    """Write a small dict of scalars as it is; None where the sanitiser has to look first."""
    if type(config) is not dict or not len(config) <= _FEW:
        return None
    try:
        if _TEXT.issuperset(map(type, config)) and _SCALARS.issuperset(map(type, config.values())):
            return canonical(config)
    except Exception:  # noqa: BLE001 - half a surrogate pair, more than 64 bits, a class that has no hash
        return None
    return None


_TEXT, _SCALARS = frozenset((str,)), frozenset((str, int, float, bool))
_ODD = re.compile(rb'[0-9]{19}|[^"]{129}":|\\')
"""What may be an integer beyond 64 bits with a sign, a key that is too long, and what is escaped."""


def whole(value: Any, least: int = 0, most: int = INT64_MAX) -> int | None:
    """Take a whole number within bounds, else None."""
    if type(value) is int and least <= value <= most:
        return value
    found = sanitize.number(value)
    fits = found is not None and least <= found <= most and float(found).is_integer()
    return int(found) if found is not None and fits else None


@lru_cache(maxsize=64)
def _config_of(written: bytes) -> Attributes | None:
    """Describe settings that are written already; None where the sanitiser would change something."""
    plain = written.isascii() and not _ODD.search(written)
    return _described(written.decode()) if plain else None


def _described(encoded: str) -> Attributes:
    return {
        sc.MINER_CONFIG: encoded,
        sc.MINER_CONFIG_HASH: f"sha256:{hashlib.sha256(encoded.encode()).hexdigest()}",
    }


def task(keywords: Mapping[str, Any]) -> Attributes:
    """Describe what was asked for; the prompt itself is added by the caller, who knows images."""
    found: Attributes = {}
    for name, key, read in _TASK:
        given = keywords.get(name)
        if given is not None and (plain := read(given)) is not None:
            found[key] = plain
    given = keywords.get("task_id")
    if type(given) is str and len(given) > len(found.get(sc.TASK_ID, given)):
        found[sc.TRUNCATED] = True
    return found


def task_type(value: Any) -> str | None:
    """Take a type of task: one of those known, in whatever case, or the caller's own word."""
    found = sanitize.text(value, 64)
    upper = found.upper() if found else None
    return upper if upper in sc.TASK_TYPES else found


def prompt_text(value: Any) -> Attributes:
    """Describe a text prompt; its length is that of what was passed."""
    found = sanitize.text(value, MAX_PROMPT)
    if found is None:
        return {sc.PROMPT_LENGTH: len(value) if type(value) in (bytes, bytearray) else 0}
    return {sc.PROMPT: found, sc.PROMPT_LENGTH: str.__len__(value), **marked_cut(value, found)}


def caption(task_type: Any, prompt: Any, length: int) -> Attributes:
    """Describe the prompt of a task with an image: the image's hash in an image task, else the text."""
    if task_type != "IMAGE-TO-3D" and prompt is not None:
        return prompt_text(prompt)
    found = {sc.PROMPT: sc.NO_IMAGE_YET, sc.PROMPT_LENGTH: length}
    return found | ({} if prompt is None else custom({"prompt": prompt}))


def task_id(value: Any) -> str | None:
    """Take a task id: a text, a UUID or a number; never used as a path. The end of a long one is its digest."""
    plain = sanitize.clean(value)
    if isinstance(plain, (int, float)) and not isinstance(plain, bool):
        plain = str(plain)
    if not isinstance(plain, str) or not plain:
        return None
    if len(plain) <= _TASK_ID and (plain.isascii() or len(plain.encode()) <= _TASK_ID):
        return plain
    whole = plain.encode()
    return f"{whole[: _TASK_ID - 33].decode(errors='ignore')}-{hashlib.sha256(whole).hexdigest()[:32]}"


def attempt(value: Any) -> int | None:
    """Take the number of an attempt; one too large to be one counts by itself instead."""
    return whole(value, 1, _MOST_ATTEMPTS)


def custom(keywords: Mapping[str, Any]) -> Attributes:
    """Keep the caller's own attributes: scalars as they are, the rest as canonical JSON."""
    found: Attributes = {}
    for name, value in keywords.items():
        key = _own_key(name) if type(name) is str and len(name) <= _SHORT else _any_key(name)
        if not key:
            continue
        kind = type(value)
        if (kind is int or kind is float or kind is bool) and INT64_MIN <= value <= INT64_MAX:
            found[key] = value  # neither infinite nor no number
            continue
        plain = sanitize.clean(value, limit=_MAX_CUSTOM)
        if isinstance(plain, (str, int, float)):
            found[key] = plain
        else:
            found[sc.STRUCTURED + key[len(sc.ATTRIBUTE) :]] = canonical(plain).decode()
    return found


def _any_key(name: Any) -> str:
    return _own_key(sanitize.keyname(name) or "")


@lru_cache(maxsize=1024)
def _own_key(name: str) -> str:
    """Give the key of an attribute of the caller's own; empty for a name that cannot be one."""
    key = name if name.isascii() else sanitize.keyname(name)
    return sc.ATTRIBUTE + key if key else ""


def other_forms(attributes: Attributes) -> list[str]:
    """Give the keys that the caller's own attributes have in their other form, a structure or a scalar."""
    keys = tuple(attributes)
    return _other_forms(keys) if len(keys) <= _FEW else _other_forms.__wrapped__(keys)


@lru_cache(maxsize=256)
def _other_forms(keys: tuple[str, ...]) -> list[str]:
    return [
        other + key[len(prefix) :]
        for key in keys
        for prefix, other in ((sc.ATTRIBUTE, sc.STRUCTURED), (sc.STRUCTURED, sc.ATTRIBUTE))
        if key.startswith(prefix)
    ]


def enhanced(prompt: Any, negative: Any, own: Mapping[str, Any] | None = None) -> Attributes:
    """Describe the prompt after enhancement. `own`: the caller's own attributes."""
    prompts = sanitize.text(prompt, MAX_PROMPT), sanitize.text(negative, MAX_PROMPT)
    found = {
        sc.ENHANCED_PROMPT: prompts[0],
        sc.NEGATIVE_PROMPT: prompts[1],
        **marked_cut(prompt, prompts[0]),
        **marked_cut(negative, prompts[1]),
        **(custom(own) if own else {}),
    }
    return {key: value for key, value in found.items() if value is not None}


def marked_cut(value: Any, kept: str | None) -> Attributes:
    """Say that a text is cut, where less of it is kept."""
    return {} if kept is None or len(kept) == str.__len__(value) else {sc.TRUNCATED: True}


_TASK: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("task_type", sc.TASK_TYPE, task_type),
    ("task_id", sc.TASK_ID, task_id),
    ("attempt", sc.TASK_ATTEMPT, attempt),
    ("validator_uid", sc.VALIDATOR_UID, sanitize.uid),
    ("validator_hotkey", sc.VALIDATOR_HOTKEY, lambda value: sanitize.text(value, 256)),
)
_OUTPUT: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "num_gaussians": (sc.NUM_GAUSSIANS, whole),
    "file_size_mb": (sc.FILE_SIZE_MB, sanitize.number),
    "clip_score": (sc.CLIP_SCORE, sanitize.number),
    "clip_threshold_pass": (sc.CLIP_PASS, sanitize.flag),
    "gaussian_count_pass": (sc.COUNT_PASS, sanitize.flag),
    "validation_pass": (sc.VALIDATION_PASS, sanitize.flag),
    "gaussian_stats": (sc.GAUSSIAN_STATS, lambda v: structured(v) if isinstance(v, dict) else None),
    "render_stats": (sc.RENDER_STATS, lambda v: structured(v) if isinstance(v, dict) else None),
}


def output(keywords: Mapping[str, Any]) -> Attributes:
    """Describe an output; unknown keywords are the caller's own attributes."""
    found: Attributes = {}
    rest: dict[str, Any] = {}
    for name, value in keywords.items():
        if name not in _OUTPUT:
            rest[name] = value
            continue
        key, read = _OUTPUT[name]
        plain = read(value)
        if plain is not None:
            found[key] = plain
    return found | custom(rest) if rest else found


def stage_names(name: Any) -> tuple[str, str]:
    """Give the name of a stage, a text of at most 256 bytes, and that of its span in the application's pipeline."""
    return _names(name) if type(name) is str and len(name) <= _SHORT else _names.__wrapped__(name)


@lru_cache(maxsize=256)
def _names(name: Any) -> tuple[str, str]:
    stage = sanitize.text(name, 256) or "stage"
    return stage, span_name(stage)


_SPAN_NAME = re.compile(r"[^A-Za-z0-9_.-]")


def span_name(stage: str) -> str:
    """Name a stage's span: letters, digits and _.- only, at most 64."""
    return _SPAN_NAME.sub("_", stage)[:64] or "stage"
