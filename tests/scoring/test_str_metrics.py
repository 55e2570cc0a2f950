"""Matching of intervals and scores of ME-STR, computed by hand; the public evaluator's slips, one by one."""

import math

import numpy as np
import pytest

from megc.clips import Event, Video
from megc.scoring.interval_matching import interval_ious, match_best_first, match_events, match_in_file_order
from megc.scoring.str_evaluation import score_sums
from megc.scoring.str_metrics import PROFILES, SpottedInterval, count_videos, explain_undefined


def video(name, *events, subject="s1", dataset="casme3"):
    """A video with events of (onset, offset, emotion) or (onset, offset, emotion, type)."""
    annotated = tuple(Event(e[0], None, e[1], e[3] if len(e) > 3 else "micro", e[2]) for e in events)
    return Video(f"{dataset}/{subject}/{name}", dataset, subject, name, 30.0, events=annotated)


def spotted(**by_video):
    """Predictions of (onset, offset, emotion) or (onset, offset, emotion, type), by video of subject s1."""
    return {
        f"casme3/s1/{name}": [
            SpottedInterval(i[0], i[1], i[3] if len(i) > 3 else "micro", math.nan, i[2]) for i in rows
        ]
        for name, rows in by_video.items()
    }


def score(videos, predictions, profile, kind="all"):
    counts = count_videos(videos, predictions, PROFILES[profile], kind)
    values = score_sums(counts, counts.table.sum(axis=0, keepdims=True), PROFILES[profile], emotions=True)
    return {name: float(value[0]) for name, value in values.items()}


def matchings(predicted, events):
    arrays = [np.array(rows, float).reshape(-1, 2) for rows in (predicted, events)]
    return [match(*arrays) for match in (match_best_first, match_in_file_order, match_events)]


def test_frames_at_both_ends_belong_to_an_interval():
    ious = interval_ious(np.array([[0, 9], [5, 5], [0.5, 9.5]]), np.array([[5, 14], [10, 12], [0, 9]]))
    assert ious == pytest.approx(np.array([[5 / 15, 0, 1], [0.1, 0, 0.1], [5.5 / 14.5, 0.5 / 12.5, 9.5 / 10.5]]))
    assert interval_ious(np.array([[9, 3.0]]), np.array([[0, 20.0]])).max() == 0, "it ends before it begins"


def test_half_of_the_union_is_a_hit():
    strict, public, baseline = matchings([(0, 9)], [(0, 19)])
    assert strict.hits == public.hits == baseline.hits == ((0, 0),)
    assert all(not matching.hits for matching in matchings([(0, 9)], [(0, 20)]))


def test_best_pair_is_matched_first_whatever_the_order():
    predicted, events = [(0, 15), (0, 10)], [(0, 10), (4, 15)]
    strict, public, _ = matchings(predicted, events)
    assert set(strict.hits) == {(1, 0), (0, 1)} and strict.false_alarms == strict.misses == 0
    assert public.hits == ((0, 0), (0, 1)) and public.false_alarms == 1, "the first takes both"


def test_interval_over_two_events_is_one_hit_in_strict_and_two_elsewhere():
    strict, public, baseline = matchings([(10, 29)], [(10, 19), (20, 29)])
    assert (len(strict.hits), strict.false_alarms, strict.misses) == (1, 0, 1)
    assert (len(public.hits), public.false_alarms, public.misses) == (2, 0, 0)
    assert (len(baseline.hits), baseline.false_alarms, baseline.misses) == (2, -1, 0)


def test_several_intervals_on_one_event():
    strict, public, baseline = matchings([(0, 9), (1, 9)], [(0, 9)])
    assert [(len(m.hits), m.false_alarms, m.misses) for m in (strict, public, baseline)] == [(1, 1, 0)] * 3
    assert strict.hits == ((0, 0),)


