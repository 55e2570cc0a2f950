"""What a synthetic subject looks like beyond its shape: skin, hair, brows, lips, light and backdrop."""

import cv2
import numpy as np

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


def outline_mask(size: tuple[int, int], outline: np.ndarray, feather: float) -> np.ndarray:
    """A soft mask (float32, 0–1) of a closed outline in texture pixels."""
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], 255)
    return cv2.GaussianBlur(mask, (0, 0), feather).astype(np.float32) / 255


def cheek_mask(points: np.ndarray, size: tuple[int, int], face: float) -> np.ndarray:
    """Mask (uint8, 0 or 255) of a disc on each cheek, where skin colour is measured; all in texture pixels."""
    mask = np.zeros(size, np.uint8)
    for eye, corner in ((slice(36, 42), 48), (slice(42, 48), 54)):
        centre = 0.45 * points[eye].mean(0) + 0.55 * points[corner]
        cv2.circle(mask, tuple(int(v) for v in centre), int(0.07 * face), 255, -1)
    return mask


def _skin_mask(image: np.ndarray, matte: np.ndarray, points: np.ndarray, face: float) -> np.ndarray:
    """How much a pixel is skin, by its colour and place, without the eyes."""
    size = image.shape[:2]
    lab = cv2.cvtColor(np.clip(image / 255, 0, 1), cv2.COLOR_BGR2LAB)
    mean = np.array(cv2.mean(lab, cheek_mask(points, size, face))[:3])
    distance = ((lab - mean) / (38, 13, 13)) ** 2
    likely = cv2.GaussianBlur(np.exp(-0.5 * distance.sum(-1)).astype(np.float32), (0, 0), 0.012 * face)
    brows = points[17:27].mean(0)
    oval = np.vstack(
        [points[:17], points[26] - (0, 0.05 * face), brows - (0, 0.12 * face), points[17] - (0, 0.05 * face)]
    )
    inside = outline_mask(size, oval, 0.02 * face)
    eyes = outline_mask(size, points[36:42], 0.008 * face) + outline_mask(size, points[42:48], 0.008 * face)
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


def colour_subject(
    image: np.ndarray, matte: np.ndarray, points: np.ndarray, face: float, cap: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Skin tone, hair, brow and lip tint, stubble, pores and moles."""
    size = image.shape[:2]
    skin = _skin_mask(image, matte, points, face) * (1 - cap)
    shade = rng.uniform(0, len(_SKIN_TONES) - 1.001)  # a place between two tones
    tone = _SKIN_TONES[int(shade)] + (shade % 1) * (_SKIN_TONES[int(shade) + 1] - _SKIN_TONES[int(shade)])
    gain = tone * rng.normal(1, 0.015, 3) / np.array(cv2.mean(image, cheek_mask(points, size, face))[:3])
    image = image * (1 + skin[..., None] * (gain.astype(np.float32) - 1))
    image = _hair_and_cap(image, np.clip(matte - skin, 0, 1) * (1 - cap), cap * matte, face, rng)
    brows = rng.uniform(0.05, 0.5)
    for part in (slice(17, 22), slice(22, 27)):
        line = np.vstack([points[part] - (0, 0.004 * face), points[part][::-1] - (0, -0.02 * face)])
        image *= 1 - outline_mask(size, line, 0.01 * face)[..., None] * brows
    lips = outline_mask(size, points[48:60], 0.008 * face)[..., None]
    image *= 1 + lips * rng.uniform((-0.3, -0.32, -0.12), (-0.06, -0.08, 0.04)).astype(np.float32)
    if rng.random() < 0.35:
        beard = np.vstack([points[3:14] * 0.97 + points[33] * 0.03, points[35], points[33], points[31]])
        grain = 1 - 0.25 * np.abs(rng.normal(0, 1, size)).astype(np.float32)
        stubble = outline_mask(size, beard, 0.05 * face) * (1 - lips[..., 0]) * rng.uniform(0.15, 0.4)
        image *= 1 - (stubble * (0.75 + 0.25 * grain))[..., None] * np.array([0.48, 0.5, 0.53], np.float32)
    # two grains of texture, since optical flow needs skin that is not plain
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


def light_subject(
    image: np.ndarray, matte: np.ndarray, points: np.ndarray, face: float, rng: np.random.Generator
) -> np.ndarray:
    """Side light on an ellipsoid head, white balance, exposure, and a plain backdrop."""
    height, width = image.shape[:2]
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    centre = points[27:31].mean(0)
    # shading by the normal of an ellipsoid: x across, y down, in radii of the head
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
