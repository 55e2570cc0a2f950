"""Signs that a clip shows more than a micro-expression: a face cut off, a head that moves, a picture at its limit.

The limits were set on clips drawn by `megc/synthesis` (640×480, face 250 px wide): at two to five times the largest
value of 48 ordinary clips (head shift 6.4 px, rotation .9°, growth 1.5 %, turn 1.2 px, residual .24 px, saturated .02,
none outside; six clips of the demo set: turn 1.6 px) and above what 12 clips with twice the usual head motion gave
(shift 10.3 px). Expressions of 6 px have a saturated share of .05 in the median and .15 at the 90th percentile: the
strongest of these get a warning.
"""

from collections.abc import Iterator, Mapping

import cv2
import numpy as np

from megc.motion.crop import CROP_HEIGHT, CROP_WIDTH, STABLE_POINTS, fit_similarity, transform_points
from megc.motion.flow import HeadMotion
from megc.motion.regions import face_hull, face_mask, stable_mask

OUTSIDE = 0.1  # share of the face beyond the border of the frame or of the crop
SHIFT = 16.0  # pixels of the crop, where the face is 236 wide, from the head at the onset
ROTATION = 3.0  # degrees of the head in the picture
GROWTH = 0.05  # of the face's size: the head comes nearer or goes away
TURN = 4.0  # pixels that the nose runs ahead of the ears when the head turns or nods
RESIDUAL = 0.5  # pixels of motion left, in the median, where no action unit moves the skin
SATURATED = 0.1  # share of the face whose motion is beyond the scale of the picture


def share_outside(landmarks: np.ndarray, shape: tuple[int, ...]) -> float:
    """Share of the face (the hull of landmarks (68, 2) and lifted brows) beyond the border of a picture of `shape`."""
    height, width = shape[:2]
    border = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    hull = face_hull(landmarks)
    return 1 - cv2.intersectConvexConvex(hull, border)[0] / cv2.contourArea(hull)


def head_pose(onset: np.ndarray, later: np.ndarray) -> tuple[float, float, float]:
    """Shift in pixels, rotation in degrees and growth (0: none) of the head between landmarks (68, 2) of two frames.

    From the points that muscles move least. Landmarks jitter by a pixel from frame to frame, so small values mean
    nothing.
    """
    start, end = (points[list(STABLE_POINTS)].astype(np.float64) for points in (onset, later))
    turn = complex(*fit_similarity(start, end)[:, 0])
    shift = float(np.linalg.norm(end.mean(axis=0) - start.mean(axis=0)))
    return shift, float(np.degrees(np.angle(turn))), abs(turn) - 1


def check_faces(
    faces: Mapping[str, np.ndarray | None], transform: np.ndarray, shape: tuple[int, ...]
) -> Iterator[str]:
    """Warnings of the key frames of a clip. `faces`: landmarks (68, 2) in pixels of the frame (`shape`) by moment.

    The first moment is the onset, whose landmarks made the `transform` (2×3) to the crop; None stands for no face.
    """
    onset = next(iter(faces))
    for moment, landmarks in faces.items():
        if landmarks is None:
            yield f"no face found in the {moment} frame"
            continue
        inside = transform_points(landmarks, transform)
        for name, points, size in (("frame", landmarks, shape), ("crop", inside, (CROP_HEIGHT, CROP_WIDTH))):
            share = share_outside(points, size)
            if share > OUTSIDE:
                yield f"{share:.0%} of the face is outside the {name} at the {moment}"
        shift, degrees, growth = head_pose(transform_points(faces[onset], transform), inside)
        if shift > SHIFT:
            yield f"the head moves {shift:.0f} px from {onset} to {moment}"
        if abs(degrees) > ROTATION:
            yield f"the head rotates {abs(degrees):.0f}° from {onset} to {moment}"
        if abs(growth) > GROWTH:
            yield f"the face {'grows' if growth > 0 else 'shrinks'} by {abs(growth):.0%} from {onset} to {moment}"


def share_saturated(field: np.ndarray, landmarks: np.ndarray, scale: float) -> float:
    """Share of the pixels of the face whose motion (H, W, 2) is longer than `scale`."""
    face = face_mask(landmarks, field.shape[:2])
    return float((np.hypot(*field[face].T) > scale).mean()) if face.any() else 0.0


def stable_residual(field: np.ndarray, landmarks: np.ndarray) -> float:
    """Median length in pixels of the motion (H, W, 2) left where no action unit moves the skin."""
    still = stable_mask(landmarks, field.shape[:2])
    return float(np.median(np.hypot(*field[still].T))) if still.any() else 0.0


def check_motion(field: np.ndarray, landmarks: np.ndarray, head: HeadMotion, scale: float) -> Iterator[str]:
    """Warnings of a motion field (H, W, 2) without the head's motion, and of that; `scale`: pixels at full colour."""
    share = share_saturated(field, landmarks, scale)
    if share > SATURATED:
        yield f"{share:.0%} of the face moves more than {scale:g} px, the limit of the picture"
    residual = stable_residual(field, landmarks)
    if residual > RESIDUAL:
        yield f"{residual:.1f} px of motion are left where the face should be still"
    if abs(head.parallax) > TURN:
        yield f"the head turns or nods: the nose runs {abs(head.parallax):.0f} px ahead of the ears"
