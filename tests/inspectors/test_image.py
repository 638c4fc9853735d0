"""Images: known by signature, decoded from every honest base64, never from text, sized by their headers."""

import base64
import pathlib
import struct
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_gen.inspectors import image

DATA = pathlib.Path(__file__).parents[3] / "shared/data"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 640, 480) + b"\x08\x06\0\0\0" + bytes(range(256))
GIF = b"GIF89a" + struct.pack("<HH", 320, 200) + b"\xf7\0\0" + b"\xfb\xff\xfe" * 9
WEBP_LOSSY = b"RIFF\x50\0\0\0WEBPVP8 \x44\0\0\0\x30\x01\0\x9d\x01\x2a" + struct.pack("<HH", 0x4000 | 550, 368)
WEBP_LOSSLESS = b"RIFF\x50\0\0\0WEBPVP8L\x44\0\0\0\x2f" + struct.pack("<I", 549 | 367 << 14)
WEBP_EXTENDED = b"RIFF\x50\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\x25\x02\0" + b"\x6f\x01\0"
EXIF = b"\xff\xe1" + struct.pack(">H", 60_002) + b"E" * 60_000
FRAME = b"\xff\xc2\0\x11\x08" + struct.pack(">HH", 480, 640) + b"\x03" + b"\0" * 9
JPEG = b"\xff\xd8" + EXIF + EXIF + b"\xff\xff\xff\x01\xff\xc4\0\x04\0\0" + FRAME + b"\xff\xd9"

IMAGES = {
    "png": (PNG, "image/png", (640, 480)),
    "gif": (GIF, "image/gif", (320, 200)),
    "jpg": (JPEG, "image/jpeg", (640, 480)),
    "webp": (WEBP_LOSSY, "image/webp", (550, 368)),
    "webp lossless": (WEBP_LOSSLESS, "image/webp", (550, 368)),
    "webp extended": (WEBP_EXTENDED, "image/webp", (550, 368)),
}


@pytest.mark.parametrize(("name", "case"), IMAGES.items(), ids=IMAGES)
def test_an_image_is_known_by_signature_and_sized_by_its_header(name, case):
    data, media, size = case
    assert image.sniff(data) == (name.split()[0], media)
    assert image.size(data) == size
    assert image.size(memoryview(data)) == size


@pytest.mark.parametrize("case", IMAGES.values(), ids=IMAGES)
def test_a_header_cut_at_any_byte_has_a_size_or_none(case):
    data, _, size = case
    for length in [*range(min(len(data), 100)), *range(max(len(data) - 40, 0), len(data))]:
        assert image.size(data[:length]) in (None, size)


@pytest.mark.parametrize("name", ["astronaut", "car", "catstatue", "ghost"])
@pytest.mark.skipif(not DATA.exists(), reason="the real files are not part of the project")
def test_the_real_images_are_png_of_256_by_256(name):
    data = (DATA / f"{name}_rgba.png").read_bytes()
    assert image.sniff(data[:16]) == ("png", "image/png")
    assert image.size(data[:64]) == (256, 256)
    assert image.decode(base64.b64encode(data).decode()) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG",
        b"BM" + b"\0" * 50,
        b"<svg xmlns=''>",
        b"%!PS-Adobe-3.0 EPSF",
        b"II*\0",
        b"RIFF\0\0\0\0WAVE",
        b"\0" * 64,
        b"\xef\xbb\xbf" + PNG,
        b"%PDF-1.7",
    ],
    ids=lambda data: repr(data[:8]),
)
def test_other_formats_are_no_images(data):
    assert image.sniff(data) is None
    assert image.size(data) is None
    assert image.decode(data) is None
    assert image.decode(base64.b64encode(data)) is None


def test_an_image_of_no_width_has_no_size():
    assert image.size(PNG[:16] + struct.pack(">II", 0, 480)) is None


