"""Majority of sampled answers, ties, agreement; numbers to sample with."""

import numpy as np
import pytest
import torch

from megc.answers.answerer import Answer, Vote, majority_vote, make_prediction, mean_likelihood
from megc.answers.settings import Decoding
from megc.answers.writing import draw_tokens, make_warpers, uniform_numbers
from megc.model.samples import Sample


def test_most_votes_win_with_their_share_and_their_lead():
    assert majority_vote(["surprise", "negative", "negative", "positive", "negative"]) == Vote("negative", 0.6, 0.4)


def test_votes_that_all_agree():
    assert majority_vote(["yes"] * 5) == Vote("yes", 1.0, 1.0)


def test_one_vote_agrees_with_nothing():
    assert majority_vote(["yes"]) == Vote("yes", None, None)


def test_case_spaces_and_a_full_stop_make_no_difference():
    assert majority_vote(["no", "Yes.", " yes "]).answer == "Yes."


def test_an_empty_answer_is_a_vote_like_others():
    assert majority_vote(["", "", "yes"]) == Vote("", 2 / 3, 1 / 3)


def test_a_tie_goes_to_the_first_drawn_or_to_the_most_probable():
    votes = ["yes", "no", "no", "yes"]
    assert majority_vote(votes) == Vote("yes", 0.5, 0.0)
    assert majority_vote(votes, [-2.0, -0.5, -3.0, -1.0]) == Vote("no", 0.5, 0.0)


def test_probability_never_beats_the_number_of_votes():
    assert majority_vote(["yes", "no", "yes"], [-9.0, -0.1, -9.0]).answer == "yes"


@pytest.mark.parametrize(("votes", "chances"), [([], None), (["a"], [0.1, 0.2])])
def test_no_votes_and_unmatched_probabilities_are_refused(votes, chances):
    with pytest.raises(ValueError, match="votes"):
        majority_vote(votes, chances)


def test_a_row_has_its_own_numbers_whatever_else_is_asked():
    drawn = uniform_numbers("casme2_sub01_EP02_01f_1", 2, 0, 8)
    assert np.array_equal(drawn[:5], uniform_numbers("casme2_sub01_EP02_01f_1", 2, 0, 5))
    others = [("casme2_sub01_EP02_01f_2", 2, 0), ("casme2_sub01_EP02_01f_1", 3, 0), ("casme2_sub01_EP02_01f_1", 2, 1)]
    assert all(abs(uniform_numbers(*other, 8) - drawn).min() > 1e-9 for other in others)


def draw_shares(scores: torch.Tensor, count: int, **settings: float) -> np.ndarray:
    """Share of each token among `count` draws from the distribution of `scores`."""
    warpers = make_warpers(Decoding(**{"temperature": 1.0, "top_p": 1.0, **settings}))
    numbers = torch.tensor([uniform_numbers(str(row), 0, 0, 1)[0] for row in range(count)])
    tokens = draw_tokens(scores.expand(count, -1), numbers, warpers)
    return np.bincount(tokens.numpy(), minlength=scores.numel()) / count


def test_draws_follow_the_distribution_of_temperature_top_k_and_top_p():
    scores = torch.tensor([0.0, 2.0, 1.0, -1.0])
    assert np.allclose(draw_shares(scores, 4000), torch.softmax(scores, -1), atol=0.03)
    assert np.allclose(draw_shares(scores, 4000, temperature=0.5), torch.softmax(scores / 0.5, -1), atol=0.03)
    assert draw_shares(scores, 500, top_k=2)[[0, 3]].sum() == 0
    assert draw_shares(scores, 500, top_p=0.6)[1] == 1.0


def test_scores_of_several_judges_are_averaged_as_probabilities():
    one = {"yes": float(np.log(0.6)), "no": float(np.log(0.2))}
    scores, margin = mean_likelihood([one])
    assert scores == pytest.approx(one)
    assert margin == pytest.approx((0.6 - 0.2) / 0.8)  # within the set
    scores, margin = mean_likelihood([one, {"yes": float(np.log(0.1)), "no": float(np.log(0.8))}])
    assert [np.exp(scores["yes"]), np.exp(scores["no"]), margin] == pytest.approx([0.35, 0.5, 0.15 / 0.85])
    assert mean_likelihood([{"yes": -2000.0, "no": -2001.0}])[1] == pytest.approx((1 - np.exp(-1)) / (1 + np.exp(-1)))
    assert mean_likelihood([{"yes": -3.0}]) == ({"yes": -3.0}, 1.0)
    with pytest.raises(ValueError, match="different answers"):
        mean_likelihood([one, {"yes": -1.0}])


def test_a_row_of_compared_answers_has_their_log_likelihoods_and_the_likeliest():
    sample = Sample({"id": "a", "row": {"id": "a", "question": "?", "answer": "the truth"}}, (), ())
    first = Answer("b", choices={"a": -1.0, "b": -0.4})
    row = make_prediction(sample, [first])
    assert (row["answer"], row["choices"], row["votes"], row["agreement"]) == ("b", first.choices, ["b"], None)
    row = make_prediction(sample, [first, Answer("a", choices={"a": -0.1, "b": -9.0})])
    assert (row["answer"], row["votes"], row["agreement"]) == ("a", ["b", "a"], 0.5)
    assert make_prediction(sample, [Answer("a")])["choices"] is None
