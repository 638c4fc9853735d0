"""The CPU stand-ins do real work: pictures, cut-outs, depth, splats, views and an honest score."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from otel_gen.demo.background import remove_background
from otel_gen.demo.depth import estimate_depth
from otel_gen.demo.draw import BACKDROP, SIZE, draw
from otel_gen.demo.order import BadImageError, Order, is_picture
from otel_gen.demo.render import render_views
from otel_gen.demo.shapes import COLOURS, SHAPES
from otel_gen.demo.similarity import similarity
from otel_gen.demo.splats import BYTES_PER_GAUSSIAN, PROPERTIES, count, load, pack, relief


def splat_of(image):
    cutout = remove_background(image)
    return relief(cutout, estimate_depth(cutout))


def front_of(image):
    return render_views(load(splat_of(image)))[0]


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_the_same_words_and_seed_give_the_same_picture():
    assert draw("a red chair").tobytes() == draw("a red chair").tobytes()
    assert draw("a red chair").tobytes() != draw("a red chair", seed=7).tobytes()
    assert draw("a red chair").tobytes() != draw("a blue chair").tobytes()


def test_the_picture_has_the_named_colour_on_the_backdrop():
    image = draw("a green ball")
    assert (image.mode, image.size) == ("RGBA", (SIZE, SIZE))
    assert image.getpixel((2, 2))[:3] == BACKDROP
    middle = np.array(image.getpixel((SIZE // 4, SIZE // 2))[:3], dtype=float)
    nearest = min(COLOURS, key=lambda name: np.linalg.norm(middle - COLOURS[name]))
    assert nearest == "green"


def test_removal_makes_the_backdrop_transparent_and_keeps_the_object():
    alpha = np.asarray(remove_background(draw("a red ball")).getchannel("A"))
    assert alpha[:20].max() == 0
    assert alpha[SIZE // 2, SIZE // 4] == 255


def test_a_picture_with_its_own_cutout_keeps_it():
    cutout = remove_background(draw("a red ball"))
    assert remove_background(cutout).tobytes() == cutout.tobytes()


def test_depth_is_nearer_where_it_is_brighter_and_zero_outside():
    cutout = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    cutout.paste((40, 40, 40, 255), (0, 0, 32, 64))
    cutout.paste((220, 220, 220, 255), (32, 0, 60, 64))
    depth = estimate_depth(cutout)
    assert depth.dtype == np.float32
    assert depth[32, 50] > depth[32, 10]
    assert depth[:, 60:].max() == 0
    assert 0 <= depth.min() <= depth.max() <= 1


def test_depth_of_nothing_is_nothing():
    assert not estimate_depth(Image.new("RGBA", (16, 16), (255, 255, 255, 0))).any()


@pytest.mark.parametrize("noun", SHAPES)
def test_every_object_becomes_a_valid_ply_of_at_least_50k_gaussians(noun):
    ply = splat_of(draw(f"a red {noun} with blue"))
    header, _, body = ply.partition(b"end_header\n")
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert lines[3:] == [f"property float {name}" for name in PROPERTIES]
    assert BYTES_PER_GAUSSIAN == 68
    assert lines[2] == f"element vertex {len(body) // BYTES_PER_GAUSSIAN}"
    assert count(ply) * BYTES_PER_GAUSSIAN == len(body)
    assert count(ply) >= 50_000


def test_opacity_is_a_logit_scales_are_logs_and_all_is_finite():
    splats = load(splat_of(draw("a red chair")))
    alpha = 1 / (1 + np.exp(-splats[:, 9]))
    assert np.isfinite(splats).all()
    assert 0.5 < alpha.min() <= alpha.max() < 0.9951
    np.testing.assert_allclose(np.exp(splats[:, 10:13]), 1 / SIZE, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(splats[:, 3:6], axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(splats[:, 13:], [[1, 0, 0, 0]] * len(splats))


def test_a_stride_thins_the_relief():
    cutout = remove_background(draw("a red chair"))
    assert 0 < count(relief(cutout, estimate_depth(cutout), stride=12)) < 7_000


def test_pack_and_load_are_inverse():
    table = np.arange(34, dtype=np.float32).reshape(2, 17)
    np.testing.assert_array_equal(load(pack(table)), table)


@pytest.mark.parametrize(
    "damage",
    [
        lambda ply: ply[:-1],
        lambda ply: ply + b"\0",
        lambda ply: ply.replace(b"little", b"big___"),
        lambda ply: ply.replace(b"property float nx\n", b""),
        lambda _: b"",
    ],
)
def test_a_damaged_ply_is_refused(damage):
    with pytest.raises(ValueError, match=r"PLY|promises"):
        load(damage(pack(np.zeros((3, 17), dtype=np.float32))))


def test_four_views_and_the_nearest_point_wins():
    table = np.zeros((2, 17), dtype=np.float32)
    table[:, 2] = [0.1, 0.3]
    table[:, 6:9] = [[-1.7, -1.7, 1.7], [1.7, -1.7, -1.7]]
    table[:, 9] = 4
    views = render_views(load(pack(table)))
    assert len(views) == 4
    red, _, blue, _ = np.asarray(views[0])[64, 64]
    assert red > 200 > 50 > blue
    assert np.asarray(views[2])[64, 64][2] > 200


def test_the_right_object_scores_higher_than_a_wrong_one():
    chair, other_colour, fish = draw("a red chair"), draw("a blue chair"), draw("a blue fish")
    right = similarity(chair, front_of(chair))
    assert right > 0.85
    assert right > similarity(chair, front_of(other_colour)) > similarity(chair, front_of(fish))
    assert similarity(chair, front_of(fish)) < 0.6


def test_the_score_falls_as_more_of_the_object_is_lost():
    image = draw("a purple vase")
    splats = load(splat_of(image))
    top_down = splats[np.argsort(-splats[:, 1])]
    shares = [1.0, 0.8, 0.5, 0.2]
    scores = [similarity(image, render_views(top_down[: int(len(splats) * share)])[0]) for share in shares]
    assert scores == sorted(scores, reverse=True)
    assert similarity(image, Image.new("RGBA", (128, 128))) < 0.1


def test_a_pale_object_is_lost_with_the_background_and_fails_the_gate():
    for noun in ("ghost", "robot"):
        image = draw(f"a white {noun}")
        assert count(splat_of(image)) > 7_000
        assert similarity(image, front_of(image)) < 0.6


def test_a_picture_is_known_by_its_signature_never_by_its_length():
    assert is_picture(png(Image.new("RGB", (2, 2))))
    assert is_picture("data:image/png;base64,AAAA")
    assert not is_picture("a red chair " * 5_000)
    assert not is_picture(base64.b64encode(b"words and words" * 90).decode())
    assert not is_picture("")


def test_a_picture_is_opened_at_the_size_of_the_pipeline():
    assert Order(png(draw("a cup"))).picture().size == (SIZE, SIZE)
    assert Order("a cup").picture() is None


@pytest.mark.parametrize(
    "prompt",
    [
        png(draw("a cup"))[:4_000],
        "data:image/png;base64,AAAA",
        "data:image/png;base64,!!!!",
        base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 60).decode(),
    ],
)
def test_a_broken_picture_is_a_bad_image(prompt):
    with pytest.raises(BadImageError):
        Order(prompt).picture()
