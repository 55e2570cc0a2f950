"""Candidate intervals of a video, and what is known of each: the input of `interval_scorer`.

Candidates come from the peaks of motion curves, or from other spotters' proposals. All features are in seconds,
shares, or logarithms of pixels, so that videos of any frame rate can be learnt from together.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d
from scipy.signal import find_peaks, peak_widths

from megc.clips import Video
from megc.scoring.interval_matching import LEAST_IOU, interval_ious
from megc.scoring.str_metrics import ends_of
from megc.spotting.spotted_intervals import smooth_curve

_AROUND = (-2.5, -1.8, -1.3, -1, -0.75, -0.55, -0.4, -0.27, -0.15, 0, 0.15, 0.27, 0.4, 0.55, 0.75, 1, 1.3, 1.8, 2.5)
_FAR = 9.0  # seconds; what is farther away does not matter
_FLANK = 0.5  # seconds beside a proposal
_SMOOTHING = {"micro": 0.06, "macro": 0.15}  # seconds, of the curve of that scale; others are not smoothed


@dataclass(frozen=True)
class MotionCurve:
    """A curve of motion in pixels, a value a frame; `reach`: how many frames apart the frames are that it compares."""

    values: np.ndarray
    reach: int


@dataclass(frozen=True)
class Candidates:
    """Candidate intervals of a video: `intervals` (n, 2) in frame numbers (from 1) and `features` (n, m).

    `hits` (n,): whether each overlaps an event by an IoU of .5 or more; labels, for training only.
    """

    video: Video
    intervals: np.ndarray
    features: np.ndarray
    hits: np.ndarray


def hits_of(video: Video, intervals: np.ndarray) -> np.ndarray:
    """Which intervals (n, 2) hit an event of the video, of either type."""
    if not len(intervals) or not video.events:
        return np.zeros(len(intervals), bool)
    return interval_ious(intervals, ends_of(video.events)).max(axis=1) >= LEAST_IOU


def peak_candidates(
    video: Video, curves: Mapping[str, MotionCurve], least: float, distance: float, half: float
) -> Candidates:
    """Candidates around the peaks of the curves of both scales, each `half` seconds to both sides of its peak.

    Peaks are `least` pixels high or more, and `distance` seconds apart; a peak of the scale `micro` that is within 0.2
    seconds of one of the scale `macro` is the same.
    """
    fps = video.fps
    smooth = {scale: smooth_curve(curve.values, _SMOOTHING[scale], fps) for scale, curve in curves.items()}
    macro, micro = (
        find_peaks(smooth[scale], height=least, distance=max(1, int(distance * fps)))[0]
        for scale in ("macro", "micro")
    )
    if len(macro) and len(micro):
        micro = micro[np.abs(micro[:, None] - macro).min(axis=1) > 0.2 * fps]
    peaks = np.concatenate([macro, micro])
    order = np.argsort(peaks, kind="stable")
    of_micro = (np.arange(len(peaks)) >= len(macro))[order]
    peaks, length = peaks[order], len(smooth["macro"])
    gaps = np.minimum(np.diff(peaks) / fps, _FAR)
    columns = [
        of_micro,
        np.concatenate([[_FAR], gaps])[: len(peaks)],
        np.concatenate([gaps, [_FAR]])[: len(peaks)],
        np.full(len(peaks), np.log1p(len(peaks))),
        np.full(len(peaks), len(peaks) * fps / length),
        np.full(len(peaks), curves["macro"].reach / fps),
        np.minimum(peaks / fps, _FAR),
        np.minimum((length - peaks) / fps, _FAR),
    ]
    for scale in ("micro", "macro"):
        columns += _peak_features(smooth[scale], curves[scale].values, peaks, fps)
    ends = np.stack([peaks - half * fps, peaks + half * fps], axis=1)
    intervals = np.clip(ends, 0, length - 1) + 1  # frame numbers begin at 1
    return Candidates(video, intervals, np.array(columns, float).T, hits_of(video, intervals))


def _peak_features(smooth: np.ndarray, curve: np.ndarray, peaks: np.ndarray, fps: float) -> list[np.ndarray]:
    """Columns (n,) on one curve at peaks: height, height in its surroundings, widths, the video, the curve around."""
    height = maximum_filter1d(smooth, int(0.4 * fps) | 1)[peaks]
    around = maximum_filter1d(smooth, int(4 * fps) | 1)[peaks]
    with warnings.catch_warnings():  # a peak of the other scale may be none in this one: its width is 0
        warnings.simplefilter("ignore", RuntimeWarning)
        widths = [peak_widths(smooth, peaks, rel_height=share)[0] / fps for share in (0.5, 0.8)]
    positions = np.clip(peaks[:, None] + (np.array(_AROUND) * fps).astype(int), 0, len(smooth) - 1)
    return [
        _log(height),
        height / np.maximum(around, 0.1),
        *widths,
        *_video_features(smooth, curve, len(peaks)),
        *_log(smooth[positions]).T,
    ]


def _video_features(smooth: np.ndarray, curve: np.ndarray, count: int) -> list[np.ndarray]:
    """Columns (count,) on the whole curve: how restless the video is."""
    return [np.full(count, value) for value in (_log(curve.max()), (smooth > 1).mean(), _log(smooth).mean())]


def _log(pixels: np.ndarray | float) -> np.ndarray:
    """Logarithm of one more than the pixels; less than none is none."""
    return np.log1p(np.maximum(pixels, 0))


def proposal_candidates(
    video: Video, curves: Mapping[str, MotionCurve], proposals: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> Candidates:
    """Candidates that other spotters propose: `proposals` are each one's intervals (n, 2) and scores (n,), 1 for none.

    Features: whose it is, its score and length, how far each spotter agrees with it (itself left out), and the curves
    inside and beside it.
    """
    fps, length = video.fps, len(curves["macro"].values)
    intervals = np.concatenate([ends for ends, _ in proposals.values()]).reshape(-1, 2)
    scores = np.concatenate([score for _, score in proposals.values()])
    owners = np.repeat(np.arange(len(proposals)), [len(ends) for ends, _ in proposals.values()])
    columns = [scores, np.log((intervals[:, 1] - intervals[:, 0] + 1) / fps)]
    for index, (ends, score) in enumerate(proposals.values()):
        ious = interval_ious(intervals, ends)
        own_rows = np.flatnonzero(owners == index)
        ious[own_rows, np.arange(len(own_rows))] = 0  # its own interval is no other opinion
        columns += [owners == index, np.full(len(intervals), len(ends) * fps / length), *_agreement(ious, score)]
    first = np.clip(intervals[:, 0] - 1, 0, length - 1)
    last = np.clip(intervals[:, 1] - 1, first, length - 1)
    columns += [np.minimum(first / fps, _FAR), np.minimum((length - last) / fps, _FAR)]
    for scale, curve in curves.items():
        smooth = smooth_curve(curve.values, _SMOOTHING.get(scale, 0.0), fps)
        columns += _inside_features(smooth, first, last, fps)
        columns += _video_features(smooth, curve.values, len(intervals))
    features = np.array(columns, float).T.reshape(len(intervals), len(columns))
    return Candidates(video, intervals, features, hits_of(video, intervals))


def _agreement(ious: np.ndarray, scores: np.ndarray) -> list[np.ndarray]:
    """Columns (n,): best IoU with a spotter's intervals, best IoU times score, best score of those that agree, and how
    many touch."""
    if not ious.shape[1]:
        return [np.zeros(len(ious))] * 4
    weighted = (ious * scores).max(axis=1)
    return [ious.max(axis=1), weighted, ((ious >= 0.4) * scores).max(axis=1), (ious > 0.1).sum(axis=1)]


def _inside_features(smooth: np.ndarray, first: np.ndarray, last: np.ndarray, fps: float) -> list[np.ndarray]:
    """Columns (n,): mean of the curve in the interval and in the half second before and behind it, its maximum, and
    where in the interval that is (0 to 1)."""
    sums = np.concatenate([[0], np.cumsum(_log(smooth))])
    flank = max(1, int(_FLANK * fps))

    def mean(start: np.ndarray, end: np.ndarray) -> np.ndarray:
        start, end = (np.clip(edge, 0, len(smooth)).astype(int) for edge in (start, end))
        return (sums[end] - sums[start]) / np.maximum(end - start, 1)

    peaks = [int(a) + int(smooth[int(a) : int(b) + 1].argmax()) for a, b in zip(first, last, strict=True)]
    peaks = np.array(peaks, int)
    share = (peaks - first) / np.maximum(last - first, 1)
    flanks = [mean(first - flank, first), mean(last + 1, last + 1 + flank)]
    return [mean(first, last + 1), *flanks, _log(smooth[peaks]), share]


def proposals_of(
    video: Video, runs: Sequence[Mapping[str, Sequence]], least: Sequence[float]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each run's intervals (n, 2) in a video with their scores (n,), of at least the run's `least`; 1 for no score."""
    proposals = {}
    for number, (predictions, lowest) in enumerate(zip(runs, least, strict=True)):
        rows = [i for i in predictions.get(video.id, ()) if np.isnan(i.score) or i.score >= lowest]
        scores = np.array([1.0 if np.isnan(i.score) else i.score for i in rows])
        proposals[str(number)] = (ends_of(rows), scores)
    return proposals
