"""PLY: the header of any layout, statistics in finite floats, a reason for every malformed file."""

import gzip
import json
import math
import os
import pathlib
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_gen.inspectors import ply

np = pytest.importorskip("numpy", reason="statistics need numpy")

HAMBURGER = pathlib.Path(__file__).parents[3] / "shared/data/hamburger.ply"
NAMES_14 = [*"xyz", *(f"f_dc_{i}" for i in range(3)), "opacity", *(f"scale_{i}" for i in range(3))]
NAMES_14 += [f"rot_{i}" for i in range(4)]
NAMES_17 = [*NAMES_14[:3], "nx", "ny", "nz", *NAMES_14[3:]]
NAMES_62 = [*NAMES_17[:9], *(f"f_rest_{i}" for i in range(45)), *NAMES_17[9:]]
LITTLE, BIG = "binary_little_endian", "binary_big_endian"


def head_of(names, count, form=LITTLE, kind="float", end="\n", before=(), after=()):
    columns = [f"property {kind} {name}" for name in names]
    lines = [
        "ply",
        f"format {form} 1.0",
        *before,
        f"element vertex {count}",
        *columns,
        *after,
        "end_header",
        "",
    ]
    return end.join(lines).encode()


def splat(names=tuple(NAMES_17), count=10, form=LITTLE, kind="float", **parts):
    """Make a PLY whose value in row i, column k is i + k / 100."""
    rows = np.arange(count)[:, None] + np.arange(len(names)) / 100
    order = {LITTLE: "<", BIG: ">"}[form]
    return (
        head_of(names, count, form, kind, **parts)
        + rows.astype(f"{order}f{4 if kind == 'float' else 8}").tobytes()
    )


@pytest.fixture
def look(tmp_path):
    def look(data, **options):
        path = tmp_path / "model.ply"
        path.write_bytes(data)
        found = ply.inspect(path, **options)
        json.dumps(found, allow_nan=False)
        return found["num_gaussians"], found["gaussian_stats"]

    return look


@pytest.mark.skipif(not HAMBURGER.exists(), reason="the real file is not part of the project")
def test_a_real_splat_gives_its_count_and_finite_statistics():
    found = ply.inspect(HAMBURGER)
    stats = found["gaussian_stats"]
    assert found["num_gaussians"] == stats["n"] == 52_709
    assert (stats["properties"], stats["non_finite"], stats["trailing_bytes"], stats["missing_bytes"]) == (
        14,
        0,
        0,
        0,
    )
    numbers = [stats[name] for name in ply.STATISTICS if not name.startswith("bbox")]
    assert all(math.isfinite(value) for value in [*numbers, *stats["bbox_min"], *stats["bbox_max"]])
    assert stats["opacity_min"] < stats["opacity_mean"] < stats["opacity_max"]
    assert "error" not in stats


