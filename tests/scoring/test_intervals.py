"""Intervals by clips and by subjects: every resample holds every class; drawn answers are scored by their mean."""

import numpy as np
import pytest
from test_bootstrap import make_rows

from megc.scoring.bootstrap import draw_resamples, score_resamples, sum_by_group
from megc.scoring.counts import count_rows
from megc.scoring.evaluation import compare_runs, evaluate_run, find_rare_classes, make_samplings
from megc.scoring.runs import Reference, Run
from megc.scoring.vqa_metrics import METRICS, score_answers
from megc.vqa.questions import Question, question_text


def references_of(rows, dataset="casme2"):
    """References of rows of `make_rows`' form."""
    asked = {kind: Question(kind, 12 if kind == "shown" else None, False) for kind in {row[2] for row in rows}}
    texts = {kind: question_text(question) for kind, question in asked.items()}
    return [
        Reference(f"{dataset}{number}", f"{dataset}/{clip}", dataset, subject, texts[kind], kind, truth)
        for number, (clip, subject, kind, truth, _) in enumerate(rows)
    ]


def run_of(answers, draws=()):
    return Run("m", tuple(answers), ({},) * len(answers), {}, tuple(draws))


def rare_rows(common=40, rare=2, right=False):
    """Clips with a fine class each: two common classes, one of `rare` clips of one subject. The common classes are
    right in four of five clips, the rare one always or never."""
    names = ["disgust"] * common + ["happiness"] * common + ["fear"] * rare
    rows = []
    for clip, name in enumerate(names):
        wrong = not right if name == "fear" else clip % 5 == 0
        said = "surprise" if wrong else name
        rows.append((f"clip{clip}", f"sub{clip % 8 if name != 'fear' else 0}", "fine", name, said))
    return rows


def test_every_resample_holds_every_class():
    rows = rare_rows() + [(*row[:4], row[3]) for row in rare_rows(3, 1)]
    references = references_of(rows[:82]) + references_of(rows[82:], "samm")
    answers = [row[4] for row in rows]
    counts = count_rows([r.answer for r in references], answers, [r.kind for r in references])
    by_clips, by_subjects = (make_samplings(references, "megc2025")[name] for name in ("clips", "subjects"))
    times = draw_resamples(counts, by_clips, 500)
    totals = sum_by_group(counts.table, by_clips.groups)
    wanted = slice(counts.classes["fine"], 2 * counts.classes["fine"])  # no coarse columns
    # each resample has as many clips of each fine class and dataset as there are: by hand
    expected = {"disgust": 43, "fear": 3, "happiness": 43}
    assert ((times @ totals)[:, wanted] == list(expected.values())).all()
    times = draw_resamples(counts, by_subjects, 500)
    totals = sum_by_group(counts.table, by_subjects.groups)
    assert len(times) == 500 and ((times @ totals)[:, wanted] > 0).all()
    names = sorted(set(by_subjects.groups))
    inside = [name.startswith("samm") for name in names]
    assert (times[:, inside].sum(axis=1) == sum(inside)).all(), "as many subjects of each dataset as there are"


def test_intervals_of_two_clips_by_hand():
    # two clips of one class, one right and one wrong: resamples have recall 0, 1/2, 1 with shares 1/4, 1/2, 1/4
    rows = [("a", "s1", "coarse", "negative", "negative"), ("b", "s2", "coarse", "negative", "positive")]
    references = references_of(rows)
    line = evaluate_run(references, run_of([row[4] for row in rows]))[-1]
    assert (line["uar_coarse"], line["uar_coarse_low"], line["uar_coarse_high"]) == (0.5, 0, 1)
    assert (line["uar_coarse_subject_low"], line["uar_coarse_subject_high"]) == (0, 1)
    # one clip a class: every resample within the classes is the set itself; subjects a and b hold one class each
    rows[1] = ("b", "s2", "coarse", "positive", "negative")
    line = evaluate_run(references_of(rows), run_of([row[4] for row in rows]))[-1]
    ends = [line[f"uar_coarse_{end}"] for end in ("low", "high", "subject_low", "subject_high")]
    assert ends == [0.5] * 4
    # all clips of one subject say nothing about other people
    one = [(clip, "s1", *rest) for clip, _, *rest in rows]
    line = evaluate_run(references_of(one), run_of([row[4] for row in one]))[-1]
    assert np.isnan(line["uar_coarse_subject_low"]) and line["uar_coarse_low"] == 0.5


