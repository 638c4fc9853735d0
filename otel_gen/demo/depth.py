"""Depth from luminance: bright is near. Stands in for a depth estimation model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter


def estimate_depth(cutout: Image.Image, smoothing: float = 4.0) -> NDArray[Any]:
    """Estimate the depth of each pixel of an RGBA cut-out as float32 in 0 (far) .. 1 (near)."""
    light = np.asarray(
        cutout.convert("RGB").convert("L").filter(ImageFilter.GaussianBlur(smoothing)), np.float32
    )
    opaque = np.asarray(cutout.getchannel("A")) > 0
    if not opaque.any():
        return np.zeros_like(light)
    low, high = light[opaque].min(), light[opaque].max()
    depth = (light - low) / max(float(high - low), 1.0)
    return np.where(opaque, depth.clip(0, 1), 0).astype(np.float32)
