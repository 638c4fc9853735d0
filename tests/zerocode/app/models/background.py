"""Background removal."""

from __future__ import annotations

from models.images import Image


class BackgroundRemover:
    """Stands for BiRefNet."""

    @classmethod
    def load(cls) -> BackgroundRemover:
        return cls()

    @staticmethod
    def remove(image: Image) -> Image:
        """Cut the object out."""
        return Image(image.pixels.strip(), image.width)
