"""Instruction files answered by baselines: no look at the test labels, one subject left out, files in and out."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from flow_set import casme2_records, features_of, make_set, score_records, split_by_subject, store, with_prompts

from megc.baselines.answer import answer_files, answer_left_out_subjects
from megc.baselines.features import read_features
from megc.baselines.prior import answer_with_prior
from megc.baselines.probe import answer_with_probe
from megc.baselines.settings import BASELINES, DRAWS
from megc.files import read_jsonl, write_jsonl
from megc.problems import DataError, Problems
from megc.scoring.evaluation import evaluate_run
from megc.scoring.report import score_runs
from megc.scoring.runs import read_references, read_runs
from megc.scoring.vqa_metrics import score_answers

ROOT = Path(__file__).parents[2]


def test_answers_do_not_depend_on_the_test_labels():
    records, flows = make_set(3)
    features = features_of(flows)
    train, test = split_by_subject(records, "sub02")
    blind = json.loads(json.dumps(test))
    for record in blind:
        record["messages"] = record["messages"][:2]
        record["row"]["answer"] = ""
    assert answer_with_probe(train, blind, features) == answer_with_probe(train, test, features)
    assert answer_with_prior(train, blind) == answer_with_prior(train, test)


def test_leaving_a_subject_out_uses_the_others_only():
    records, _ = make_set(4)
    seen = []

    def spy(train, test):
        seen.append(({record["subject"] for record in train}, {record["subject"] for record in test}))
        return [record["id"] for record in test]

    assert answer_left_out_subjects(records, spy) == [record["id"] for record in records]
    assert len(seen) == 4
    assert all(len(test) == 1 and not train & test and len(train | test) == 4 for train, test in seen)


def test_prior_on_casme2():
    casme2 = casme2_records()
    found = score_records(casme2, answer_left_out_subjects(casme2, answer_with_prior))
    # majority class of 3 and of 4: recall 1/3 and 1/4; F1 2 x 88 / (145 + 88) and 2 x 61 / (145 + 61) over 3 and 4
    assert found["uar_coarse"] == pytest.approx(1 / 3) and found["uar_fine"] == pytest.approx(1 / 4)
    assert found["uf1_coarse"] == pytest.approx(2 * 88 / 233 / 3) and found["uf1_fine"] == pytest.approx(
        2 * 61 / 206 / 4
    )
    assert 0.3 < found["avg"] < 0.42 and found["invalid"] == 0


def test_files_in_files_out(tmp_path, monkeypatch, capsys):
    records, flows = make_set(5)
    store(tmp_path, with_prompts(records), flows)
    train, test = split_by_subject(records, "sub03")
    write_jsonl(tmp_path / "train.jsonl", train)
    write_jsonl(tmp_path / "test.jsonl", test)
    monkeypatch.setattr(
        sys, "argv", ["answer_baselines.py", "--baseline", "flow-probe", "--train", str(tmp_path / "train.jsonl"),
                      "--test", str(tmp_path / "test.jsonl"), "--out", str(tmp_path / "probe" / "predictions.jsonl")]
    )  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "test" / "answer_baselines.py"), run_name="__main__")
    assert ended.value.code == 0 and "56 answers" in capsys.readouterr().out
    rows = [row for _, row in read_jsonl(tmp_path / "probe" / "predictions.jsonl")]
    assert [row["id"] for row in rows] == [record["id"] for record in test]
    assert [{**row, "answer": ""} for row in rows] == [{**record["row"], "answer": ""} for record in test]
    features = read_features(records, tmp_path / "instructions.jsonl")
    assert [row["answer"] for row in rows] == answer_with_probe(train, test, features)
    assert json.loads((tmp_path / "probe" / "run.json").read_text())["features"] == "flow"


def test_all_baselines_in_one_go(tmp_path):
    records, flows = make_set(4)
    store(tmp_path, with_prompts(records), flows)
    write_jsonl(tmp_path / "train.jsonl", [record for record in records if record["subject"] <= "sub03"])
    write_jsonl(tmp_path / "test.jsonl", [record for record in records if record["subject"] > "sub03"])
    said = answer_files("all", tmp_path / "train.jsonl", tmp_path / "test.jsonl", tmp_path / "out", seed=3)
    assert said.count("28 answers") == 3
    for name in BASELINES:
        answer_files(name, tmp_path / "train.jsonl", tmp_path / "test.jsonl", tmp_path / "one.jsonl", seed=3)
        path = tmp_path / "out" / name / "predictions.jsonl"
        assert path.read_text() == (tmp_path / "one.jsonl").read_text()
        assert json.loads(path.with_name("run.json").read_text())["baseline"] == name


def test_a_subject_on_both_sides_is_refused(tmp_path):
    records, flows = make_set(2)
    store(tmp_path, with_prompts(records), flows)
    same = tmp_path / "instructions.jsonl"
    with pytest.raises(ValueError, match=r"casme2/sub01, casme2/sub02 in both.*split by subject"):
        answer_files("prior", same, same, tmp_path / "out.jsonl")
    answer_files("prior", same, same, tmp_path / "out.jsonl", loso=True)
    assert len(list(read_jsonl(tmp_path / "out.jsonl"))) == len(records)
    with pytest.raises(ValueError, match="unknown baseline 'oracle'"):
        answer_files("oracle", same, same, tmp_path / "out.jsonl")


def test_its_score_is_the_mean_over_the_draws(tmp_path):
    records = with_prompts(make_set(8)[0])
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
    store(tmp_path, with_prompts(records), flows)
    full, empty = tmp_path / "instructions.jsonl", tmp_path / "empty.jsonl"
    empty.write_text("\n")
    for train, test in ((full, empty), (empty, full)):
        with pytest.raises(DataError, match=r"empty\.jsonl: no (answered )?question in the file"):
            answer_files("prior", train, test, tmp_path / "out.jsonl")
    with pytest.raises(DataError, match="no question in the file"):
        answer_files("prior", full, empty, tmp_path / "out.jsonl", loso=True)
    assert not (tmp_path / "out.jsonl").exists()