@pytest.mark.parametrize(
    "names", [NAMES_14, NAMES_17, NAMES_62, NAMES_17[::-1]], ids=["14", "17", "62", "reversed"]
)
@pytest.mark.parametrize(
    ("form", "kind"), [(LITTLE, "float"), (BIG, "float"), (LITTLE, "double"), (BIG, "float64")]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
def test_every_layout_gives_the_same_statistics(look, names, form, kind, end):
    count, stats = look(splat(names, 10, form, kind, end=end))
    place = names.index("opacity") / 100
    assert count == 10
    assert stats["opacity_mean"] == pytest.approx(4.5 + place)
    assert stats["opacity_std"] == pytest.approx(math.sqrt(8.25))
    assert (stats["opacity_min"], stats["opacity_max"]) == pytest.approx((place, 9 + place))
    assert stats["scale_max"] == pytest.approx(9 + max(names.index(f"scale_{i}") for i in range(3)) / 100)
    assert stats["bbox_min"] == pytest.approx([names.index(axis) / 100 for axis in "xyz"])
    assert stats["bbox_max"] == pytest.approx([9 + names.index(axis) / 100 for axis in "xyz"])
    assert (stats["trailing_bytes"], stats["missing_bytes"], stats["non_finite"]) == (0, 0, 0)


def test_opacity_is_read_as_a_logit():
    logits = np.array([-9.2103, -7.0, 0.0, 9.2103, 5.0], "<f4")
    data = head_of(["opacity"], 5) + logits.tobytes()
    stats = inspect_bytes(data)
    assert stats["opacity_saturated_share"] == 0.4
    assert stats["alpha_transparent_share"] == 0.4
    assert stats["alpha_mean"] == pytest.approx(float((1 / (1 + np.exp(-logits.astype("f8")))).mean()))
    assert stats["opacity_in_unit_range"] is False
    assert inspect_bytes(head_of(["opacity"], 2) + struct.pack("<2f", 0, 1))["opacity_in_unit_range"] is True


def inspect_bytes(data, **options):
    fd = os.memfd_create("model")
    try:
        os.write(fd, data)
        return ply.inspect(fd, **options)["gaussian_stats"]
    finally:
        os.close(fd)


def test_columns_of_several_types_are_read_at_their_places():
    head = b"ply\nformat binary_little_endian 1.0\nelement vertex 2\nproperty uchar red\nproperty double x\n"
    head += b"property float opacity\nproperty short y\nproperty int z\nend_header\n"
    row = struct.Struct("<Bdfhi")
    stats = inspect_bytes(head + row.pack(1, 0.5, 2.0, -3, 7) + row.pack(2, math.nan, math.inf, 4, 8))
    assert (stats["opacity_mean"], stats["non_finite"]) == (2.0, 2)
    assert (stats["bbox_min"], stats["bbox_max"]) == ([0.5, -3.0, 7.0], [0.5, 4.0, 8.0])


def test_values_that_are_not_finite_are_counted_and_left_out():
    values = np.arange(40, dtype="<f4").reshape(4, 10)
    values[1, 6], values[2, 0], values[3, 6] = math.nan, math.inf, -math.inf
    names = ["x", "y", "z", "a", "b", "c", "opacity", "scale_0", "scale_1", "scale_2"]
    stats = inspect_bytes(head_of(names, 4) + values.tobytes())
    assert stats["non_finite"] == 3
    assert (stats["opacity_mean"], stats["opacity_max"]) == (16.0, 26.0)
    assert stats["bbox_max"] == [30.0, 31.0, 32.0]
    assert stats["alpha_transparent_share"] == 0.0


def test_a_splat_of_nothing_but_nan_has_no_statistics():
    stats = inspect_bytes(head_of(NAMES_14, 3) + np.full((3, 14), np.nan, "<f4").tobytes())
    assert stats["non_finite"] == 42
    assert {stats[name] for name in ply.STATISTICS if name != "non_finite"} == {None}


def test_sums_that_overflow_are_none():
    stats = inspect_bytes(
        head_of(["opacity", "x"], 2, kind="double") + struct.pack("<4d", 1e308, 1, 1e308, 2)
    )
    assert (stats["opacity_mean"], stats["opacity_std"], stats["opacity_max"]) == (None, None, 1e308)


def test_a_deviation_far_from_zero_does_not_cancel_over_many_chunks(monkeypatch):
    monkeypatch.setattr(ply, "_CHUNK", 7)
    values = np.random.default_rng(0).normal(1e6, 0.5, 1000)
    stats = inspect_bytes(head_of(["opacity"], 1000, kind="double") + values.astype("<f8").tobytes())
    assert stats["opacity_std"] == pytest.approx(values.std(), rel=1e-6)
    assert stats["opacity_mean"] == pytest.approx(values.mean(), rel=1e-6)


def test_elements_before_and_after_the_vertices_are_stepped_over(look):
    before = ["element chunk 3", "property float min_x", "property uchar flag"]
    after = ["element face 2", "property int a"]
    head = head_of(NAMES_14, 10, before=before, after=after)
    body = splat(NAMES_14, 10)[len(head_of(NAMES_14, 10)) :]
    count, stats = look(head + b"\xff" * 15 + body + b"\0" * 8 + b"tail")
    assert (count, stats["trailing_bytes"], stats["missing_bytes"]) == (10, 4, 0)
    assert stats["opacity_mean"] == pytest.approx(4.56)


def test_a_cut_file_gives_the_whole_vertices_that_are_there(look):
    data = splat(NAMES_17, 10)
    count, stats = look(data[: -3 * 68 - 1])
    assert (count, stats["n"], stats["declared"], stats["missing_bytes"]) == (6, 6, 10, 205)
    assert stats["opacity_max"] == pytest.approx(5.09)
    assert "partial" not in stats


def test_a_file_cut_at_any_byte_gives_a_dict(look):
    data = splat(NAMES_14, 3)
    for length in range(len(data)):
        count, stats = look(data[:length])
        whole = (length - len(head_of(NAMES_14, 3))) // 56
        assert count == (None if whole < 0 else whole)
        assert ("error" in stats) is (whole < 0)


def test_the_deadline_stops_the_count_with_what_was_sampled(monkeypatch):
    monkeypatch.setattr(ply, "_CHUNK", 4)
    ticks = iter(range(100))
    stats = inspect_bytes(splat(NAMES_17, 20), deadline=2.0, clock=lambda: next(ticks))
    assert (stats["partial"], stats["sampled"], stats["n"]) == (True, 8, 20)
    assert stats["opacity_max"] == pytest.approx(7.09)


def test_a_file_that_shrinks_while_it_is_read_is_described_as_far_as_it_was(tmp_path):
    path = tmp_path / "model.ply"
    path.write_bytes(splat(NAMES_17, 10))

    def shrink():
        os.truncate(path, len(head_of(NAMES_17, 10)) + 4 * 68 + 5)
        return 0.0

    stats = ply.inspect(path, clock=shrink)["gaussian_stats"]
    assert (stats["partial"], stats["sampled"], stats["n"]) == (True, 4, 10)
    assert stats["opacity_max"] == pytest.approx(3.09)


def test_without_numpy_the_header_facts_remain(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)
    stats = inspect_bytes(splat(NAMES_17, 10))
    assert (stats["n"], stats["properties"], stats["opacity_mean"]) == (10, 17, None)
    assert stats["error"] == "numpy is not installed"


HEAD = head_of(["x"], 1)
MALFORMED = {
    "empty": (b"", None),
    "text": (b"a red chair", None),
    "gzip": (gzip.compress(splat()), None),
    "cut_header": (HEAD[:-5], None),
    "no_format": (HEAD.replace(b"format binary_little_endian 1.0\n", b""), None),
    "format_2": (HEAD.replace(b"1.0", b"2.0"), None),
    "unknown_line": (HEAD.replace(b"property", b"prop"), None),
    "unknown_type": (HEAD.replace(b"float", b"float128"), None),
    "no_vertex": (HEAD.replace(b"vertex", b"face"), None),
    "property_first": (HEAD.replace(b"element vertex 1\n", b""), None),
    "negative": (head_of(["x"], -1) + b"\0" * 4, None),
    "plus": (head_of(["x"], "+1") + b"\0" * 4, None),
    "exponent": (head_of(["x"], "1e30") + b"\0" * 4, None),
    "huge": (head_of(["x"], 10**30) + b"\0" * 4, None),
    "fraction": (head_of(["x"], "3.0") + b"\0" * 4, None),
    "arabic": (head_of(["x"], "٣") + b"\0" * 12, None),
    "no_count": (HEAD.replace(b" 1\n", b"\n"), None),
    "long_header": (head_of(["x"], 1, before=["comment " + "c" * 5_000_000]), None),
    "many_properties": (head_of([f"p{i}" for i in range(100_000)], 1), None),
    "duplicate": (head_of(["x", "x"], 1) + b"\0" * 8, 1),
    "no_property": (head_of([], 0), None),
    "no_property_counted": (head_of([], 2**40), None),
    "list_in_vertex": (head_of(["x"], 1, after=["property list uchar int i"]) + b"\0" * 9, 1),
    "list_first": (head_of(["x"], 1, before=["element face 1", "property list uchar int i"]) + b"\0" * 9, 1),
    "list_and_absurd": (head_of(["x"], 10**12, before=["element f 1", "property list uchar int i"]), None),
    "ascii": (head_of(["x", "y"], 2, form="ascii") + b"1 2\n3 4\n", 2),
    "ascii_absurd": (head_of(["x", "y"], 10**9, form="ascii") + b"1 2\n", None),
    "nul": (b"\0" * 100_000, None),
}


@pytest.mark.parametrize(("data", "count"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_file_gives_a_dict_with_the_count_that_can_be_trusted(look, data, count):
    found, stats = look(data)
    assert found == count
    assert stats["bytes"] == len(data)
    assert 0 < len(stats["error"]) < 80


@pytest.mark.parametrize(
    ("data", "count", "missing"),
    [
        (head_of(["x"], 0), 0, 0),
        (head_of(["x"], 2**31) + b"\0" * 8, 2, 2**33 - 8),
        (head_of(["\xe9"], 1) + b"\0" * 4, 1, 0),
    ],
    ids=["none", "two billion", "foreign letter"],
)
def test_an_odd_file_is_described_as_it_is(look, data, count, missing):
    found, stats = look(data)
    assert (found, stats["missing_bytes"]) == (count, missing)
    assert "error" not in stats


def test_what_is_no_regular_file_is_a_reason_without_a_path(tmp_path):
    os.mkfifo(tmp_path / "secret.ply")
    for path in (tmp_path, tmp_path / "secret.ply", tmp_path / "secret-absent.ply", -1, "nul\0byte", None):
        found = ply.inspect(path)
        assert found["num_gaussians"] is None
        assert "secret" not in found["gaussian_stats"]["error"]


def test_a_borrowed_descriptor_stays_open_where_it_was(tmp_path):
    path = tmp_path / "model.ply"
    path.write_bytes(splat())
    with path.open("rb") as file:
        file.seek(5)
        assert ply.inspect(file.fileno())["num_gaussians"] == 10
        assert file.tell() == 5


def test_the_header_tells_where_the_vertices_lie():
    data = splat(NAMES_14, 10)
    found = ply.header(data, len(data) + 7)
    assert (found.format, found.count, found.present, found.stride) == (LITTLE, 10, 10, 56)
    assert found.properties[6] == ("opacity", "f4", 24)
    assert found.data_offset == len(head_of(NAMES_14, 10))
    assert (found.expected_size, found.trailing, found.missing) == (len(data), 7, 0)
    assert ply.header(b"no header", 9) is None


@given(st.binary(max_size=200))
def test_no_header_raises(data):
    for head in (
        data,
        b"ply\n" + data,
        b"ply\n" + data + b"\nend_header\n",
        HEAD[:60] + data + b"\nend_header\n",
    ):
        found = ply.header(head, len(head))
        assert found is None or found.present <= found.count


@given(st.data())
def test_no_damage_of_the_body_or_header_raises(data):
    good = bytearray(splat(NAMES_14, 3))
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    json.dumps(inspect_bytes(bytes(good)), allow_nan=False)
