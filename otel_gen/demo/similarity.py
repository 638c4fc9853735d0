"""How much a view resembles the input: colours and silhouette. This is NOT CLIP and knows no words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from otel_gen.demo.background import corner_distance, has_cutout

# Colour distance that counts as object: finer than background removal, so that it sees what that lost.
FAINT = 5.0
BINS = 4  # per colour channel


def similarity(image: Image.Image, view: Image.Image) -> float:
    """Score in 0..1: half the overlap of the silhouettes (IoU), half the overlap of the colour histograms."""
    reference = np.asarray(image.convert("RGBA").resize(view.size, Image.Resampling.BOX))
    seen = np.asarray(view)
    wanted, shown = _silhouette(reference), seen[..., 3] > 0
    union = int((wanted | shown).sum())
    if not union:
        return 0.0
    overlap = int((wanted & shown).sum()) / union
    colours = np.minimum(_histogram(reference, wanted), _histogram(seen, shown)).sum()
    return round(float(0.5 * overlap + 0.5 * colours), 4)


def _silhouette(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels[..., 3] >= 128 if has_cutout(pixels) else corner_distance(pixels) > FAINT


def _histogram(pixels: NDArray[Any], where: NDArray[Any]) -> NDArray[Any]:
    """Share of each of the 64 coarse colours among the pixels chosen by `where`."""
    red, green, blue = (pixels[where][:, :3] // (256 // BINS)).T.astype(np.int64)
    counts = np.bincount((red * BINS + green) * BINS + blue, minlength=BINS**3)
    return counts / max(int(counts.sum()), 1)