def test_clips_without_a_fine_class_are_drawn_within_the_coarse_one():
    rows = [("a", "s", "coarse", "negative", "negative"), ("b", "s", "coarse", "positive", "positive")]
    rows += [
        ("c", "s", "fine", "fear", "fear"),
        ("c", "s", "coarse", "negative", "x"),
        ("d", "s", "side", "left", "left"),
    ]
    strata = make_samplings(references_of(rows), "megc2025")["clips"].strata
    assert strata == ["casme2/negative", "casme2/positive", "casme2/fear", "casme2/fear", "casme2/"]


@pytest.mark.parametrize("right", [False, True])
def test_resamples_are_not_shifted_by_rare_classes(right):
    rows = rare_rows(right=right)
    references, answers = references_of(rows), [row[4] for row in rows]
    counts = count_rows([row[3] for row in rows], answers, [row[2] for row in rows])
    value = score_answers([row[3] for row in rows], answers, [row[2] for row in rows])["uf1_fine"]
    for sampling in make_samplings(references, "megc2025").values():
        times = draw_resamples(counts, sampling, 2000)
        mean = score_resamples([counts], sampling.groups, times)["uf1_fine"].mean()
        assert mean == pytest.approx(value, abs=0.01)
    # what was done before: 13 % of the resamples lose the rare class, and score without it
    totals = sum_by_group(counts.table, [row[0] for row in rows])
    loose = np.random.default_rng(0).multinomial(82, np.full(82, 1 / 82), size=2000) @ totals
    lost = loose[:, counts.classes["fine"] :][:, sorted({"disgust", "fear", "happiness"}).index("fear")] == 0
    f1 = counts.metrics(loose)["uf1_fine"] * np.where(lost, 3 / 2, 1)
    assert abs(f1.mean() - value) > (0.005 if right else 0.02)


def test_classes_that_hang_on_too_few_subjects_leave_no_interval_by_subjects():
    fine = (
        "anger",
        "contempt",
        "disgust",
        "fear",
        "happiness",
        "repression",
        "sadness",
        "surprise",
        "tense",
        "others",
    )
    rows = [(name, name, "fine", name, name) for name in fine]  # 10! / 10^10 of the resamples hold all: .04 %
    line = evaluate_run(references_of(rows), run_of(fine), resamples=50)[-1]
    assert np.isnan(line["uf1_fine_subject_low"]) and line["uf1_fine_low"] == 1


def test_differences_have_both_intervals_and_are_zero_for_the_same_answers():
    rows = make_rows(60, 0.4)
    references, weak = references_of(rows), [row[4] for row in rows]
    strong = [row[3] if row[0][-1] in "02468" else row[4] for row in rows]
    found = compare_runs(references, run_of(weak), run_of(strong))["avg"]
    assert 0 < found.low < found.value < found.high and found.subject_low < found.value < found.subject_high
    assert found.clear
    same = compare_runs(references, run_of(weak), run_of(weak))["avg"]
    assert same == (0, 0, 0, 0, 0) and not same.clear


def test_a_run_that_draws_its_answers_is_scored_by_the_mean_of_its_sets():
    rows = make_rows(60, 0.4)
    references = references_of(rows)
    sets = [tuple(row[4] for row in make_rows(60, skill, seed)) for skill, seed in ((0.3, 1), (0.6, 2), (0.5, 3))]
    line = evaluate_run(references, run_of(sets[0], sets), resamples=200)[-1]
    alone = [evaluate_run(references, run_of(answers), resamples=200)[-1] for answers in sets]
    for metric in (*METRICS, "au_f1", "consistent", "invalid"):
        assert line[metric] == pytest.approx(np.mean([one[metric] for one in alone])), metric
    # each resample is scored for each set and averaged: narrower than any one set's, and about the mean
    widths = [one["avg_high"] - one["avg_low"] for one in alone]
    assert line["avg_high"] - line["avg_low"] < min(widths)
    assert line["avg_low"] < line["avg"] < line["avg_high"]
    against = compare_runs(references, run_of(sets[1]), run_of(sets[0], sets), resamples=200)["avg"]
    assert against.value == pytest.approx(line["avg"] - alone[1]["avg"])


def test_classes_of_few_clips_are_named():
    references = references_of(rare_rows()) + references_of(rare_rows(5, 3), "samm")
    assert find_rare_classes(references) == {"casme2": {"fine fear": (2, 1)}, "samm": {"fine fear": (3, 1)}}
