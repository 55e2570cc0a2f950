"""Log-linear pools by hand, and weights fitted by likelihood."""

import numpy as np
import pytest

from megc.baselines.loglinear import fit_second_opinion, fit_weights, log_chances, pool_opinions


def test_pooled_by_hand():
    terms = np.column_stack([log_chances([0.8, 0.2]), log_chances([0.5, 0.5]), log_chances([0.5, 0.5])])
    assert np.exp(pool_opinions(terms, (0.5, 0.5, 0))) == pytest.approx([2 / 3, 1 / 3])  # square roots of 4 : 1
    assert np.exp(pool_opinions(terms, (2, 0, 0))) == pytest.approx([16 / 17, 1 / 17])
    assert log_chances([0, 1])[0] > -20


def test_weights_go_to_the_opinion_that_is_right():
    rng, examples = np.random.default_rng(0), []
    for _ in range(200):
        truth = rng.integers(3)
        good = np.full(3, 0.2) + 0.4 * (np.arange(3) == (truth if rng.random() < 0.8 else rng.integers(3)))
        examples.append(
            (np.column_stack([log_chances(rng.dirichlet([1, 1, 1])), log_chances(good), np.zeros(3)]), int(truth))
        )
    bad, good, _ = fit_weights(examples, (0.5, 0.5, 0))
    assert bad < 0.15 and good > 1
    assert fit_weights([], (0.5, 0.5, 0)) == (0.5, 0.5, 0)
    few = fit_weights(examples[:2], (0.5, 0.5, 0), ridge=100)
    assert few == pytest.approx((0.5, 0.5, 0), abs=0.05)


def test_calibration_undoes_overconfidence():
    rng, examples = np.random.default_rng(1), []
    for _ in range(2000):  # says .99 and is right four times of five
        truth = int(rng.random() < 0.8)
        examples.append((np.column_stack([log_chances([0.01, 0.99]), np.zeros(2)]), truth))
    weights = fit_weights(examples, (1, 0))
    assert np.exp(pool_opinions(examples[0][0], weights))[1] == pytest.approx(0.8, abs=0.02)


def opinions(second: float, first: float, people: int = 12) -> tuple[list, list[str]]:
    """Examples of ten clips a person, by two opinions that are right in these shares of clips; and whose they are."""
    rng, examples, names = np.random.default_rng(2), [], []
    for person in range(people):
        for _ in range(10):
            truth = int(rng.integers(3))
            named = [truth if rng.random() < share else int(rng.integers(3)) for share in (second, first)]
            examples.append((np.column_stack([log_chances(np.eye(3)[name] + 0.2) for name in named]), truth))
            names.append(str(person))
    return examples, names


def test_a_second_opinion_counts_as_far_as_left_out_people_gain_from_it():
    for second, first, least, most in ((0.0, 0.7, 0, 0), (0.7, 0.7, 0.3, 0.7), (0.9, 0.0, 0.8, 1)):
        examples, people = opinions(second, first)
        gain = fit_second_opinion(examples, people, [1.0] * len(people))
        assert least <= gain.weight <= most, (second, first)
        assert (gain.weight > 0) == (gain.gain > gain.error)
    assert fit_second_opinion(*opinions(0.9, 0.5, people=1), [1.0] * 10).weight == 0, "nobody is left out"
