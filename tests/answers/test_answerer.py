"""One answer of several votes: by majority, by mean likelihood, of several checkpoints, wordings, moved pictures."""

import json
import math

import numpy as np
import pytest
from answer_files import answer, write_questions
from PIL import Image

from megc.answers.answerer import Answer, Vote, majority_vote, make_prediction, mean_likelihood
from megc.answers.settings import Decoding
from megc.model import tiny
from megc.model.samples import Sample
from megc.motion.flow_pictures import mirror_picture
from megc.problems import DataError
from megc.vqa.prompts import PromptSettings
from megc.vqa.questions import MIRRORED, TEMPLATES


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


# ---- answerers made of others


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A checkpoint with other weights and another vocabulary."""
    folder = tmp_path_factory.mktemp("other") / "tiny"
    return tiny.build(folder, ["negative", "lip corner puller"], seed=7)


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return write_questions(tmp_path_factory.mktemp("questions"))


def run_hash(folder):
    return json.loads((folder / "run.json").read_text())["hash"]


def test_checkpoints_vote_together_and_their_likelihoods_are_mixed(checkpoint, other, questions, tmp_path):
    decoding = Decoding(max_new_tokens=6, votes=2, temperature=1.5)
    one, _ = answer(checkpoint, questions, tmp_path / "1", decoding)
    two, _ = answer(other, questions, tmp_path / "2", decoding)
    both, _ = answer("not used", questions, tmp_path / "12", decoding, models=(checkpoint, other))
    for row, first, second in zip(both, one, two, strict=True):
        assert row["votes"][: len(first["votes"])] == first["votes"]
        assert len(row["votes"]) == len(first["votes"]) + len(second["votes"])
        if first["choices"]:
            for name, found in row["choices"].items():
                likelihoods = [math.exp(one["choices"][name]) for one in (first, second)]
                assert math.exp(found) == pytest.approx(sum(likelihoods) / 2, rel=1e-4)
            assert len(row["votes"]) == 2
    sampled = [row["votes"][2:] for row, first in zip(both, one, strict=True) if not first["choices"]]
    alone = [second["votes"] for second in two if not second["choices"]]
    assert sampled != alone  # votes of their own numbers, not those of the first checkpoint


def test_a_mirrored_vote_is_the_answer_to_the_mirrored_picture_with_sides_exchanged(checkpoint, tmp_path):
    prompt = PromptSettings(images=("flow",), structured=False)
    asked = (TEMPLATES["coarse"][0], TEMPLATES["side"][0].format(unit="lip corner puller"))
    plain, mirrored = (write_questions(tmp_path / name, questions=asked, prompt=prompt) for name in ("one", "two"))
    for path in mirrored.parent.glob("flow/**/*.png"):
        Image.fromarray(mirror_picture(np.asarray(Image.open(path)))).save(path)
    decoding = Decoding(votes=2, mirror=True)
    both, there, back = (
        answer(checkpoint, file, tmp_path / f"out{number}", how)[0]
        for number, (file, how) in enumerate([(plain, decoding), (plain, Decoding()), (mirrored, Decoding())])
    )
    for row, first, second in zip(both, there, back, strict=True):
        for name, value in row["choices"].items():
            other = second["choices"][MIRRORED.get(name, name)]
            mean = (math.exp(first["choices"][name]) + math.exp(other)) / 2
            assert math.exp(value) == pytest.approx(mean, rel=1e-4)
    assert any(first["choices"] != second["choices"] for first, second in zip(there, back, strict=True))


def test_votes_on_pictures_that_no_mirror_keeps_are_refused(checkpoint, questions, tmp_path):
    with pytest.raises(DataError, match="apex, flow"):
        answer(checkpoint, questions, tmp_path / "out", Decoding(votes=2, mirror=True))
    with pytest.raises(ValueError, match="--votes 2"):
        Decoding(mirror=True)
