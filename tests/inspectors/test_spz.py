"""SPZ: points, version and degree from 16 inflated bytes, a reason for every other file."""

import gzip
import importlib.util
import json
import os
import pathlib
import struct
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_gen.inspectors import spz

ROBOCOP = pathlib.Path(__file__).parents[3] / "shared/data/robocop.spz"
HAS_ZSTD = sys.version_info >= (3, 14) or importlib.util.find_spec("zstandard") is not None
needs_zstd = pytest.mark.skipif(not HAS_ZSTD, reason="zstd needs Python 3.14 or the package zstandard")


def inner(points=1000, version=2, degree=0, magic=b"NGSP", flags=0):
    return struct.pack("<4sIIBBBx", magic, version, points, degree, 12, flags)


def inspect_bytes(data):
    fd = os.memfd_create("model")
    try:
        os.write(fd, data)
        found = spz.inspect(fd)
    finally:
        os.close(fd)
    json.dumps(found, allow_nan=False)
    return found["num_gaussians"], found["gaussian_stats"]


def zstd_raw(data, window=b"\x48"):
    """Frame data as one raw zstd block."""
    block = (1 | len(data) << 3).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd\x00" + window + block + data


@needs_zstd
@pytest.mark.skipif(not ROBOCOP.exists(), reason="the real file is not part of the project")
def test_a_real_file_gives_its_points():
    found = spz.inspect(ROBOCOP)
    assert found["num_gaussians"] == 267_776
    stats = found["gaussian_stats"]
    assert (stats["version"], stats["sh_degree"], stats["bytes"]) == (2, 0, 3_472_162)
    assert (stats["format"], stats["compression"]) == ("spz", "zstd")


@pytest.mark.parametrize(
    ("pack", "compression"),
    [(gzip.compress, "gzip"), (bytes, None), pytest.param(zstd_raw, "zstd", marks=needs_zstd)],
    ids=["gzip", "plain", "zstd"],
)
def test_each_compression_gives_the_header(pack, compression):
    points, stats = inspect_bytes(pack(inner(1000, 3, 2, flags=1) + b"\0" * 100))
    assert points == 1000
    assert stats == {
        "format": "spz",
        "bytes": stats["bytes"],
        "compression": compression,
        "version": 3,
        "sh_degree": 2,
        "fractional_bits": 12,
        "antialiased": True,
    }


MALFORMED = {
    "empty": b"",
    "text": b"a red chair on a table",
    "ply": b"ply\nformat ascii 1.0\n",
    "short": inner()[:15],
    "magic": inner(magic=b"NGPS"),
    "version_0": inner(version=0),
    "version_9": inner(version=9),
    "degree": inner(degree=9),
    "points": inner(points=2**32 - 1),
    "gzip_short": gzip.compress(inner()[:8]),
    "gzip_cut": gzip.compress(inner())[:12],
    "gzip_damaged": b"\x1f\x8b" + b"\xff" * 50,
    "zstd_cut": zstd_raw(inner())[:8],
    "zstd_reserved_block": b"\x28\xb5\x2f\xfd\x00\x48\xff\xff\xff" + b"\xff" * 50,
    "zstd_huge_window": zstd_raw(inner(), window=b"\xff"),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_file_gives_a_reason_and_no_count(data):
    points, stats = inspect_bytes(data)
    assert points is None
    assert 0 < len(stats["error"]) < 80
    assert stats["bytes"] == len(data)


ZSTD_BOMB = b"\x28\xb5\x2f\xfd\x00\x48" + (16 << 3).to_bytes(3, "little") + inner()
ZSTD_BOMB += ((128 * 1024 << 3 | 2).to_bytes(3, "little") + b"\0") * 1000


@pytest.mark.parametrize(
    "bomb",
    [gzip.compress(inner() + b"\0" * 50_000_000), pytest.param(ZSTD_BOMB, marks=needs_zstd)],
    ids=["gzip", "zstd"],
)
def test_a_bomb_is_inflated_no_further_than_the_header(bomb):
    tracemalloc.start()
    try:
        assert inspect_bytes(bomb)[0] == 1000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_without_a_zstd_decoder_the_reason_says_so(monkeypatch):
    if sys.version_info >= (3, 14):
        pytest.skip("this Python brings its own decoder")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    points, stats = inspect_bytes(zstd_raw(inner()))
    assert (points, stats["error"]) == (None, "the package zstandard is not installed")


def test_a_missing_file_is_a_reason(tmp_path):
    assert spz.inspect(tmp_path / "absent")["gaussian_stats"]["error"].startswith("cannot be opened")


@given(st.binary(max_size=100), st.sampled_from([b"", b"NGSP", b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd"]))
def test_no_file_raises(data, magic):
    points, stats = inspect_bytes(magic + data)
    assert points is not None or stats["error"]
