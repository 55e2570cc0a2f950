"""Synthetic subjects: a face shape between two portraits, both warped to it and blended, then skin, hair and light.

A subject is drawn from its seed alone and made at twice the resolution of the frames that show it.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator

from megc.synthesis.appearance import cheek_mask, colour_subject, light_subject, outline_mask
from megc.synthesis.portraits import Portrait, load_portrait

MARGIN = 12  # frame pixels of texture beyond each border, so that head drift shows no edge
# The landmark that each landmark becomes in a mirror.
_MIRRORED = np.array([*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47,
                      46, 39, 38, 37, 36, 41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60,
                      67, 66, 65])  # fmt: skip
_COMPONENTS = {"brow": (slice(17, 22), slice(22, 27)), "eye": (slice(36, 42), slice(42, 48))}


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
    shapes = [_upright(load_portrait(name).points) for name in ("astronaut", "hopper")]
    mix = rng.uniform(0.15, 0.85)
    shape = mix * shapes[0] + (1 - mix) * shapes[1]
    shape[48:] = 0.25 * shapes[0][48:] + 0.75 * shapes[1][48:]  # the astronaut smiles; subjects start neutral
    shape[36:48] = 0.8 * shapes[0][36:48] + 0.2 * shapes[1][36:48]  # lenses make the other's eyes small
    # nobody is quite symmetric; portraits are less so, being turned a little
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
    # the best similarity (rotation and scale in one matrix) from the face to the portrait
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


def _match_tone(image: np.ndarray, reference: np.ndarray, skin: np.ndarray, face: float, detail: float) -> np.ndarray:
    """`image` with the cheek colour of the reference, half its broad shading, and wrinkles scaled by `detail`."""
    gain = np.array(cv2.mean(reference, skin)[:3]) / np.array(cv2.mean(image, skin)[:3])
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
    astronaut, bare, none = _warp(load_portrait("astronaut"), points, size, face)
    admiral, hatted, cap = _warp(load_portrait("hopper"), points, size, face)
    skin_of_admiral = _match_tone(admiral, astronaut, cheek_mask(points, size, face), face, rng.uniform(0.3, 0.7))
    low_share = rng.uniform(0.25, 1.0)
    jaw = points[:17] * 0.97 + points[30] * 0.03
    oval = outline_mask(size, np.vstack([jaw, points[26:16:-1]]), 0.03 * face)
    admiral = _calm(admiral, astronaut, points, face)
    admiral = admiral + (skin_of_admiral - admiral) * oval[..., None]
    nose = points[27:36]
    right, left = nose[4] - (0.24 * face, 0.0), nose[8] - (-0.16 * face, 0.0)
    lower = np.vstack([points[3:14] * 0.93 + points[33] * 0.07, left, nose[4], right])
    mouth = points[48:60]
    mouth = mouth.mean(0) + (mouth - mouth.mean(0)) * (1.35, 1.9)
    share = np.maximum(outline_mask(size, lower, 0.035 * face) * low_share, outline_mask(size, mouth, 0.02 * face))
    if wears_cap:
        # a band over the eyes, brow to nostrils, reaches the ears where the spectacles were
        temples = [
            points[i] * (1 - inward) + points[30] * inward
            for i, inward in ((16, 0.1), (14, 0.28), (2, 0.28), (0, 0.1))
        ]
        brows = points[17:27] - (0, 0.012 * face)
        band = np.vstack([brows, temples[:2], points[35], points[31], temples[2:]])
        share = np.maximum(1 - outline_mask(size, band, 0.018 * face), share)
    image = astronaut + (admiral - astronaut) * share[..., None]
    return (image, hatted, cap) if wears_cap else (image, bare, none)


def _calm(image: np.ndarray, reference: np.ndarray, points: np.ndarray, face: float) -> np.ndarray:
    """The admiral's head outside the face with the astronaut's cheek colour and softer colour contrast."""
    skin = cheek_mask(points, image.shape[:2], face)
    gain = np.array(cv2.mean(reference, skin)[:3]) / np.array(cv2.mean(image, skin)[:3])
    lab = cv2.cvtColor(np.clip(image * gain.astype(np.float32) / 255, 0, 1), cv2.COLOR_BGR2LAB)
    mean = np.array(cv2.mean(lab, skin)[:3], np.float32)
    skin_like = np.clip((lab[..., :1] - 8) / 50, 0, 1)
    lab[..., :1] += 0.4 * skin_like * (mean[0] - lab[..., :1])
    lab[..., 1:] += 0.6 * skin_like * (mean[1:] - lab[..., 1:])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2BGR) * 255


@lru_cache(maxsize=4)
def make_subject(seed: int, view: View) -> Subject:
    """The subject of a seed as a camera sees it. The same seed gives the same bytes."""
    # the order of draws decides the bytes: shape, place, then appearance
    rng = np.random.default_rng([seed, 1])
    shape = face_shape(rng)
    scale = view.face * rng.normal(1, 0.012)
    points = shape * scale + (view.eyes_x + rng.normal(0, 0.008) * scale, view.eyes_y + rng.normal(0, 0.012) * scale)
    size = (2 * (view.height + 2 * MARGIN), 2 * (view.width + 2 * MARGIN))
    base, face = to_texture(points), 2 * scale
    image, matte, cap = _blend(base, size, face, seed % 3 == 1, rng)
    image = colour_subject(image, matte, base, face, cap, rng)
    image = light_subject(image, matte, base, face, rng)
    if rng.random() < 0.5:
        middle = np.array([(view.width - 1) / 2, 0.0])
        image, points = image[:, ::-1], _mirror(points - middle) + middle
    texture = np.ascontiguousarray(image).astype(np.uint8)
    return Subject(seed, view, cv2.cvtColor(texture, cv2.COLOR_BGR2GRAY) if view.grey else texture, points)
