"""Candidate intervals in the motion of face regions at all durations, and what is known of each.

An expression leaves rest and comes back to it, so at an interval as long as the expression the motion in its middle
differs most from that on both flanks. This difference is taken at 14 durations and at every frame; its peaks are the
candidates. Its direction over regions is whitened by the motion of the training videos: motion that all faces show all
the time (what is left of the head's) weighs little, motion that is rare weighs much.
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import maximum_filter1d
from scipy.signal import find_peaks

from megc.motion.regions import SPOTTING_REGIONS
from megc.spotting.region_series import RATE

DURATIONS = tuple(0.18 * 1.25**step for step in range(14))  # seconds, to 3.3
CHANNELS = 2 * len(SPOTTING_REGIONS)
_PIXELS, _WHITENED = (
    0.2,
    1.2,
)  # least height of a peak: root mean square of the six regions that move most; of channels
_STRONGEST = 6
_SHRINKAGE = 0.2  # of the covariance towards one without correlations
_CALM = 0.9  # share of a video's frames that the covariance is of: those that move least
_PROFILE = np.linspace(-0.75, 1.75, 11)  # of an interval from its onset (0) to its offset (1)
_RANKS = [0, 1, 3, 6, 10, 17]  # of the regions by their motion
_FAR = 2.0  # seconds
_BLOCK, _MARGIN = 3600, 450  # frames of a block of a long video, and those beside it that are looked at, too
_GROUPS = [
    [i for i, name in enumerate(SPOTTING_REGIONS) if name.startswith(words)]
    for words in (
        "right brow",
        "left brow",
        ("mouth, upper", "mouth, lower", "mouth, middle"),
        "mouth, right",
        "mouth, left",
        "nose",
        "below right",
        "below left",
    )
]


def _sums(values: np.ndarray) -> np.ndarray:
    """Sums (T + 1, …) of the values before each frame."""
    return np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0, dtype=float)])


def _means(sums: np.ndarray, middles: np.ndarray, width: float) -> np.ndarray:
    """Means over `width` frames, one at least, around `middles` (…) in frames, 0 being the beginning of the first."""
    length = len(sums) - 1
    first = np.clip(np.round(middles - width / 2).astype(int), 0, length - 1)
    last = np.maximum(np.clip(np.round(middles + width / 2).astype(int), 0, length), first + 1)
    counts = (last - first).reshape(first.shape + (1,) * (sums.ndim - 1))
    return (sums[last] - sums[first]) / counts


def measure_departures(motion: np.ndarray, seconds: float) -> np.ndarray:
    """How far motion (T, 18, 2) in the middle of an interval of `seconds` around each frame is from both flanks."""
    sums, middles, width = _sums(motion), np.arange(len(motion)) + 0.5, seconds * RATE
    flanks = [_means(sums, middles + shift * width, max(1, width / 4)) for shift in (-0.6, 0.6)]
    return _means(sums, middles, max(1, width / 2)) - (flanks[0] + flanks[1]) / 2


def fit_whitening(motions: Sequence[np.ndarray]) -> np.ndarray:
    """Matrices (durations, 36, 36) that whiten the departures of the calm frames of these motions (T, 18, 2)."""
    matrices = []
    for seconds in DURATIONS:
        rows = np.concatenate([measure_departures(motion, seconds).reshape(len(motion), -1) for motion in motions])
        energy = (rows**2).sum(axis=1)
        rows = rows[energy <= np.quantile(energy, _CALM)]
        covariance = rows.T @ rows / len(rows)
        level = np.trace(covariance) / CHANNELS + 1e-9
        covariance = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * level * np.eye(CHANNELS)
        matrices.append(np.linalg.inv(np.linalg.cholesky(covariance)))
    return np.array(matrices)


def find_candidates(motion: np.ndarray, blink: np.ndarray, whitening: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intervals (n, 2) in positions of a motion (T, 18, 2) at RATE, in fractions, and their features (n, m).

    `blink` (T,) is true in a blink. Features are logarithms of pixels, shares and seconds; `whitening` is that of
    `fit_whitening`. A long motion is taken in blocks of _BLOCK frames, so that memory does not grow with it.
    """
    intervals, features = [np.empty((0, 2))], [np.empty((0, _count_features()), np.float32)]
    for start in range(0, len(motion), _BLOCK):
        first, end = max(0, start - _MARGIN), min(len(motion), start + _BLOCK + _MARGIN)
        ends, rows = _block_candidates(motion[first:end].astype(float), blink[first:end], whitening)
        middles = ends.mean(axis=1) + first
        inside = (middles >= start) & (middles < start + _BLOCK)
        intervals.append(np.clip(ends[inside] + first, 0, len(motion) - 1))
        features.append(rows[inside])
    return np.concatenate(intervals), np.concatenate(features)


