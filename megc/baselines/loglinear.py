"""Log-linear pools: several opinions on the same labels made into one, with few weights fitted by likelihood.

The pooled probability of a label is proportional to the product of the opinions' probabilities, each to the power of
its weight (Genest and Zidek 1986). Weights below one flatten an opinion, above one sharpen it: with one opinion this
is temperature scaling.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

FLOOR = 1e-4  # no opinion rules a label out
RIDGES = (1.0, 4.0, 16.0)  # of which held-out people choose one
RIDGE = 1.0  # pull towards the start, in nats for a weight that is one away: few held-out clips move little


def log_chances(probabilities: Sequence[float]) -> np.ndarray:
    """Logarithms of probabilities, normalised and kept off zero."""
    table = np.maximum(np.asarray(probabilities, float), FLOOR)
    return np.log(table / table.sum())


def pool_opinions(terms: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """Log-probabilities of labels, shape (labels,), of the opinions' log-probabilities `terms` (labels, opinions)."""
    return log_softmax(terms @ np.asarray(weights, float))


def fit_weights(
    examples: Sequence[tuple[np.ndarray, int]],
    start: Sequence[float],
    ridge: float = RIDGE,
    importance: Sequence[float] | None = None,
) -> tuple[float, ...]:
    """Weights that make the true labels likeliest.

    An example is its terms (labels, opinions) and the number of the true label; labels may differ from example to
    example. The last opinion is how frequent the labels are in training: its weight may be negative, since opinions
    that both know the frequencies count them twice; no other weight may. Without examples the weights are those of
    `start`, towards which `ridge` pulls. `importance`: how much each example counts (default: 1).
    """
    first = np.asarray(start, float)
    counts = np.ones(len(examples)) if importance is None else np.asarray(importance, float)

    tables = []  # of examples with equally many labels: terms (examples, labels, opinions), true labels, counts
    for labels in sorted({len(terms) for terms, _ in examples}):
        rows = [row for row, (terms, _) in enumerate(examples) if len(terms) == labels]
        truths = np.eye(labels)[[examples[row][1] for row in rows]]
        tables.append((np.stack([examples[row][0] for row in rows]), truths, counts[rows]))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        away = weights - first
        total, slope = ridge * float(away @ away), 2 * ridge * away
        for terms, truths, count in tables:
            chances = log_softmax(terms @ weights, axis=1)
            total -= float(count @ (chances * truths).sum(axis=1))
            slope += np.einsum("e,el,elo->o", count, np.exp(chances) - truths, terms)
        return total, slope

    if not examples:
        return tuple(map(float, first))
    bounds = [(0, None)] * (len(first) - 1) + [(None, None)]
    solution = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds)
    return tuple(map(float, solution.x))


@dataclass(frozen=True)
class Gain:
    """What a second opinion adds to a first one: its `weight`, a share of both together, and the held-out gain in nats
    an example with its standard error over people."""

    weight: float
    gain: float
    error: float


def fit_second_opinion(
    examples: Sequence[tuple[np.ndarray, int]], people: Sequence[str], importance: Sequence[float]
) -> Gain:
    """The weight of a second opinion beside a trusted first one: 0 unless it makes left-out people's labels likelier.

    An example's terms are (labels, 2): log-probabilities by the second opinion and by the first. Both weights are
    fitted, so that a first opinion that is only too sure or too unsure is no reason to believe the second. Each of
    RIDGES is judged by leaving one person out; the best one counts where its gain over the first opinion alone is
    larger than its standard error over people (the rule of one standard error, Breiman et al. 1984). Stacking with
    weights that cannot be negative is Breiman's too (Machine Learning 24, 1996).
    """
    rows = {person: [row for row, name in enumerate(people) if name == person] for person in dict.fromkeys(people)}
    if len(rows) < 2:
        return Gain(0.0, 0.0, 0.0)

    def fit(chosen: Sequence[int], ridge: float, columns: slice) -> np.ndarray:
        table = [(examples[row][0][:, columns], examples[row][1]) for row in chosen]
        start = (0.0, 1.0)[columns]
        return np.array(fit_weights(table, start, ridge, [importance[row] for row in chosen]))

    def score(row: int, weights: np.ndarray, columns: slice) -> float:
        terms, truth = examples[row]
        return importance[row] * float(pool_opinions(terms[:, columns], weights)[truth])

    both, first, gains = slice(0, 2), slice(1, 2), {ridge: [] for ridge in RIDGES}
    for person, left_out in rows.items():
        others = [row for row, name in enumerate(people) if name != person]
        alone = fit(others, RIDGE, first)
        without = sum(score(row, alone, first) for row in left_out)
        for ridge, of_people in gains.items():
            weights = fit(others, ridge, both)
            of_people.append(sum(score(row, weights, both) for row in left_out) - without)
    ridge = max(gains, key=lambda ridge: sum(gains[ridge]))
    spread = np.std(gains[ridge], ddof=1) * np.sqrt(len(rows))
    total, error = sum(gains[ridge]) / len(examples), float(spread) / len(examples)
    second, trusted = fit(range(len(examples)), ridge, both)
    weight = second / (second + max(trusted, 0.0)) if total > error and second > 0 else 0.0
    return Gain(float(weight), float(total), error)
