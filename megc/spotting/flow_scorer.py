"""Which candidates of `flow_candidates` are expressions: trees learnt from training videos alone.

Each candidate's target is how well it overlaps an event, so that of many on one expression the one that fits best has
the highest score. Faces are mirrored, which doubles the events. Thresholds are those of the best F1 of candidates
whose scores come from trees of other training subjects, one for micro- and one for macro-expressions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from megc.clips import Video
from megc.scoring.interval_files import MICRO_SECONDS
from megc.scoring.interval_matching import interval_ious, match_best_first
from megc.scoring.str_metrics import ends_of
from megc.spotting.flow_candidates import find_candidates
from megc.spotting.interval_scorer import best_threshold, person_of, pooled_f1
from megc.spotting.kind_settings import FlowSpotterSettings
from megc.spotting.region_segments import RegionSegment
from megc.spotting.region_series import mirror_motion
from megc.spotting.spotted_intervals import suppress_overlaps
from megc.spotting.tree_files import Trees, fit_trees, tree_arrays, trees_of_arrays

TYPES = ("micro", "macro")
_LEAST_IOU = 0.2  # with an event, below which it does not matter how little a candidate overlaps it
_SHARE = 0.2  # of the candidates that overlap no event which the trees see; each then counts 1 / _SHARE times
_FOLDS = 3
_OVERLAPS = (0.05, 0.1, 0.2, 0.3)  # largest IoU of two intervals
_PER_EVENT = 6  # candidates for an event among which thresholds are looked for


@dataclass(frozen=True)
class ScoredCandidates:
    """Candidates of a video: `intervals` (n, 2) in its frame numbers, and a score or a row of features of each."""

    video: Video
    intervals: np.ndarray
    values: np.ndarray

    def is_micro(self) -> np.ndarray:
        """Which intervals (n,) are as short as a micro-expression."""
        return (self.intervals[:, 1] - self.intervals[:, 0]) / self.video.fps <= MICRO_SECONDS

    def of_type(self, kind: str) -> "ScoredCandidates":
        """The candidates of one type, and the video with the events of that type."""
        events = tuple(event for event in self.video.events if event.type == kind)
        kept = self.is_micro() == (kind == "micro")
        return ScoredCandidates(replace(self.video, events=events), self.intervals[kept], self.values[kept])

    def suppressed(self, overlap: float) -> "ScoredCandidates":
        """The best of those that overlap by an IoU of more than `overlap`."""
        kept = suppress_overlaps(self.intervals, self.values, overlap)
        return ScoredCandidates(self.video, self.intervals[kept], self.values[kept])


def read_candidates(
    video: Video, segments: Sequence[RegionSegment], whitening: np.ndarray, mirrored: bool = False
) -> ScoredCandidates:
    """Candidates of all segments of a video with their features; `mirrored`: of the mirrored face."""
    parts = []
    for segment in segments:
        motion = mirror_motion(segment.motion) if mirrored else segment.motion
        intervals, features = find_candidates(motion, segment.blink, whitening)
        parts.append((segment.frames(intervals), features))
    if not parts:
        return ScoredCandidates(video, np.empty((0, 2)), np.empty((0, 0), np.float32))
    return ScoredCandidates(video, *(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


@dataclass(frozen=True)
class FlowScorer:
    """Whitening and trees, the largest IoU of two intervals, thresholds on the trees' scores by type, and the
    `calibration` (2,), which makes a probability of a hit of a score: 1 / (1 + exp(-(scale · score + shift)))."""

    whitening: np.ndarray
    trees: Trees
    overlap: float
    thresholds: Mapping[str, float]
    calibration: tuple[float, float]

    def spot(self, video: Video, segments: Sequence[RegionSegment]) -> tuple[np.ndarray, np.ndarray]:
        """Intervals (n, 2) in frame numbers of a video, and the probability (n,) that each is an expression."""
        candidates = read_candidates(video, segments, self.whitening)
        if not len(candidates.intervals):
            return np.empty((0, 2)), np.empty(0)
        scored = replace(candidates, values=self.trees.predict(candidates.values))
        limits = np.where(scored.is_micro(), *(self.thresholds[kind] for kind in TYPES))
        # lower ones first go: a better one that is suppressed by a still better one is of no account to them
        likely = scored.values >= min(self.thresholds.values())
        kept = np.flatnonzero(likely)[suppress_overlaps(scored.intervals[likely], scored.values[likely], self.overlap)]
        kept = kept[scored.values[kept] >= limits[kept]]
        scale, shift = self.calibration
        return scored.intervals[kept], 1 / (1 + np.exp(-(scale * scored.values[kept] + shift)))

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it as named arrays."""
        numbers = [self.overlap, *(self.thresholds[kind] for kind in TYPES), *self.calibration]
        return {"whitening": self.whitening, "numbers": np.array(numbers)} | tree_arrays(self.trees)

    @staticmethod
    def of_arrays(arrays: Mapping[str, np.ndarray]) -> "FlowScorer":
        """The scorer of `arrays`. Raises KeyError or ValueError for arrays that are none."""
        overlap, micro, macro, scale, shift = arrays["numbers"].tolist()
        thresholds = {"micro": micro, "macro": macro}
        return FlowScorer(arrays["whitening"], trees_of_arrays(arrays), overlap, thresholds, (scale, shift))


