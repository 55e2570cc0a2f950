"""Motion in words: regions on the right half of the face, directions, strengths, and what a picture alone can say."""

import json
from pathlib import Path

import numpy as np
import pytest
from flow_set import REAL

from megc.files import read_picture
from megc.motion.colour import draw_flow
from megc.motion.crop import CROP_HEIGHT, CROP_WIDTH, FACE_WIDTH, mean_face
from megc.motion.motion_words import (
    RELATIVE,
    describe_field,
    describe_picture,
    describe_vectors,
    direction_words,
    picture_landmarks,
    region_vectors,
)
from megc.motion.regions import face_width

LEAD = "Motion from onset to apex, left and right of the subject"


def patch(landmarks: tuple[int, ...], vector: tuple[float, float], radius: int = 30) -> np.ndarray:
    """A field on the mean face in which a square around the landmarks moves by `vector` (x right, y down)."""
    field = np.zeros((CROP_HEIGHT, CROP_WIDTH, 2), np.float32)
    x, y = np.rint(mean_face()[list(landmarks)].mean(axis=0)).astype(int)
    field[y - radius : y + radius, x - radius : x + radius] = vector
    return field


def mirrored(field: np.ndarray) -> np.ndarray:
    return (field[:, ::-1] * (-1, 1)).astype(np.float32)


def test_a_field_in_which_the_left_inner_brow_rises() -> None:
    """The left inner brow lies right of the picture's middle; a box of 12 px there (a face of 236 px has boxes of 24)
    reaches neither the outer brow nor the other half of the face."""
    x = mean_face()[[22, 23], 0].mean()
    assert x > CROP_WIDTH / 2
    assert describe_field(patch((22, 23), (0, -0.8), 12), mean_face()) == (
        f"{LEAD}: outer brows still; left inner brow up 0.8 px; right inner brow still; glabella still; "
        "upper lids still; lower lids still; cheeks still; nostrils still; upper lip still; lip corners still; "
        "lower lip still; chin still."
    )


def test_a_mirrored_field_names_the_other_side() -> None:
    field = patch((22, 23), (0, -0.8)) + patch((54,), (1.2, -1.2))  # the left lip corner is drawn up and outwards
    words = describe_field(field, mean_face())
    assert "left inner brow up 0.8 px" in words
    assert "left lip corner up and outwards 1.7 px; right lip corner still" in words  # the root of 2 · 1.2²
    other = describe_field(mirrored(field), mean_face())
    assert "right inner brow up 0.8 px" in other
    assert "left lip corner still; right lip corner up and outwards 1.7 px" in other


def test_a_still_field_is_still_and_what_noise_moves_too() -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, (CROP_HEIGHT, CROP_WIDTH, 2)).astype(np.float32)
    for field in (np.zeros_like(noise), noise):
        assert describe_field(field, mean_face()) == f"{LEAD}: the whole face still."


@pytest.mark.parametrize(
    ("vector", "left", "right", "middle"),
    [
        ((0, -1), "up", "up", "up"),
        ((1, 0), "outwards", "inwards", "left"),  # the right of the picture is the left of the subject
        ((-1, 0.1), "inwards", "outwards", "right"),
        ((1, 1), "down and outwards", "down and inwards", "down and left"),
        ((-1, -0.8), "up and inwards", "up and outwards", "up and right"),
        ((0.2, 1), "down", "down", "down"),
    ],
)
def test_directions(vector: tuple[float, float], left: str, right: str, middle: str) -> None:
    words = [direction_words(np.array(vector), side) for side in ("left", "right", "")]
    assert words == [left, right, middle]


def test_strengths_are_pixels_of_the_aligned_face_whatever_the_picture_is() -> None:
    field = patch((48,), (0, 0.9))
    twice = 2 * field.repeat(2, axis=0).repeat(2, axis=1)
    assert face_width(mean_face()) == pytest.approx(FACE_WIDTH, abs=0.5)
    assert describe_field(twice, 2 * mean_face()) == describe_field(field, mean_face())
    assert "right lip corner down 0.9 px" in describe_field(field, mean_face())


