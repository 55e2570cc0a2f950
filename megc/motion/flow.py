"""Dense motion between two aligned crops, and the head's part of it, which is taken away."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from megc.motion.regions import face_width, nose_box, stable_mask
from megc.motion.settings import DEFAULT_COMPENSATION, DEFAULT_METHOD
from megc.problems import DataError, did_you_mean

FIT_ROUNDS = 5  # of reweighted least squares


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run OpenCV on one thread: DIS splits its work by their number, and the split shows in the result."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


@lru_cache(maxsize=1)
def _dis() -> cv2.DISOpticalFlow:
    """Kroeger et al. 2016 down to full resolution, with a stronger smoothness term than the preset.

    Tried and left: on pictures of .85 size with 12 descent steps (a third less time, .096 px in the face instead of
    .102, .171 on moving skin instead of .165) the linear probe of the demo set fell from .840 to .789; with 12 steps
    alone to .817. Endpoint error does not see what a classifier loses.
    """
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    method.setFinestScale(0)
    method.setPatchStride(4)
    method.setVariationalRefinementAlpha(40)
    method.setVariationalRefinementIterations(5)
    return method


@lru_cache(maxsize=1)
def _dis_fast() -> cv2.DISOpticalFlow:
    """The MEDIUM preset: finest scale 1, a quarter of the time."""
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def _check_optflow() -> None:
    """Raise DataError when OpenCV comes without its contributed modules, which TV-L1 and DeepFlow are part of."""
    if not hasattr(cv2, "optflow"):
        fix = (
            "pip uninstall opencv-python opencv-python-headless, then pip install opencv-contrib-python-headless; "
            "or take --method dis, which needs none"
        )
        raise DataError(f"cv2 {cv2.__version__}", None, "has no cv2.optflow (TV-L1, DeepFlow)", fix)


@lru_cache(maxsize=1)
def _tvl1() -> cv2.DenseOpticalFlow:
    """Zach, Pock and Bischof 2007 with OpenCV's parameters (5 scales)."""
    _check_optflow()
    return cv2.optflow.DualTVL1OpticalFlow_create()


@lru_cache(maxsize=1)
def _tvl1_original() -> cv2.DenseOpticalFlow:
    """The parameters of the original MEGC project: one scale, so motion beyond about 4 px is underestimated."""
    _check_optflow()
    return cv2.optflow.DualTVL1OpticalFlow_create(tau=0.25, lambda_=0.15, theta=0.3, nscales=1, warps=5)


