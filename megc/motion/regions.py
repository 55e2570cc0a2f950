"""Regions of the face from its 68 landmarks: where muscles do not move, where they do, and the face itself."""

import cv2
import numpy as np

# name: landmarks (0-based) whose mean is the region's middle. Sides are those of the person: the left half of the
# face is on the right of the picture.
CENTRES: dict[str, tuple[int, ...]] = {
    "right outer brow": (17, 18),
    "right inner brow": (20, 21),
    "left inner brow": (22, 23),
    "left outer brow": (25, 26),
    "glabella": (21, 22, 27),
    "right nostril": (31,),
    "left nostril": (35,),
    "right lip corner": (48,),
    "left lip corner": (54,),
    "upper lip": (50, 51, 52),
    "lower lip": (56, 57, 58),
    "chin": (8, 8, 57),
    "right cheek": (2, 31, 40),
    "left cheek": (14, 35, 47),
}
EYES: dict[str, tuple[int, ...]] = {"right eye": tuple(range(36, 42)), "left eye": tuple(range(42, 48))}
BOX = 24 / 236  # side of a region's box, in face widths
STABLE_DISC = 0.045  # radius of a stable disc, in face widths
SPOTTING_EYES = 64.0  # pixels between the inner eye corners of the face that SPOTTING_REGIONS are drawn on
LID_MARGIN = 0.03  # around the lids, in face widths, of the mask of the eyes
NOSE_BOX = (40, 30)  # rows and columns in pixels around the tip of the nose, as the original project's files have it

# The 18 regions of the optical-flow spotter (He 2021; as in shengjianda/micro-expression-spot and
# hitheyuhong/MEGC2024-CODE), in its order: landmarks whose bounding box it is; how far it reaches beyond that box to
# the left, top, right and bottom, in pixels of a face SPOTTING_EYES wide; and the share of its pixels, those that move
# most, whose mean is its motion. The boxes of the eyes begin a quarter of the eye's width under its middle.
SPOTTING_REGIONS: dict[str, tuple[tuple[int, ...], tuple[float, float, float, float], float]] = {
    "right brow": ((17, 18, 19, 20, 21), (-5, 5, -10, -5), 0.2),
    "right brow, landmark 20": ((20,), (10, 10, 10, 10), 0.2),
    "right brow, landmark 19": ((19,), (10, 10, 10, 10), 0.2),
    "right brow, landmark 18": ((18,), (10, 10, 10, 10), 0.2),
    "left brow": ((22, 23, 24, 25, 26), (-10, 5, -10, -5), 0.3),
    "left brow, landmark 23": ((23,), (10, 10, 10, 10), 0.3),
    "left brow, landmark 24": ((24,), (10, 10, 10, 10), 0.3),
    "left brow, landmark 25": ((25,), (10, 10, 10, 10), 0.3),
    "mouth": (tuple(range(48, 67)), (10, 5, 10, 0), 0.3),
    "mouth, right corner": ((48,), (10, 10, 20, 10), 0.2),
    "mouth, left corner": ((54,), (20, 10, 10, 10), 0.2),
    "mouth, upper lip": ((51,), (10, 10, 10, 10), 0.2),
    "mouth, lower lip": ((57,), (10, 10, 10, 10), 0.2),
    "mouth, middle": ((62,), (10, 10, 10, 10), 0.2),
    "nose, right": ((31,), (20, 20, 10, 5), 0.2),
    "nose, left": ((35,), (10, 20, 20, 5), 0.2),
    "below right eye": (EYES["right eye"], (-5, -5, -5, -5), 0.3),
    "below left eye": (EYES["left eye"], (-5, -5, -5, -5), 0.3),
}


def face_width(landmarks: np.ndarray) -> float:
    """Distance of landmarks 0 and 16 in pixels."""
    return float(np.linalg.norm(landmarks[16] - landmarks[0]))


# Landmarks of the right half (left in the picture) and of the left half, and shares: middles of the stable discs,
# at the temple, the ear, the upper and the outer cheek and the side of the jaw.
_STABLE = (
    ((0, 16), (36, 45), 0.5),
    ((0, 16), (36, 45), 0.9),
    ((1, 15), (41, 46), 0.6),
    ((1, 15), (41, 46), 0.9),
    ((2, 14), (31, 35), 0.8),
    ((3, 13), (48, 54), 0.85),
    ((4, 12), (48, 54), 0.85),
)


