"""How sure a score is: bootstrap intervals over clips or subjects, and paired differences of two runs.

The questions of a clip share one face and one motion, so clips (or subjects) are drawn, never rows. Rows are
counted once (`metrics.row_counts`); a resample adds up the counts of the groups it drew.
"""

from collections.abc import Sequence

import numpy as np

from megc.scoring.metrics import METRICS, Counts

RESAMPLES = 1000
LEVEL = 0.95


def group_totals(counts: Counts, groups: Sequence[str]) -> np.ndarray:
    """Counts added up within each group, shape (groups, columns), groups in sorted order."""
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    totals = np.zeros((index.max() + 1, counts.table.shape[1]))
    np.add.at(totals, index, counts.table)
    return totals


def draw(groups: int, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each of `groups` is in each resample with replacement, shape (resamples, groups)."""
    return np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=resamples)


def resampled(
    counts: Counts, groups: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, np.ndarray]:
    """METRICS of each resample, each of shape (resamples,). The same groups, seed and number draw the same groups."""
    totals = group_totals(counts, groups)
    return counts.metrics(draw(len(totals), resamples, seed) @ totals)


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    if np.isnan(values).all():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(values, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def intervals(
    counts: Counts, groups: Sequence[str], resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> dict[str, tuple[float, float]]:
    """Percentile interval of each of METRICS; `groups` names the clip (or subject) of each row.

    A resample without a class is scored over the classes it has, as the metrics define it.
    """
    drawn = resampled(counts, groups, resamples, seed)
    return {name: _percentiles(drawn[name], level) for name in METRICS}


def paired(
    first: Counts,
    second: Counts,
    groups: Sequence[str],
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, tuple[float, float, float]]:
    """Difference second - first of each of METRICS with its percentile interval: (difference, low, high).

    Both runs answer the same rows in the same order, and each resample draws the same clips for both, so that
    what makes a clip hard cancels out. Raises ValueError when the rows differ in number.
    """
    if len(first.table) != len(second.table) or len(first.table) != len(groups):
        raise ValueError("paired runs must answer the same rows: score both against the same references")
    one, two = resampled(first, groups, resamples, seed), resampled(second, groups, resamples, seed)
    start, end = (counts.metrics(counts.table.sum(axis=0)) for counts in (first, second))
    return {name: (float(end[name] - start[name]), *_percentiles(two[name] - one[name], level)) for name in METRICS}
