"""Synthetic subjects: a face shape between two portraits, both warped to it and blended, then skin, hair and light.

A subject is drawn from its seed alone and made at twice the resolution of the frames that show it.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator

from megc.synthesis.portraits import Portrait, portrait

MARGIN = 12  # frame pixels of texture beyond each border, so that head drift shows no edge
# The landmark that each landmark becomes in a mirror.
_MIRRORED = np.array([*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47,
                      46, 39, 38, 37, 36, 41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60,
                      67, 66, 65])  # fmt: skip
_COMPONENTS = {"brow": (slice(17, 22), slice(22, 27)), "eye": (slice(36, 42), slice(42, 48))}
# BGR of lit cheek skin, from light to dark.
_SKIN_TONES = np.array(
    [
        (176, 196, 232),
        (158, 182, 224),
        (140, 168, 214),
        (122, 152, 200),
        (104, 136, 186),
        (84, 112, 160),
        (66, 90, 132),
    ]
)


@dataclass(frozen=True)
class View:
    """A camera: frame `width` and `height`, `face` (width of the face, points 0 to 16), the point between the eyes."""

    width: int
    height: int
    face: float
    eyes_x: float
    eyes_y: float
    grey: bool = False


@dataclass(frozen=True)
class Subject:
    """`texture` uint8 BGR (or grey) at twice the frame's resolution with a margin, and `points` (68, 2) frame pixels.

    Frame pixel (x, y) is texture pixel (2 (x + MARGIN) + .5, 2 (y + MARGIN) + .5).
    """

    seed: int
    view: View
    texture: np.ndarray
    points: np.ndarray


def to_texture(points: np.ndarray) -> np.ndarray:
    """Texture coordinates of frame coordinates."""
    return 2.0 * (points + MARGIN) + 0.5


def _upright(points: np.ndarray) -> np.ndarray:
    """Points in face widths, eyes level, origin between the eyes."""
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    cos, sin = (right - left) / np.linalg.norm(right - left)
    turned = (points - (left + right) / 2) @ np.array([[cos, -sin], [sin, cos]])
    return turned / (turned[16, 0] - turned[0, 0])


def _mirror(points: np.ndarray) -> np.ndarray:
    return points[_MIRRORED] * (-1, 1)


def face_shape(rng: np.random.Generator) -> np.ndarray:
    """A face shape (68, 2) in face widths, origin between the eyes, y down."""
    shapes = [_upright(portrait(name).points) for name in ("astronaut", "hopper")]
    mix = rng.uniform(0.15, 0.85)
    shape = mix * shapes[0] + (1 - mix) * shapes[1]
    shape[48:] = 0.25 * shapes[0][48:] + 0.75 * shapes[1][48:]  # the astronaut smiles; subjects start neutral
    shape[36:48] = 0.8 * shapes[0][36:48] + 0.2 * shapes[1][36:48]  # lenses make the other's eyes small
    symmetry = rng.uniform(0.6, 0.9)
    shape = symmetry * (shape + _mirror(shape)) / 2 + (1 - symmetry) * shape
    eye_scale, brow_scale = 1 + rng.normal(0, (0.06, 0.11)), 1 + rng.normal(0, (0.05, 0.2))
    spread, raised, tilt = rng.normal(0, (0.012, 0.016, 0.10))
    for name, (first, second) in _COMPONENTS.items():
        for part, outward in ((first, -1), (second, 1)):
            centre = shape[part].mean(0)
            offset = (shape[part] - centre) * (eye_scale if name == "eye" else brow_scale)
            if name == "brow":
                offset[:, 1] += tilt * offset[:, 0] * outward + raised
            shape[part] = centre + offset + (outward * spread, 0)
    nose = shape[27:36] - shape[27]
    shape[27:36] = shape[27] + nose * (1 + rng.normal(0, (0.10, 0.06)))
    mouth = shape[48:].mean(0)
    shape[48:] = mouth + (shape[48:] - mouth) * (1 + rng.normal(0, (0.07, 0.14))) + (0, rng.normal(0, 0.012))
    low = np.clip(shape[:17, 1:] / shape[8, 1], 0, 1)
    shape[:17] *= 1 + low * rng.normal(0, (0.05, 0.04))
    return shape * (1, 1 + rng.normal(0, 0.03))


def _warp(source: Portrait, target: np.ndarray, size: tuple[int, int], face: float) -> tuple[np.ndarray, ...]:
    """Portrait, matte and hat (float32, masks 0–1) with its points moved to `target`.

    By a thin-plate spline (Bookstein 1989). A ring of points around the head follows the best similarity, so that
    hair and shoulders keep their shape.
    """
    height, width = size
    centred, moved = target - target.mean(0), source.points - source.points.mean(0)
    ratio = np.sum(centred * moved) / np.sum(centred**2)
    turn = np.sum(centred[:, 0] * moved[:, 1] - centred[:, 1] * moved[:, 0]) / np.sum(centred**2)
    similarity = np.array([[ratio, turn], [-turn, ratio]])
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    ring = target.mean(0) + face * np.array([1.05, 1.35]) * np.stack([np.cos(angles), np.sin(angles)], 1)
    ring_source = (ring - target.mean(0)) @ similarity + source.points.mean(0)
    spline = RBFInterpolator(np.vstack([target, ring]), np.vstack([source.points, ring_source]), smoothing=1.0)
    step = 8
    xs, ys = np.arange(0, width, step) + (step - 1) / 2, np.arange(0, height, step) + (step - 1) / 2
    grid = np.stack(np.meshgrid(xs, ys), -1)
    coarse = spline(grid.reshape(-1, 2)).reshape(grid.shape).astype(np.float32)
    full = cv2.resize(coarse, (len(xs) * step, len(ys) * step), interpolation=cv2.INTER_CUBIC)[:height, :width]
    image = cv2.remap(source.image, full, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    masks = cv2.remap(
        cv2.merge([source.matte, source.hat]), full, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    matte, hat = cv2.split(cv2.GaussianBlur(masks, (0, 0), face * 0.006).astype(np.float32) / 255)
    return image.astype(np.float32), matte, hat


def _region(size: tuple[int, int], outline: np.ndarray, feather: float) -> np.ndarray:
    """A soft mask (float32, 0–1) of a closed outline in texture pixels."""
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], 255)
    return cv2.GaussianBlur(mask, (0, 0), feather).astype(np.float32) / 255


def _cheeks(points: np.ndarray, size: tuple[int, int], face: float) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    for eye, corner in ((slice(36, 42), 48), (slice(42, 48), 54)):
        centre = 0.45 * points[eye].mean(0) + 0.55 * points[corner]
        cv2.circle(mask, tuple(int(v) for v in centre), int(0.07 * face), 255, -1)
    return mask


def _match_tone(
    image: np.ndarray, reference: np.ndarray, cheeks: np.ndarray, face: float, detail: float
) -> np.ndarray:
    """`image` with the cheek colour of the reference, half its broad shading, and wrinkles scaled by `detail`."""
    gain = np.array(cv2.mean(reference, cheeks)[:3]) / np.array(cv2.mean(image, cheeks)[:3])
    image = image * gain.astype(np.float32)
    broad = cv2.GaussianBlur(image, (0, 0), 0.06 * face)
    level = 0.55 * broad + 0.45 * cv2.GaussianBlur(reference, (0, 0), 0.06 * face)
    return level + detail * (image - broad)


def _blend(
    points: np.ndarray, size: tuple[int, int], face: float, wears_cap: bool, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Both portraits in one face: eyes of the astronaut, mouth of the admiral, the rest of either.

    Returns image, matte and cap (float32; the cap is empty for a bare head).
    """
    astronaut, bare, none = _warp(portrait("astronaut"), points, size, face)
    admiral, hatted, cap = _warp(portrait("hopper"), points, size, face)
    skin_of_admiral = _match_tone(admiral, astronaut, _cheeks(points, size, face), face, rng.uniform(0.3, 0.7))
    low_share = rng.uniform(0.25, 1.0)
    jaw = points[:17] * 0.97 + points[30] * 0.03
    oval = _region(size, np.vstack([jaw, points[26:16:-1]]), 0.03 * face)
    admiral = _calm(admiral, astronaut, points, face)
    admiral = admiral + (skin_of_admiral - admiral) * oval[..., None]
    nose = points[27:36]
    right, left = nose[4] - (0.24 * face, 0.0), nose[8] - (-0.16 * face, 0.0)
    lower = np.vstack([points[3:14] * 0.93 + points[33] * 0.07, left, nose[4], right])
    mouth = points[48:60]
    mouth = mouth.mean(0) + (mouth - mouth.mean(0)) * (1.35, 1.9)
    share = np.maximum(_region(size, lower, 0.035 * face) * low_share, _region(size, mouth, 0.02 * face))
    if wears_cap:
        # a band over the eyes, brow to nostrils, reaches the ears where the spectacles were
        sides = [
            points[i] * (1 - inward) + points[30] * inward
            for i, inward in ((16, 0.1), (14, 0.28), (2, 0.28), (0, 0.1))
        ]
        brows = points[17:27] - (0, 0.012 * face)
        band = np.vstack([brows, sides[:2], points[35], points[31], sides[2:]])
        share = np.maximum(1 - _region(size, band, 0.018 * face), share)
    image = astronaut + (admiral - astronaut) * share[..., None]
    return (image, hatted, cap) if wears_cap else (image, bare, none)


