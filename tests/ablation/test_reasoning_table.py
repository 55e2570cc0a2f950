"""The table of reasoning options: scores and paired differences by arm, folds pooled, nothing learnt across folds."""

import json
from dataclasses import replace

import pytest

from megc.ablation.reasoning_table import compare_reasoning
from megc.ablation.settings import CompareReasoningSettings
from megc.csv_tables import read_table
from megc.problems import DataError, Problems
from megc.scoring.vqa_metrics import METRICS
from megc.vqa.questions import compose_long

COARSE, FINE, UNITS, LONG = (
    "What is the coarse expression class?",
    "What is the fine-grained expression class?",
    "What is the action unit?",
    "What is the action unit present, and based on it, what is the fine-grained expression and the coarse expression "
    "class?",
)
CLASSES = {"disgust": ("brow lowerer", "negative"), "happiness": ("lip corner puller", "positive")}


def rows_of(subject, clip, fine, coarse=None, said=None):
    """Four rows of a clip; `coarse` and the sentence's fine class may contradict `fine`."""
    unit, own = CLASSES[fine]
    texts = (coarse or own, fine, unit, compose_long(unit, said or fine, coarse or own))
    return [
        {
            "id": f"casme2_{subject}_{clip}_{number}",
            "dataset": "casme2",
            "image_id": f"{subject}_{clip}",
            "subject": subject,
            "filename": clip,
            "question": question,
            "answer": text,
        }
        for number, (question, text) in enumerate(zip((COARSE, FINE, UNITS, LONG), texts, strict=True), start=1)
    ]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def folds(tmp_path):
    """Two folds of two subjects each; the fine classes are right, the coarse ones of the second clips wrong."""
    truth = {s: rows_of(s, "EP01", "disgust") + rows_of(s, "EP02", "happiness") for s in ("sub01", "sub02")}
    said = {s: rows_of(s, "EP01", "disgust") + rows_of(s, "EP02", "happiness", "surprise") for s in truth}
    references = write(tmp_path / "truth.jsonl", truth["sub01"] + truth["sub02"])
    predictions = tuple(write(tmp_path / f"{s}.jsonl", said[s]) for s in truth)
    train = (write(tmp_path / "train1.jsonl", truth["sub02"]), write(tmp_path / "train2.jsonl", truth["sub01"]))
    return CompareReasoningSettings(predictions, (references,), train, table=tmp_path / "table.csv", resamples=50)


def test_each_arm_is_scored_beside_the_plain_answers(folds):
    problems = Problems()
    compare_reasoning(folds, problems)
    table = read_table(folds.table).set_index("reason")
    assert list(problems) == [] and list(table["clips"].unique()) == [4]
    assert list(table.index[:2]) == ["none", "snap"] and table.loc["none", "changed"] == 0
    plain, joint, both = table.loc["none"], table.loc["joint"], table.loc["joint+compose"]
    # coarse: disgust clips right, happiness clips `surprise`: F1 of negative 1, of positive 0
    assert (plain["uf1_coarse"], joint["uf1_coarse"]) == pytest.approx((0.5, 1.0))
    assert joint["paired_uf1_coarse"] == pytest.approx(0.5) and joint["paired_uf1_coarse_low"] >= 0
    assert [list(line[["agree_coarse", "agree_long"]]) for line in (plain, joint, both)] == [
        [0.5, 1],
        [1, 0.5],
        [1, 1],
    ]
    assert (joint["changed"], both["changed"]) == (2, 4) and both["avg"] == pytest.approx(1.0)
    assert all(plain[f"paired_{metric}"] == 0 for metric in METRICS)
    ends = [f"paired_avg_{end}" for end in ("subject_low", "subject_high", "low", "high")]
    assert joint[ends].notna().all() and plain[ends].eq(0).all()
    shown = folds.table.with_suffix(".md").read_text()
    assert (
        "| option | coarse UF1 / UAR |" in shown and "| avg [95 % by subjects] [by clips] | clips agreeing |" in shown
    )
    assert "| `joint compose` | +.500* / +.500* | 0 / 0 |" in shown
    assert "Classes with fewer than five clips" in shown


def test_a_fold_learns_from_its_own_training_side_only(folds):
    wrong = replace(folds, train=folds.train[::-1])
    with pytest.raises(ValueError, match="casme2/sub01 is among the training subjects"):
        compare_reasoning(wrong, Problems())


def test_rows_that_do_not_fit_are_named(folds, tmp_path):
    problems = Problems()
    one = replace(folds, predictions=folds.predictions[:1], train=folds.train[:1], resamples=10)
    compare_reasoning(one, problems)
    assert "8 references have no prediction" in str(*problems)
    assert list(read_table(folds.table)["clips"].unique()) == [2]
    twice = replace(folds, predictions=folds.predictions[:1] * 2, train=folds.train[:1])
    with pytest.raises(DataError, match="a row is answered twice"):
        compare_reasoning(twice, Problems())
    empty = write(tmp_path / "empty.jsonl", [])
    with pytest.raises(DataError, match=r"empty\.jsonl: no (answers|row)"):
        compare_reasoning(replace(folds, predictions=(folds.predictions[0], empty)), Problems())
    other = [{**row, "question": COARSE} for row in rows_of("sub02", "EP01", "disgust")]
    with pytest.raises(DataError, match=r"other\.jsonl: 3 of 4 answers are to other questions"):
        compare_reasoning(
            replace(folds, predictions=(folds.predictions[0], write(tmp_path / "other.jsonl", other))), Problems()
        )
    with pytest.raises(ValueError, match="one training file"):
        replace(folds, predictions=folds.predictions * 2)
    with pytest.raises(ValueError, match="there is no option jont; did you mean joint"):
        replace(folds, reason=("snap", "jont+compose"))


def test_files_whose_ids_clash_are_scored_together(tmp_path):
    first = rows_of("sub01", "EP01", "disgust")
    second = [
        {**row, "id": twin["id"]} for row, twin in zip(rows_of("sub02", "EP02", "happiness"), first, strict=True)
    ]
    references = tuple(write(tmp_path / f"truth{n}.jsonl", rows) for n, rows in enumerate((first, second)))
    predictions = (write(tmp_path / "answers.jsonl", second + first),)
    problems = Problems()
    settings = CompareReasoningSettings(
        predictions, references, train=(), reason=("compose",), resamples=20, table=tmp_path / "t.csv"
    )
    compare_reasoning(settings, problems)
    table = read_table(tmp_path / "t.csv")
    assert list(table["avg"]) == [1, 1] and list(table["clips"]) == [2, 2] and not len(problems)
    with pytest.raises(DataError, match="stands in another of the files"):
        compare_reasoning(replace(settings, references=(*references, references[0])), problems)
