"""From a curve of motion over a video to intervals, and from many intervals to few.

A curve has a value a frame. Intervals are float arrays (n, 2) of first and last frame, both inside, counted from the
first value of the curve (0). Durations are in seconds: 30 fps and 200 fps take the same settings.
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from megc.scoring.interval_matching import interval_ious


def smooth_curve(curve: np.ndarray, seconds: float, fps: float) -> np.ndarray:
    """The curve after a Gaussian filter with a standard deviation of `seconds`; as it is for 0."""
    return gaussian_filter1d(np.asarray(curve, float), seconds * fps, mode="nearest") if seconds > 0 else curve


def moving_average(curve: np.ndarray, frames: int) -> np.ndarray:
    """The mean over `frames` values around each, with zeros beyond the ends: MEAN's filter (numpy's mode `same`)."""
    return np.convolve(curve, np.ones(frames) / frames, mode="same")[: len(curve)]


def relative_threshold(curve: np.ndarray, share: float) -> float:
    """Mean + share · (maximum - mean) of the video: the rule of MDMD, SOFTNet and MEAN (share .55).

    It finds something in every video, also where nothing happens. Which is better, this or a threshold in pixels,
    depends on the dataset (ablation/README.md, spotting on real data).
    """
    mean = float(np.mean(curve))
    return mean + share * (float(np.max(curve)) - mean)


def find_runs(mask: np.ndarray, drop_open: bool = False) -> np.ndarray:
    """First and last frames (n, 2) of the runs of true values; `drop_open` leaves out one that lasts to the end."""
    edges = np.diff(np.concatenate([[0], np.asarray(mask, int), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    if drop_open and len(ends) and ends[-1] == len(mask) - 1:
        starts, ends = starts[:-1], ends[:-1]
    return np.stack([starts, ends], axis=1).astype(float)


def peak_intervals(
    curve: np.ndarray, fps: float, least: float, distance: float, before: float, after: float
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals around the peaks of at least `least`, and their heights.

    Peaks are `distance` seconds apart or more, the highest first; an interval begins `before` its peak, ends `after`
    it (seconds), and stays inside the video.
    """
    peaks, about = find_peaks(curve, height=least, distance=max(1, round(distance * fps)))
    ends = np.stack([peaks - before * fps, peaks + after * fps], axis=1)
    return np.clip(ends, 0, len(curve) - 1), about["peak_heights"]


def grow_to_valleys(curve: np.ndarray, intervals: np.ndarray, share: float, farthest: int) -> np.ndarray:
    """Move each end outwards, at most `farthest` frames, while the curve falls.

    An end stops where the curve has come down to valley + share · (peak - valley) of its side, or rises again.
    """
    grown = np.array(intervals, float)
    for row, (start, end) in enumerate(np.asarray(intervals).astype(int)):
        peak = curve[start : end + 1].max()
        for column, (position, step) in enumerate(((start, -1), (end, 1))):
            last = int(np.clip(position + step * farthest, 0, len(curve) - 1))
            side = curve[min(position, last) : max(position, last) + 1]
            level = side.min() + share * (peak - side.min())
            while position != last and curve[position] > level and curve[position + step] <= curve[position]:
                position += step
            grown[row, column] = position
    return grown


def limit_lengths(
    intervals: np.ndarray, fps: float, shortest: float = 0.0, longest: float = np.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of `shortest` to `longest` seconds, and the mask (n,) of those that are."""
    seconds = (intervals[:, 1] - intervals[:, 0] + 1) / fps
    mask = (seconds >= shortest) & (seconds <= longest)
    return intervals[mask], mask


def merge_close(intervals: np.ndarray, gap: float) -> np.ndarray:
    """Join intervals that overlap, or have at most `gap` frames between them; in order of their starts."""
    merged: list[list[float]] = []
    for start, end in sorted(np.asarray(intervals, float).tolist()):
        if merged and start - merged[-1][1] - 1 <= gap:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return np.array(merged, float).reshape(-1, 2)


def suppress_overlaps(intervals: np.ndarray, scores: np.ndarray, most: float) -> np.ndarray:
    """Indices of the intervals that stay, best first: none overlaps a better one by an IoU above `most`."""
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):  # row by row: all pairs of an hour of candidates are too many
        if not kept or interval_ious(intervals[index : index + 1], intervals[kept]).max() <= most:
            kept.append(int(index))
    return np.array(kept, int)


def soft_suppress(intervals: np.ndarray, scores: np.ndarray, sigma: float = 0.5) -> np.ndarray:
    """Scores after Gaussian soft non-maximum suppression (Bodla et al. 2017).

    From the best interval down, each takes exp(-IoU² / sigma) off the scores of those below it; nothing is removed.
    """
    ious = interval_ious(intervals, intervals)
    left, scores = list(range(len(scores))), np.array(scores, float)
    while left:
        best = max(left, key=lambda index: scores[index])
        left.remove(best)
        scores[left] *= np.exp(-(ious[best, left] ** 2) / sigma)
    return scores


def share_intervals(
    curve: np.ndarray, fps: float, least: float, share: float, distance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals around the peaks of at least `least`, out to where the curve is below `share` of the peak; heights.

    Peaks are `distance` seconds apart or more. For curves of probability, whose foot is 0.
    """
    padded = np.concatenate([[0.0], curve, [0.0]])  # a peak may be the first or the last value
    peaks, about = find_peaks(padded, height=least, distance=max(1, round(distance * fps)))
    ends = []
    for peak in peaks - 1:
        low = np.flatnonzero(curve < share * curve[peak])
        before, after = low[low < peak], low[low > peak]
        ends.append((before[-1] + 1 if len(before) else 0, after[0] - 1 if len(after) else len(curve) - 1))
    return np.array(ends, float).reshape(-1, 2), about["peak_heights"]


def prior_intervals(curve: np.ndarray, half: float, share: float = 0.55) -> tuple[np.ndarray, np.ndarray]:
    """Intervals by prior-guided growth, and the heights of their peaks (Guo et al. 2025, zizheng-guo/BoostingVRME
    @84cddd3 training_utils.py:85-106).

    `half` is half of the usual expression in frames. Peaks are above `relative_threshold` of `share`, `half` apart.
    An end is the outermost frame within `half` of the peak that is above mean / 1.5, and then moves on outwards,
    to five times `half` at most, while the curve is not below its mean.
    """
    mean, step = float(np.mean(curve)), max(1, round(half))
    threshold = relative_threshold(curve, share)
    peaks, about = find_peaks(np.concatenate([[0.0], curve, [0.0]]), height=threshold, distance=step)
    ends = []
    for peak in peaks - 1:
        pair = []
        for direction in (-1, 1):
            near = [peak + direction * k for k in range(step + 1) if 0 <= peak + direction * k < len(curve)]
            end = next((at for at in reversed(near) if curve[at] > mean / 1.5), peak)
            farthest = int(np.clip(peak + direction * 5 * step, 0, len(curve) - 1))
            if end == near[-1]:
                while end != farthest and curve[end + direction] >= mean:
                    end += direction
            pair.append(end)
        ends.append(pair)
    return np.array(ends, float).reshape(-1, 2), about["peak_heights"]
