"""Action-unit lists and agreement between a clip's answers, by hand."""

import math

import pytest
from flow_set import clip_records

from megc.scoring.consistency import check_clip, count_consistent_clips
from megc.scoring.vqa_metrics import score_action_units
from megc.vqa.instructions import answer_of
from megc.vqa.questions import compose_long


def units(references, answers):
    return score_action_units(references, answers, ["units"] * len(references))


def test_unit_lists_by_hand():
    found = units(["brow lowerer, lid tightener", "dimpler"], ["brow lowerer, chin raiser", "dimpler"])
    # hits: 4 and 14; listed: 4, 17, 14; true: 4, 7, 14
    assert found["au_precision"] == found["au_recall"] == found["au_f1"] == pytest.approx(2 / 3)
    # over 4, 7 and 14: precision 1, 0, 1
    assert found["au_precision_macro"] == found["au_recall_macro"] == found["au_f1_macro"] == pytest.approx(2 / 3)
    found = units(["brow lowerer", "brow lowerer, dimpler"], ["brow lowerer, dimpler", "brow lowerer"])
    assert found["au_f1"] == pytest.approx(2 / 3) and found["au_f1_macro"] == pytest.approx((1 + 0) / 2)


def test_other_names_of_a_unit_are_the_same_unit():
    found = units(["lip pressor, upper lid raiser"], ["AU24 and lid raiser."])
    assert found["au_f1"] == 1
    # a name that is no action unit is a wrong one, a missing answer lists nothing
    assert units(["dimpler"], ["dimpler, elbow"])["au_precision"] == pytest.approx(1 / 2)
    assert units(["dimpler"], ["dimpler, elbow"])["au_f1_macro"] == 1
    found = units(["dimpler", "dimpler"], ["dimpler", None])
    assert (found["au_precision"], found["au_recall"]) == (1, 0.5)
    assert math.isnan(score_action_units(["negative"], ["negative"], ["coarse"])["au_f1"])


@pytest.fixture
def clip():
    records = clip_records("sub01", "a", "disgust")
    return [record["row"]["question"] for record in records], [answer_of(record) for record in records]


def changed(answers, number, text):
    return [text if place == number else answer for place, answer in enumerate(answers)]


@pytest.mark.parametrize(
    ("number", "text", "failed"),
    [
        (None, "", set()),
        (2, "lid tightener, brow lowerer.", set()),
        (0, "positive", {"coarse", "long"}),
        (1, "fear", {"long"}),
        (1, "happiness", {"coarse", "long"}),
        (2, "brow lowerer", {"long"}),
        (2, "lid tightener", {"long", "shown"}),
        (4, "no", {"shown"}),
        (5, "yes", {"shown"}),
        (4, None, {"shown"}),
        (6, None, {"long"}),
        (6, compose_long("brow lowerer, lid tightener", "fear", "negative"), {"long"}),
        (3, "right", set()),
    ],
)
def test_which_checks_fail(clip, number, text, failed):
    questions, answers = clip
    found = check_clip(questions, changed(answers, number, text))
    assert {name for name, held in found.items() if not held} == failed and len(found) == 3


def test_only_what_is_asked_is_checked(clip):
    questions, answers = clip
    assert check_clip(questions[:1], answers[:1]) == {}
    assert check_clip(questions[:2], answers[:2]) == {"coarse": True}
    assert check_clip([questions[2], questions[4]], [answers[2], answers[4]]) == {"shown": True}


def test_consistency_counts_clips(clip):
    questions, answers = clip
    clips = ["a"] * 7 + ["b"] * 7 + ["c"]
    found = count_consistent_clips(
        clips, [*questions, *questions, questions[0]], [*answers, *changed(answers, 0, None), "negative"]
    )
    assert found == {"coarse": (1, 2), "long": (1, 2), "shown": (2, 2), "all": (1, 2)}
    assert count_consistent_clips(["a"], questions[:1], answers[:1]) == {}
