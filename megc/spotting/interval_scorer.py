"""Which candidates to keep: learnt from other subjects' videos, with a threshold that suits F1.

Two models whose mistakes differ are averaged: extremely randomised trees on the videos of the same dataset, and
gradient boosting on those and, where there are, on videos of other datasets. There are few events, so both are small.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

from megc.clips import Video
from megc.records import ClosedContract
from megc.scoring.interval_files import type_by_duration
from megc.scoring.interval_matching import match_best_first
from megc.scoring.str_metrics import SpottedInterval, ends_of
from megc.spotting.candidates import Candidates
from megc.spotting.spotted_intervals import suppress_overlaps

_THRESHOLDS = 40  # quantiles of the scores that are tried
_SMOOTH = 5  # thresholds over which F1 is averaged: a single best one is luck
_INNER_FOLDS = 3
NEVER = 2.0  # threshold that no probability reaches


class TypeThresholds(ClosedContract):
    """The least score of an interval by its type, as files of spotters have it."""

    micro: float
    macro: float

    def select(self, rows: Iterable[SpottedInterval]) -> list[SpottedInterval]:
        """The intervals of at least the score of their type."""
        return [row for row in rows if row.score >= getattr(self, row.type)]


def _trees(seed: int) -> ExtraTreesClassifier:
    return ExtraTreesClassifier(60, min_samples_leaf=8, max_features=0.3, random_state=seed)


def _boosting(seed: int) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(
        max_iter=50,
        learning_rate=0.08,
        max_leaf_nodes=6,
        min_samples_leaf=30,
        l2_regularization=10,
        max_features=0.3,
        early_stopping=False,
        random_state=seed,
    )


def score_candidates(
    train: Sequence[Candidates], test: Sequence[Candidates], others: Sequence[Candidates] = (), seed: int = 0
) -> list[np.ndarray]:
    """Probability of a hit of each candidate of the `test` videos, (n,) for each.

    `train` are videos of other subjects, `others` videos of other datasets (of which the trees see nothing).
    """
    values = np.concatenate([candidates.features for candidates in test])
    if not len(values):
        return [np.zeros(0) for _ in test]
    scores = []
    for model, videos in ((_trees(seed), train), (_boosting(seed), [*train, *others])):
        features = np.concatenate([candidates.features for candidates in videos])
        labels = np.concatenate([candidates.hits for candidates in videos])
        if labels.all() or not labels.any():  # nothing to tell apart
            scores.append(np.full(len(values), float(labels.any())))
            continue
        scores.append(model.fit(features, labels).predict_proba(values)[:, 1])
    return np.split(np.mean(scores, axis=0), np.cumsum([len(candidates.features) for candidates in test])[:-1])


def keep_best(
    candidates: Candidates, scores: np.ndarray, overlap: float, threshold: float = -np.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals (n, 2) and scores (n,) after non-maximum suppression by IoU and above the threshold."""
    kept = suppress_overlaps(candidates.intervals, scores, overlap)
    kept = kept[scores[kept] >= threshold]
    return candidates.intervals[kept], scores[kept]


