"""Log-linear pools: several opinions on the same labels made into one, with few weights fitted by likelihood.

The pooled probability of a label is proportional to the product of the opinions' probabilities, each to the power of
its weight (Genest and Zidek 1986). Weights below one flatten an opinion, above one sharpen it: with one opinion this
is temperature scaling.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

FLOOR = 1e-4  # no opinion rules a label out
RIDGE = 1.0  # pull towards the start, in nats for a weight that is one away: few held-out clips move little


def log_chances(probabilities: Sequence[float]) -> np.ndarray:
    """Logarithms of probabilities, normalised and kept off zero."""
    table = np.maximum(np.asarray(probabilities, float), FLOOR)
    return np.log(table / table.sum())


def pool_opinions(terms: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """Log-probabilities of labels, shape (labels,), of the opinions' log-probabilities `terms` (labels, opinions)."""
    return log_softmax(terms @ np.asarray(weights, float))


def fit_weights(
    examples: Sequence[tuple[np.ndarray, int]], start: Sequence[float], ridge: float = RIDGE
) -> tuple[float, ...]:
    """Weights that make the true labels likeliest.

    An example is its terms (labels, opinions) and the number of the true label; labels may differ from example to
    example. The last opinion is how frequent the labels are in training: its weight may be negative, since opinions
    that both know the frequencies count them twice; no other weight may. Without examples the weights are those of
    `start`, towards which `ridge` pulls.
    """
    first = np.asarray(start, float)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        away = weights - first
        total, slope = ridge * float(away @ away), 2 * ridge * away
        for terms, truth in examples:
            chances = pool_opinions(terms, weights)
            total -= float(chances[truth])
            slope += terms.T @ np.exp(chances) - terms[truth]
        return total, slope

    if not examples:
        return tuple(map(float, first))
    bounds = [(0, None)] * (len(first) - 1) + [(None, None)]
    solution = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds)
    return tuple(map(float, solution.x))
