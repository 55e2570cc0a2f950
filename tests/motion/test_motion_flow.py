"""Faces, flow and head motion against known truth."""

from typing import get_args

import cv2
import numpy as np
import pytest
from motion_scenes import BROW_INNER, LIP_CORNERS, expression, portrait, pose, render, true_flow

from megc.motion import flow
from megc.motion.apex import spot_apex
from megc.motion.colour import ENCODINGS
from megc.motion.crop import FACE_WIDTH, align_transform, centre_transform, crop_frame, transform_points
from megc.motion.faces import FaceFinder
from megc.motion.flow import COMPENSATIONS, METHODS, HeadMotion, compensate, optical_flow
from megc.motion.region_motion import sample_numbers
from megc.motion.regions import face_mask, face_width, region_boxes, stable_mask
from megc.motion.settings import Compensation, Encoding, FieldEncoding, FlowMethod
from megc.problems import DataError

HEAD = pose(1.3, -0.9, 0.35, 1.004)
AMPLITUDE = 2.0


@pytest.fixture(scope="module")
def face():
    return FaceFinder().find(portrait(), "portrait")


@pytest.fixture(scope="module")
def aligned(face):
    """(transform, landmarks in the crop)."""
    transform = align_transform(face.landmarks)
    return transform, transform_points(face.landmarks, transform)


