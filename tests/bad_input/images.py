"""Bad images: truncated, disguised, oversized by header or by data, in every kind of base64."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from tests.bad_input.case import Case, Record, named, noise


def png(width: int = 64, height: int = 64, *, bits: int = 8, colour: int = 6, data: bytes | None = None,
        before: bytes = b"") -> bytes:  # fmt: skip
    """Make a PNG, whose header may say what its data do not hold."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = zlib.compress(bytes((width * 4 + 1) * height)) if data is None else data
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@lru_cache
def bomb(inflated: int) -> bytes:
    """Compress zeros: about a thousandth of what they inflate to."""
    packer, block = zlib.compressobj(9), bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(inflated >> 20)) + packer.flush()


def drawn(kind: str, mode: str = "RGB", frames: int = 1, **options: Any) -> Callable[[], bytes]:
    """Draw with a real encoder."""

    def draw() -> bytes:
        from PIL import Image

        out = io.BytesIO()
        pages = [
            Image.new(mode, (32, 32), 20 * n if len(mode) == 1 else (20 * n,) * len(mode))
            for n in range(frames)
        ]
        more = {"save_all": True, "append_images": pages[1:]} if frames > 1 else {}
        pages[0].save(out, kind, **more, **options)
        return out.getvalue()

    return draw


EXIF = b"\xff\xe1" + struct.pack(">H", 65_535) + b"Exif\0\0" + bytes(65_527)
JPEG_FRAME = b"\xff\xc0\0\x11\x08" + struct.pack(">HH", 480, 640) + b"\x03" + bytes(9)

IMAGES: dict[str, Any] = {
    "PNG": png,
    "PNG cut in its signature": lambda: png()[:6],
    "PNG cut in its header": lambda: png()[:20],
    "PNG cut in its data": lambda: png()[:-30],
    "PNG with wrong checksums": lambda: png().replace(b"IDAT", b"IDAX"),
    "PNG of 0 x 0": lambda: png(0, 0, data=b""),
    "PNG of 50,000 x 50,000 by its header": lambda: png(50_000, 50_000, data=b"x"),
    "PNG of 2^31 by its header": lambda: png(2**31 - 1, 2**31 - 1, data=b"x"),
    "PNG of 20,000 x 20,000 by its data": lambda: png(20_000, 20_000, data=bomb(1 << 30)),
    "PNG with a bomb in its text": lambda: png(before=chunk(b"zTXt", b"Comment\0\0" + bomb(256 << 20))),
    "PNG of 16 bit": lambda: png(bits=16),
    "PNG of a colour type that is none": lambda: png(colour=250),
    "PNG with 100,000 chunks": lambda: png(before=chunk(b"tEXt", b"a\0b") * 100_000),
    "PNG with a chunk longer than itself": lambda: png(before=struct.pack(">I", 2**31 - 1) + b"tEXt"),
    "animated PNG": drawn("PNG", "RGBA", frames=8),
    "animated GIF": drawn("GIF", "L", frames=8),
    "GIF of 65,535 x 65,535 by its header": b"GIF89a" + b"\xff" * 7,
    "animated WebP": drawn("WEBP", "RGB", frames=8),
    "WebP cut": lambda: drawn("WEBP")()[:25],
    "WebP longer by its header": lambda: b"RIFF\xff\xff\xff\xff" + drawn("WEBP")()[8:],
    "JPEG": drawn("JPEG"),
    "JPEG of CMYK": drawn("JPEG", "CMYK"),
    "JPEG progressive": drawn("JPEG", progressive=True),
    "JPEG without an end": lambda: drawn("JPEG")()[:-2],
    "JPEG of one segment without length": b"\xff\xd8\xff\xe0\0\0",
    "JPEG of endless fill bytes": lambda: b"\xff\xd8" + b"\xff" * (1 << 20),
    "JPEG with 6 MB of EXIF": lambda: b"\xff\xd8" + EXIF * 100 + JPEG_FRAME + b"\xff\xd9",
    "TIFF": drawn("TIFF"),
    "BMP": drawn("BMP"),
    "ICO": drawn("ICO", "RGBA"),
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\nshowpage\n",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "PDF": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    "PNG that is HTML too": lambda: png() + b"<html><script>alert(1)</script>",
    "GIF that is a script too": b"GIF89a=1;/*" + bytes(64) + b"*/alert(1)",
    "JPEG that is a ZIP too": lambda: drawn("JPEG")() + b"PK\x05\x06" + bytes(18),
    "ZIP": b"PK\x03\x04" + bytes(64),
    "gzip of a PNG": lambda: __import__("gzip").compress(png()),
    "ELF": b"\x7fELF" + bytes(64),
    "empty": b"",
    "one byte": b"\x89",
    "random bytes": lambda: noise(100_000),
    "25 MB": lambda: png(data=noise(25_000_000)),
    "a path that is not there": "/nowhere/at/all.png",
    "a directory": "/",
    "a device": "/dev/zero",
    "a process' own memory": "/proc/self/mem",
    "a path with NUL": "/tmp/\0.png",
    "an integer": 0,
    "a list": [137, 80, 78, 71],
    "an object": object(),
    "a released view": lambda: released(),
    "a strided view": lambda: memoryview(png())[::2],
}  # fmt: skip