def _calm(image: np.ndarray, reference: np.ndarray, points: np.ndarray, face: float) -> np.ndarray:
    """The admiral's head outside the face with the astronaut's cheek colour and softer colour contrast."""
    cheeks = _cheeks(points, image.shape[:2], face)
    gain = np.array(cv2.mean(reference, cheeks)[:3]) / np.array(cv2.mean(image, cheeks)[:3])
    lab = cv2.cvtColor(np.clip(image * gain.astype(np.float32) / 255, 0, 1), cv2.COLOR_BGR2LAB)
    mean = np.array(cv2.mean(lab, cheeks)[:3], np.float32)
    skin_like = np.clip((lab[..., :1] - 8) / 50, 0, 1)
    lab[..., :1] += 0.4 * skin_like * (mean[0] - lab[..., :1])
    lab[..., 1:] += 0.6 * skin_like * (mean[1:] - lab[..., 1:])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2BGR) * 255


def _skin_mask(image: np.ndarray, matte: np.ndarray, points: np.ndarray, face: float) -> np.ndarray:
    """How much a pixel is skin, by its colour and place, without the eyes."""
    size = image.shape[:2]
    lab = cv2.cvtColor(np.clip(image / 255, 0, 1), cv2.COLOR_BGR2LAB)
    mean = np.array(cv2.mean(lab, _cheeks(points, size, face))[:3])
    distance = ((lab - mean) / (38, 13, 13)) ** 2
    likely = cv2.GaussianBlur(np.exp(-0.5 * distance.sum(-1)).astype(np.float32), (0, 0), 0.012 * face)
    brows = points[17:27].mean(0)
    oval = np.vstack(
        [points[:17], points[26] - (0, 0.05 * face), brows - (0, 0.12 * face), points[17] - (0, 0.05 * face)]
    )
    inside = _region(size, oval, 0.02 * face)
    eyes = _region(size, points[36:42], 0.008 * face) + _region(size, points[42:48], 0.008 * face)
    return np.clip(np.maximum(likely, inside) * matte * (1 - 0.6 * eyes), 0, 1)


