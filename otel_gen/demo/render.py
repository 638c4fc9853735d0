"""Views of a splat: each gaussian as a point, the nearest one wins. Stands in for a splat renderer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from otel_gen.demo.splats import SH_C0

VIEW = 128


def render_views(splats: NDArray[Any], count: int = 4) -> list[Image.Image]:
    """Render `count` RGBA views around the vertical axis; view 0 looks at the front."""
    return [_view(splats, 2 * np.pi * turn / count) for turn in range(count)]


def _view(splats: NDArray[Any], angle: float) -> Image.Image:
    x, y, z = splats[:, 0], splats[:, 1], splats[:, 2]
    across = x * np.cos(angle) + z * np.sin(angle)
    towards = z * np.cos(angle) - x * np.sin(angle)
    columns = _pixel(0.5 + across)
    rows = _pixel(0.5 - y)
    return Image.fromarray(_nearest(rows * VIEW + columns, towards, _colours(splats)))


def _nearest(pixel: NDArray[Any], towards: NDArray[Any], colours: NDArray[Any]) -> NDArray[Any]:
    """The z-buffer: of all points that fall on a pixel the one nearest to the eye gives it its colour."""
    order = np.lexsort((-towards, pixel))
    seen, first = np.unique(pixel[order], return_index=True)
    image: NDArray[Any] = np.zeros((VIEW * VIEW, 4), dtype=np.uint8)
    image[seen] = colours[order[first]]
    return image.reshape(VIEW, VIEW, 4)


def _pixel(place: NDArray[Any]) -> NDArray[Any]:
    return (place * VIEW).astype(np.int64).clip(0, VIEW - 1)


def _colours(splats: NDArray[Any]) -> NDArray[Any]:
    rgb = splats[:, 6:9] * SH_C0 + 0.5
    alpha = 1 / (1 + np.exp(-splats[:, 9:10]))
    return (np.concatenate([rgb, alpha], axis=1).clip(0, 1) * 255).astype(np.uint8)
