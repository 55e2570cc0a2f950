"""Resampling by counts must equal scoring the resampled texts again."""

import time

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import f1_score, recall_score

from megc.facs import FINE_TO_COARSE
from megc.scoring.bootstrap import (
    Sampling,
    bootstrap_intervals,
    draw_resamples,
    paired_differences,
    score_resamples,
    sum_by_group,
)
from megc.scoring.counts import count_rows
from megc.scoring.vqa_metrics import METRICS, PROFILES, read_class_labels, score_answers
from megc.vqa.questions import compose_long

FINE = ("disgust", "happiness", "repression", "surprise")
UNITS = ("brow lowerer", "lip corner puller", "chin raiser", "inner brow raiser, outer brow raiser")


def make_rows(clips, skill, seed=0):
    """References and answers of `clips` clips by a pretended model that is right with probability `skill`."""
    rng = np.random.default_rng(seed)
    rows = []
    for clip in range(clips):
        truth = rng.integers(4)
        said = truth if rng.random() < skill else rng.integers(4)
        for kind in ("coarse", "fine", "units", "shown", "long"):
            pair = [
                {
                    "coarse": FINE_TO_COARSE[FINE[index]],
                    "fine": FINE[index],
                    "units": UNITS[index],
                    "shown": "yes" if index else "no",
                    "long": compose_long(UNITS[index], FINE[index], FINE_TO_COARSE[FINE[index]]),
                }[kind]
                for index in (truth, said)
            ]
            rows.append((f"clip{clip}", f"subject{clip // 6}", kind, *pair))
    return rows


def spoil(rows):
    """Some answers missing, some outside the vocabulary, one of them a sentence."""
    odd = {3: None, 10: "negative.", 11: "bewilderment", 25: "I think it is positive", 31: ""}
    return [(*row[:4], odd.get(number, row[4])) for number, row in enumerate(rows)]


def columns(rows):
    clips, subjects, kinds, references, answers = zip(*rows, strict=True)
    return list(clips), list(subjects), list(kinds), list(references), list(answers)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("by", [0, 1], ids=["clips", "subjects"])
def test_counts_equal_scoring_again(profile, by):
    rows = spoil(make_rows(20, 0.5))
    _, _, kinds, references, answers = columns(rows)
    groups = [row[by] for row in rows]
    counts = count_rows(references, answers, kinds, profile)
    times = draw_resamples(counts, Sampling(groups), resamples=25, seed=7)
    scores = score_resamples([counts], groups, times)
    labels = {kind: read_class_labels(references, answers, kinds, kind, profile)[2] for kind in ("coarse", "fine")}
    for sample, found in enumerate(times):
        often = dict(zip(sorted(set(groups)), found, strict=True))
        again = [row for row in rows for _ in range(often[row[by]])]
        _, _, kinds, references, answers = columns(again)
        expected = score_answers(references, answers, kinds, profile)
        for kind, names in labels.items():  # the classes of all rows, though a resample need not say each of them
            true, said, _ = read_class_labels(references, answers, kinds, kind, profile)
            options = {"labels": names, "average": "macro", "zero_division": 0}
            expected[f"uf1_{kind}"] = f1_score(true, said, **options)
            expected[f"uar_{kind}"] = recall_score(true, said, **options)
        expected["avg"] = sum(expected[metric] for metric in METRICS[:6]) / 6
        for metric in METRICS:
            assert scores[metric][sample] == pytest.approx(expected[metric], abs=1e-12, nan_ok=True), metric


@pytest.mark.parametrize("profile", PROFILES)
def test_all_rows_once_is_the_score(profile):
    *_, kinds, references, answers = columns(spoil(make_rows(30, 0.4)))
    counts = count_rows(references, answers, kinds, profile)
    found, expected = counts.metrics(counts.table.sum(axis=0)), score_answers(references, answers, kinds, profile)
    assert {name: float(found[name]) for name in METRICS} == pytest.approx({name: expected[name] for name in METRICS})


def test_macro_means_run_over_the_classes_of_all_rows():
    counts = count_rows(["negative", "positive"], ["negative", "negative"], ["coarse", "coarse"])
    totals = sum_by_group(counts.table, ["a", "b"])
    assert counts.metrics(np.array([2, 0]) @ totals)["uf1_coarse"] == 0.5, "1 of the one class, 0 of the other"
    assert counts.metrics(np.array([0, 2]) @ totals)["uar_coarse"] == 0
    assert np.isnan(counts.metrics(np.array([1, 1]) @ totals)["uf1_fine"])


