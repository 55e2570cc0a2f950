"""How sure a score is: bootstrap intervals over clips or subjects, and paired differences of two runs.

The questions of a clip share one face and one motion, so clips (or subjects) are drawn, never rows. Rows are
counted once (`metrics.row_counts`); a resample adds up the counts of the groups it drew.

Macro F1 and macro recall are means over classes, so a resample without a class is a score of something else. Every
resample therefore holds all classes of the references: groups are drawn within strata, and a resample that lost a
class is drawn again, which is the bootstrap given that all classes are there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from megc.scoring.counts import Counts
from megc.scoring.settings import RESAMPLES
from megc.scoring.vqa_metrics import CLASS_KINDS, METRICS

LEVEL = 0.95
_TRIES = 100  # draws for one that is kept; classes that hang on so few groups leave no interval


@dataclass(frozen=True)
class Sampling:
    """What is drawn: the `groups` that rows belong to (clips or subjects), and the `strata` within which groups are
    drawn, one name a row each. A stratum keeps its number of groups."""

    groups: Sequence[str]
    strata: Sequence[str] | None = None


class Difference(NamedTuple):
    """Difference of two runs and its percentile interval."""

    value: float
    low: float
    high: float


def group_totals(counts: Counts, groups: Sequence[str]) -> np.ndarray:
    """Counts added up within each group, shape (groups, columns), groups in sorted order."""
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    totals = np.zeros((index.max() + 1, counts.table.shape[1]))
    np.add.at(totals, index, counts.table)
    return totals


def _holds(counts: Counts, totals: np.ndarray) -> np.ndarray:
    """Which classes of the references each group holds, shape (groups, classes)."""
    parts, start = [], 0
    for kind in CLASS_KINDS:
        width = counts.classes[kind]
        parts.append(totals[:, start + width : start + 2 * width] > 0)
        start += 3 * width
    holds = np.hstack(parts)
    return holds[:, holds.any(axis=0)]


def draw(counts: Counts, sampling: Sampling, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each group (in sorted order) is in each resample, shape (resamples, groups).

    Groups are drawn with replacement within their stratum; a resample without one of the references' classes is
    drawn again. Shape (0, groups) where there is one group only, or where hardly any resample holds all classes.
    """
    holds = _holds(counts, group_totals(counts, sampling.groups))
    _, first = np.unique(np.asarray(sampling.groups), return_index=True)
    strata = np.asarray(sampling.strata)[first] if sampling.strata is not None else np.zeros(len(first))
    members = [np.flatnonzero(strata == name) for name in np.unique(strata)]
    rng, kept, missing = np.random.default_rng(seed), [], resamples
    for _ in range(_TRIES if len(first) > 1 else 0):
        times = np.empty((resamples, len(first)), int)
        for places in members:
            times[:, places] = rng.multinomial(len(places), np.full(len(places), 1 / len(places)), size=resamples)
        whole = times[(times @ holds.astype(int) > 0).all(axis=1)][:missing]
        kept.append(whole)
        missing -= len(whole)
        if not missing:
            return np.concatenate(kept)
    return np.empty((0, len(first)), int)


def resampled(draws: Sequence[Counts], groups: Sequence[str], times: np.ndarray) -> dict[str, np.ndarray]:
    """METRICS of each resample, each of shape (resamples,): the mean over `draws`, the sets of answers of one run.

    `times` are those of `draw`. A run that draws its answers is known by its mean score, so a resample's score is
    the mean over its sets too: the interval is that of the mean, and the luck of one set is no part of it.
    """
    scores = [counts.metrics(times @ group_totals(counts, groups)) for counts in draws]
    return {name: np.mean([score[name] for score in scores], axis=0) for name in METRICS}


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    if np.isnan(values).all():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(values, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def intervals(
    draws: Sequence[Counts], sampling: Sampling, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> dict[str, tuple[float, float]]:
    """Percentile interval of each of METRICS of a run: `draws` has the counts of its set, or sets, of answers.

    NaN where `draw` finds no resamples.
    """
    scores = resampled(draws, sampling.groups, draw(draws[0], sampling, resamples, seed))
    return {name: _percentiles(scores[name], level) for name in METRICS}


def paired(
    first: Sequence[Counts],
    second: Sequence[Counts],
    sampling: Sampling,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, Difference]:
    """Difference second - first of each of METRICS with its percentile interval.

    Both runs answer the same rows in the same order, and each resample draws the same clips for both, so that
    what makes a clip hard cancels out. Raises ValueError when the rows differ in number.
    """
    if len({len(sampling.groups), *(len(counts.table) for counts in (*first, *second))}) > 1:
        raise ValueError("paired runs must answer the same rows: score both against the same references")
    groups, times = sampling.groups, draw(first[0], sampling, resamples, seed)
    start, end = (resampled(draws, groups, times) for draws in (first, second))
    once = np.ones((1, len(set(groups))), int)
    before, after = (resampled(draws, groups, once) for draws in (first, second))
    return {
        name: Difference(float(after[name][0] - before[name][0]), *_percentiles(end[name] - start[name], level))
        for name in METRICS
    }
