"""Names: what stands for a deleted generation, so that nothing of it comes back under its own."""

from __future__ import annotations

import hashlib
from typing import Final

MARK: Final = "deleted"
"""Key of a tombstone in the history, and the event id of its verdict."""


def tomb_id(generation_id: str) -> str:
    """Give the id of a generation's tombstone: a digest in the form of a UUID (version 8)."""
    found = hashlib.sha256(b"otel_gen deleted\0" + generation_id.encode("utf-8", "replace")).hexdigest()
    return f"{found[:8]}-{found[8:12]}-8{found[13:16]}-8{found[17:20]}-{found[20:32]}"


def hashed(digest: str) -> str:
    """Hash the hash of a deleted output: enough to tell a later repeat, no trace of the file."""
    return f"sha256:{hashlib.sha256(digest.encode()).hexdigest()}"
