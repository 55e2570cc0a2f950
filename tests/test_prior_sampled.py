"""Profiles drawn from training clips: answers that go together, as frequent as in training, and reproducible."""

import json

import pytest
from flow_set import clip_records, make_set

from megc.baselines import prior_sampled
from megc.vqa.instructions import answer_of
from megc.vqa.questions import compose_long


def test_sampled_answers_are_the_labels_of_one_training_clip():
    train = make_set(6)[0]
    test = [record for name in "abcdefgh" for record in clip_records("sub09", name, "repression", absent=12)]
    answers = prior_sampled(train, test)
    labels = [answer_of(record) for record in train]
    bundles = {tuple(labels[start : start + 3]) for start in range(0, len(train), 7)}
    for start in range(0, len(test), 7):
        coarse, fine, units, _, shown, absent, sentence = answers[start : start + 7]
        assert (coarse, fine, units) in bundles and sentence == compose_long(units, fine, coarse)
        assert "," not in units  # the question asks for one
        assert (shown == "yes") == (units == "chin raiser") and (absent == "yes") == (units == "lip corner puller")
    assert {"happiness", "repression"} == set(answers[1::7])
    assert prior_sampled(train[::-1], test[::-1]) == answers[::-1]
    assert prior_sampled(train, test, seed=1) != answers


def test_sampled_answers_are_as_frequent_as_in_training():
    train = [record for name in "abc" for record in clip_records("sub01", name, "disgust")]
    train += clip_records("sub01", "d", "surprise")
    test = [record for number in range(400) for record in clip_records("sub02", str(number), "disgust")]
    assert prior_sampled(train, test)[1::7].count("disgust") / 400 == pytest.approx(0.75, abs=0.06)
    blind = json.loads(json.dumps(test))
    for record in blind:
        record["messages"] = record["messages"][:2]
        record["row"]["answer"] = ""
    assert prior_sampled(train, blind) == prior_sampled(train, test)


def test_sampled_answers_have_classes_of_the_dataset():
    train = clip_records("sub01", "a", "repression") + clip_records("sub01", "b", "happiness")
    test = [{**record, "dataset": "samm"} for name in "abcdef" for record in clip_records("sub02", name, "happiness")]
    assert set(prior_sampled(train, test)[1::7]) == {"happiness"}
    # nothing that fits the wording or the dataset: any training clip, rather than none
    test = [{**record, "dataset": "samm"} for record in clip_records("sub02", "x", "surprise")]
    assert prior_sampled(clip_records("sub01", "a", "repression"), test)[1:3] == ["repression", "chin raiser"]
