"""What the drawer knows: colours by name, and objects as simple parts in units of the picture's side."""

from __future__ import annotations

import random
from typing import NamedTuple

COLOURS: dict[str, tuple[int, ...]] = {
    "red": (200, 38, 36),
    "green": (40, 140, 62),
    "blue": (36, 76, 190),
    "yellow": (226, 186, 30),
    "orange": (228, 120, 24),
    "purple": (120, 52, 160),
    "pink": (224, 96, 150),
    "brown": (124, 78, 42),
    "black": (34, 34, 38),
    "grey": (120, 124, 130),
    "silver": (160, 166, 176),
    "golden": (206, 160, 44),
    "teal": (20, 140, 140),
    # These two vanish before the pale backdrop when the background is removed by colour: a failure that real
    # background removal knows as well, and the reason why some of the demo's results are withheld.
    "white": (246, 246, 248),
    "pale": (242, 242, 244),
}


class Part(NamedTuple):
    """One simple form: `kind` is a method of PIL's ImageDraw, `points` its coordinates in 0..1."""

    kind: str
    role: str
    points: tuple[float, ...]

    def nudged(self, rng: random.Random) -> Part:
        return self._replace(points=tuple(value + rng.uniform(-0.008, 0.008) for value in self.points))


def _box(role: str, *points: float) -> Part:
    return Part("rectangle", role, points)


def _oval(role: str, *points: float) -> Part:
    return Part("ellipse", role, points)


def _poly(role: str, *points: float) -> Part:
    return Part("polygon", role, points)


SHAPES: dict[str, list[Part]] = {
    "chair": [
        _box("body", 0.26, 0.10, 0.74, 0.52),
        _box("accent", 0.22, 0.50, 0.80, 0.62),
        _box("body", 0.24, 0.60, 0.34, 0.90),
        _box("body", 0.68, 0.60, 0.78, 0.90),
    ],
    "table": [
        _box("body", 0.10, 0.30, 0.90, 0.50),
        _box("accent", 0.16, 0.48, 0.28, 0.86),
        _box("accent", 0.72, 0.48, 0.84, 0.86),
    ],
    "house": [
        _box("body", 0.20, 0.42, 0.80, 0.88),
        _poly("accent", 0.12, 0.45, 0.50, 0.12, 0.88, 0.45),
        _box("accent", 0.44, 0.62, 0.58, 0.88),
    ],
    "car": [
        _box("body", 0.08, 0.45, 0.92, 0.70),
        _poly("body", 0.22, 0.47, 0.34, 0.26, 0.68, 0.26, 0.80, 0.47),
        _oval("accent", 0.16, 0.60, 0.36, 0.80),
        _oval("accent", 0.64, 0.60, 0.84, 0.80),
    ],
    "tree": [
        _box("accent", 0.43, 0.56, 0.57, 0.92),
        _oval("body", 0.18, 0.08, 0.82, 0.64),
    ],
    "cup": [
        _oval("accent", 0.58, 0.34, 0.88, 0.68),
        _box("body", 0.22, 0.24, 0.70, 0.80),
        _oval("accent", 0.22, 0.18, 0.70, 0.32),
    ],
    "lamp": [
        _poly("body", 0.18, 0.50, 0.32, 0.12, 0.68, 0.12, 0.82, 0.50),
        _box("accent", 0.46, 0.48, 0.54, 0.82),
        _oval("accent", 0.28, 0.78, 0.72, 0.92),
    ],
    "ball": [
        _oval("body", 0.16, 0.16, 0.84, 0.84),
        _oval("accent", 0.40, 0.28, 0.62, 0.50),
    ],
    "ghost": [
        _oval("body", 0.22, 0.10, 0.78, 0.66),
        _poly("body", 0.22, 0.40, 0.78, 0.40, 0.78, 0.90, 0.64, 0.78, 0.50, 0.90, 0.36, 0.78, 0.22, 0.90),
        _oval("accent", 0.30, 0.28, 0.47, 0.48),
        _oval("accent", 0.53, 0.28, 0.70, 0.48),
    ],
    "robot": [
        _box("body", 0.32, 0.08, 0.68, 0.34),
        _box("body", 0.26, 0.38, 0.74, 0.74),
        _box("accent", 0.14, 0.40, 0.24, 0.70),
        _box("accent", 0.76, 0.40, 0.86, 0.70),
        _box("accent", 0.32, 0.74, 0.46, 0.92),
        _box("accent", 0.54, 0.74, 0.68, 0.92),
    ],
    "fish": [
        _oval("body", 0.10, 0.28, 0.74, 0.74),
        _poly("accent", 0.66, 0.50, 0.92, 0.26, 0.92, 0.76),
        _oval("accent", 0.20, 0.42, 0.28, 0.50),
    ],
    "vase": [
        _poly(
            "body",
            0.34,
            0.14,
            0.66,
            0.14,
            0.60,
            0.32,
            0.80,
            0.60,
            0.64,
            0.90,
            0.36,
            0.90,
            0.20,
            0.60,
            0.40,
            0.32,
        ),
        _box("accent", 0.32, 0.52, 0.68, 0.62),
    ],
}
