"""Text to picture: draws an object in the colours and the shape that the words name. Stands in for SDXL."""

from __future__ import annotations

import random
import re

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from otel_gen.demo.shapes import COLOURS, SHAPES, Part

SIZE = 512
BACKDROP = (236, 236, 240)


def draw(prompt: str, seed: int = 42) -> Image.Image:
    """Draw `prompt` as a 512 x 512 RGBA picture on a pale backdrop, the same for the same words and seed."""
    words = re.findall(r"[a-z]+", prompt.lower())
    rng = random.Random(f"{seed}:{prompt}")
    body, accent = _colours(words, rng)
    canvas = Image.new("RGB", (SIZE, SIZE), BACKDROP)
    mask = Image.new("L", (SIZE, SIZE), 0)
    for part in _parts(words, rng):
        colour = body if part.role == "body" else accent
        _paint(ImageDraw.Draw(canvas), part, colour)
        _paint(ImageDraw.Draw(mask), part, 255)
    return _shade(canvas, mask, rng).convert("RGBA")


def _colours(words: list[str], rng: random.Random) -> tuple[tuple[int, ...], tuple[int, ...]]:
    named = [COLOURS[word] for word in words if word in COLOURS]
    others = [colour for name, colour in COLOURS.items() if name not in {"white", "pale", *words}]
    while len(named) < 2:
        named.append(rng.choice(others))
    return named[0], named[1]


def _parts(words: list[str], rng: random.Random) -> list[Part]:
    """The parts of the first noun that we can draw, or a heap of blobs; each nudged a little by the seed."""
    known = next((SHAPES[word] for word in words if word in SHAPES), None)
    return [part.nudged(rng) for part in known or _heap(rng)]


def _heap(rng: random.Random) -> list[Part]:
    blobs = [Part("ellipse", "body", (0.2, 0.25, 0.8, 0.8))]
    for _ in range(6):
        x, y, r = rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7), rng.uniform(0.06, 0.16)
        kind = rng.choice(["ellipse", "rectangle"])
        blobs.append(Part(kind, rng.choice(["body", "accent"]), (x - r, y - r, x + r, y + r)))
    return blobs


def _paint(pen: ImageDraw.ImageDraw, part: Part, fill: tuple[int, ...] | int) -> None:
    points = [value * SIZE for value in part.points]
    getattr(pen, part.kind)(points, fill=fill)


def _shade(canvas: Image.Image, mask: Image.Image, rng: random.Random) -> Image.Image:
    """Light the object from above left, round its edges and give it grain; the backdrop stays flat."""
    light = np.linspace(1.08, 0.82, SIZE)[:, None] * np.linspace(1.04, 0.94, SIZE)[None, :]
    edge = np.asarray(mask.filter(ImageFilter.GaussianBlur(14)), dtype=np.float64) / 255
    grain = np.random.default_rng(rng.randrange(2**32)).normal(1, 0.02, (SIZE, SIZE))
    inside = np.asarray(mask) > 0
    factor = np.where(inside, light * (0.7 + 0.3 * edge) * grain, 1.0)
    pixels = np.asarray(canvas, dtype=np.float64) * factor[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
