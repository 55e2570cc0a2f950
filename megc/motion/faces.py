"""Find the face, place 68 landmarks, and cut every frame of a clip with one similarity transform."""

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import dlib
import numpy as np

from megc.problems import DataError

CROP_WIDTH, CROP_HEIGHT = 280, 336  # multiples of 28, so that no Qwen2.5-VL image processor resizes
FACE_WIDTH = 236  # pixels from ear to ear (landmark 0 to 16) of a mean face in the crop

# Landmarks (0-based, of 68) that facial muscles move least: nose bridge and tip, inner and outer eye corners.
STABLE_POINTS = (27, 28, 29, 30, 33, 36, 39, 42, 45)

DETECTION_SCALES = (0.5, 1.0, 2.0)  # half size finds faces of 160 px and more at a quarter of the cost
LARGEST_DETECTION = 4_000_000  # pixels of an enlarged image beyond which enlarging is not tried
PADDING = 0.35  # border added on each side of a frame cut so tightly that the detector misses the face


@dataclass(frozen=True)
class Face:
    """Landmarks (68, 2) float32 in pixels of the image, the box (left, top, right, bottom), and what to note."""

    landmarks: np.ndarray
    box: tuple[int, int, int, int]
    notes: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def template() -> np.ndarray:
    """Landmarks (68, 2) float32 of a mean face in the crop: 236 px wide, chin 28 px above the lower border."""
    points = json.loads((Path(__file__).parent / "mean_face.json").read_text())
    return np.array(points, np.float32)


@lru_cache(maxsize=1)
def face_models() -> tuple["dlib.fhog_object_detector", "dlib.shape_predictor"]:
    """dlib's detector and 68-point predictor: half a second to load each, so once a process."""
    spec = find_spec("face_recognition_models")  # found, not imported: its __init__ needs pkg_resources, now gone
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("face_recognition_models is missing: pip install face-recognition-models")
    weights = Path(spec.submodule_search_locations[0]) / "models" / "shape_predictor_68_face_landmarks.dat"
    return dlib.get_frontal_face_detector(), dlib.shape_predictor(str(weights))


class FaceFinder:
    """Finds faces. Cheap to make: the models are loaded at the first face and shared in the process."""

    def boxes(self, image: np.ndarray) -> list[tuple[int, int, int, int]]:
        """Boxes of all faces of a uint8 RGB image: at half size, else at full size, else enlarged."""
        detector, _ = face_models()
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        for scale in DETECTION_SCALES:
            if scale > 1 and grey.size * scale**2 > LARGEST_DETECTION:
                continue
            way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            sized = grey if scale == 1 else cv2.resize(grey, None, fx=scale, fy=scale, interpolation=way)
            if min(sized.shape) < 16:
                continue
            found = detector(sized, 0)
            if found:
                corners = [(r.left(), r.top(), r.right(), r.bottom()) for r in found]
                return [tuple(round(value / scale) for value in box) for box in corners]
        return []

    def find(self, image: np.ndarray, file: Path | str, row: str | int | None = None) -> Face:
        """The face of a uint8 RGB (H, W, 3) image; of several the largest, between near equals the most central.

        A frame that is cut tightly around the face is tried again with its border mirrored outwards.
        Raises DataError, which names `file` and `row`, where there is no face.
        """
        boxes, notes, pad = self.boxes(image), [], 0
        if not boxes:
            pad = round(PADDING * max(image.shape[:2]))
            padded = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_REFLECT_101)
            boxes = [tuple(value - pad for value in box) for box in self.boxes(padded)]
            boxes = [box for box in boxes if _covers_middle(box, image.shape)]  # mirrored faces live in the border
            notes = ["face found after padding the border"]
        if not boxes:
            fix = "check the frame; for frames already cropped to the face use --no-face centre"
            raise DataError(file, row, "no face found", fix)
        if len(boxes) > 1:
            notes.append(f"{len(boxes)} faces, the largest taken")
        box = _main_box(boxes, image.shape)
        return Face(self._landmarks(image, box), box, tuple(notes))

    def _landmarks(self, image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
        _, predictor = face_models()
        shape = predictor(np.ascontiguousarray(image), dlib.rectangle(*box))
        return np.array([(point.x, point.y) for point in shape.parts()], np.float32)


def _covers_middle(box: tuple[int, int, int, int], shape: tuple[int, ...]) -> bool:
    left, top, right, bottom = box
    return left < shape[1] / 2 < right and top < shape[0] / 2 < bottom


def _main_box(boxes: list[tuple[int, int, int, int]], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The largest box; among those at least 0.8 as wide, the one nearest to the middle of the picture."""
    widest = max(box[2] - box[0] for box in boxes)
    near = [box for box in boxes if box[2] - box[0] >= 0.8 * widest]
    middle = np.array([shape[1], shape[0]]) / 2

    def distance(box: tuple[int, int, int, int]) -> float:
        return float(np.linalg.norm(np.array([box[0] + box[2], box[1] + box[3]]) / 2 - middle))

    return min(near, key=lambda box: (distance(box), box))


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """2×3 float64 similarity (rotation, one scale, shift) that takes points (N, 2) to points, in least squares."""
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
    start, end = landmarks[stable], template()[stable]
    transform = similarity(start, end)
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


def crop(image: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """The 280×336 crop of a uint8 image under a 2×3 transform; outside the frame its border is repeated.

    Frames more than 1.5 times as large as the crop are smoothed first, so that skin texture does not alias.
    """
    shrink = 1 / np.hypot(transform[0, 0], transform[1, 0])
    if shrink > 1.5:
        image = cv2.GaussianBlur(image, (0, 0), 0.35 * shrink)
    size = (CROP_WIDTH, CROP_HEIGHT)
    return cv2.warpAffine(image, transform, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
