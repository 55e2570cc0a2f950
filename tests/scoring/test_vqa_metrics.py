"""Hand-computed scores for every metric and profile."""

import math

import pytest
from nltk.translate.bleu_score import corpus_bleu

from megc.scoring.vqa_metrics import METRICS, PROFILES, is_invalid, is_right, score_answers
from megc.vqa.questions import compose_analysis

LONG = (
    "The action unit present is: {unit}. Therefore, the fine-grained expression class is {fine}, "
    "and the coarse expression class is {coarse}."
)


def classes(true, said, kind="coarse", **options):
    return score_answers(true, said, [kind] * len(true), **options)


def test_macro_scores_over_reference_classes():
    # negative: 2 hits of 3, said 2 times -> F1 4/5, recall 2/3; positive: 1 of 1, said 2 times -> F1 2/3, recall 1
    result = classes(
        ["negative", "negative", "negative", "positive"], ["negative", "negative", "positive", "positive"]
    )
    assert result["uf1_coarse"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert result["uar_coarse"] == pytest.approx((2 / 3 + 1) / 2)
    assert math.isnan(result["uf1_fine"]) and math.isnan(result["bleu"]), "no fine class, no four words"
    present = [result[name] for name in ("uf1_coarse", "uar_coarse", "rouge1")]
    assert result["avg"] == pytest.approx(sum(present) / 3) and result["rouge1"] == pytest.approx(3 / 4)


def test_a_class_that_no_reference_has_costs_a_class_in_tie_only():
    true, said = ["disgust", "disgust", "surprise"], ["disgust", "anger", "surprise"]
    # disgust F1 2/3, surprise 1, anger (tie) 0
    assert classes(true, said, "fine")["uf1_fine"] == pytest.approx((2 / 3 + 1) / 2)
    assert classes(true, said, "fine", profile="tie")["uf1_fine"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert classes(true, said, "fine", profile="tie")["uar_fine"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert classes(true, said, "fine", profile="m26")["uf1_fine"] == pytest.approx((2 / 3 + 1) / 2)


@pytest.mark.parametrize(
    ("answer", "megc2025", "tie", "m26"),
    [
        ("positive", 1, 1, 1),
        ("  Positive ", 1, 1, 1),
        ("Positive.", 1, 0, 1),
        ("The expression is positive", 0, 0, 1),
        ("the coarse expression class is positive, not negative", 0, 0, 1),
        ("unclear", 0, 0, 0),
        ("", 0, 0, 0),
        (None, 0, 0, 0),
    ],
)
def test_how_each_profile_reads_a_label(answer, megc2025, tie, m26):
    for profile, right in (("megc2025", megc2025), ("tie", tie), ("m26", m26)):
        assert classes(["positive"], [answer], profile=profile)["uar_coarse"] == right
        assert is_right("positive", answer, "coarse", profile) == bool(right)
        missing = answer is None or not answer
        assert classes(["positive"], [answer], profile=profile)["invalid"] == int(not right and not missing)
        assert classes(["positive"], [answer], profile=profile)["missing"] == int(missing)


def test_m26_takes_the_fine_class_word_that_comes_first():
    said = ["It shows disgust, hardly anger"]
    assert classes(["disgust"], said, "fine", profile="m26")["uar_fine"] == 1
    assert classes(["anger"], said, "fine", profile="m26")["uar_fine"] == 0


def test_missing_answers_are_wrong_and_add_no_class():
    for profile in PROFILES:
        result = classes(["negative", "negative"], ["negative", None], profile=profile)
        assert result["uf1_coarse"] == pytest.approx(2 / 3)  # precision 1, recall 1/2; a class "" would halve it
        assert result["rouge1"] == pytest.approx(1 / 2)


def test_corpus_bleu_by_hand():
    # answers: `a b c d e` against `a b c d f`, and the one word `no` against `yes`
    references, answers = ["a b c d f", "yes"], ["a b c d e", "no"]
    precisions = [4 / 6, 3 / 4, 2 / 3, 1 / 2]  # the one word holds no 2-, 3- or 4-gram
    expected = math.prod(precisions) ** (1 / 4)
    for profile in ("megc2025", "m26"):
        assert score_answers(references, answers, ["analysis"] * 2, profile)["bleu"] == pytest.approx(expected)


def test_corpus_bleu_brevity_penalty():
    result = score_answers(["a b c d e f"], ["a b c d e"], ["analysis"])
    assert result["bleu"] == pytest.approx(math.exp(1 - 6 / 5))


def test_corpus_bleu_is_that_of_nltk_where_no_answer_is_short():
    references = ["the brow is lowered and the lid tightened", "a lip corner is pulled up on the left"]
    answers = ["the brow is lowered and the lip tightened", "a lip corner is pulled up on the right side"]
    plain = corpus_bleu([[text.split()] for text in references], [text.split() for text in answers])
    assert score_answers(references, answers, ["analysis"] * 2)["bleu"] == pytest.approx(plain)


def test_corpus_bleu_without_any_match_is_zero():
    assert math.isnan(score_answers(["negative"], ["surprise"], ["coarse"])["bleu"]), "no four words in any reference"
    assert score_answers(["a b c d"], ["negative"], ["analysis"])["bleu"] == 0
    assert score_answers(["a b c d e"], ["a x b y c"], ["analysis"])["bleu"] == pytest.approx(0, abs=1e-50)


def test_sentence_bleu_of_right_short_answers():
    # method 1 puts 0.1 for a count of none: (1 x .1 x .1 x .1)^(1/4), (1 x 1 x .1 x .1)^(1/4)
    assert score_answers(["negative"], ["negative"], ["coarse"], "tie")["bleu"] == pytest.approx(0.1**0.75)
    assert score_answers(["brow lowerer"], ["brow lowerer"], ["units"], "tie")["bleu"] == pytest.approx(0.1**0.5)


def test_tie_keeps_punctuation_on_words():
    references, answers = ["is dimpler. so we end there"], ["is dimpler so we end there"]
    assert score_answers(references, answers, ["analysis"], "megc2025")["bleu"] == pytest.approx(1)
    # 5 of 6 words, 3 of 5, 2 of 4, 1 of 3 n-grams
    expected = (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** (1 / 4)
    assert score_answers(references, answers, ["analysis"], "tie")["bleu"] == pytest.approx(expected)


def test_rouge_by_hand():
    # 2 of the 3 words of the reference, 2 of the 4 of the answer
    references, answers = ["brow lowerer dimpler"], ["brow lowerer chin raiser"]
    assert score_answers(references, answers, ["units"])["rouge1"] == pytest.approx(2 / 3)
    assert score_answers(references, answers, ["units"], "m26")["rouge1"] == pytest.approx(2 * 2 / 7)
    # `tightener` and `tightening` share their stem
    assert score_answers(["lid tightener"], ["lid tightening"], ["units"])["rouge1"] == pytest.approx(1 / 2)
    assert score_answers(["lid tightener"], ["lid tightening"], ["units"], "tie")["rouge1"] == pytest.approx(1)


def test_right_answers_score_one():
    references = [
        "negative",
        "disgust",
        "brow lowerer",
        LONG.format(unit="dimpler", fine="disgust", coarse="negative"),
    ]
    kinds = ["coarse", "fine", "units", "long"]
    for profile in ("megc2025", "m26"):
        result = score_answers(references, references, kinds, profile)
        assert {name: result[name] for name in METRICS} == pytest.approx(dict.fromkeys(METRICS, 1.0))
    tie = score_answers(references, references, kinds, "tie")
    assert tie["uf1_coarse"] == 1 and tie["rouge1"] == 1 and tie["bleu"] < 0.5


def test_avg_is_the_mean_of_the_six():
    references, answers = ["negative", "positive", "disgust", "fear"], ["negative", "negative", "disgust", "disgust"]
    result = score_answers(references, answers, ["coarse", "coarse", "fine", "fine"])
    # per class F1 2/3 and 0, recall 1 and 0; 2 of 4 words are found; BLEU-4 needs four words
    assert result["avg"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 3 + 1 / 2 + 1 / 2) / 5)
    sentence = "the action unit present is dimpler"
    result = score_answers(
        [*references, sentence], [*answers, "dimpler"], ["coarse", "coarse", "fine", "fine", "long"]
    )
    assert result["avg"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 3 + 1 / 2 + 0 + (2 + 1 / 6) / 5) / 6)


@pytest.mark.parametrize(
    ("kind", "answer", "dataset", "invalid"),
    [
        ("fine", "anger", "", False),
        ("fine", "anger", "casme2", True),
        ("fine", "confused", "casme3", True),
        ("shown", "Yes.", "", False),
        ("shown", "maybe", "", True),
        ("side", "left", "", False),
        ("side", "both", "", True),
        ("units", "brow lowerer, lid tightener", "", False),
        ("units", "brow lowerer, elbow", "", True),
        ("long", LONG.format(unit="dimpler", fine="disgust", coarse="negative"), "", False),
        ("long", LONG.format(unit="elbow", fine="disgust", coarse="negative"), "", True),
        ("long", LONG.format(unit="dimpler", fine="hunger", coarse="negative"), "", True),
        ("long", "A dimpler, so disgust.", "", True),
        ("analysis", "The brow is lowered and the lids tighten, as in anger.", "", False),
        ("analysis", "disgust", "", True),
        ("coarse", None, "", False),
    ],
)
def test_invalid_answers(kind, answer, dataset, invalid):
    assert is_invalid(answer, kind, "megc2025", dataset) is invalid


def test_invalid_counts_use_the_dataset_of_the_row():
    result = score_answers(["disgust"] * 2, ["anger"] * 2, ["fine"] * 2, datasets=["casme2", "samm"])
    assert result["invalid"] == 1


@pytest.mark.parametrize(
    ("kind", "reference", "answer", "right"),
    [
        ("units", "brow lowerer, lid tightener", "Lid tightener, brow lowerer.", True),
        ("units", "brow lowerer, lid tightener", "brow lowerer", False),
        ("long", LONG.format(unit="dimpler", fine="disgust", coarse="negative"), "nothing", False),
        (
            "long",
            LONG.format(unit="dimpler", fine="disgust", coarse="negative"),
            LONG.format(unit="dimpler", fine="fear", coarse="negative"),
            False,
        ),
    ],
)
def test_what_is_marked_right(kind, reference, answer, right):
    assert is_right(reference, answer, kind) is right


def test_a_composed_analysis_is_right_with_the_same_labels_whatever_their_order():
    true = compose_analysis("brow lowerer, dimpler", "anger", "negative")
    assert is_right(true, compose_analysis("dimpler, brow lowerer", "anger", "negative"), "analysis")
    assert not is_right(true, compose_analysis("dimpler, brow lowerer", "disgust", "negative"), "analysis")
    assert not is_right(true, "disgust", "analysis") and is_right("The brow.", "the brow", "analysis")


def test_the_same_answers_get_other_scores_from_other_profiles():
    true = ["negative"] * 12 + ["positive"] * 6 + ["surprise"] * 6
    said = ["negative"] * 9 + ["negative.", "The expression is negative", "positive"] + ["positive"] * 5 + ["negative"]
    said += ["surprise"] * 5 + ["negative"]
    scores = {name: classes(true, said, profile=name)["uf1_coarse"] for name in PROFILES}
    assert scores["tie"] < scores["megc2025"] < scores["m26"]


def test_bad_calls_are_refused():
    with pytest.raises(ValueError, match=r"unknown scoring profile 'official'.*megc2025"):
        classes(["negative"], ["negative"], profile="official")
    with pytest.raises(ValueError, match="1 references, 2 predictions"):
        score_answers(["negative"], ["negative", "positive"], ["coarse"])
    with pytest.raises(ValueError, match="one row at least"):
        score_answers([], [], [])
