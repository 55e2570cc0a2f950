"""Bootstrap intervals over clips or subjects, and paired differences of two runs.

The questions of a clip share one face and one motion, so clips (or subjects) are drawn, never rows. Rows are
counted once (`counts.count_rows`); a resample adds up the counts of the groups it drew.

Macro F1 and macro recall are means over classes, so a resample without a class is a score of something else. Every
resample therefore holds all classes of the references: groups are drawn within strata, and a resample that lost a
class is drawn again, which is the bootstrap given that all classes are there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from megc.scoring.counts import RowCounts
from megc.scoring.settings import RESAMPLES
from megc.scoring.vqa_metrics import CLASS_KINDS, METRICS

LEVEL = 0.95
_TRIES = 100  # draws for one that is kept; a class in so few groups that more are needed leaves no interval


@dataclass(frozen=True)
class Sampling:
    """Units of the bootstrap, one name a row each: the `groups` that are drawn (clips or subjects), and the `strata`
    within which they are drawn. A stratum keeps its number of groups."""

    groups: Sequence[str]
    strata: Sequence[str] | None = None


class Difference(NamedTuple):
    """Difference of two runs and its percentile interval."""

    value: float
    low: float
    high: float


def sum_by_group(table: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """Add up the rows (rows, columns) within each group, shape (groups, columns), groups in sorted order."""
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    totals = np.zeros((index.max() + 1, table.shape[1]))
    np.add.at(totals, index, table)
    return totals


def _holds(counts: RowCounts, totals: np.ndarray) -> np.ndarray:
    """Which classes of the references each group holds, shape (groups, classes)."""
    blocks, start = [], 0
    for kind in CLASS_KINDS:
        width = counts.classes[kind]
        blocks.append(totals[:, start + width : start + 2 * width] > 0)  # the block of references, see RowCounts
        start += 3 * width
    holds = np.hstack(blocks)
    return holds[:, holds.any(axis=0)]  # without classes that answers alone have (profile `tie`)


def draw_resamples(counts: RowCounts, sampling: Sampling, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Draw how often each group (in sorted order) is in each resample, int (resamples, groups).

    A resample without one of the references' classes is drawn again; else as `draw_groups`.
    """
    return draw_groups(sampling, resamples, seed, _holds(counts, sum_by_group(counts.table, sampling.groups)))


def draw_groups(
    sampling: Sampling, resamples: int = RESAMPLES, seed: int = 0, holds: np.ndarray | None = None
) -> np.ndarray:
    """Draw how often each group (in sorted order) is in each resample, int (resamples, groups).

    Groups are drawn with replacement within their stratum. `holds` (groups, classes): which classes each group has;
    a resample without one of them is drawn again. Shape (0, groups) where there is one group only, or where hardly
    any resample holds all classes.
    """
    _, first = np.unique(np.asarray(sampling.groups), return_index=True)
    strata = np.asarray(sampling.strata)[first] if sampling.strata is not None else np.zeros(len(first))
    members = [np.flatnonzero(strata == name) for name in np.unique(strata)]
    rng, kept, missing = np.random.default_rng(seed), [], resamples
    # 1. draw a whole set of resamples, 2. keep those that hold all classes, 3. until there are enough
    for _ in range(_TRIES if len(first) > 1 else 0):
        times = np.empty((resamples, len(first)), int)
        for groups in members:  # drawing n of n with replacement is a multinomial draw
            times[:, groups] = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=resamples)
        whole = times
        if holds is not None:
            whole = times[(times @ holds.astype(int) > 0).all(axis=1)][:missing]
        kept.append(whole)
        missing -= len(whole)
        if not missing:
            return np.concatenate(kept)
    return np.empty((0, len(first)), int)


def score_resamples(draws: Sequence[RowCounts], groups: Sequence[str], times: np.ndarray) -> dict[str, np.ndarray]:
    """Score each resample: METRICS of shape (resamples,), the mean over `draws`, the sets of answers of one run.

    `times` are those of `draw_resamples`. A run that draws its answers is known by its mean score, so a resample's
    score is the mean over its sets too: the interval is that of the mean, without the luck of one set.
    """
    scores = [counts.metrics(times @ sum_by_group(counts.table, groups)) for counts in draws]
    return {name: np.mean([score[name] for score in scores], axis=0) for name in METRICS}


def percentile_interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Ends of the percentile interval of resampled scores, those that are NaN left out; NaN where there is none."""
    if np.isnan(values).all():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(values, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def bootstrap_intervals(
    draws: Sequence[RowCounts], sampling: Sampling, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> dict[str, tuple[float, float]]:
    """Percentile interval of each of METRICS of a run: `draws` has the counts of its set, or sets, of answers.

    NaN where `draw_resamples` gives none.
    """
    scores = score_resamples(draws, sampling.groups, draw_resamples(draws[0], sampling, resamples, seed))
    return {name: percentile_interval(scores[name], level) for name in METRICS}


def paired_differences(
    first: Sequence[RowCounts],
    second: Sequence[RowCounts],
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
    groups, times = sampling.groups, draw_resamples(first[0], sampling, resamples, seed)
    # the same resamples for both runs
    start, end = (score_resamples(draws, groups, times) for draws in (first, second))
    once = np.ones((1, len(set(groups))), int)
    before, after = (score_resamples(draws, groups, once) for draws in (first, second))
    return {
        name: Difference(float(after[name][0] - before[name][0]), *percentile_interval(end[name] - start[name], level))
        for name in METRICS
    }
