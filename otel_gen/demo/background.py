"""Background removal by colour: what resembles the corners of the picture becomes transparent."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CORNER = 8


def remove_background(image: Image.Image, tolerance: float = 36.0) -> Image.Image:
    """Give the picture an alpha channel; a picture that has transparent corners already keeps its own."""
    pixels = np.array(image.convert("RGBA"))
    if not has_cutout(pixels):
        near = corner_distance(pixels)
        pixels[..., 3] = ((near / tolerance - 1).clip(0, 1) * 255).astype(np.uint8)
    return Image.fromarray(pixels)


def has_cutout(pixels: NDArray[Any]) -> bool:
    """Tell whether the corners are transparent, so that the alpha channel is the cut-out."""
    return bool(_corners(pixels)[:, 3].mean() < 128)


def corner_distance(pixels: NDArray[Any]) -> NDArray[Any]:
    """Distance of each pixel's colour to the median colour of the four corners, in 0..441."""
    backdrop = np.median(_corners(pixels)[:, :3], axis=0)
    return np.linalg.norm(pixels[..., :3].astype(np.float32) - backdrop.astype(np.float32), axis=-1)


def _corners(pixels: NDArray[Any]) -> NDArray[Any]:
    left, right = pixels[:, :CORNER], pixels[:, -CORNER:]
    return np.concatenate(
        [edge.reshape(-1, 4) for side in (left, right) for edge in (side[:CORNER], side[-CORNER:])]
    )