PLAIN = base64.b64encode(PNG).decode()
SAFE = base64.urlsafe_b64encode(PNG).decode()
ENCODED = {
    "standard": PLAIN,
    "bytes": PLAIN.encode(),
    "bytearray": bytearray(PLAIN.encode()),
    "memoryview": memoryview(PLAIN.encode()),
    "urlsafe": SAFE,
    "no padding": PLAIN.rstrip("="),
    "urlsafe without padding": SAFE.rstrip("="),
    "mime lines": base64.encodebytes(PNG).decode(),
    "crlf lines": base64.encodebytes(PNG).decode().replace("\n", "\r\n"),
    "white space around": f" \r\n\t{PLAIN}\n ",
    "much white space before": " " * 5000 + PLAIN,
    "spaces between all": " ".join(PLAIN),
    "data url": f"data:image/png;base64,{PLAIN}",
    "upper case": f"DATA:IMAGE/PNG;BASE64,{PLAIN}",
    "parameters": f"data:image/png;name=a.png;charset=utf-8;base64,{PLAIN}",
    "no media type": f"data:;base64,{PLAIN}",
    "wrong media type": f"data:text/html;base64,{PLAIN}",
    "long prefix": f"data:image/png;name={'n' * 200};base64,{PLAIN}",
    "space before the url": f"\n data:image/png;base64,\n{PLAIN}",
    "percent": f"data:image/png;base64,{urllib.parse.quote(PLAIN, safe='')}",
    "lower percent": urllib.parse.quote(PLAIN, safe="").replace("%2B", "%2b").replace("%3D", "%3d"),
    "the image itself": PNG,
}


@pytest.mark.parametrize("prompt", ENCODED.values(), ids=ENCODED)
def test_every_encoding_gives_the_bytes_of_the_image(prompt):
    assert image.decode(prompt) == PNG


@pytest.mark.parametrize("case", IMAGES.values(), ids=IMAGES)
def test_each_format_is_decoded(case):
    assert image.decode(base64.b64encode(case[0]).decode()) == case[0]


REFUSED = {
    "none": None,
    "number": 5,
    "list": [PLAIN],
    "empty": "",
    "prompt": "a red chair",
    "long prompt": "a red chair " * 200,
    "base64 of text": base64.b64encode(b"a red chair" * 100).decode(),
    "letters only": "A" * 2000,
    "signature, then text": PLAIN[:80] + " and a chair!",
    "foreign letters": "é" + PLAIN,
    "fullwidth": "ｉ" + PLAIN[1:],
    "lone surrogate": "\ud800" + PLAIN,
    "byte order mark": "\ufeff" + PLAIN,
    "quoted": f'"{PLAIN}"',
    "encoded twice": base64.b64encode(PLAIN.encode()).decode(),
    "padding inside": PLAIN[:40] + "==" + PLAIN[40:],
    "a length that cannot be": PLAIN.rstrip("=")[: 4 * 20 + 1],
    "data url without base64": f"data:image/png,{PLAIN}",
    "endless prefix": f"data:{'x' * 5000};base64,{PLAIN}",
    "other escape": PLAIN[:40] + "%41" + PLAIN[40:],
    "nul": PLAIN[:100] + "\0" + PLAIN[100:],
    "url": "https://example.org/a.png",
}


@pytest.mark.parametrize("prompt", REFUSED.values(), ids=REFUSED)
def test_what_is_no_encoded_image_is_refused(prompt):
    assert image.decode(prompt) is None


def test_an_input_over_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr(image, "MAX_ENCODED", len(PLAIN) - 1)
    for prompt in (PLAIN, PLAIN.encode(), bytearray(PLAIN.encode()), memoryview(PLAIN.encode())):
        assert image.decode(prompt) is None


def test_a_long_text_is_refused_by_its_first_characters(monkeypatch):
    seen = []
    monkeypatch.setattr(image, "_decoded", lambda data: seen.append(len(data)))
    assert image.decode("chair" * 1_000_000) is None
    assert max(seen) <= 64


def test_a_released_buffer_is_refused():
    view = memoryview(PLAIN.encode())
    view.release()
    assert image.decode(view) is None


def test_no_method_of_a_subclass_runs():
    def ran(*args):
        raise RuntimeError("foreign code ran")

    names = (
        "encode",
        "isascii",
        "strip",
        "__len__",
        "__str__",
        "__getitem__",
        "__bytes__",
        "__class__",
        "decode",
    )
    members = {name: property(ran) if name == "__class__" else ran for name in names}
    for base, value in ((str, PLAIN), (bytes, PLAIN.encode())):
        assert image.decode(base.__new__(type("Hostile", (base,), members), value)) == PNG
    assert image.decode(type("Hostile", (), members)()) is None


@given(st.binary(max_size=64), st.sampled_from([b"", b"\xff\xd8", PNG[:16], b"GIF89a", WEBP_LOSSY[:16]]))
def test_no_bytes_raise(data, start):
    assert image.size(start + data) is None or image.sniff(start + data)


@given(
    st.text(max_size=200) | st.binary(max_size=200),
    st.sampled_from(["", "/9j/", "data:;base64,", "R0lGODlh"]),
)
def test_no_prompt_raises(prompt, start):
    whole = start + prompt if isinstance(prompt, str) else start.encode() + prompt
    found = image.decode(whole)
    assert found is None or image.sniff(found)