def released() -> memoryview:
    view = memoryview(png())
    view.release()
    return view


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _wrapped(width: int, end: str) -> str:
    text = _encoded(png())
    return end.join(text[at : at + width] for at in range(0, len(text), width))


ENCODED: dict[str, tuple[Any, bool]] = {
    "base64": (lambda: _encoded(png()), True),
    "without padding": (lambda: _encoded(png() + b"x").rstrip("="), True),
    "with too much padding": (lambda: _encoded(png()) + "====", True),
    "URL-safe": (lambda: base64.urlsafe_b64encode(png() + b"\xff\xfe\xfb" * 9).decode(), True),
    "lines of 76": (lambda: _wrapped(76, "\n"), True),
    "lines of 64 with CRLF": (lambda: _wrapped(64, "\r\n"), True),
    "blanks around": (lambda: f" \n{_encoded(png())}\t ", True),
    "as bytes": (lambda: base64.b64encode(png()), True),
    "data URL": (lambda: f"data:image/png;base64,{_encoded(png())}", True),
    "data URL in capitals": (lambda: f"DATA:IMAGE/PNG;BASE64,{_encoded(png())}", True),
    "data URL without a type": (lambda: f"data:;base64,{_encoded(png())}", True),
    "data URL that lies about its type": (lambda: f"data:text/html;base64,{_encoded(png())}", True),
    "data URL with parameters": (lambda: f"data:image/png;a=b;base64,{_encoded(png())}", True),
    "data URL with percent escapes": (lambda: f"data:image/png;base64,{quote(_encoded(png()))}", True),
    "data URL without base64": (lambda: f"data:image/png,{quote(png())}", False),
    "data URL with nothing": ("data:image/png;base64,", False),
    "twice encoded": (lambda: _encoded(_encoded(png()).encode()), False),
    "in quotes": (lambda: f'"{_encoded(png())}"', False),
    "with a stray character": (lambda: _encoded(png())[:100] + "*" + _encoded(png())[100:], False),
    "of a text": (lambda: _encoded(b"a red chair, " * 100), False),
    "of an EPS": (lambda: _encoded(IMAGES["EPS"] * 20), False),
    "of a bomb": (lambda: _encoded(png(20_000, 20_000, data=bomb(1 << 30))), True),
    "of 20 MB": (lambda: _encoded(png(data=noise(20_000_000))), True),
    "hexadecimal": (lambda: png().hex(), False),
    "cut after the signature": (lambda: _encoded(png())[:16], True),
    "in four-byte characters": ("\N{CHAIR}" * 1000, False),
}


def _is_image(record: Record) -> None:
    assert record["task"]["is_base64_image"] is True
    assert record["task"]["base64_image_hash"], record["task"]
    assert record["task"]["prompt"] == f"[BASE64_IMAGE_HASH:{record['task']['base64_image_hash']}]"


def cases() -> Iterator[Case]:
    """Each as the image of an image task, and each encoding as the prompt of one."""
    for name, make in named("image", IMAGES):
        yield Case(
            name, make, act=lambda gen, _: None,
            keywords=lambda value: {"task_type": "IMAGE-TO-3D", "image": value},
        )  # fmt: skip
    for name, (make, is_image) in ENCODED.items():
        yield Case(
            f"encoded image: {name}", make if callable(make) else (lambda make=make: make),
            act=lambda gen, _: None, expect=_is_image if is_image else (lambda _: None),
            keywords=lambda value: {"task_type": "IMAGE-TO-3D", "prompt": value},
        )  # fmt: skip
    for name, make in list(named("output image", IMAGES))[::5]:
        yield Case(name, make, act=lambda gen, value: gen.output(image=value))