def best_threshold(videos: Sequence[Video], spotted: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """The threshold on scores with the best F1 over the videos, all types pooled; F1 is smoothed over thresholds."""
    pooled = np.concatenate([scores for _, scores in spotted])
    if not len(pooled):
        return np.inf
    thresholds = np.unique(np.quantile(pooled, np.linspace(0, 0.99, _THRESHOLDS)))
    truths = [ends_of(video.events) for video in videos]
    f1 = []
    for threshold in thresholds:
        f1.append(pooled_f1(truths, [intervals[scores >= threshold] for intervals, scores in spotted]))
    half = _SMOOTH // 2
    smooth = [np.mean(f1[max(0, index - half) : index + half + 1]) for index in range(len(f1))]
    return float(thresholds[int(np.argmax(smooth))])


def pooled_f1(truths: Sequence[np.ndarray], spotted: Sequence[np.ndarray]) -> float:
    """F1 of the intervals (n, 2) of videos against their events (m, 2), all videos together; 0 for nothing at all."""
    hits = sum(len(match_best_first(rows, truth).hits) for rows, truth in zip(spotted, truths, strict=True))
    return 2 * hits / max(sum(map(len, spotted)) + sum(map(len, truths)), 1)


def type_threshold(videos: Sequence[Video], spotted: Mapping[str, Sequence[SpottedInterval]], kind: str) -> float:
    """The score from which intervals of a type have the best F1 with events of that type.

    NEVER where there is no interval: the infinity of `best_threshold` is no number of JSON.
    """
    of_kind = [replace(video, events=tuple(event for event in video.events if event.type == kind)) for video in videos]
    rows = [[row for row in spotted[video.id] if row.type == kind] for video in videos]
    pairs = [(ends_of(part), np.array([row.score for row in part])) for part in rows]
    return min(best_threshold(of_kind, pairs), NEVER)


def subjects_of(items: Iterable[Candidates]) -> list[str]:
    """The subjects, `dataset/subject`, in order."""
    return sorted({person_of(candidates.video) for candidates in items})


def person_of(video: Video) -> str:
    """`dataset/subject` of a video."""
    return f"{video.dataset}/{video.subject}"


def spot_left_out(
    items: Sequence[Candidates],
    others: Sequence[Candidates] = (),
    overlap: float = 0.2,
    seed: int = 0,
    progress: Callable[[list[str]], Iterable[str]] = iter,
) -> dict[str, list[SpottedInterval]]:
    """Intervals of each video, by models and a threshold from other subjects: leaving one subject out.

    For each subject: 1. the other subjects' candidates are scored in inner folds by subject; 2. the threshold is the
    best for these scores; 3. models of all other subjects score the subject's candidates. `others` must be videos of
    other people. `overlap`: the most IoU that two intervals may have.
    """
    spotted: dict[str, list[SpottedInterval]] = {}
    for subject in progress(subjects_of(items)):
        train = [candidates for candidates in items if person_of(candidates.video) != subject]
        test = [candidates for candidates in items if person_of(candidates.video) == subject]
        inner: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        names = subjects_of(train)
        for fold in range(_INNER_FOLDS):
            held = set(names[fold::_INNER_FOLDS])
            inside = [candidates for candidates in train if person_of(candidates.video) not in held]
            outside = [candidates for candidates in train if person_of(candidates.video) in held]
            if inside and outside:
                scores = score_candidates(inside, outside, others, seed)
                for candidates, values in zip(outside, scores, strict=True):
                    inner[candidates.video.id] = keep_best(candidates, values, overlap)
        used = [candidates.video for candidates in train if candidates.video.id in inner]
        threshold = best_threshold(used, [inner[video.id] for video in used]) if used else np.inf
        for candidates, values in zip(test, score_candidates(train, test, others, seed), strict=True):
            rows = keep_best(candidates, values, overlap, threshold)
            spotted[candidates.video.id] = as_spotted(candidates.video, *rows)
    return spotted


def as_spotted(video: Video, intervals: np.ndarray, scores: np.ndarray) -> list[SpottedInterval]:
    """Intervals (n, 2) with scores as spotted ones, in order of their onsets, typed by their duration."""
    rows: list[tuple[float, float, float]] = sorted(
        (float(onset), float(offset), float(score)) for (onset, offset), score in zip(intervals, scores, strict=True)
    )
    return [SpottedInterval(on, off, type_by_duration(on, off, video.fps), score) for on, off, score in rows]


def merge_predictions(parts: Iterable[Mapping[str, list[SpottedInterval]]]) -> dict[str, list[SpottedInterval]]:
    """Predictions of several datasets as one run's."""
    return {video: rows for part in parts for video, rows in part.items()}