def _hair_and_cap(
    image: np.ndarray, hair: np.ndarray, cap: np.ndarray, face: float, rng: np.random.Generator
) -> np.ndarray:
    """Hair (and clothes) from black to the portrait's own shade or grey; the cap plain cloth without a badge."""
    shade = image * (rng.uniform(0.25, 1.05) * rng.normal(1, 0.05, 3).astype(np.float32))
    grey = cv2.cvtColor(shade, cv2.COLOR_BGR2GRAY)[..., None] * rng.uniform(0.9, 1.3)
    shade += (grey - shade) * (rng.uniform(0.5, 1.0) if rng.random() < 0.3 else rng.uniform(0.0, 0.3))
    image = image + hair[..., None] * (shade - image)
    cloth = rng.uniform(20, 90) * rng.uniform(0.6, 1.4, 3)
    weave = cv2.GaussianBlur(rng.normal(0, 1, hair.shape).astype(np.float32), (0, 0), 1.0) * rng.uniform(0.03, 0.12)
    rows = np.arange(hair.shape[0], dtype=np.float32)[:, None]
    rim = np.flatnonzero(cap.max(1) > 0.5)
    low = float(rim[-1]) if rim.size else 0.0
    folds = 1 - 0.45 * np.exp(-np.clip(low - rows, 0, None) / (0.12 * face)) + 0.5 * weave
    return image + cap[..., None] * (cloth.astype(np.float32) * (folds + weave)[..., None] - image)


