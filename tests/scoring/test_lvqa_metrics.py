"""Scores of ME-LVQA answers: cases computed on paper, unreadable answers, intervals, the program's table."""

import math
from pathlib import Path

import pytest
from sklearn.metrics import f1_score, recall_score

from megc.clips import Event, Video
from megc.csv_tables import read_table
from megc.facs import ActionUnit
from megc.files import write_jsonl
from megc.problems import Problems
from megc.scoring.lvqa_metrics import (
    LVQA_METRICS,
    count_long_rows,
    is_unreadable,
    read_event_type,
    read_unit_set,
    score_long_sums,
)
from megc.scoring.report import score_files
from megc.scoring.settings import ScoreSettings
from megc.vqa.long_questions import video_rows
from megc.vqa.questions import answer_fault, parse


def score(rows: list[tuple[str, str, str | None]]) -> dict[str, float]:
    """Scores of rows (kind, true answer, answer)."""
    kinds, true, answers = zip(*rows, strict=True)
    table = count_long_rows(true, answers, kinds)
    return {name: float(value[0]) for name, value in score_long_sums(table.sum(axis=0, keepdims=True), table).items()}


def test_counts_have_mean_absolute_and_root_mean_squared_errors() -> None:
    scores = score([("count_all", "5", "8"), ("count_all", "2", "2 events"), ("count_micro", "1", "0")])
    assert scores["mae_all"] == 1.5 and scores["rmse_all"] == pytest.approx(math.sqrt(9 / 2))
    assert scores["mae_micro"] == scores["rmse_micro"] == 1
    assert math.isnan(scores["mae_macro"]) and math.isnan(scores["au_set_f1"]) and math.isnan(scores["uf1_type"])


@pytest.mark.parametrize("answer", [None, "", "many", "3 or 4", "-4"])
def test_a_count_that_cannot_be_read_is_no_event_and_stays_in(answer: str | None) -> None:
    assert score([("count_all", "4", answer), ("count_all", "1", "1")])["mae_all"] == 2


@pytest.mark.parametrize(
    ("true", "answer", "f1", "jaccard"),
    [
        ("brow lowerer, dimpler", "dimpler, brow lowerer", 1, 1),
        ("brow lowerer, dimpler", "AU4 and jaw drop, eye closer", 2 / 5, 1 / 4),
        ("brow lowerer", "brow lowerer, grin, smirk", 2 / 3, 1 / 2),  # unknown names are a wrong one together
        ("brow lowerer, action unit 80", "action unit 80", 2 / 3, 1 / 2),
        ("none", "None.", 1, 1),
        ("none", "dimpler", 0, 0),
        ("none", None, 0, 0),
        ("dimpler", "none", 0, 0),
        ("dimpler", None, 0, 0),
    ],
)
def test_action_units_are_compared_as_sets(true: str, answer: str | None, f1: float, jaccard: float) -> None:
    scores = score([("distinct_units", true, answer)])
    assert scores["au_set_f1"] == pytest.approx(f1) and scores["au_set_jaccard"] == pytest.approx(jaccard)


def test_sets_are_averaged_over_videos() -> None:
    scores = score([("distinct_units", "dimpler", "dimpler"), ("distinct_units", "dimpler", "jaw drop")])
    assert scores["au_set_f1"] == scores["au_set_jaccard"] == 0.5


def test_types_have_macro_f1_and_recall_as_scikit_learn_gives_them() -> None:
    true = ["micro"] * 3 + ["macro"] * 5
    answers = ["micro", "macro", "?", "macro", "macro", "micro", "macro", ""]
    scores = score([("event_type", f"{t}-expression", f"{a}-expression") for t, a in zip(true, answers, strict=True)])
    options = {"labels": ["macro", "micro"], "average": "macro", "zero_division": 0}
    assert scores["uf1_type"] == pytest.approx(f1_score(true, answers, **options))
    assert scores["uar_type"] == pytest.approx(recall_score(true, answers, **options))


