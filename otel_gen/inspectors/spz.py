"""Read the header of an SPZ file, compressed or not: points, version and degree of its harmonics."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from typing import Final

from otel_gen.inspectors.source import PathOrFd, Source, UnreadableError, reading

__all__ = ["inspect"]

_HEADER: Final = struct.Struct("<4sIIBBBx")
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_GZIP: Final = b"\x1f\x8b"
# A zstd block takes 128 KiB at most, so the first one, with the frame header, is always within this.
_HEAD: Final = 132 * 1024
_MAX_WINDOW_LOG: Final = 27
_MAX_VERSION: Final = 4
_MAX_SH_DEGREE: Final = 4
# Points in a byte of file: even a zstd run, 128 KiB of inner bytes in 4, holds no more at 16 bytes a point.
_MAX_DENSITY: Final = 2048


def inspect(path_or_fd: PathOrFd) -> dict[str, object]:
    """Return `{"num_gaussians", "gaussian_stats"}` from the header; `error` there says what is missing.

    Inflates the 16 bytes of the header and nothing else. zstd needs Python 3.14 or the package `zstandard`.
    """
    stats: dict[str, object] = {"format": "spz"}
    points = None
    try:
        with reading(path_or_fd) as source:
            stats["bytes"] = source.size
            points = _read_header(source, stats)
    except UnreadableError as error:
        stats["error"] = str(error)
    except Exception as error:  # noqa: BLE001 - a file from outside is never a reason to fail
        stats["error"] = f"not understood: {type(error).__name__}"
    return {"num_gaussians": points, "gaussian_stats": stats}


def _read_header(source: Source, stats: dict[str, object]) -> int:
    head = source.read(_HEAD, 0)
    stats["compression"] = "zstd" if head.startswith(_ZSTD) else "gzip" if head.startswith(_GZIP) else None
    inner = _inner_header(head)
    if len(inner) < _HEADER.size:
        raise UnreadableError("the header is cut short")
    magic, version, points, degree, fraction, flags = _HEADER.unpack(inner[: _HEADER.size])
    if magic != b"NGSP" or not 1 <= version <= _MAX_VERSION or degree > _MAX_SH_DEGREE:
        raise UnreadableError("not an SPZ header")
    if points > source.size * _MAX_DENSITY:
        raise UnreadableError("more points than the file can hold")
    stats.update(version=version, sh_degree=degree, fractional_bits=fraction, antialiased=bool(flags & 1))
    return int(points)


def _inner_header(head: bytes) -> bytes:
    if head.startswith(_ZSTD):
        return _unzstd(head, _HEADER.size)
    if head.startswith(_GZIP):
        return _gunzip(head, _HEADER.size)
    return head


def _gunzip(head: bytes, count: int) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, count)
    except zlib.error as error:
        raise UnreadableError("damaged gzip stream") from error


if sys.version_info >= (3, 14):

    def _unzstd(head: bytes, count: int) -> bytes:
        from compression import zstd

        options = {zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG}
        try:
            return zstd.ZstdDecompressor(options=options).decompress(head, count)
        except zstd.ZstdError as error:
            raise UnreadableError("damaged zstd stream") from error
else:

    def _unzstd(head: bytes, count: int) -> bytes:
        try:
            import zstandard  # type: ignore[import-not-found, unused-ignore]
        except ImportError as error:
            raise UnreadableError("the package zstandard is not installed") from error
        decompressor = zstandard.ZstdDecompressor(max_window_size=1 << _MAX_WINDOW_LOG)
        try:
            return bytes(decompressor.stream_reader(io.BytesIO(head)).read(count))
        except zstandard.ZstdError as error:
            raise UnreadableError("damaged zstd stream") from error