def _block_candidates(motion: np.ndarray, blink: np.ndarray, whitening: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`find_candidates` of one block; its intervals may reach beyond it."""
    speed = np.linalg.norm(np.diff(motion, axis=0, prepend=motion[:1]), axis=2)
    speeds = _sums(np.stack([speed[:, group].mean(axis=1) for group in _GROUPS], axis=1))
    sums, blinks = _sums(motion.reshape(len(motion), -1)), _sums(blink.astype(float)[:, None])
    intervals, features = [np.empty((0, 2))], [np.empty((0, _count_features()))]
    for seconds, matrix in zip(DURATIONS, whitening, strict=True):
        departures = measure_departures(motion, seconds)
        whitened = departures.reshape(len(motion), -1) @ matrix.T
        lengths = np.linalg.norm(departures, axis=2)
        strongest = np.sqrt((np.sort(lengths, axis=1)[:, -_STRONGEST:] ** 2).mean(axis=1))
        rare, width = np.sqrt((whitened**2).mean(axis=1)), seconds * RATE
        heights = ((strongest, _PIXELS), (rare, _WHITENED))
        apart = max(1, int(width / 4))
        peaks = np.union1d(*(find_peaks(curve, height=least, distance=apart)[0] for curve, least in heights))
        ends = np.stack([peaks - width / 2, peaks + width / 2], axis=1)
        columns = [
            np.full(len(peaks), np.log(seconds)),
            *_height_features(strongest, peaks),
            *_height_features(rare, peaks),
            np.full(len(peaks), np.median(strongest)),
            *_region_features(departures[peaks], whitened[peaks]),
            *_course_features(sums, ends, width, departures[peaks].reshape(-1, CHANNELS)),
            *np.log(_means(speeds, peaks + 0.5, width) + 0.01).T,
            *np.log(_means(speeds, peaks + 0.5, width + 2 * _FAR * RATE) + 0.01).T,
            _means(blinks, peaks + 0.5, width + 4)[:, 0],
            np.clip(ends[:, 0] / RATE, 0, _FAR),
            np.clip((len(motion) - ends[:, 1]) / RATE, 0, _FAR),
        ]
        intervals.append(ends)
        features.append(np.stack(columns, axis=1))
    return np.concatenate(intervals), np.concatenate(features).astype(np.float32)


def _height_features(curve: np.ndarray, peaks: np.ndarray) -> list[np.ndarray]:
    """Logarithm of the height of peaks, and the height as a share of the highest within _FAR seconds."""
    around = maximum_filter1d(curve, 2 * int(_FAR * RATE) + 1, mode="nearest")
    return [np.log(curve[peaks] + 0.01), curve[peaks] / np.maximum(around[peaks], 1e-6)]


def _region_features(departures: np.ndarray, whitened: np.ndarray) -> list[np.ndarray]:
    """Which regions move, and where to: of departures (n, 18, 2), and of those whitened (n, 36)."""
    lengths = np.linalg.norm(departures, axis=2)
    ranked = np.sort(lengths, axis=1)[:, ::-1]
    shared = np.linalg.norm(departures.mean(axis=1), axis=1) / np.maximum(ranked[:, 0], 1e-6)
    direction = whitened / np.maximum(np.linalg.norm(whitened, axis=1, keepdims=True), 1e-6)
    return [
        *np.log1p(ranked[:, _RANKS]).T,
        shared,
        *(np.log1p(lengths[:, group].max(axis=1)) for group in _GROUPS),
        *(column for group in _GROUPS for column in departures[:, group].mean(axis=1).T),
        *direction.T,
    ]


def _course_features(sums: np.ndarray, ends: np.ndarray, width: float, departures: np.ndarray) -> list[np.ndarray]:
    """How motion (as sums) goes along the direction of the departures (n, 36) from before to after intervals (n, 2) of
    `width` frames, how far it strays from that direction, and how far both ends are apart; as shares of the departure.
    """
    size = np.maximum(np.linalg.norm(departures, axis=1), 1e-6)
    direction = departures / size[:, None]
    before, after = (
        _means(sums, ends[:, column] + 0.5 + shift * width, max(1, width / 5))
        for column, shift in ((0, -0.1), (1, 0.1))
    )
    middles = ends[:, :1] + _PROFILE * width + 0.5
    course = _means(sums, middles, max(1, width / 6)) - ((before + after) / 2)[:, None]
    along = (course * direction[:, None]).sum(axis=2)
    stray = np.linalg.norm(course - along[..., None] * direction[:, None], axis=2)
    apart = np.linalg.norm(after - before, axis=1) / size
    return [apart, *(along / size[:, None]).T, *(stray / size[:, None]).T]


def _count_features() -> int:
    """How many features a candidate has."""
    of_regions = len(_RANKS) + 1 + 3 * len(_GROUPS) + CHANNELS
    return 1 + 4 + 1 + of_regions + 1 + 2 * len(_PROFILE) + 2 * len(_GROUPS) + 3
