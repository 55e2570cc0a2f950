"""Majority of sampled answers, ties, agreement; numbers to sample with."""

import numpy as np
import pytest
import torch

from megc.answers.answerer import Answer, prediction
from megc.answers.sampling import RowSampler, uniforms
from megc.answers.vote import Vote, majority, mixture
from megc.model.samples import Sample


def test_most_votes_win_with_their_share_and_their_lead():
    assert majority(["surprise", "negative", "negative", "positive", "negative"]) == Vote("negative", 0.6, 0.4)


def test_votes_that_all_agree():
    assert majority(["yes"] * 5) == Vote("yes", 1.0, 1.0)


def test_one_vote_agrees_with_nothing():
    assert majority(["yes"]) == Vote("yes", None, None)


def test_case_spaces_and_a_full_stop_make_no_difference():
    assert majority(["no", "Yes.", " yes "]).answer == "Yes."


def test_an_empty_answer_is_a_vote_like_others():
    assert majority(["", "", "yes"]) == Vote("", 2 / 3, 1 / 3)


def test_a_tie_goes_to_the_first_drawn_or_to_the_most_probable():
    votes = ["yes", "no", "no", "yes"]
    assert majority(votes) == Vote("yes", 0.5, 0.0)
    assert majority(votes, [-2.0, -0.5, -3.0, -1.0]) == Vote("no", 0.5, 0.0)


def test_probability_never_beats_the_number_of_votes():
    assert majority(["yes", "no", "yes"], [-9.0, -0.1, -9.0]).answer == "yes"


@pytest.mark.parametrize(("votes", "chances"), [([], None), (["a"], [0.1, 0.2])])
def test_no_votes_and_unmatched_probabilities_are_refused(votes, chances):
    with pytest.raises(ValueError, match="votes"):
        majority(votes, chances)


def test_a_row_has_its_own_numbers_whatever_else_is_asked():
    drawn = uniforms("casme2_sub01_EP02_01f_1", 2, 0, 8)
    assert np.array_equal(drawn[:5], uniforms("casme2_sub01_EP02_01f_1", 2, 0, 5))
    others = [("casme2_sub01_EP02_01f_2", 2, 0), ("casme2_sub01_EP02_01f_1", 3, 0), ("casme2_sub01_EP02_01f_1", 2, 1)]
    assert all(abs(uniforms(*other, 8) - drawn).min() > 1e-9 for other in others)


def draw(scores: torch.Tensor, count: int, **settings: float) -> np.ndarray:
    """Share of each token among `count` draws from the distribution of `scores`."""
    settings = {"temperature": 1.0, "top_k": 0, "top_p": 1.0} | settings
    sampler = RowSampler([str(n) for n in range(count)], [0] * count, 0, [1] * count, 3, [0], **settings)
    left = sampler(torch.ones(count, 3, dtype=torch.long), scores.expand(count, -1).clone())
    assert torch.isfinite(left).sum(dim=-1).eq(1).all()
    return np.bincount(left.argmax(dim=-1).numpy(), minlength=scores.numel()) / count


def test_draws_follow_the_distribution_of_temperature_top_k_and_top_p():
    scores = torch.tensor([0.0, 2.0, 1.0, -1.0])
    assert np.allclose(draw(scores, 4000), torch.softmax(scores, -1), atol=0.03)
    assert np.allclose(draw(scores, 4000, temperature=0.5), torch.softmax(scores / 0.5, -1), atol=0.03)
    assert draw(scores, 500, top_k=2)[[0, 3]].sum() == 0
    assert draw(scores, 500, top_p=0.6)[1] == 1.0


def test_probabilities_are_added_up_to_the_end_of_the_answer_and_no_further():
    sampler = RowSampler(["a"], [0], 0, [3], 1, [2], 1.0, 1, 1.0)
    scores = torch.log(torch.tensor([[0.1, 0.2, 0.7]]))
    ids = torch.tensor([[1]])
    for _ in range(3):  # the end token is drawn three times; the second and third are padding
        token = sampler(ids, scores).argmax(dim=-1, keepdim=True)
        ids = torch.cat([ids, token], dim=1)
    assert sampler.log_probabilities.tolist() == pytest.approx([np.log(0.7)], abs=1e-6)


def test_scores_of_several_judges_are_averaged_as_probabilities():
    one = {"yes": float(np.log(0.6)), "no": float(np.log(0.2))}
    scores, margin = mixture([one])
    assert scores == pytest.approx(one)
    assert margin == pytest.approx((0.6 - 0.2) / 0.8)  # within the set
    scores, margin = mixture([one, {"yes": float(np.log(0.1)), "no": float(np.log(0.8))}])
    assert [np.exp(scores["yes"]), np.exp(scores["no"]), margin] == pytest.approx([0.35, 0.5, 0.15 / 0.85])
    assert mixture([{"yes": -2000.0, "no": -2001.0}])[1] == pytest.approx((1 - np.exp(-1)) / (1 + np.exp(-1)))
    assert mixture([{"yes": -3.0}]) == ({"yes": -3.0}, 1.0)
    with pytest.raises(ValueError, match="different answers"):
        mixture([one, {"yes": -1.0}])


def test_a_row_of_compared_answers_has_their_log_likelihoods_and_the_best_of_the_compared_scores():
    sample = Sample({"id": "a", "row": {"id": "a", "question": "?", "answer": "the truth"}}, (), ())
    longer = Answer("b", choices={"a": -1.0, "b": -1.2}, scores={"a": -1.0, "b": -0.4})
    row = prediction(sample, [longer])
    assert (row["answer"], row["choices"], row["votes"], row["agreement"]) == ("b", longer.choices, ["b"], None)
    row = prediction(sample, [longer, Answer("a", choices={"a": -0.1, "b": -9.0})])
    assert (row["answer"], row["votes"], row["agreement"]) == ("a", ["b", "a"], 0.5)
    assert prediction(sample, [Answer("a")])["choices"] is None
