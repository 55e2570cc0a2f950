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
NOSE_BOX = (40, 30)  # rows and columns in pixels around the tip of the nose, as the original project's files have it


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