def in_crop(field: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """A field of the frame as the crop sees it."""
    return crop_frame(field, transform) @ transform[:, :2].T.astype(np.float32)


def errors(flow: np.ndarray, truth: np.ndarray, landmarks: np.ndarray, expression_truth: np.ndarray) -> tuple:
    """Endpoint error (inside the face, where the expression moves more than 0.3 px)."""
    inside = face_mask(landmarks, flow.shape[:2])
    moving = inside & (np.linalg.norm(expression_truth, axis=2) > 0.3)
    wrong = np.linalg.norm(flow - truth, axis=2)
    return float(wrong[inside].mean()), float(wrong[moving].mean())


def test_landmarks_lie_on_the_face(face):
    assert np.linalg.norm(face.landmarks[[21, 22]] - BROW_INNER, axis=1).max() < 12
    assert np.linalg.norm(face.landmarks[[48, 54]] - LIP_CORNERS, axis=1).max() < 8


def test_crop_has_the_agreed_size(aligned):
    transform, landmarks = aligned
    assert crop_frame(portrait(), transform).shape == (336, 280, 3)
    assert face_width(landmarks) == pytest.approx(FACE_WIDTH, rel=0.08)
    assert abs(landmarks[27, 0] - 140) < 6
    assert np.allclose(transform[0, 0], transform[1, 1]) and np.allclose(transform[0, 1], -transform[1, 0])


@pytest.mark.parametrize("size", [0.6, 1.7, 3.0])
def test_any_frame_size_gives_the_same_crop(aligned, size):
    image = cv2.resize(portrait(), None, fx=size, fy=size, interpolation=cv2.INTER_CUBIC)
    found = FaceFinder().find(image, "portrait")
    landmarks = transform_points(found.landmarks, align_transform(found.landmarks))
    assert np.linalg.norm(landmarks - aligned[1], axis=1).mean() < 5
    ours, theirs = crop_frame(image, align_transform(found.landmarks)), crop_frame(portrait(), aligned[0])
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.8


def test_no_face_names_the_file():
    with pytest.raises(DataError, match=r"wall\.png, row casme2/s/x: no face found"):
        FaceFinder().find(np.full((200, 200, 3), 90, np.uint8), "wall.png", "casme2/s/x")


def test_of_two_faces_the_larger_is_taken(face):
    small = cv2.resize(portrait(), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    both = np.full((460, 640, 3), 120, np.uint8)
    both[:, :420] = portrait()
    both[:230, 420:630] = small
    found = FaceFinder().find(both, "both")
    assert any("2 faces" in note for note in found.notes)
    assert np.linalg.norm(found.landmarks - face.landmarks, axis=1).mean() < 2


def test_tight_crop_is_found_by_padding(face):
    left, top = np.add(face.landmarks.min(axis=0).astype(int), (14, 2))
    right, bottom = np.subtract(face.landmarks.max(axis=0).astype(int), (14, 10))
    tight = np.ascontiguousarray(portrait()[top:bottom, left:right])
    found = FaceFinder().find(tight, "tight")
    assert np.linalg.norm(np.add(found.landmarks, (left, top)) - face.landmarks, axis=1)[17:].mean() < 6


def test_centre_transform_keeps_the_middle():
    transform = centre_transform((480, 640, 3))
    assert np.allclose(transform[:, :2] @ (320, 240) + transform[:, 2], (140, 168))


def test_regions_keep_to_their_places(aligned):
    _, landmarks = aligned
    stable = stable_mask(landmarks, (336, 280))
    assert 1000 < stable.sum() < 14000
    boxes = region_boxes(landmarks, (336, 280))
    assert len(boxes) == 16
    for name in ("right lip corner", "left lip corner", "chin", "right inner brow", "left inner brow"):
        assert not stable[boxes[name]].any(), name
    assert face_mask(landmarks, (336, 280))[stable].mean() > 0.8


@pytest.mark.parametrize("method", METHODS)
def test_every_method_measures_the_expression(method, aligned):
    transform, landmarks = aligned
    before, after = (crop_frame(image, transform) for image in (portrait(), render(AMPLITUDE)))
    truth = in_crop(true_flow(AMPLITUDE)[0], transform)
    face_error, moving = errors(optical_flow(before, after, method), truth, landmarks, truth)
    assert moving < 0.35, (face_error, moving)
    assert face_error < 0.25
    assert errors(np.zeros_like(truth), truth, landmarks, truth)[1] > 0.8


def test_default_is_accurate_and_ignores_opencv_threads(aligned):
    transform, landmarks = aligned
    before, after = (crop_frame(image, transform) for image in (portrait(), render(AMPLITUDE, noise=2)))
    truth = in_crop(true_flow(AMPLITUDE)[0], transform)
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        two = optical_flow(before, after)
        assert cv2.getNumThreads() == 2
        cv2.setNumThreads(1)
        one = optical_flow(before, after)
    finally:
        cv2.setNumThreads(threads)
    assert np.array_equal(one, two)
    assert errors(one, truth, landmarks, truth)[1] < 0.2


def test_flow_direction_is_image_direction():
    shifted = np.roll(portrait(), (3, 2), axis=(0, 1))
    flow = optical_flow(portrait(), shifted)[60:-60, 60:-60]
    assert np.median(flow.reshape(-1, 2), axis=0) == pytest.approx((2, 3), abs=0.1)


@pytest.mark.parametrize(("mode", "limit"), [("stable", 0.3), ("nose", 0.8)])
def test_compensation_recovers_the_expression_under_head_motion(mode, limit, aligned):
    transform, landmarks = aligned
    before, after = (crop_frame(image, transform) for image in (portrait(), render(AMPLITUDE, HEAD, noise=2)))
    truth = in_crop(true_flow(AMPLITUDE, HEAD)[0], transform)
    flow = optical_flow(before, after)
    uncompensated = errors(compensate(flow, landmarks, "none")[0], truth, landmarks, truth)
    recovered = errors(compensate(flow, landmarks, mode)[0], truth, landmarks, truth)
    assert recovered[1] < limit
    assert recovered[1] < uncompensated[1] / 2


def test_stable_fit_names_the_head_motion(aligned):
    transform, landmarks = aligned
    before, after = (crop_frame(image, transform) for image in (portrait(), render(AMPLITUDE, HEAD)))
    head = compensate(optical_flow(before, after), landmarks)[1].summary()
    assert head["degrees"] == pytest.approx(0.35, abs=0.15)
    assert head["scale"] == pytest.approx(1.004, abs=0.003)
    assert np.hypot(head["x"] - 1.3, head["y"] + 0.9) < 0.5


def test_stable_fit_withstands_outliers(aligned):
    _, landmarks = aligned
    head = HeadMotion(complex(140, 170), 1 - 2j, 1.01 * np.exp(0.01j))
    flow = head.field((336, 280))
    flow[165:185, 120:150] += (0, -4)  # a nose wrinkle over a third of the bridge
    rest, found = compensate(flow, landmarks)
    still = np.ones((336, 280), bool)
    still[165:185, 120:150] = False
    assert np.abs(rest[still]).max() < 0.15, found


def test_unknown_names_are_refused(aligned):
    blank = np.zeros((32, 32), np.uint8)
    with pytest.raises(ValueError, match="choose from dis"):
        optical_flow(blank, blank, "raft")
    with pytest.raises(ValueError, match="one size"):
        optical_flow(blank, np.zeros((32, 40), np.uint8))
    with pytest.raises(ValueError, match="choose from stable"):
        compensate(np.zeros((336, 280, 2), np.float32), aligned[1], "affine")
    assert list(COMPENSATIONS) == ["stable", "nose", "none"]


def scene(count: int, top: int, drift: float, blink_at: int | None = None) -> list[np.ndarray]:
    """Frames of a clip with its apex at `top`: head drift up to `drift` px, and a dark lid around `blink_at`."""
    from motion_scenes import EYES, amplitudes

    images = []
    for index, amplitude in enumerate(amplitudes(count, top, 2.0)):
        way = index / (count - 1)
        image = render(amplitude, pose(drift * way, -0.6 * drift * way, 0.2 * drift * way), noise=2, seed=index)
        if blink_at is not None and abs(index - blink_at) <= 2:
            for x, y in EYES:
                cv2.ellipse(image, (round(x), round(y)), (20, 9), 0, 0, 360, (176, 120, 100), -1)
        images.append(image)
    return images


def spot(crops: list[np.ndarray], landmarks: np.ndarray, fps: float) -> int:
    positions = sample_numbers(range(len(crops)), fps)
    return spot_apex([crops[position] for position in positions], landmarks, positions, fps)


@pytest.mark.parametrize(("top", "drift", "blink_at"), [(14, 0.0, None), (24, 4.0, None), (13, 3.0, 32)])
def test_apex_is_found_under_drift_and_blink(top, drift, blink_at, aligned):
    transform, landmarks = aligned
    count = 40
    frames = [crop_frame(image, transform) for image in scene(count, top, drift, blink_at)]
    assert abs(spot(frames, landmarks, 200.0) - top) <= 0.1 * count


def test_apex_at_a_low_frame_rate(aligned):
    transform, landmarks = aligned
    frames = [crop_frame(image, transform) for image in scene(10, 4, 2.0)]
    assert abs(spot(frames, landmarks, 30.0) - 4) <= 1


def test_apex_needs_frames(aligned):
    with pytest.raises(ValueError, match="too few"):
        spot([crop_frame(portrait(), aligned[0])] * 3, aligned[1], 200.0)


def test_scene_truth_closes():
    """The truth itself: the moved portrait, fetched back along the true flow, is the portrait."""
    _, whole = true_flow(AMPLITUDE, HEAD)
    grid = np.dstack(np.meshgrid(np.arange(420), np.arange(460))).astype(np.float32)
    back = cv2.remap(render(AMPLITUDE, HEAD), grid + whole, None, cv2.INTER_CUBIC)
    difference = np.abs(back.astype(int) - portrait())[20:-20, 20:-20]
    assert difference.mean() < 2.5
    assert np.abs(expression(AMPLITUDE)).max() == pytest.approx(AMPLITUDE, rel=0.05)


def test_opencv_without_contributed_modules_is_named_where_they_are_needed(monkeypatch):
    monkeypatch.delattr(cv2, "optflow")
    for method in (flow._tvl1, flow._tvl1_original):
        method.cache_clear()
    picture = np.zeros((32, 32), np.uint8)
    for method in ("tvl1", "tvl1-original"):
        with pytest.raises(DataError, match="opencv-contrib-python-headless"):
            optical_flow(picture, picture, method)
    assert optical_flow(picture, picture, "dis").shape == (32, 32, 2)


def test_the_choices_of_the_settings_are_those_that_can_be_computed():
    assert set(get_args(FlowMethod)) == METHODS.keys() and set(get_args(Compensation)) == set(COMPENSATIONS)
    assert set(get_args(Encoding)) == ENCODINGS.keys()
    assert set(get_args(FieldEncoding)) == ENCODINGS.keys() - {"minmax-blend"}
