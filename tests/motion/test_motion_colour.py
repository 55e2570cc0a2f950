"""The picture of a motion field and the words that explain it."""

import re
from typing import get_args

import numpy as np
import pytest

from megc.motion import colour
from megc.motion.colour import (
    ABSOLUTE,
    DIRECTIONS,
    ENCODINGS,
    SIGNED,
    colour_name,
    draw_flow,
    legend_image,
    legend_text,
)
from megc.motion.flow import COMPENSATIONS, METHODS
from megc.motion.flow_pictures import mirror_picture
from megc.motion.settings import SCALE, Compensation, Encoding, FlowMethod


def uniform(x: float, y: float, size: int = 40) -> np.ndarray:
    field = np.zeros((size, size, 2), np.float32)
    field[...] = (x, y)
    return field


def patches(length: float, size: int = 48) -> np.ndarray:
    """Five patches side by side: right, down, left, up, still."""
    vectors = [*DIRECTIONS.values(), (0, 0)]
    return np.concatenate([uniform(x * length, y * length, size) for x, y in vectors], axis=1)


@pytest.mark.parametrize(
    ("vector", "rgb"),
    [((3, 0), (255, 0, 0)), ((0, 3), (127, 255, 0)), ((-3, 0), (0, 255, 255)), ((0, -3), (128, 0, 255))],
)
def test_wheel_is_opencvs(vector, rgb):
    assert np.abs(draw_flow(uniform(*vector), "colour")[5, 5].astype(int) - rgb).max() <= 1


def test_brightness_is_absolute():
    """Half the scale is half the brightness whatever else moves; beyond the scale the colour stays full."""
    field = uniform(SCALE / 2, 0)
    field[:, 20:] *= 8
    picture = draw_flow(field, "colour")
    assert tuple(picture[5, 5]) == (128, 0, 0)
    assert tuple(picture[5, 30]) == (255, 0, 0)
    assert draw_flow(uniform(1, 0), "colour", scale=1)[0, 0, 0] == 255


def test_uv_strain_values():
    picture = draw_flow(uniform(1.5, -3), "uv-strain")
    assert tuple(picture[20, 20]) == (192, 1, 0)
    x = np.arange(80, dtype=np.float32) - 40
    stretched = np.zeros((80, 80, 2), np.float32)
    stretched[..., 0] = 0.06 * x  # half of the strain that is full colour at 3 px
    assert draw_flow(stretched, "uv-strain")[40, 40, 2] == pytest.approx(128, abs=1)


def test_minmax_pictures_fill_the_range_of_each_channel():
    rng = np.random.default_rng(0)
    field = rng.normal(size=(28, 28, 2)).astype(np.float32)
    picture = draw_flow(field, "uv-strain-minmax")
    assert picture.reshape(-1, 3).min(0).tolist() == [0, 0, 0]
    assert picture.reshape(-1, 3).max(0).tolist() == [255, 255, 255]
    assert np.abs(picture.astype(int) - draw_flow(field * 5, "uv-strain-minmax")).max() <= 1
    assert np.corrcoef(picture[..., 0].ravel(), field[..., 0].ravel())[0, 1] > 0.99


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_no_words_are_shared_and_prompt_is_short(encoding):
    text = legend_text(encoding)
    named = dict(re.findall(r"([a-z ]+) (right|down|left|up)\b", text.split(":")[1].split(";")[0]))
    assert len(named) == 4, text
    assert len(text.split()) <= 42
    assert "picture" in text


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_legend_says_what_the_renderer_draws(encoding):
    """Read the words back and compare them with a picture drawn here, not through the legend's own probe."""
    text = legend_text(encoding)
    picture = draw_flow(patches(SCALE), encoding, onset_image=np.full((48, 240), 128, np.uint8))
    for index, name in enumerate(DIRECTIONS):
        word = colour_name(picture[24, index * 48 + 24])
        assert f"{word} {name}" in text
    assert f"{colour_name(picture[24, 4 * 48 + 24])} is still" in text


def test_legend_follows_a_changed_renderer(monkeypatch):
    """Mirror the wheel: the words must turn with it."""
    true = ENCODINGS["colour"]
    monkeypatch.setitem(ENCODINGS, "colour", lambda flow, scale, onset: true(-flow, scale, onset))
    legend_text.cache_clear()
    try:
        assert "cyan right" in legend_text("colour")
        assert "red left" in legend_text("colour")
    finally:
        legend_text.cache_clear()


def test_legend_tells_absolute_from_relative_and_names_the_scale():
    assert "3 pixels" in legend_text("colour")
    assert "2.5 pixels" in legend_text("uv-strain", 2.5)
    assert "pixels" not in legend_text("minmax-blend")
    assert "strongest in this picture" in legend_text("uv-strain-minmax")
    assert "stretched" in legend_text("uv-strain")
    assert "stretched" not in legend_text("colour")


def test_neutral_picture_is_the_still_colour():
    assert colour.neutral_picture((12, 8)).shape == (8, 12, 3)
    assert not colour.neutral_picture((12, 8), "colour").any()
    assert (colour.neutral_picture((4, 4), "uv-strain") == (128, 128, 0)).all()


def test_legend_image_shows_the_wheel():
    image = legend_image("colour", size=120)
    assert image.shape == (120, 120, 3)
    assert colour_name(image[60, 84]) in ("red", "brick red")
    assert colour_name(image[60, 35]) in ("cyan", "teal", "sky blue")


@pytest.mark.parametrize(
    ("field", "kwargs", "word"),
    [
        (np.zeros((4, 4)), {}, "shape"),
        (np.zeros((4, 4, 2)), {"encoding": "rainbow"}, "rainbow"),
        (np.zeros((4, 4, 2)), {"scale": 0}, "positive"),
        (np.full((4, 4, 2), np.nan), {}, "finite"),
        (np.zeros((4, 4, 2)), {"encoding": "minmax-blend"}, "onset"),
    ],
)
def test_bad_arguments(field, kwargs, word):
    with pytest.raises(ValueError, match=word):
        draw_flow(field, **kwargs)


def test_settings_offer_what_there_is():
    assert set(get_args(Encoding)) == set(ENCODINGS)
    assert set(get_args(FlowMethod)) == set(METHODS)
    assert set(get_args(Compensation)) == set(COMPENSATIONS)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_is_in_the_lists_where_it_belongs(encoding):
    grey = np.full((48, 240), 128, np.uint8)
    field = patches(SCALE / 2)
    stronger = field.copy()
    stronger[:, 200:] = (2 * SCALE, SCALE)  # far from the first patch, whose colour an absolute encoding keeps
    weak, strong = (draw_flow(motion, encoding, onset_image=grey)[24, 24] for motion in (field, stronger))
    assert np.array_equal(weak, strong) == (encoding in ABSOLUTE), "ABSOLUTE"
    turned = np.ascontiguousarray(field[:, ::-1]) * np.float32((-1, 1))
    ours = mirror_picture(draw_flow(field, encoding, onset_image=grey)).astype(int)
    mirrors = np.abs(ours - draw_flow(turned, encoding, onset_image=grey)).max() <= 2
    around_grey = (colour.neutral_picture((48, 48), encoding)[..., :2] == 128).all()
    assert (mirrors and around_grey) == (encoding in SIGNED), "SIGNED"
