"""Validation: how like the prompt a picture is."""

from __future__ import annotations

from functools import lru_cache

from models.images import Image


class ClipValidator:
    """Stands for CLIP."""

    @classmethod
    @lru_cache(maxsize=1)
    def shared(cls) -> ClipValidator:
        return cls()

    def score(self, view: Image, prompt: str) -> float:
        """Give 0.09 for what is ugly, else 0.25."""
        return 0.09 if "ugly" in prompt and view.width else 0.25
