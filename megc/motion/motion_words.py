"""Motion of a face in words: which regions move, where to and how far, from a motion field or from its picture.

    Motion from onset to apex, left and right of the subject: outer brows still; left inner brow up 0.8 px; …

Sides are those of the person, as in the questions on the left and the right half of the face: the left half is on the
right of the picture. Regions of a half move inwards (towards the nose) or outwards, those of the middle to the left or
to the right of the person, so that a mirrored field gives the same words with the sides exchanged.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from megc.motion.colour import CENTRED_SPREADS, GREY, centre_picture
from megc.motion.crop import CROP_HEIGHT, CROP_WIDTH, FACE_WIDTH, mean_face
from megc.motion.regions import BOX, CENTRES, face_width

SIDES = ("left", "right")
STILL = 0.2  # pixels of a face FACE_WIDTH wide: regions that no action unit moves have .1 of noise in the demo set
STILL_SHARE = 0.25  # of the strongest region, where only that is known
LID_BOX = BOX / 2  # the lids of one eye are a full box apart
LIDS: dict[str, tuple[int, ...]] = {
    "right upper lid": (37, 38),
    "left upper lid": (43, 44),
    "right lower lid": (40, 41),
    "left lower lid": (46, 47),
}
# from the forehead to the chin; those of PLURALS are one on each half of the face
ORDER = (
    *("outer brow", "inner brow", "glabella", "upper lid", "lower lid", "cheek", "nostril"),
    *("upper lip", "lip corner", "lower lip", "chin"),
)
PLURALS = {name: f"{name}s" for name in ORDER if f"left {name}" in CENTRES | LIDS}
_LEAD = "Motion from onset to apex, left and right of the subject"
RELATIVE = "strengths relative to the strongest in this picture"
# of a picture that shows the face from the brows to the lower lip: margin around landmarks 17 to 59, in face widths
PICTURE_MARGIN = (0.02, 0.045)
PICTURE_ENCODINGS = ("uv-strain", "uv-strain-centred", "uv-strain-minmax")


def region_vectors(field: np.ndarray, landmarks: np.ndarray) -> dict[str, np.ndarray]:
    """Mean motion (2,) of each region of CENTRES and LIDS, x right, y down, in pixels of the field (H, W, 2).

    `landmarks` (68, 2) in the same pixels. A region outside the field is left out.
    """
    vectors = {}
    for name, members in (CENTRES | LIDS).items():
        half = (LID_BOX if name in LIDS else BOX) * face_width(landmarks) / 2
        low, high = (np.rint(landmarks[list(members)].mean(axis=0) + sign * half).astype(int) for sign in (-1, 1))
        # a pixel at least: in a picture of 28 pixels the box of a lid is smaller than that
        high = np.maximum(high, low + 1)
        low = np.maximum(low, 0)
        box = field[low[1] : max(high[1], 0), low[0] : max(high[0], 0)]
        if box.size:
            vectors[name] = box.reshape(-1, 2).mean(axis=0)
    return vectors


def direction_words(vector: np.ndarray, side: str = "") -> str:
    """One of eight directions of a vector (x right, y down, not zero) of a region on a `side` of the face, or of the
    middle: up, up and outwards, outwards, …; of the middle left and right in place of outwards and inwards."""
    x, y = float(vector[0]), float(vector[1])
    turns = round(np.degrees(np.arctan2(-y, x)) / 45) % 8  # eighths of a turn from the right of the picture to its top
    across = {"": ("left", "right"), "left": ("outwards", "inwards"), "right": ("inwards", "outwards")}[side]
    words = []
    if turns in (1, 2, 3):
        words.append("up")
    if turns in (5, 6, 7):
        words.append("down")
    if turns not in (2, 6):
        words.append(across[0] if turns in (7, 0, 1) else across[1])
    return " and ".join(words)


def describe_vectors(vectors: Mapping[str, np.ndarray], still: float, unit: str = " px", note: str = "") -> str:
    """The sentence of region vectors; regions that move less than `still` are called so. `note` ends the lead."""
    parts = []
    for name in ORDER:
        items = [f"{side} {name}" for side in SIDES] if name in PLURALS else [name]
        items = [item for item in items if item in vectors]
        moving = [item for item in items if np.hypot(*vectors[item]) >= still]
        if len(items) == len(SIDES) and not moving:
            parts.append(f"{PLURALS[name]} still")
            continue
        for item in items:
            side = item.partition(" ")[0] if name in PLURALS else ""
            strength = f"{np.hypot(*vectors[item]):.1f}{unit}"
            parts.append(f"{item} {direction_words(vectors[item], side)} {strength}" if item in moving
                         else f"{item} still")  # fmt: skip
    if all(part.endswith(" still") for part in parts):
        parts = ["the whole face still"]
    return f"{_LEAD}{', ' if note else ''}{note}: {'; '.join(parts)}."


def describe_field(field: np.ndarray, landmarks: np.ndarray) -> str:
    """The sentence of a motion field (H, W, 2) in pixels on a face with these `landmarks` (68, 2) of its first frame.

    Strengths are in pixels of a face FACE_WIDTH wide, as the aligned crop has it.
    """
    scale = FACE_WIDTH / face_width(landmarks)
    return describe_vectors({name: scale * vector for name, vector in region_vectors(field, landmarks).items()}, STILL)


def picture_landmarks(shape: tuple[int, ...]) -> np.ndarray:
    """Where a mean face has its landmarks (68, 2) in a flow picture (H, W, …) of which no frame is at hand.

    A picture with the proportions of the aligned crop is one; any other shows brows to lower lip, as the public
    pictures of STSTNet do (Liong et al. 2019) and those of make_flow_set.py.
    """
    height, width = shape[:2]
    points = mean_face()
    if width * CROP_HEIGHT == height * CROP_WIDTH:
        return points * np.float32(width / CROP_WIDTH)
    margin = np.float32(FACE_WIDTH) * np.float32(PICTURE_MARGIN)
    low, high = points[17:60].min(axis=0) - margin, points[17:60].max(axis=0) + margin
    return (points - low) / (high - low) * np.float32((width, height))


def describe_picture(picture: np.ndarray, encoding: str, scale: float) -> str:
    """The sentence of a flow picture (uint8 RGB) alone, on the face of `picture_landmarks`.

    `uv-strain` keeps pixels (up to `scale`). The encodings that stretch each picture keep no pixels, and horizontal
    and vertical motion each have their own spread: strengths are then relative to the strongest region, and the
    sentence says so. Raises ValueError for an encoding whose colours are no signed channels.
    """
    if encoding not in PICTURE_ENCODINGS:
        encodings = ", ".join(PICTURE_ENCODINGS)
        raise ValueError(f"a picture drawn as {encoding} has no words without its field: draw it as {encodings}")
    centred = centre_picture(picture) if encoding == "uv-strain-minmax" else picture
    motion = (centred[..., :2].astype(np.float32) - GREY) / (255 - GREY)
    vectors = region_vectors(motion, picture_landmarks(picture.shape))
    if encoding == "uv-strain":
        return describe_vectors({name: scale * vector for name, vector in vectors.items()}, STILL)
    strongest = max(float(np.hypot(*vector)) for vector in vectors.values())
    # a tenth of the picture's spread is nothing but grey levels: then no region is taken as the strongest
    strongest = max(strongest, 0.1 / CENTRED_SPREADS)
    relative = {name: vector / strongest for name, vector in vectors.items()}
    return describe_vectors(relative, STILL_SHARE, "", RELATIVE)


@lru_cache(maxsize=1)
def example_words() -> str:
    """The sentence of a made-up field in which the left inner brow rises and the lip corners part: for the hash of a
    prompt, which changes with the words, and for a prompt to read."""
    points = mean_face()
    field = np.zeros((CROP_HEIGHT, CROP_WIDTH, 2), np.float32)
    columns, rows = np.arange(CROP_WIDTH)[None], np.arange(CROP_HEIGHT)[:, None]
    for landmark, vector in ((22, (0.0, -1.5)), (48, (-1.0, -0.9)), (54, (1.2, -0.9))):
        x, y = points[landmark]
        field += np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 12**2))[..., None] * np.float32(vector)
    return describe_field(field, points)