def test_a_type_that_no_reference_has_is_no_class() -> None:
    rows = [("event_type", "macro-expression", answer) for answer in ("macro-expression", "micro-expression")]
    assert score(rows)["uar_type"] == 0.5 and score(rows)["uf1_type"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("answer", "type_"),
    [
        ("micro-expression", "micro"),
        ("It is a Macro-expression.", "macro"),
        ("microexpression", "micro"),
        ("micro or macro", ""),
        ("microscopic", ""),
        ("", ""),
    ],
)
def test_a_type_is_the_only_one_that_an_answer_names(answer: str, type_: str) -> None:
    assert read_event_type(answer) == type_


def test_unreadable_answers_are_known_by_the_kind_of_question() -> None:
    assert read_unit_set("none") == set() and read_unit_set("dimpler, grin") == {14, 0}
    assert [is_unreadable("none", kind) for kind in ("count_all", "distinct_units", "event_type")] == [
        True,
        False,
        True,
    ]
    assert is_unreadable("dimpler, grin", "distinct_units") and not is_unreadable("3", "count_micro")


def make_files(folder: Path) -> tuple[Path, list[dict]]:
    """References of twelve videos of four subjects in two datasets, and their rows."""
    rows = []
    for number in range(12):
        types = ["micro", "macro", "macro"][: 1 + number % 3]
        events = [
            Event(10 * n, None, 10 * n + 5, type_, action_units=(ActionUnit(4),)) for n, type_ in enumerate(types)
        ]
        dataset, subject = ("samm_lv", "casme_sq")[number % 2], f"s{number % 4}"
        name = f"v{number}"
        rows += video_rows(Video(f"{dataset}/{subject}/{name}", dataset, subject, name, 30.0, events=tuple(events)))
    write_jsonl(folder / "references.jsonl", rows)
    return folder / "references.jsonl", rows


def test_the_program_knows_the_questions_and_writes_a_table_of_their_own(tmp_path: Path) -> None:
    references, rows = make_files(tmp_path)
    write_jsonl(tmp_path / "right" / "predictions.jsonl", rows)
    wrong = [{**row, "answer": "2" if row["question"].startswith("How many") else "grin"} for row in rows]
    wrong[-1]["answer"] = ""
    write_jsonl(tmp_path / "wrong" / "predictions.jsonl", wrong)
    runs = tuple(tmp_path / name / "predictions.jsonl" for name in ("right", "wrong"))
    problems = Problems()
    text = score_files(ScoreSettings(runs, (references,), tmp_path / "out", resamples=200), problems)
    assert "second-hand" in text and [problem.what[:5] for problem in problems] == ["1 of "]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["lvqa.csv"], "no table of ME-VQA"
    table = read_table(tmp_path / "out" / "lvqa.csv").to_dict("records")
    assert [(row["run"], row["dataset"], row["videos"], row["subjects"]) for row in table] == [
        (run, dataset, videos, subjects)
        for run in ("right", "wrong")
        for dataset, videos, subjects in (("casme_sq", 6, 2), ("samm_lv", 6, 2), ("overall", 12, 4))
    ]
    right, bad = table[2], table[5]
    for name in LVQA_METRICS:
        best = 0 if name.startswith(("mae", "rmse")) else 1
        for end in ("", "_low", "_high", "_subject_low", "_subject_high"):
            assert right[name + end] == best, name + end
        assert bad[name] != best
    assert bad["mae_all"] == pytest.approx(8 / 12)  # 4 videos each of 1, 2 and 3 events
    assert bad["mae_all_low"] < 8 / 12 < bad["mae_all_high"]
    for name in LVQA_METRICS:
        assert bad[f"paired_{name}"] == pytest.approx(bad[name] - right[name])
        # the first run is right in every resample, so that the difference varies as the second run does
        assert bad[f"paired_{name}_low"] == pytest.approx(bad[f"{name}_low"] - right[name])
        assert math.isnan(right[f"paired_{name}"])
    assert "wrong minus right" in text
    unreadable = sum(not row["question"].startswith("How many") for row in wrong) - 1
    assert (bad["invalid"], bad["missing"]) == (unreadable, 1)


def test_answers_of_events_are_all_readable_and_allowed(tmp_path: Path) -> None:
    _, rows = make_files(tmp_path)
    for row in rows:
        question = parse(row["question"])
        assert not is_unreadable(row["answer"], question.kind)
        assert answer_fault(question, row["answer"], row["dataset"]) is None
