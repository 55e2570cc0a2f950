"""Action units as displacement fields: Gaussian anchors at landmarks, direction and extent by FACS.

A field is a weighted mean of the anchors' directions that fades outside them, scaled so that its longest vector
is one pixel; an action unit of amplitude a moves the skin by a times its field. Directions follow the FACS manual
(Ekman, Friesen and Hager 2002): which way the skin, brow, lid or lip corner is drawn.
"""

import cv2
import numpy as np

STEP = 4  # frame pixels between the nodes of a field
# Landmarks of the subject's right half (left in the picture), and their partners on the other half.
_PARTNER = {8: 8, 33: 33, 27: 27, 30: 30, 51: 51, 57: 57, 62: 62, 66: 66} | {
    right: left
    for rights, lefts in (
        (range(8), range(16, 8, -1)),
        (range(17, 22), range(26, 21, -1)),
        (range(36, 42), (45, 44, 43, 42, 47, 46)),
        ((31, 32), (35, 34)),
        ((48, 49, 50, 58, 59, 60, 61, 67), (54, 53, 52, 56, 55, 64, 63, 65)),
    )
    for right, left in zip(rights, lefts, strict=True)
}

# Action unit: anchors of one half of the face. An anchor is (landmarks whose mean it sits at, offset from there,
# direction, reach); offsets, directions and reaches in face widths or relative to 1, x outward from the midline,
# y down; the length of the direction is the anchor's share of the motion.
ANCHORS: dict[int, tuple[tuple[tuple[int, ...], tuple[float, float], tuple[float, float], float], ...]] = {
    1: (((21,), (0, 0), (0, -1), 0.062), ((20, 21), (0, -0.11), (0, -0.55), 0.08)),
    2: (((17, 18), (0, 0), (0, -1), 0.06), ((18, 19), (0, -0.10), (0, -0.6), 0.08)),
    4: (((21,), (0, 0), (-0.45, 0.85), 0.06), ((19, 20), (0, 0), (-0.25, 0.75), 0.07),
        ((21,), (-0.04, -0.09), (-0.1, 0.45), 0.06)),
    5: (((37, 38), (0, -0.005), (0, -1), 0.032),),
    6: (((40, 41), (0.02, 0.11), (-0.1, -1), 0.085), ((36,), (0.04, 0.02), (-0.6, -0.2), 0.05),
        ((40, 41), (0, 0.01), (0, -0.45), 0.035)),
    7: (((40, 41), (0, 0.005), (-0.1, -1), 0.034), ((37, 38), (0, 0), (0, 0.35), 0.028)),
    9: (((31,), (0.02, -0.05), (-0.1, -1), 0.06), ((27,), (0.03, 0.03), (0, 0.4), 0.045),
        ((21,), (0, 0), (-0.25, 0.45), 0.05), ((50,), (0, -0.02), (0, -0.45), 0.045)),
    10: (((50,), (0, 0), (0, -1), 0.05), ((31, 49), (0.03, 0), (0.1, -0.7), 0.055)),
    12: (((48,), (0, 0), (0.75, -0.66), 0.06), ((48, 3), (0, -0.10), (0.25, -0.6), 0.08),
         ((49, 59), (0, 0), (0.4, -0.2), 0.04)),
    14: (((48,), (0, 0), (0.9, 0.05), 0.04), ((48, 4), (0, 0), (-0.75, 0), 0.045)),
    15: (((48,), (0, 0.01), (0.12, 1), 0.055), ((59, 5), (0, 0), (0.05, 0.5), 0.06)),
    16: (((57, 58), (0, 0), (0.05, 1), 0.045), ((58, 7), (0, -0.02), (0, 0.5), 0.05)),
    17: (((7, 8, 58), (-0.03, -0.02), (0, -1), 0.085), ((57, 58), (0, 0), (0, -0.65), 0.045)),
    20: (((48,), (0, 0), (1, 0.12), 0.065), ((48, 5), (0, 0), (0.7, 0.2), 0.075),
         ((49, 59), (0, 0), (0.55, 0), 0.045)),
    21: (((5, 6), (0.02, 0.09), (0.75, 0.65), 0.09), ((7,), (0.05, 0.10), (0.4, 0.8), 0.07)),
    23: (((50, 51), (0, 0), (-0.15, 0.75), 0.032), ((57, 58), (0, 0), (-0.15, -0.75), 0.032),
         ((48,), (0, 0), (-0.8, 0), 0.04)),
    24: (((50, 51), (0, -0.01), (0, 1), 0.04), ((57, 58), (0, 0.01), (0, -1), 0.04),
         ((48,), (0.02, 0), (0.3, 0), 0.035)),
    25: (((57, 58), (0, 0), (0, 1), 0.042), ((58, 59), (0, 0), (0, 0.6), 0.042), ((50,), (0, 0), (0, -0.4), 0.05)),
    26: (((7, 8), (-0.02, -0.03), (0, 1), 0.11), ((58, 59), (0, 0.01), (0, 0.85), 0.07)),
    31: (((3, 4), (-0.07, 0), (1, 0.05), 0.075),),
    38: (((31,), (0, -0.01), (1, 0.05), 0.036),),
    39: (((31,), (0, -0.01), (-1, 0.15), 0.036),),
    43: (((37, 38), (0, 0), (0, 1), 0.034), ((40, 41), (0, 0), (0, -0.25), 0.028)),
}  # fmt: skip
GAZE, TILT = 61, 56  # eyes left: both irises to the subject's left; tilt right: the head turns, see `render`
_GAZE_REACH = 0.03


