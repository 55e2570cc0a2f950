"""Decoders without learning, for the first rows of a table: MEGC2020's, peaks above a threshold.

Settings are chosen by leaving one subject out: the best on all other subjects.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from megc.clips import Video
from megc.scoring.interval_matching import match_best_first
from megc.scoring.str_metrics import SpottedInterval, ends_of
from megc.spotting.candidates import MotionCurve
from megc.spotting.interval_scorer import as_spotted, person_of
from megc.spotting.spotted_intervals import find_runs, peak_intervals, relative_threshold, smooth_curve

# Frames of micro- and macro-expressions in the MEGC2020 baseline.
_MEGC2020_LENGTHS = {"casme_sq": {"micro": (7, 16), "macro": (17, np.inf)}}
_MEGC2020_LENGTHS["samm_lv"] = {"micro": (47, 105), "macro": (106, np.inf)}

_SMOOTHING, _DISTANCES = (0.03, 0.15), (0.5, 0.8)  # seconds
_BEFORE, _AFTER = (0.3, 0.45, 0.65), (0.3, 0.45, 0.65, 0.9)  # seconds
_PIXELS = (1.0, 1.5, 2.0, 3.0, 4.5, 6.0, 9.0, 13.0)
_SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.55, 0.7, 0.85)

Curves = Mapping[str, Mapping[str, MotionCurve]]  # by id of the video and scale


def megc2020_intervals(video: Video, levels: Mapping[str, np.ndarray]) -> list[SpottedInterval]:
    """The official baseline of MEGC2020: runs of frames above its threshold (level 1 or more of 99), by length.

    An interval that is still open at the last frame is dropped, as there. `levels` by scale, a value a frame.
    """
    spotted = []
    for kind, (shortest, longest) in _MEGC2020_LENGTHS[video.dataset].items():
        runs = find_runs(levels[kind] >= 1, drop_open=True) + 1  # frame numbers begin at 1
        lengths = runs[:, 1] - runs[:, 0] + 1
        kept = runs[(lengths >= shortest) & (lengths <= longest)]
        spotted += [SpottedInterval(onset, offset, kind) for onset, offset in kept.tolist()]
    return spotted


def decode_peaks(
    videos: Sequence[Video], curves: Curves, relative: bool, progress: Callable[[list], Iterable] = iter
) -> dict[str, list[SpottedInterval]]:
    """Intervals around peaks above a threshold, in pixels or (`relative`) by the video's mean and maximum.

    Scale, smoothing, distance, threshold and extent are those of the best F1 (all types) on the other subjects.
    """
    options = list(itertools.product(("micro", "macro"), _SMOOTHING, _DISTANCES, _BEFORE, _AFTER))
    thresholds = _SHARES if relative else _PIXELS
    subjects = sorted({person_of(video) for video in videos})
    counts = np.zeros((len(options), len(thresholds), len(subjects), 2))  # hits, intervals and events together
    for index, choice in enumerate(progress(options)):
        for video in videos:
            row = subjects.index(person_of(video))
            intervals, heights = _peaks(video, curves, *choice)
            truth, limits = ends_of(video.events), _limits(video, curves, choice, thresholds, relative)
            for column, limit in enumerate(limits):
                chosen = intervals[heights >= limit]
                hits = len(match_best_first(chosen, truth).hits) if len(chosen) and len(truth) else 0
                counts[index, column, row] += hits, len(chosen) + len(truth)
    spotted: dict[str, list[SpottedInterval]] = {}
    for row, subject in enumerate(subjects):
        others = counts.sum(axis=2) - counts[:, :, row]
        index, column = np.unravel_index((2 * others[..., 0] / others[..., 1]).argmax(), others.shape[:2])
        for video in videos:
            if person_of(video) == subject:
                intervals, heights = _peaks(video, curves, *options[index])
                kept = heights >= _limits(video, curves, options[index], thresholds, relative)[column]
                spotted[video.id] = as_spotted(video, intervals[kept], heights[kept])
    return spotted


def _peaks(
    video: Video, curves: Curves, scale: str, smoothing: float, distance: float, before: float, after: float
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals (n, 2) in frame numbers around all peaks above zero, and their heights."""
    curve = smooth_curve(curves[video.id][scale].values, smoothing, video.fps)
    intervals, heights = peak_intervals(curve, video.fps, 0.0, distance, before, after)
    return intervals + 1, heights


def _limits(
    video: Video, curves: Curves, choice: tuple, thresholds: Sequence[float], relative: bool
) -> Sequence[float]:
    if not relative:
        return thresholds
    curve = smooth_curve(curves[video.id][choice[0]].values, choice[1], video.fps)
    return [relative_threshold(curve, share) for share in thresholds]


def threshold_left_out(
    videos: Sequence[Video], predictions: Mapping[str, Sequence[SpottedInterval]]
) -> dict[str, list[SpottedInterval]]:
    """The scored intervals of a spotter above the threshold that is best for the other subjects."""
    thresholds = np.unique(
        np.quantile([i.score for rows in predictions.values() for i in rows], np.linspace(0, 1, 200))
    )
    subjects = sorted({person_of(video) for video in videos})
    counts = np.zeros((len(thresholds), len(subjects), 2))
    for video in videos:
        rows, truth = predictions.get(video.id, ()), ends_of(video.events)
        ends, scores = ends_of(rows), np.array([i.score for i in rows])
        for index, threshold in enumerate(thresholds):
            chosen = ends[scores >= threshold] if len(rows) else ends
            hits = len(match_best_first(chosen, truth).hits)
            counts[index, subjects.index(person_of(video))] += hits, len(chosen) + len(truth)
    others = counts.sum(axis=1, keepdims=True) - counts
    best = (2 * others[..., 0] / others[..., 1]).argmax(axis=0)
    limit = dict(zip(subjects, thresholds[best], strict=True))
    return {
        video.id: [i for i in predictions.get(video.id, ()) if i.score >= limit[person_of(video)]] for video in videos
    }
