"""What a request asks for: the prompt, text or picture."""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from otel_gen.demo.draw import SIZE

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_FORM_BYTES = 32 * 2**20  # a picture comes as base64 of 1.4 MB and more; the framework's own limit is 1 MB
MAX_PIXELS = 40_000_000
SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"RIFF")


class BadImageError(ValueError):
    """The prompt claims to be a picture and is none that can be read."""


@dataclass(frozen=True)
class Order:
    """One task as it arrived; `fault` is obeyed only where the demo started the service."""

    prompt: str
    task_id: str | None = None
    fault: str = ""

    def picture(self) -> Image.Image | None:
        """The picture that came as the prompt, None for a text; raises BadImageError."""
        return _open(self.prompt) if is_picture(self.prompt) else None


async def read_order(request: Request) -> Order:
    """Read form and headers; an absent prompt is an empty one."""
    form = await request.form(max_part_size=MAX_FORM_BYTES)
    return Order(
        prompt=str(form.get("prompt", "")),
        task_id=request.headers.get("x-task-id"),
        fault=request.headers.get("x-demo-fault", ""),
    )


def is_picture(prompt: str) -> bool:
    """Tell by a data URL or by the signature, never by the length: long texts are texts."""
    if prompt.startswith("data:image/"):
        return True
    try:
        return base64.b64decode(prompt[:64], validate=True).startswith(SIGNATURES)
    except (binascii.Error, ValueError):
        return False


def _open(prompt: str) -> Image.Image:
    encoded = prompt.partition(",")[2] if prompt.startswith("data:") else prompt
    try:
        image = Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)))
        if image.width * image.height > MAX_PIXELS:
            raise BadImageError(f"{image.width} x {image.height} pixels are too many")
        return image.convert("RGBA").resize((SIZE, SIZE))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadImageError(str(error)) from error
