"""The aligned crop: its size, the mean face in it, and the similarity transform that cuts all frames of a clip."""

import json
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

CROP_WIDTH, CROP_HEIGHT = 280, 336  # multiples of 28, so that no Qwen2.5-VL image processor resizes
FACE_WIDTH = 236  # pixels from ear to ear (landmark 0 to 16) of a mean face in the crop

# Landmarks (0-based, of 68) that facial muscles move least: nose bridge and tip, inner and outer eye corners.
STABLE_POINTS = (27, 28, 29, 30, 33, 36, 39, 42, 45)


@lru_cache(maxsize=1)
def mean_face() -> np.ndarray:
    """Landmarks (68, 2) float32 of a mean face in the crop: 236 px wide, chin 28 px above the lower border."""
    points = json.loads((Path(__file__).parent / "mean_face.json").read_text(encoding="utf-8"))
    return np.array(points, np.float32)


def fit_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """2×3 float64 similarity (rotation, one scale, shift) that takes points (N, 2) to points, in least squares."""
    # a point is a complex number x + iy: rotation and scale together are then one factor, `turn` (Umeyama 1991)
    start, end = (points.astype(np.float64) @ (1, 1j) for points in (source, target))
    centred = start - start.mean()
    turn = np.vdot(centred, end - end.mean()) / np.vdot(centred, centred).real
    shift = end.mean() - turn * start.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def align_transform(landmarks: np.ndarray, upright: bool = False) -> np.ndarray:
    """2×3 transform from a frame to the 280×336 crop, from the landmarks (68, 2) of the clip's ONSET frame.

    `upright` leaves rotation out: an upright box around the face, as the datasets' own cropped releases have it.

    One transform serves all frames of the clip: landmarks jitter by about a pixel from frame to frame, which is as
    much as a micro-expression moves, so aligning each frame by its own would write that jitter into the flow.
    """
    stable = list(STABLE_POINTS)
    start, end = landmarks[stable], mean_face()[stable]
    transform = fit_similarity(start, end)
    if upright:
        scale = float(np.hypot(transform[0, 0], transform[1, 0]))
        shift = end.mean(axis=0) - scale * start.mean(axis=0)
        transform = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float64)
    return transform


def centre_transform(shape: tuple[int, ...]) -> np.ndarray:
    """2×3 transform that takes the central part of a frame (H, W, …) with the crop's proportions to the crop."""
    height, width = shape[:2]
    scale = max(CROP_WIDTH / width, CROP_HEIGHT / height)
    shift_x, shift_y = (CROP_WIDTH - scale * width) / 2, (CROP_HEIGHT - scale * height) / 2
    return np.array([[scale, 0, shift_x], [0, scale, shift_y]], np.float64)


def transform_points(points: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Points (N, 2) after a 2×3 transform, float32."""
    return (points @ transform[:, :2].T + transform[:, 2]).astype(np.float32)


def crop_frame(
    image: np.ndarray, transform: np.ndarray, size: tuple[int, int] = (CROP_WIDTH, CROP_HEIGHT)
) -> np.ndarray:
    """The crop (280×336, or of another width and height) of a uint8 image under a 2×3 transform; outside the frame its
    border is repeated.

    Frames more than 1.5 times as large as the crop are smoothed first, so that skin texture does not alias.
    """
    shrink = 1 / np.hypot(transform[0, 0], transform[1, 0])
    if shrink > 1.5:
        image = cv2.GaussianBlur(image, (0, 0), 0.35 * shrink)
    return cv2.warpAffine(image, transform, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
