"""Images: bytes with a size."""

from __future__ import annotations

from dataclasses import dataclass, replace

PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Image:
    """Pixels on their way through the pipeline."""

    pixels: bytes
    width: int = 512

    def turned(self, quarter: int) -> Image:
        return replace(self, pixels=self.pixels[quarter:] + self.pixels[:quarter])


def parse(raw: bytes) -> Image | None:
    """Read a PNG; None where it is none."""
    return Image(raw) if raw.startswith(PNG) else None