def test_nothing_predicted_and_nothing_annotated():
    assert [(m.hits, m.false_alarms, m.misses) for m in matchings([], [(0, 9)])] == [((), 0, 1)] * 3
    assert [(m.hits, m.false_alarms, m.misses) for m in matchings([(0, 9)], [])] == [((), 1, 0)] * 3


def test_types_are_matched_apart_added_up_or_ignored():
    videos = [video("a", (0, 9, "negative"), (100, 149, "positive", "macro"))]
    predictions = spotted(a=[(0, 9, "negative", "macro"), (100, 149, "positive", "macro")])
    hits = {kind: score(videos, predictions, "strict", kind)["tp"] for kind in PROFILES["strict"].types}
    assert hits == {"micro": 0, "macro": 1, "typed": 1, "all": 2}
    assert score(videos, predictions, "megc2020", "all")["tp"] == 1, "that of the challenge is the sum"
    assert score(videos, predictions, "official", "all")["tp"] == 2


def test_f1_of_analysis_is_the_harmonic_mean_of_macro_precision_and_recall():
    """Negative 3 of 4 right, one called surprise; positive 1 of 2, one called others; surprise 1 of 1."""
    truth = ["negative"] * 4 + ["positive"] * 2 + ["surprise", "others"]
    answers = ["negative"] * 3 + ["surprise", "positive", "others", "surprise", "negative"]
    ends = [(100 * index, 100 * index + 9) for index in range(8)]
    videos = [video("a", *((*pair, name) for pair, name in zip(ends, truth, strict=True)))]
    values = score(videos, spotted(a=[(*pair, name) for pair, name in zip(ends, answers, strict=True)]), "strict")
    precision, recall = (1 + 1 + 1 / 2) / 3, (3 / 4 + 1 / 2 + 1) / 3
    assert values["f1"] == 1 and values["analysed"] == 7
    assert (values["tp_analysis"], values["fp_analysis"], values["fn_analysis"]) == (5, 1, 2)
    assert values["f1_analysis"] == pytest.approx(2 * precision * recall / (precision + recall))
    assert values["uf1"] == pytest.approx((6 / 7 + 2 / 3 + 2 / 3) / 3) and values["uar"] == pytest.approx(recall)
    public = score(videos, spotted(a=[(*pair, name) for pair, name in zip(ends, answers, strict=True)]), "official")
    assert public["f1_analysis"] == pytest.approx(values["f1_analysis"])
    assert public["uar"] == pytest.approx(precision), "its UAR is macro precision"
    assert public["fn_analysis"] == public["fp_analysis"] == 1, "its misses are its false alarms"


@pytest.mark.parametrize(
    ("truth", "answers", "expected"),
    [
        (["negative", "positive"], ["negative", "negative"], (0.1667, 0.3333, 0.2222, 0.2222)),
        (["negative", "negative"], ["negative", "positive"], (0.3333, 0.1667, 0.2222, 0.2222)),
    ],
)
def test_patterns_behind_the_organisers_table(truth, answers, expected):
    """Table 1 of arXiv 2506.15298 (SAMM; CAS(ME)³): precision, recall, F1, UF1; UAR printed is the precision."""
    ends = [(0, 9), (100, 109)]
    videos = [video("a", *((*pair, name) for pair, name in zip(ends, truth, strict=True)))]
    predictions = spotted(a=[(*pair, name) for pair, name in zip(ends, answers, strict=True)])
    public, strict = score(videos, predictions, "official"), score(videos, predictions, "strict")
    precision, recall, f1, uf1 = expected
    assert (public["uar"], public["f1_analysis"], public["uf1"]) == pytest.approx((precision, f1, uf1), abs=5e-5)
    assert (public["tp_analysis"], public["fp_analysis"], public["fn_analysis"]) == (1, 1, 1)
    # over the classes that the events have: two, or one
    assert strict["uar"] == 0.5 and recall == pytest.approx(strict["uar"] * len(set(truth)) / 3, abs=5e-5)


