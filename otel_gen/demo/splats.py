"""Gaussian splats: a relief of a picture's opaque pixels as a 17-property binary PLY, and its loader."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PROPERTIES = (
    "x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity",
    "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3",
)  # fmt: skip
BYTES_PER_GAUSSIAN = 4 * len(PROPERTIES)

RELIEF = 0.3  # how far the nearest point stands out, in units of the picture's side
SH_C0 = 0.28209479177387814  # the constant spherical harmonic: f_dc = (colour - 0.5) / SH_C0
OPAQUE_ENOUGH = 128
END_OF_HEADER = b"end_header\n"


def relief(cutout: Image.Image, depth: NDArray[Any], stride: int = 1) -> bytes:
    """Make one gaussian of each opaque pixel, of each `stride`-th one in both directions, as PLY bytes."""
    pixels = np.asarray(cutout)
    grid = np.zeros(depth.shape, dtype=bool)
    grid[::stride, ::stride] = True
    rows, columns = np.nonzero(grid & (pixels[..., 3] >= OPAQUE_ENOUGH))
    table: NDArray[Any] = np.zeros((len(rows), len(PROPERTIES)), dtype="<f4")
    table[:, 0:3] = _positions(rows, columns, depth)
    table[:, 3:6] = _normals(depth)[rows, columns]
    table[:, 6:9] = (pixels[rows, columns, :3] / 255.0 - 0.5) / SH_C0
    table[:, 9] = _logit(pixels[rows, columns, 3] / 255.0)
    table[:, 10:13] = np.log(stride / max(depth.shape))
    table[:, 13] = 1.0
    return pack(table)


def pack(table: NDArray[Any]) -> bytes:
    """Write rows of the 17 properties as binary little-endian PLY."""
    names = "".join(f"property float {name}\n" for name in PROPERTIES)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(table)}\n{names}end_header\n"
    body: bytes = table.astype("<f4", copy=False).tobytes()
    return header.encode("ascii") + body


def load(ply: bytes) -> NDArray[Any]:
    """Read what `pack` wrote as an array of n x 17 float32; ValueError for any other layout."""
    header, mark, body = ply.partition(END_OF_HEADER)
    lines = header.decode("ascii", "replace").splitlines()
    names = tuple(line.split()[-1] for line in lines if line.startswith("property float "))
    if not mark or lines[:2] != ["ply", "format binary_little_endian 1.0"] or names != PROPERTIES:
        raise ValueError("not a PLY with the 17 float properties of a splat")
    promised = _promised(lines)
    if len(body) != promised * BYTES_PER_GAUSSIAN:
        raise ValueError(f"the header promises {promised} gaussians, the body holds {len(body)} bytes")
    return np.frombuffer(body, dtype="<f4").reshape(promised, len(PROPERTIES))


def count(ply: bytes) -> int:
    """Read the number of gaussians from the header alone."""
    return _promised(ply[: ply.index(END_OF_HEADER)].decode("ascii").splitlines())


def _promised(lines: list[str]) -> int:
    return int(next(line.split()[-1] for line in lines if line.startswith("element vertex ")))


def _positions(rows: NDArray[Any], columns: NDArray[Any], depth: NDArray[Any]) -> NDArray[Any]:
    height, width = depth.shape
    side = max(height, width)
    x = (columns + 0.5 - width / 2) / side
    y = (height / 2 - rows - 0.5) / side
    return np.stack([x, y, depth[rows, columns] * RELIEF], axis=1)


def _normals(depth: NDArray[Any]) -> NDArray[Any]:
    slope_y, slope_x = np.gradient(depth * RELIEF * max(depth.shape))
    normals = np.stack([-slope_x, slope_y, np.ones_like(depth)], axis=-1)
    return normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def _logit(alpha: NDArray[Any]) -> NDArray[Any]:
    inside = alpha.clip(0.01, 0.99)
    return np.log(inside / (1 - inside))
