"""The original project's flow picture, rule by rule as its files have it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from motion_scenes import portrait, pose, render

from megc.motion import original
from megc.motion.faces import face_models
from megc.motion.flow import compensate, optical_flow
from megc.motion.regions import nose_box

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "flow.py"


def test_the_nose_box_has_forty_rows_and_thirty_columns():
    assert nose_box((100, 80), (200, 300)) == (slice(60, 100), slice(85, 115))
    assert nose_box((5, 195), (200, 300)) == (slice(175, 200), slice(0, 20))


def test_the_nose_is_found_on_the_grey_onset_without_upsampling():
    grey = cv2.cvtColor(portrait(), cv2.COLOR_RGB2GRAY)
    detector, predictor = face_models()
    tip = predictor(grey, detector(grey, 0)[0]).part(30)
    assert original.find_nose(grey) == (slice(tip.y - 20, tip.y + 20), slice(tip.x - 15, tip.x + 15))
    assert original.find_nose(np.zeros((200, 300), np.uint8)) == (slice(80, 120), slice(135, 165))


def test_detector_and_predictor_are_built_once():
    assert face_models() is face_models()


def test_motion_is_tvl1_less_the_mean_of_the_box(monkeypatch):
    onset, apex = (cv2.resize(image, None, fx=0.5, fy=0.5) for image in (render(0), render(2, pose(1.5, 0.5))))
    calls = []
    detector, predictor = face_models()
    monkeypatch.setattr(
        original, "face_models", lambda: (lambda *image: calls.append(image) or detector(*image), predictor)
    )
    field = original.original_motion(onset, apex)
    whole = optical_flow(onset, apex, "tvl1-original")
    box = original.find_nose(cv2.cvtColor(onset, cv2.COLOR_RGB2GRAY))
    assert np.array_equal(field, whole - whole[box].mean(axis=(0, 1)))
    (image,) = calls[0]
    assert image.ndim == 2, "the grey frame alone, no number of enlargements"


def test_nose_compensation_takes_the_box_of_the_original():
    landmarks = np.full((68, 2), 100, np.float32)
    flow = np.zeros((200, 200, 2), np.float32)
    flow[80:120, 85:115] = (3, -1)
    assert compensate(flow, landmarks, "nose")[1].shift == 3 - 1j
    flow[79], flow[120], flow[:, 84], flow[:, 115] = (50,) * 2, (50,) * 2, (50,) * 2, (50,) * 2
    assert compensate(flow, landmarks, "nose")[1].shift == 3 - 1j


@pytest.mark.parametrize(
    ("vector", "colour"),
    [((4, 0), (255, 0, 0)), ((0, 4), (127, 255, 0)), ((-4, 0), (0, 255, 255)), ((0, -4), (128, 0, 255))],
)
def test_picture_is_hue_of_half_the_angle_half_over_the_onset(vector, colour):
    flow = np.zeros((40, 40, 2), np.float32)
    flow[10:30, 10:30] = vector
    picture = original.original_picture(flow, np.full((40, 40, 3), 100, np.uint8))
    assert np.abs(picture[20, 20].astype(int) - (np.array(colour) / 2 + 50)).max() <= 1.5
    assert (picture[0, 0] == 50).all(), "stillness is black"


def test_the_benchmark_times_and_probes_the_original_itself():
    text = BENCHMARK.read_text()
    assert "original_picture(original_motion(" in text and "get_frontal_face_detector" not in text
