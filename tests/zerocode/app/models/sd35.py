"""Text to image."""

from __future__ import annotations

from models.images import PNG, Image


class SD35ImageGenerator:
    """Stands for a diffusion pipeline."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.device = "cuda:0"

    def generate(self, prompt: str, width: int = 1024) -> Image:
        """Draw a prompt."""
        if "out of memory" in prompt:
            raise MemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return Image(PNG + prompt.encode() * self.steps, width)
