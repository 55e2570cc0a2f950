"""Priors by hand, and labels drawn from training clips: they go together, as frequent as there, and repeat."""

import itertools
import json

import pytest
from flow_set import (
    clip_records,
    make_set,
)

from megc.baselines.prior import Prior, answer_with_drawn_labels, answer_with_prior
from megc.vqa.instructions import answer_of
from megc.vqa.questions import Question, compose_long


def test_prior_takes_what_was_right_most_often():
    train = [
        *clip_records("sub01", "a", "disgust"),
        *clip_records("sub01", "b", "disgust", "right"),
        *clip_records("sub02", "a", "happiness", "right", absent=4),
        *clip_records("sub02", "b", "surprise", "right", absent=4),
    ]
    test = [*clip_records("sub09", "x", "repression"), *clip_records("sub09", "y", "surprise")]
    assert answer_with_prior(train, test) == [
        *("negative", "disgust", "lip corner puller", "right"),
        *("no", "no", compose_long("lip corner puller", "disgust", "negative")),
        *("negative", "disgust", "brow lowerer, lid tightener", "right"),
        *("yes", "no", compose_long("brow lowerer, lid tightener", "disgust", "negative")),
    ]


def test_prior_of_a_unit_is_drawn_towards_one_half():
    prior = Prior(clip_records("sub01", "a", "disgust", absent=12))
    assert prior.share_of_yes(4) == pytest.approx(1.5 / 2)
    assert prior.share_of_yes(12) == pytest.approx(0.5 / 2)
    assert prior.share_of_yes(9) == 0.5
    assert prior.answer(Question("shown", 9), "casme2") == "no"


def test_prior_does_not_depend_on_the_order_of_the_rows():
    train, _ = make_set(3)
    test = clip_records("sub09", "x", "disgust")
    assert answer_with_prior(train, test) == answer_with_prior(train[::-1], test)


def test_prior_without_a_wording_uses_the_other_one():
    prior = Prior(clip_records("sub01", "a", "disgust"))
    assert prior.answer(Question("units", many=False), "casme2") == "brow lowerer"
    prior = Prior(clip_records("sub01", "a", "happiness"))
    assert prior.answer(Question("units", many=True), "casme2") == "lip corner puller"
    with pytest.raises(ValueError, match="no list of action units"):
        Prior([]).answer(Question("units", many=True), "casme2")
    with pytest.raises(ValueError, match="'count_all'"):
        Prior([]).answer(Question("count_all"), "casme3")
    assert Prior([]).answer(Question("side", 4), "casme2") == "left"


def test_sampled_answers_are_the_labels_of_one_training_clip():
    train = make_set(6)[0]
    test = [record for name in "abcdefgh" for record in clip_records("sub09", name, "repression", absent=12)]
    sets = answer_with_drawn_labels(train, test, draws=3)
    labels = [answer_of(record) for record in train]
    bundles = {tuple(labels[start : start + 3]) for start in range(0, len(train), 7)}
    for answers, start in itertools.product(zip(*sets, strict=True), range(0, len(test), 7)):
        coarse, fine, units, _, shown, absent, sentence = answers[start : start + 7]
        assert (coarse, fine, units) in bundles and sentence == compose_long(units, fine, coarse)
        assert "," not in units  # the question asks for one
        assert (shown == "yes") == (units == "chin raiser") and (absent == "yes") == (units == "lip corner puller")
    assert {"happiness", "repression"} == {text for answers in sets[1::7] for text in answers}
    assert answer_with_drawn_labels(train[::-1], test[::-1], draws=3) == sets[::-1]
    assert answer_with_drawn_labels(train, test, seed=1, draws=3) != sets and len(set(zip(*sets, strict=True))) == 3
    assert answer_with_drawn_labels(train, test, draws=2) == [answers[:2] for answers in sets], (
        "more draws keep the first ones"
    )
    with pytest.raises(ValueError, match="one at least"):
        answer_with_drawn_labels(train, test, draws=0)


def test_sampled_answers_are_as_frequent_as_in_training():
    train = [record for name in "abc" for record in clip_records("sub01", name, "disgust")]
    train += clip_records("sub01", "d", "surprise")
    test = [record for number in range(400) for record in clip_records("sub02", str(number), "disgust")]
    fine = [answers[0] for answers in answer_with_drawn_labels(train, test)[1::7]]
    assert fine.count("disgust") / 400 == pytest.approx(0.75, abs=0.06)
    blind = json.loads(json.dumps(test))
    for record in blind:
        record["messages"] = record["messages"][:2]
        record["row"]["answer"] = ""
    assert answer_with_drawn_labels(train, blind) == answer_with_drawn_labels(train, test)


def test_sampled_answers_have_classes_of_the_dataset():
    train = clip_records("sub01", "a", "repression") + clip_records("sub01", "b", "happiness")
    test = [{**record, "dataset": "samm"} for name in "abcdef" for record in clip_records("sub02", name, "happiness")]
    assert {text for answers in answer_with_drawn_labels(train, test)[1::7] for text in answers} == {"happiness"}
    # nothing that fits the wording or the dataset: any training clip, rather than none
    test = [{**record, "dataset": "samm"} for record in clip_records("sub02", "x", "surprise")]
    found = answer_with_drawn_labels(clip_records("sub01", "a", "repression"), test, draws=1)
    assert found[1:3] == [("repression",), ("chin raiser",)]
