"""Recognise images by signature and read their size from the header; nothing is ever decoded to pixels."""

from __future__ import annotations

import binascii
import re
import struct
from typing import Final, cast

__all__ = ["MAX_ENCODED", "decode", "size", "sniff"]

MAX_ENCODED: Final = 64 * 1024 * 1024
"""The longest encoded image that is looked at, in characters."""

_WHITESPACE: Final = b" \t\r\n\v\f"
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_DATA_URL: Final = re.compile(rb"data:[^,]{0,1000};base64,", re.IGNORECASE)
_ESCAPES: Final = {
    b"%2B": b"+",
    b"%2F": b"/",
    b"%3D": b"=",
    b"%0D": b"",
    b"%0A": b"",
    b"%20": b"",
    b"%09": b"",
}
_FIRST: Final = 64

_JPEG_SIZED: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})


def sniff(head: bytes | memoryview) -> tuple[str, str] | None:
    """Return the file extension and media type that the first 12 bytes say, None where they say no image."""
    start = bytes(head[:12])
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png", "image/png"
    if start.startswith(b"\xff\xd8\xff"):
        return "jpg", "image/jpeg"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "gif", "image/gif"
    if start.startswith(b"RIFF") and start[8:] == b"WEBP":
        return "webp", "image/webp"
    return None


def decode(prompt: object) -> bytes | None:
    """Return the image that a prompt is or encodes in base64 or a base64 data URL, None where it is none.

    Standard and URL-safe alphabets, missing padding, white space and percent escapes are accepted. Only the
    first characters are decoded before their signature says that it is an image.
    """
    data = _as_bytes(prompt)
    if data is None or len(data) > MAX_ENCODED:
        return None
    if sniff(data):
        return data
    start = _payload_start(data)
    first = _base64(data[start : start + 16 * _FIRST])[:_FIRST]
    if not sniff(_decoded(first) or b""):
        return None
    return _decoded(_base64(data[start:]))


def size(head: bytes | memoryview) -> tuple[int, int] | None:
    """Return width and height in pixels as the header states them, None where it does not.

    A JPEG states them behind its metadata: give it all bytes at hand.
    """
    kind = sniff(head)
    try:
        found = _SIZES[kind[0]](memoryview(head)) if kind else None
    except (struct.error, IndexError):  # the header is cut short
        return None
    return found if found and min(found) > 0 else None


def _as_bytes(prompt: object) -> bytes | None:
    """Return what was passed as bytes, read by the builtin's own methods, whatever a subclass overrides."""
    kind = type(prompt)
    if issubclass(kind, str):
        plain = str.__str__(cast("str", prompt))
        return plain.encode() if plain.isascii() and len(plain) <= MAX_ENCODED else None
    if issubclass(kind, bytes):
        return bytes.__getitem__(cast("bytes", prompt), slice(None))
    if kind is memoryview or kind is bytearray:
        return _copied(cast("bytearray | memoryview", prompt))
    return None


def _copied(buffer: bytearray | memoryview) -> bytes | None:
    try:
        with memoryview(buffer) as view:
            return view.tobytes() if view.nbytes <= MAX_ENCODED else None
    except ValueError:  # released
        return None


def _payload_start(data: bytes) -> int:
    blank = len(data) - len(data.lstrip())
    found = _DATA_URL.match(data, blank)
    return found.end() if found else blank


def _base64(data: bytes) -> bytes:
    """Return base64 in the standard alphabet, without white space and escapes."""
    if b"%" in data:
        for escape, plain in _ESCAPES.items():
            data = data.replace(escape, plain).replace(escape.lower(), plain)
    return data.translate(_STANDARD, _WHITESPACE)


def _decoded(data: bytes) -> bytes | None:
    body = data.rstrip(b"=")
    # a2b_base64 skips what is not in the alphabet: a text that only begins like an image would pass.
    if len(body) % 4 == 1 or body.translate(None, _ALPHABET):
        return None
    return binascii.a2b_base64(body + b"=" * (-len(body) % 4))


def _png_size(head: memoryview) -> tuple[int, int] | None:
    return struct.unpack_from(">II", head, 16) if bytes(head[12:16]) == b"IHDR" else None


def _gif_size(head: memoryview) -> tuple[int, int] | None:
    return struct.unpack_from("<HH", head, 6)


def _webp_size(head: memoryview) -> tuple[int, int] | None:
    chunk = bytes(head[12:16])
    if chunk == b"VP8X":
        width, height = struct.unpack_from("3s3s", head, 24)
        return 1 + int.from_bytes(width, "little"), 1 + int.from_bytes(height, "little")
    if chunk == b"VP8L" and head[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", head, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 " and bytes(head[23:26]) == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg_size(head: memoryview) -> tuple[int, int] | None:
    """Walk from marker to marker up to the frame header."""
    place = 2
    while head[place] == 0xFF:
        marker = head[place + 1]
        if marker in _JPEG_SIZED:
            height, width = struct.unpack_from(">HH", head, place + 5)
            return width, height
        if marker == 0xFF:
            place += 1
        elif marker in _JPEG_BARE:
            place += 2
        else:
            place += 2 + struct.unpack_from(">H", head, place + 2)[0]
    return None


_SIZES: Final = {"png": _png_size, "jpg": _jpeg_size, "gif": _gif_size, "webp": _webp_size}