def node_grid(width: int, height: int) -> np.ndarray:
    """Nodes (rows, columns, 2) of a field: the frame pixels whose values `upsample` spreads over `STEP` squares."""
    xs = np.arange(-(-width // STEP)) * STEP + (STEP - 1) / 2
    ys = np.arange(-(-height // STEP)) * STEP + (STEP - 1) / 2
    return np.stack(np.meshgrid(xs, ys), -1).astype(np.float32)


def upsample(field: np.ndarray, width: int, height: int) -> np.ndarray:
    """A field at the nodes as one at every frame pixel (height, width, …)."""
    size = (field.shape[1] * STEP, field.shape[0] * STEP)
    return np.ascontiguousarray(cv2.resize(field, size, interpolation=cv2.INTER_CUBIC)[:height, :width])


def unit_field(
    points: np.ndarray,
    face: float,
    unit: int,
    side: str | None,
    grid: np.ndarray,
    seed: int = 0,
    variation: float = 1.0,
) -> np.ndarray:
    """Displacement field of an action unit, float32 like `grid`, its longest vector 1 px.

    `points` (68, 2) and `grid` in frame pixels, `face` the face width in them; `side` is the subject's left or right
    (the picture's right or left) or None for both. `variation` scales how far this subject's (`seed`) directions,
    places, reaches and balance differ from the table. Raises KeyError for a unit without a field.
    """
    if unit == TILT:
        return np.zeros_like(grid)
    if unit == GAZE:
        return _gaze_field(points, face, grid)
    rng = np.random.default_rng([seed, unit, 7])
    total, weights = np.zeros(grid.shape, np.float64), np.zeros(grid.shape[:2])
    balance = dict(zip(("right", "left"), 1 + np.clip(variation * rng.normal(0, 0.08, 2), -0.3, 0.3), strict=True))
    for landmarks, offset, direction, reach in ANCHORS[unit]:
        turn = variation * rng.normal(0, 0.14)
        cos, sin = np.cos(turn), np.sin(turn)
        strength = np.exp(variation * rng.normal(0, 0.15))
        drawn = strength * np.array([cos * direction[0] - sin * direction[1], sin * direction[0] + cos * direction[1]])
        moved = np.array(offset) + variation * rng.normal(0, 0.012, 2)
        sigma = face * reach * np.exp(np.clip(variation * rng.normal(0, 0.12), -0.3, 0.3))
        for half, outward in (("right", -1), ("left", 1)):
            if side not in (None, half):
                continue
            chosen = landmarks if half == "right" else [_PARTNER[landmark] for landmark in landmarks]
            centre = points[list(chosen)].mean(0) + face * moved * (outward, 1)
            bump = np.exp(-((grid - centre) ** 2).sum(-1) / (2 * sigma**2))
            total += bump[..., None] * drawn * (outward * balance[half], balance[half])
            weights += bump
    field = total / (1 + weights[..., None] ** 4) ** 0.25
    return (field / np.linalg.norm(field, axis=-1).max()).astype(np.float32)


def _gaze_field(points: np.ndarray, face: float, grid: np.ndarray) -> np.ndarray:
    field = np.zeros_like(grid)
    for eye in (slice(36, 42), slice(42, 48)):
        shape = ((grid - points[eye].mean(0)) / (_GAZE_REACH * face * np.array([1.6, 1.0]))) ** 2
        field[..., 0] += np.exp(-0.5 * shape.sum(-1))
    return field / field.max()
