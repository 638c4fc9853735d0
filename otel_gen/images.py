"""Input images: what is passed as an image, or an IMAGE-TO-3D prompt that decodes to one by signature."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from otel_gen.inspectors import image as inspector
from otel_gen.job import open_source

_LOOK = 4096


@dataclass(frozen=True, slots=True)
class InputImage:
    """An input image on its way to the stager; `source` as a stager Job takes it."""

    source: Any
    size: int
    length: int
    mutable: bool = False


def input_image(task_type: Any, image: Any, prompt: Any) -> tuple[InputImage | None, Any]:
    """Tell images from text; returns the image, if there is one, and the prompt, unless that is an image."""
    passed = None if image is None else _passed(image)
    is_image_task = isinstance(task_type, str) and str.upper(task_type) == "IMAGE-TO-3D"
    if is_image_task and isinstance(prompt, (bytearray, memoryview)):
        prompt = bytes(prompt)
    encoded = _encoded(prompt) if is_image_task and isinstance(prompt, (str, bytes)) else None
    return passed or encoded, None if encoded else prompt


def _passed(image: Any) -> InputImage | None:
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _buffer(image)
    if isinstance(image, str):
        encoded = _encoded(image)
        if encoded is not None:
            return encoded
    if isinstance(image, (str, PurePath)) and len(str(image)) < _LOOK and "\0" not in str(image):
        try:
            fd, size = open_source(os.fspath(image))
        except OSError:
            return None
        return InputImage(fd, size, size)
    return None


def _buffer(image: bytes | bytearray | memoryview) -> InputImage | None:
    try:
        size = memoryview(image).nbytes
    except ValueError:  # a view that was released
        return None
    if type(image) is bytes and inspector.sniff(image[:64]) is None:
        encoded = _encoded(image)
        if encoded is not None:
            return encoded
    return InputImage(image, size, size, mutable=type(image) is not bytes)


def _encoded(text: str | bytes) -> InputImage | None:
    """Recognise base64 or a data URL by its beginning; the whole is decoded by the stager."""
    if inspector.decode(text[:_LOOK]) is None:
        return None

    def decoded() -> bytes:
        found = inspector.decode(text)
        if found is None:
            raise ValueError("not an image after all")
        return found

    return InputImage(decoded, len(text), len(text))


def sniff_image(head: bytes) -> tuple[str, str]:
    """Name an image by its signature; what is none is kept as it is, said to be no image."""
    return inspector.sniff(head) or ("bin", "application/octet-stream")