def test_interval_holds_the_score_and_is_seeded():
    clips, _, kinds, references, answers = columns(make_rows(60, 0.5))
    counts = count_rows(references, answers, kinds)
    first = bootstrap_intervals([counts], Sampling(clips), seed=1)
    assert first == bootstrap_intervals([counts], Sampling(clips), seed=1)
    assert first != bootstrap_intervals([counts], Sampling(clips), seed=2)
    value = score_answers(references, answers, kinds)
    for metric in METRICS:
        assert first[metric][0] < value[metric] < first[metric][1]


def test_interval_is_that_of_scipy():
    clips, subjects, kinds, references, answers = columns(make_rows(60, 0.5))
    counts = count_rows(references, answers, kinds)
    for groups in (clips, subjects):
        totals = sum_by_group(counts.table, groups)

        def statistic(drawn, axis, totals=totals):
            return counts.metrics(totals[drawn].sum(axis=axis - 1 if axis < 0 else axis))["avg"]

        options = {"n_resamples": 2000, "method": "percentile", "vectorized": True, "rng": 0}
        end = bootstrap((np.arange(len(totals)),), statistic, **options).confidence_interval
        assert bootstrap_intervals([counts], Sampling(groups), resamples=2000)["avg"] == pytest.approx(
            (end.low, end.high), abs=0.012
        )


def test_interval_covers_the_truth_as_often_as_it_says():
    # recall of one class over clips is a mean of coin flips: 90 % intervals must cover its true value about 90 times
    rng, covered = np.random.default_rng(0), 0
    for trial in range(100):
        hits = rng.random(80) < 0.6
        answers = ["negative" if hit else "positive" for hit in hits]
        counts = count_rows(["negative"] * 80, answers, ["coarse"] * 80)
        low, high = bootstrap_intervals([counts], Sampling(range(80)), resamples=400, seed=trial, level=0.9)[
            "uar_coarse"
        ]
        covered += low <= 0.6 <= high
    assert 80 <= covered <= 98


def test_rows_of_a_clip_are_drawn_together():
    # ten rows a clip, all right or all wrong: by clip the recall is far less sure than by row
    answers = ["negative" if clip % 2 else "positive" for clip in range(20) for _ in range(10)]
    counts = count_rows(["negative"] * 200, answers, ["coarse"] * 200)

    def width(groups):
        low, high = bootstrap_intervals([counts], Sampling(groups))["uar_coarse"]
        return high - low

    assert width([row // 10 for row in range(200)]) > 2.5 * width(range(200))


def test_paired_difference():
    clips, _, kinds, references, weak = columns(make_rows(80, 0.3))
    strong = [
        truth if clip[-1] in "02468" else said for clip, truth, said in zip(clips, references, weak, strict=True)
    ]
    one, two = count_rows(references, weak, kinds), count_rows(references, strong, kinds)
    difference, low, high = paired_differences([one], [two], Sampling(clips))["avg"]
    expected = score_answers(references, strong, kinds)["avg"] - score_answers(references, weak, kinds)["avg"]
    assert difference == pytest.approx(expected)
    assert 0 < low < difference < high
    same = paired_differences([one], [one], Sampling(clips))["avg"]
    assert same == (0, 0, 0)


def test_pairing_sees_what_two_intervals_hide():
    clips, _, kinds, references, weak = columns(make_rows(80, 0.5))
    strong = [
        truth if clip in ("clip3", "clip40", "clip7", "clip55", "clip61", "clip70", "clip12") else said
        for clip, truth, said in zip(clips, references, weak, strict=True)
    ]
    one, two = count_rows(references, weak, kinds), count_rows(references, strong, kinds)
    assert (
        bootstrap_intervals([one], Sampling(clips))["avg"][1] > bootstrap_intervals([two], Sampling(clips))["avg"][0]
    )  # the two intervals overlap
    assert paired_differences([one], [two], Sampling(clips))["avg"][1] > 0


def test_runs_of_other_lengths_are_refused():
    one, two = count_rows(["negative"], ["negative"], ["coarse"]), count_rows(["no"] * 2, ["no"] * 2, ["shown"] * 2)
    with pytest.raises(ValueError, match="same rows"):
        paired_differences([one], [two], Sampling(["a"]))


def test_a_thousand_resamples_of_six_hundred_clips_are_quick():
    clips, _, kinds, references, answers = columns(make_rows(600, 0.5))
    counts = count_rows(references, answers, kinds)
    start = time.process_time()
    bootstrap_intervals([counts], Sampling(clips), resamples=1000)
    assert time.process_time() - start < 2