def stable_mask(landmarks: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Boolean (H, W): the nose from between the inner eye corners to its tip, and discs along the face's sides.

    Action units move these least, so motion there is the head's.
    """
    points = landmarks.astype(np.float64)
    mask = np.zeros(shape, np.uint8)
    alae = [(points[39] + points[31]) / 2, (points[42] + points[35]) / 2]
    hull = cv2.convexHull(np.array([*points[27:31], points[39], points[42], *alae], np.float32))
    cv2.fillConvexPoly(mask, np.rint(hull).astype(np.int32), 1)
    radius = round(STABLE_DISC * face_width(landmarks))
    for outer, inner, share in _STABLE:
        for half in (0, 1):
            centre = share * points[outer[half]] + (1 - share) * points[inner[half]]
            cv2.circle(mask, tuple(round(value) for value in centre), radius, 1, -1)
    return mask.astype(bool)


def nose_box(tip: tuple[int, int], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """(rows, columns) of the NOSE_BOX around the tip (x, y) of the nose, cut at the border of the picture."""
    x, y = tip
    rows, columns = NOSE_BOX[0] // 2, NOSE_BOX[1] // 2
    return (
        slice(max(0, y - rows), min(shape[0], y + rows)),
        slice(max(0, x - columns), min(shape[1], x + columns)),
    )


def face_hull(landmarks: np.ndarray) -> np.ndarray:
    """Convex hull (N, 1, 2) float32 of the landmarks (68, 2) and of the brows lifted into the forehead."""
    lifted = landmarks[17:27] - (0, 0.15 * face_width(landmarks))
    return cv2.convexHull(np.concatenate([landmarks, lifted]).astype(np.float32))


def face_mask(landmarks: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Boolean (H, W): inside the hull of the face."""
    mask = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(mask, np.rint(face_hull(landmarks)).astype(np.int32), 1)
    return mask.astype(bool)


def region_boxes(landmarks: np.ndarray, shape: tuple[int, int]) -> dict[str, tuple[slice, slice]]:
    """(rows, columns) of the box of each region and of each eye, cut at the border of the picture.

    A box that lies outside the picture is left out.
    """
    half = BOX * face_width(landmarks) / 2
    boxes = {}
    for name, members in {**CENTRES, **EYES}.items():
        x, y = landmarks[list(members)].mean(axis=0)
        rows = slice(max(0, round(y - half)), min(shape[0], round(y + half)))
        columns = slice(max(0, round(x - half)), min(shape[1], round(x + half)))
        if rows.stop > rows.start and columns.stop > columns.start:
            boxes[name] = (rows, columns)
    return boxes


def region_means(field: np.ndarray, boxes: dict[str, tuple[slice, slice]]) -> np.ndarray:
    """Mean vectors (regions, 2) of a field (H, W, 2) in the boxes."""
    return np.array([field[rows, columns].mean(axis=(0, 1)) for rows, columns in boxes.values()], np.float32)


def spotting_boxes(landmarks: np.ndarray, shape: tuple[int, int]) -> dict[str, tuple[slice, slice]]:
    """(rows, columns) of the box of each of SPOTTING_REGIONS, cut at the border of the picture.

    `landmarks` (68, 2). A box has at least a pixel: where it lies outside the picture, that of the border.
    """
    unit = float(np.linalg.norm(landmarks[42] - landmarks[39])) / SPOTTING_EYES
    boxes = {}
    for name, (members, (left, top, right, bottom), _) in SPOTTING_REGIONS.items():
        points = landmarks[list(members)].astype(np.float64)
        (x_low, y_low), (x_high, y_high) = points.min(axis=0), points.max(axis=0)
        if members in EYES.values():
            middle, width = (y_low + y_high) / 2, x_high - x_low
            y_low, y_high = middle + width / 4, middle + 3 * width / 4
        boxes[name] = (
            _clip_slice(y_low - top * unit, y_high + bottom * unit, shape[0]),
            _clip_slice(x_low - left * unit, x_high + right * unit, shape[1]),
        )
    return boxes


def _clip_slice(low: float, high: float, length: int) -> slice:
    """The whole numbers from `low` to `high`, at least one number, within 0 to `length`."""
    start = min(max(0, round(low)), length - 1)
    return slice(start, min(max(start + 1, round(high)), length))


def lid_mask(landmarks: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Boolean (H, W): inside the eyes and LID_MARGIN around them, where lids and lashes move in a blink."""
    mask = np.zeros(shape, np.uint8)
    for members in EYES.values():
        cv2.fillConvexPoly(mask, np.rint(cv2.convexHull(landmarks[list(members)])).astype(np.int32), 1)
    margin = round(LID_MARGIN * face_width(landmarks))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    return cv2.dilate(mask, kernel).astype(bool)


def strongest_means(
    field: np.ndarray, boxes: dict[str, tuple[slice, slice]], masked: np.ndarray | None = None
) -> np.ndarray:
    """Motion (regions, 2) of SPOTTING_REGIONS: the mean vector of the share of pixels that move most in each box.

    `field` (H, W, 2); pixels where `masked` (H, W) holds do not count, unless nothing else is in the box.
    """
    means = np.empty((len(boxes), 2), np.float32)
    for index, (name, (rows, columns)) in enumerate(boxes.items()):
        vectors = field[rows, columns].reshape(-1, 2)
        if masked is not None:
            free = ~masked[rows, columns].ravel()
            vectors = vectors[free] if free.any() else vectors
        count = max(1, round(SPOTTING_REGIONS[name][2] * len(vectors)))
        strongest = np.argpartition((vectors**2).sum(axis=1), len(vectors) - count)[len(vectors) - count :]
        means[index] = vectors[strongest].mean(axis=0)
    return means