def test_a_region_outside_the_field_is_not_named() -> None:
    words = describe_field(np.zeros((CROP_HEIGHT, CROP_WIDTH, 2), np.float32), mean_face() + np.float32((0, 60)))
    assert words == f"{LEAD}: the whole face still."
    vectors = region_vectors(patch((48,), (0, 0.9)), mean_face() - np.float32((CROP_WIDTH, 0)))
    assert "right lip corner" not in vectors and "left lip corner" not in vectors


def test_a_picture_in_pixels_says_what_its_field_says() -> None:
    field = patch((22, 23), (0, -0.8)) + patch((54,), (1.2, -1.2))
    picture = draw_flow(field, "uv-strain", 3.0)
    assert describe_picture(picture, "uv-strain", 3.0) == describe_field(field, mean_face())


def test_a_stretched_picture_says_that_its_strengths_are_relative() -> None:
    field = patch((20, 21), (0.6, 0.6)) + patch((54,), (-0.3, -0.3))
    words = describe_picture(draw_flow(field, "uv-strain-centred"), "uv-strain-centred", 3.0)
    assert words.startswith(f"{LEAD}, {RELATIVE}: ")
    assert "right inner brow down and inwards 1.0;" in words and "px" not in words
    # colours end at three root mean squares, 3 · √(3600 / 94080 · (.6² + .3²)) = .39 px: .3 is .8 of that, not a half
    assert "left lip corner up and inwards 0.8;" in words
    # head motion moves every colour of a min-max picture, and its factor is unknown: neither reaches the words
    for changed in (field, 2.5 * field + np.float32((0.7, -0.4))):
        minmax = describe_picture(draw_flow(changed, "uv-strain-minmax"), "uv-strain-minmax", 3.0)
        assert "right inner brow down and inwards 1.0;" in minmax and "lower lip still" in minmax
    still = describe_picture(draw_flow(0 * field, "uv-strain-centred"), "uv-strain-centred", 3.0)
    assert still == f"{LEAD}, {RELATIVE}: the whole face still."
    with pytest.raises(ValueError, match="drawn as colour has no words"):
        describe_picture(draw_flow(field, "colour"), "colour", 3.0)


def test_a_picture_of_28_pixels_shows_brows_to_lower_lip() -> None:
    points = picture_landmarks((28, 28, 3))
    assert 0 < points[17:60].min() < 3 and 25 < points[17:60].max() < 28
    vectors = {name: np.array((0.0, 1.0)) for name in region_vectors(np.zeros((28, 28, 2), np.float32), points)}
    assert "chin" not in vectors and "lower lip" in vectors
    assert "left lower lid down 1.0; right lower lid down 1.0" in describe_vectors(vectors, 0.25, "")


@pytest.mark.skipif(not (REAL / "flow_casme2").is_dir(), reason="needs the real pictures of ../shared/real")
def test_brows_of_real_brow_lowerers_go_down_and_lip_corners_of_real_smiles_up() -> None:
    moves: dict[str, list[bool]] = {"brow lowerer": [], "lip corner puller": []}
    for line in (REAL / "me_vqa_casme2.jsonl").read_text().splitlines():
        row = json.loads(line)
        if (
            not row["question"].startswith("What")
            or "action unit" not in row["question"]
            or "expression" in row["question"]
        ):
            continue
        path = Path(REAL, "flow_casme2", f"{row['image_id']}.png")
        words = describe_picture(np.asarray(read_picture(path, path, None, "")), "uv-strain-minmax", 3.0)
        if "brow lowerer" in row["answer"] and "brow raiser" not in row["answer"]:
            moves["brow lowerer"].append("inner brow down" in words)
        if "lip corner puller" in row["answer"]:
            moves["lip corner puller"].append("lip corner up" in words)
    shares = {unit: np.mean(seen) for unit, seen in moves.items()}
    assert len(moves["brow lowerer"]) > 40 and len(moves["lip corner puller"]) > 25
    assert shares["brow lowerer"] > 0.9 and shares["lip corner puller"] > 0.7, shares