def train_scorer(
    items: Sequence[ScoredCandidates],
    mirrored: Sequence[ScoredCandidates],
    whitening: np.ndarray,
    settings: FlowSpotterSettings,
) -> FlowScorer:
    """The scorer of training videos: their candidates, and in the same order those of the mirrored faces."""
    subjects = sorted({person_of(item.video) for item in items})
    order = np.random.default_rng(settings.seed).permutation(len(subjects))
    scored: dict[int, ScoredCandidates] = {}
    for fold in tqdm(range(_FOLDS), desc="flow spotter", unit="fold", leave=False):
        held = {subjects[index] for index in order[fold::_FOLDS]}
        inside = [i for i, item in enumerate(items) if person_of(item.video) not in held]
        outside = [i for i, item in enumerate(items) if person_of(item.video) in held]
        if inside and outside:
            trees = _fit([group[i] for group in (items, mirrored) for i in inside], settings)
            scored |= {i: replace(items[i], values=trees.predict(items[i].values)) for i in outside}
    rows = [scored[index] for index in sorted(scored)] or [replace(i, values=np.zeros(len(i.values))) for i in items]
    overlap, thresholds = _choose_thresholds(rows, settings.by_type)
    calibration = _calibrate([row.suppressed(overlap) for row in rows])
    return FlowScorer(whitening, _fit([*items, *mirrored], settings), overlap, thresholds, calibration)


def _fit(items: Sequence[ScoredCandidates], settings: FlowSpotterSettings) -> Trees:
    """Trees of these candidates."""
    overlaps = [_best_overlaps(item) for item in items]
    targets = np.maximum(np.concatenate(overlaps) - _LEAST_IOU, 0)
    kept = (targets > 0) | (np.random.default_rng(settings.seed).random(len(targets)) < _SHARE)
    features = np.concatenate([item.values for item in items])[kept]
    weights = np.where(targets[kept] > 0, 1, 1 / _SHARE)
    return fit_trees(features, targets[kept], weights, settings.trees, settings.leaf, settings.seed)


def _best_overlaps(item: ScoredCandidates) -> np.ndarray:
    """The IoU (n,) of each candidate with the event that it overlaps most."""
    if not item.video.events:
        return np.zeros(len(item.intervals))
    return interval_ious(item.intervals, ends_of(item.video.events)).max(axis=1)


def _choose_thresholds(rows: Sequence[ScoredCandidates], by_type: bool) -> tuple[float, dict[str, float]]:
    """The overlap and the thresholds of the best F1: mean of both types, or of all together by one threshold."""
    best: tuple[float, float, dict[str, float]] | None = None
    for overlap in _OVERLAPS:
        kept = [row.suppressed(overlap) for row in rows]
        groups = {kind: [row.of_type(kind) for row in kept] for kind in TYPES} if by_type else {"all": kept}
        chosen = {kind: _threshold(group) for kind, group in groups.items()}
        f1 = float(np.mean([value for _, value in chosen.values()]))
        thresholds = {kind: chosen.get(kind, chosen.get("all", (np.inf,)))[0] for kind in TYPES}
        if best is None or f1 > best[0]:
            best = f1, overlap, thresholds
    return best[1:]


def _threshold(rows: Sequence[ScoredCandidates]) -> tuple[float, float]:
    """The threshold of the best F1 and that F1, looked for among the highest scores."""
    truths = [ends_of(row.video.events) for row in rows]
    pooled = np.sort(np.concatenate([row.values for row in rows]))[::-1]
    count = _PER_EVENT * sum(map(len, truths))
    if not count or not len(pooled):
        return float(pooled[0]) + 1.0 if len(pooled) else 1.0, 0.0
    least = pooled[min(count, len(pooled)) - 1]
    likely = [(row.intervals[row.values >= least], row.values[row.values >= least]) for row in rows]
    threshold = best_threshold([row.video for row in rows], likely)
    return threshold, pooled_f1(truths, [intervals[scores >= threshold] for intervals, scores in likely])


def _calibrate(rows: Sequence[ScoredCandidates]) -> tuple[float, float]:
    """Scale and shift of a logistic curve from the score to the share of hits (Platt 1999)."""
    hits = []
    for row in rows:
        hit = np.zeros(len(row.values), int)
        hit[[index for index, _ in match_best_first(row.intervals, ends_of(row.video.events)).hits]] = 1
        hits.append(hit)
    labels, scores = np.concatenate(hits), np.concatenate([row.values for row in rows])
    if labels.min(initial=1) == labels.max(initial=0):
        return 1.0, 0.0
    # scores are shares of 1: the penalty must not hold a steep curve back
    model = LogisticRegression(C=1e4).fit(scores[:, None], labels)
    return float(model.coef_[0, 0]), float(model.intercept_[0])