def test_subject_without_predictions_costs_the_public_evaluator_no_miss():
    videos = [video("a", (0, 9, "negative")), video("b", (0, 9, "negative"), subject="s2")]
    predictions = spotted(a=[(0, 9, "negative")])
    assert score(videos, predictions, "official")["f1"] == 1
    assert score(videos, predictions, "strict")["f1"] == pytest.approx(2 / 3)


def test_video_without_events_costs_the_public_evaluator_no_false_alarm():
    videos = [video("a", (0, 9, "negative")), video("b")]
    predictions = spotted(a=[(0, 9, "negative")], b=[(0, 9, "negative"), (20, 29, "positive")])
    assert score(videos, predictions, "official")["fp"] == 0
    assert score(videos, predictions, "strict")["fp"] == 2


def test_all_right_in_one_class_is_undefined_officially_and_perfect_in_truth():
    videos, predictions = [video("a", (0, 9, "negative"))], spotted(a=[(0, 9, "negative")])
    public, strict = score(videos, predictions, "official"), score(videos, predictions, "strict")
    assert math.isnan(public["f1_analysis"]) and math.isnan(public["strs"]) and public["uf1"] == public["uar"] == 0
    assert "one class" in explain_undefined(public, PROFILES["official"])
    assert (strict["f1_analysis"], strict["uf1"], strict["uar"], strict["strs"]) == (1, 1, 1, 1)


def test_two_classes_all_right_are_two_thirds_officially():
    """Surprise is neither in truth nor in answers, and counts 0."""
    videos = [video("a", (0, 9, "negative"), (20, 29, "positive"))]
    predictions = spotted(a=[(0, 9, "negative"), (20, 29, "positive")])
    assert score(videos, predictions, "official")["f1_analysis"] == pytest.approx(2 / 3)
    assert score(videos, predictions, "strict")["f1_analysis"] == 1


@pytest.mark.parametrize("predictions", [{}, spotted(a=[(50, 59, "negative")])])
def test_no_hit_stops_the_public_evaluator_and_is_zero_in_strict(predictions):
    videos = [video("a", (0, 9, "negative"))]
    public, strict = score(videos, predictions, "official"), score(videos, predictions, "strict")
    assert all(math.isnan(public[name]) for name in ("f1_analysis", "uf1", "uar", "strs"))
    assert "KeyError 'gt'" in explain_undefined(public, PROFILES["official"])
    assert strict["strs"] == strict["f1_analysis"] == strict["f1"] == 0
    assert explain_undefined(strict, PROFILES["strict"]) == ""


def test_hit_of_another_emotion_is_spotted_but_not_analysed():
    videos, predictions = [video("a", (0, 9, "others"))], spotted(a=[(0, 9, "negative")])
    public = score(videos, predictions, "official")
    assert public["tp"] == 1 and public["analysed"] == 0 and math.isnan(public["strs"])
    assert "no hit has an analysed emotion" in explain_undefined(public, PROFILES["official"])


def test_all_answers_wrong_divide_zero_by_zero_officially():
    videos, predictions = [video("a", (0, 9, "negative"))], spotted(a=[(0, 9, "positive")])
    assert math.isnan(score(videos, predictions, "official")["strs"])
    assert score(videos, predictions, "strict")["strs"] == 0


def test_fine_emotions_count_as_their_coarse_class():
    videos, predictions = [video("a", (0, 9, "disgust"))], spotted(a=[(0, 9, "anger")])
    assert score(videos, predictions, "strict")["f1_analysis"] == 1


def test_fractional_onset_has_no_frame_in_common_officially():
    videos, predictions = [video("a", (0, 9, "negative"))], spotted(a=[(0.5, 9.5, "negative")])
    assert score(videos, predictions, "official")["tp"] == 0
    assert score(videos, predictions, "strict")["tp"] == 1