def _colour(
    image: np.ndarray, matte: np.ndarray, points: np.ndarray, face: float, cap: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Skin tone, hair, brow and lip tint, stubble, pores and moles."""
    size = image.shape[:2]
    skin = _skin_mask(image, matte, points, face) * (1 - cap)
    place = rng.uniform(0, len(_SKIN_TONES) - 1.001)
    tone = _SKIN_TONES[int(place)] + (place % 1) * (_SKIN_TONES[int(place) + 1] - _SKIN_TONES[int(place)])
    gain = tone * rng.normal(1, 0.015, 3) / np.array(cv2.mean(image, _cheeks(points, size, face))[:3])
    image = image * (1 + skin[..., None] * (gain.astype(np.float32) - 1))
    image = _hair_and_cap(image, np.clip(matte - skin, 0, 1) * (1 - cap), cap * matte, face, rng)
    brows = rng.uniform(0.05, 0.5)
    for part in (slice(17, 22), slice(22, 27)):
        line = np.vstack([points[part] - (0, 0.004 * face), points[part][::-1] - (0, -0.02 * face)])
        image *= 1 - _region(size, line, 0.01 * face)[..., None] * brows
    lips = _region(size, points[48:60], 0.008 * face)[..., None]
    image *= 1 + lips * rng.uniform((-0.3, -0.32, -0.12), (-0.06, -0.08, 0.04)).astype(np.float32)
    if rng.random() < 0.35:
        beard = np.vstack([points[3:14] * 0.97 + points[33] * 0.03, points[35], points[33], points[31]])
        grain = 1 - 0.25 * np.abs(rng.normal(0, 1, size)).astype(np.float32)
        shade = _region(size, beard, 0.05 * face) * (1 - lips[..., 0]) * rng.uniform(0.15, 0.4)
        image *= 1 - (shade * (0.75 + 0.25 * grain))[..., None] * np.array([0.48, 0.5, 0.53], np.float32)
    pores = cv2.GaussianBlur(rng.normal(0, 1, size).astype(np.float32), (0, 0), 0.9)
    pores += 2 * cv2.GaussianBlur(rng.normal(0, 1, size).astype(np.float32), (0, 0), 2.2)
    image *= 1 + (0.035 * rng.uniform(0.5, 1.4) * skin * pores)[..., None]
    for _ in range(rng.integers(0, 7)):
        spot = points[30] + (points[rng.integers(1, 16)] - points[30]) * rng.uniform(0.2, 0.85)
        dark = np.zeros(size, np.float32)
        cv2.circle(
            dark, tuple(int(v) for v in spot), max(1, int(face * rng.uniform(0.003, 0.007))), 1.0, -1, cv2.LINE_AA
        )
        image *= 1 - (cv2.GaussianBlur(dark, (0, 0), 1.2) * skin * rng.uniform(0.15, 0.5))[..., None]
    return image


def _light(
    image: np.ndarray, matte: np.ndarray, points: np.ndarray, face: float, rng: np.random.Generator
) -> np.ndarray:
    """Side light on an ellipsoid head, white balance, exposure, and a plain backdrop."""
    height, width = image.shape[:2]
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    centre = points[27:31].mean(0)
    nx = np.clip((xs - centre[0]) / (0.75 * face), -1.2, 1.2)
    ny = np.clip((ys - centre[1]) / (0.95 * face), -1.2, 1.2)
    side, down = rng.normal(0, 0.13), rng.normal(-0.03, 0.08)
    image = image * (1 + np.clip(side * nx + down * ny, -0.35, 0.35))[..., None]
    backdrop = rng.uniform(60, 205) * rng.normal(1, 0.025, 3) * np.ones((height, width, 3))
    backdrop = (
        backdrop * (1 + 0.15 * rng.normal() * (xs / width - 0.5) + 0.1 * rng.normal() * (ys / height - 0.5))[..., None]
    )
    image = image * matte[..., None] + backdrop.astype(np.float32) * (1 - matte[..., None])
    image = image * (rng.normal(1, 0.012, 3) * rng.uniform(0.9, 1.05)).astype(np.float32)
    return np.clip(np.where(image > 185, 185 + 0.6 * (image - 185), image), 0, 255)  # film's soft shoulder


@lru_cache(maxsize=4)
def make_subject(seed: int, view: View) -> Subject:
    """The subject of a seed as a camera sees it. The same seed gives the same bytes."""
    rng = np.random.default_rng([seed, 1])
    shape = face_shape(rng)
    scale = view.face * rng.normal(1, 0.012)
    points = shape * scale + (view.eyes_x + rng.normal(0, 0.008) * scale, view.eyes_y + rng.normal(0, 0.012) * scale)
    size = (2 * (view.height + 2 * MARGIN), 2 * (view.width + 2 * MARGIN))
    base, face = to_texture(points), 2 * scale
    image, matte, cap = _blend(base, size, face, seed % 3 == 1, rng)
    image = _colour(image, matte, base, face, cap, rng)
    image = _light(image, matte, base, face, rng)
    if rng.random() < 0.5:
        middle = np.array([(view.width - 1) / 2, 0.0])
        image, points = image[:, ::-1], _mirror(points - middle) + middle
    texture = np.ascontiguousarray(image).astype(np.uint8)
    return Subject(seed, view, cv2.cvtColor(texture, cv2.COLOR_BGR2GRAY) if view.grey else texture, points)
