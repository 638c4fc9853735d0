"""Read facts from images and Gaussian splats by header and columns, without decoding or inflating them."""

from otel_gen.inspectors import image, ply, spz

__all__ = ["image", "ply", "spz"]