def _calc_of(make: Callable[[], cv2.DenseOpticalFlow]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda a, b: make().calc(a, b, None)


def _farneback(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Farnebäck 2003, window 15."""
    return cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 3, 15, 3, 5, 1.2, 0)


METHODS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "dis": _calc_of(_dis),
    "dis-fast": _calc_of(_dis_fast),
    "tvl1": _calc_of(_tvl1),
    "tvl1-original": _calc_of(_tvl1_original),
    "farneback": _farneback,
}


def to_grey(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W) of a uint8 grey or RGB image."""
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def optical_flow(a: np.ndarray, b: np.ndarray, method: str = DEFAULT_METHOD) -> np.ndarray:
    """Motion from image `a` to image `b` (uint8, grey or RGB, one size): float32 (H, W, 2), x right, y down, pixels.

    The same on any machine and for any number of OpenCV threads. Raises ValueError for an unknown method, sizes that
    differ and images below 16 pixels.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: {did_you_mean(method, METHODS)}")
    if a.shape[:2] != b.shape[:2] or min(a.shape[:2]) < 16:
        raise ValueError(f"two images of one size, at least 16 pixels a side, are needed: {a.shape}, {b.shape}")
    with _one_thread():
        return METHODS[method](to_grey(a), to_grey(b)).astype(np.float32, copy=False)


@dataclass(frozen=True)
class HeadMotion:
    """The head's motion in the picture, in complex numbers (x + iy) and pixels.

    v(p) = shift + (turn - 1) q + parallax depth(q), with q = p - centre. `turn` is scale times rotation (1: none).
    `parallax` is how far the nearest point runs ahead when the head turns or nods (weak perspective); `depth` is a
    paraboloid over the face of width `face`, 0 at the nose and negative towards the ears.
    """

    centre: complex = 0j
    shift: complex = 0j
    turn: complex = 1 + 0j
    parallax: complex = 0j
    face: float = 1.0

    def field(self, shape: tuple[int, int]) -> np.ndarray:
        """The motion at every pixel: float32 (H, W, 2)."""
        y, x = (np.arange(length, dtype=np.float32) for length in shape)
        x, y = x[None] - self.centre.real, y[:, None] - self.centre.imag  # a row and a column: products stay small
        a, b = self.turn.real - 1, self.turn.imag
        motion = np.empty((*shape, 2), np.float32)
        u, v = motion[..., 0], motion[..., 1]
        np.subtract(a * x, b * y, out=u)
        np.add(b * x, a * y, out=v)
        u += self.shift.real
        v += self.shift.imag
        if self.parallax:
            depth = _depth(x, y, self.face)
            u += self.parallax.real * depth
            v += self.parallax.imag * depth
        return motion

    def summary(self) -> dict[str, float]:
        """Numbers for a record: shift at the nose in pixels, rotation in degrees, scale, parallax in pixels."""
        return {
            "x": round(self.shift.real, 3),
            "y": round(self.shift.imag, 3),
            "degrees": round(float(np.degrees(np.angle(self.turn))), 4),
            "scale": round(abs(self.turn), 5),
            "parallax_x": round(self.parallax.real, 3),
            "parallax_y": round(self.parallax.imag, 3),
        }


def _depth(x: np.ndarray, y: np.ndarray, face: float) -> np.ndarray:
    """Depth of a head relative to its middle: a paraboloid; its exact shape matters little for small turns."""
    return -((x / (0.6 * face)) ** 2) - (y / (0.9 * face)) ** 2


def _stable_fit(flow: np.ndarray, landmarks: np.ndarray) -> HeadMotion:
    """Head motion on the stable regions by iteratively reweighted least squares with Cauchy weights."""
    mask = stable_mask(landmarks, flow.shape[:2])
    mask[1::2] = False  # every fourth pixel: neighbours say the same
    mask[:, 1::2] = False
    y, x = np.nonzero(mask)
    centre, face = complex(*landmarks[27:36].mean(axis=0).astype(float)), face_width(landmarks)
    if len(x) < 32:  # the face is nearly outside the crop: six numbers need more pixels than that
        return HeadMotion(centre)
    x, y = x - centre.real, y - centre.imag
    ones, zeros = np.ones(len(x)), np.zeros(len(x))
    depth = _depth(x, y, face)
    # six unknowns: shift (u, v), scale and rotation times the face's width, parallax (u, v)
    columns = [
        (ones, zeros),
        (zeros, ones),
        (x / face, y / face),
        (-y / face, x / face),
        (depth, zeros),
        (zeros, depth),
    ]
    design = np.array([np.concatenate(column) for column in columns]).T  # (2 N, 6): rows are all u, then all v
    moved = flow[mask].astype(np.float64).T.ravel()  # (2 N,)
    weight = np.ones(len(x))
    # 1. fit by the weights  2. residuals  3. weights by 1.5 robust deviations (1.4826 median = sigma of a Gaussian)
    for _ in range(FIT_ROUNDS):
        weighted = design * np.tile(weight, 2)[:, None]
        fit = np.linalg.solve(weighted.T @ design, weighted.T @ moved)
        residual = np.hypot(*(moved - design @ fit).reshape(2, -1))
        cut = max(1.5 * 1.4826 * float(np.median(residual)), 1e-3)
        weight = 1 / (1 + (residual / cut) ** 2)  # (N,), of Cauchy: skin that moves by itself counts little
    turn = 1 + complex(fit[2], fit[3]) / face
    return HeadMotion(centre, complex(fit[0], fit[1]), turn, complex(*fit[4:6]), face)


def _nose_fit(flow: np.ndarray, landmarks: np.ndarray) -> HeadMotion:
    """Mean motion in a box around the tip of the nose, of as many pixels as the original project took."""
    x, y = (round(float(value)) for value in landmarks[30])
    box = flow[nose_box((x, y), flow.shape)]
    shift = box.mean(axis=(0, 1)).astype(float) if box.size else (0.0, 0.0)
    return HeadMotion(complex(x, y), complex(*shift))


def _no_fit(flow: np.ndarray, landmarks: np.ndarray) -> HeadMotion:
    return HeadMotion()


COMPENSATIONS: dict[str, Callable[[np.ndarray, np.ndarray], HeadMotion]] = {
    "stable": _stable_fit,
    "nose": _nose_fit,
    "none": _no_fit,
}


def compensate(
    flow: np.ndarray, landmarks: np.ndarray, mode: str = DEFAULT_COMPENSATION
) -> tuple[np.ndarray, HeadMotion]:
    """The flow (H, W, 2) without the head's motion, and that motion.

    `landmarks` (68, 2) are those of the frame the flow starts from. Modes: `stable` (shift, rotation, scale and the
    parallax of turning, fitted robustly to regions that no action unit moves), `nose` (mean of the nose tip),
    `none`. Raises ValueError for an unknown mode.
    """
    if mode not in COMPENSATIONS:
        raise ValueError(f"unknown compensation {mode!r}: {did_you_mean(mode, COMPENSATIONS)}")
    head = COMPENSATIONS[mode](flow, landmarks)
    motion = head.field(flow.shape[:2])
    return np.subtract(flow, motion, out=motion), head
