"""Profiles drawn from training clips: answers that go together, as frequent as in training, and reproducible."""

import itertools
import json

import pytest
from flow_set import clip_records, make_set, store
from test_baselines import with_tags

from megc.baselines import DRAWS, answer_files, prior_sampled
from megc.files import read_jsonl, write_jsonl
from megc.problems import DataError, Problems
from megc.scoring.evaluation import evaluate_run
from megc.scoring.report import score_runs
from megc.scoring.runs import read_references, read_runs
from megc.scoring.vqa_metrics import score_answers
from megc.vqa.instructions import answer_of
from megc.vqa.questions import compose_long


def test_sampled_answers_are_the_labels_of_one_training_clip():
    train = make_set(6)[0]
    test = [record for name in "abcdefgh" for record in clip_records("sub09", name, "repression", absent=12)]
    sets = prior_sampled(train, test, draws=3)
    labels = [answer_of(record) for record in train]
    bundles = {tuple(labels[start : start + 3]) for start in range(0, len(train), 7)}
    for answers, start in itertools.product(zip(*sets, strict=True), range(0, len(test), 7)):
        coarse, fine, units, _, shown, absent, sentence = answers[start : start + 7]
        assert (coarse, fine, units) in bundles and sentence == compose_long(units, fine, coarse)
        assert "," not in units  # the question asks for one
        assert (shown == "yes") == (units == "chin raiser") and (absent == "yes") == (units == "lip corner puller")
    assert {"happiness", "repression"} == {text for answers in sets[1::7] for text in answers}
    assert prior_sampled(train[::-1], test[::-1], draws=3) == sets[::-1]
    assert prior_sampled(train, test, seed=1, draws=3) != sets and len(set(zip(*sets, strict=True))) == 3
    assert prior_sampled(train, test, draws=2) == [answers[:2] for answers in sets], "more draws keep the first ones"
    with pytest.raises(ValueError, match="one at least"):
        prior_sampled(train, test, draws=0)


def test_sampled_answers_are_as_frequent_as_in_training():
    train = [record for name in "abc" for record in clip_records("sub01", name, "disgust")]
    train += clip_records("sub01", "d", "surprise")
    test = [record for number in range(400) for record in clip_records("sub02", str(number), "disgust")]
    fine = [answers[0] for answers in prior_sampled(train, test)[1::7]]
    assert fine.count("disgust") / 400 == pytest.approx(0.75, abs=0.06)
    blind = json.loads(json.dumps(test))
    for record in blind:
        record["messages"] = record["messages"][:2]
        record["row"]["answer"] = ""
    assert prior_sampled(train, blind) == prior_sampled(train, test)


def test_sampled_answers_have_classes_of_the_dataset():
    train = clip_records("sub01", "a", "repression") + clip_records("sub01", "b", "happiness")
    test = [{**record, "dataset": "samm"} for name in "abcdef" for record in clip_records("sub02", name, "happiness")]
    assert {text for answers in prior_sampled(train, test)[1::7] for text in answers} == {"happiness"}
    # nothing that fits the wording or the dataset: any training clip, rather than none
    test = [{**record, "dataset": "samm"} for record in clip_records("sub02", "x", "surprise")]
    found = prior_sampled(clip_records("sub01", "a", "repression"), test, draws=1)
    assert found[1:3] == [("repression",), ("chin raiser",)]


def test_its_score_is_the_mean_over_the_draws(tmp_path):
    records = with_tags(make_set(8)[0])
    train, test = ([r for r in records if (r["subject"] in ("sub07", "sub08")) == side] for side in (False, True))
    write_jsonl(tmp_path / "train.jsonl", train)
    write_jsonl(tmp_path / "test.jsonl", test)
    out = tmp_path / "drawn" / "predictions.jsonl"
    answer_files("prior-sampled", tmp_path / "train.jsonl", tmp_path / "test.jsonl", out)
    rows = [row for _, row in read_jsonl(out)]
    assert {len(row["draws"]) for row in rows} == {DRAWS} and DRAWS >= 50
    assert all(row["answer"] == row["draws"][0] for row in rows)
    problems = Problems()
    references = read_references(tmp_path / "test.jsonl", problems)
    (run,) = read_runs([out], None, references, problems)
    kinds, truth = [r.kind for r in references], [r.answer for r in references]
    alone = [score_answers(truth, [row["draws"][number] for row in rows], kinds)["avg"] for number in range(DRAWS)]
    line = evaluate_run(references, run, resamples=100)[-1]
    assert line["avg"] == pytest.approx(sum(alone) / DRAWS) and min(alone) < line["avg"] < max(alone)
    assert not len(problems)
    told = score_runs(tmp_path / "scores", references, [run], resamples=20)
    assert f"Means over drawn sets of answers: drawn ({DRAWS})" in told
    write_jsonl(out, [*rows[:-1], {**rows[-1], "draws": rows[-1]["draws"][:3]}])
    with pytest.raises(DataError, match="different numbers of draws"):
        read_runs([out], None, references, problems)


def test_empty_sides_are_errors(tmp_path):
    records, flows = make_set(2)
    store(tmp_path, with_tags(records), flows)
    full, empty = tmp_path / "instructions.jsonl", tmp_path / "empty.jsonl"
    empty.write_text("\n")
    for train, test in ((full, empty), (empty, full)):
        with pytest.raises(DataError, match=r"empty\.jsonl: no (answered )?question in the file"):
            answer_files("prior", train, test, tmp_path / "out.jsonl")
    with pytest.raises(DataError, match="no question in the file"):
        answer_files("prior", full, empty, tmp_path / "out.jsonl", loso=True)
    assert not (tmp_path / "out.jsonl").exists()
