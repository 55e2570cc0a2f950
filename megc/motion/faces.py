"""The face detector: boxes and 68 landmarks of the faces in a frame, by dlib. `crop` holds the geometry behind it."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import dlib
import numpy as np

from megc.problems import DataError

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
            interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            sized = grey if scale == 1 else cv2.resize(grey, None, fx=scale, fy=scale, interpolation=interpolation)
            if min(sized.shape) < 16:
                continue
            rectangles = detector(sized, 0)  # 0: dlib enlarges nothing by itself
            if rectangles:
                corners = [(r.left(), r.top(), r.right(), r.bottom()) for r in rectangles]
                return [tuple(round(value / scale) for value in box) for box in corners]
        return []

    def find(
        self,
        image: np.ndarray,
        file: Path | str,
        row: str | int | None = None,
        near: tuple[float, float] | None = None,
    ) -> Face:
        """The face of a uint8 RGB (H, W, 3) image; of several the largest, between near equals the most central.

        With `near` (x, y), where a person's face was before, of several the nearest to it.
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
            notes.append(f"{len(boxes)} faces, the {'nearest' if near else 'largest'} taken")
        box = min(boxes, key=lambda box: _distance(box, near)) if near else _main_box(boxes, image.shape)
        return Face(self._landmarks(image, box), box, tuple(notes))

    def _landmarks(self, image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
        _, predictor = face_models()
        shape = predictor(np.ascontiguousarray(image), dlib.rectangle(*box))
        return np.array([(point.x, point.y) for point in shape.parts()], np.float32)


def _covers_middle(box: tuple[int, int, int, int], shape: tuple[int, ...]) -> bool:
    """Whether the middle of a picture of `shape` is strictly inside the box."""
    left, top, right, bottom = box
    return left < shape[1] / 2 < right and top < shape[0] / 2 < bottom


def _main_box(boxes: list[tuple[int, int, int, int]], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The largest box; among those at least 0.8 as wide, the one nearest to the middle of the picture."""
    widest = max(box[2] - box[0] for box in boxes)
    near = [box for box in boxes if box[2] - box[0] >= 0.8 * widest]
    return min(near, key=lambda box: (_distance(box, (shape[1] / 2, shape[0] / 2)), box))


def _distance(box: tuple[int, int, int, int], point: tuple[float, float]) -> float:
    """Pixels from the middle of a box to a point (x, y)."""
    return float(np.hypot((box[0] + box[2]) / 2 - point[0], (box[1] + box[3]) / 2 - point[1]))
