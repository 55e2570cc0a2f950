"""Evidence of the flow: calibrated, never of a clip's own subject, in the prompt where a clip's questions share it."""

import json
from pathlib import Path

import numpy as np
import pytest
from flow_set import make_set, store
from programs import run_program

from megc.baselines.evidence import gather
from megc.baselines.features import pool
from megc.baselines.loglinear import fit_weights, logs, pooled
from megc.files import read_jsonl, write_jsonl
from megc.problems import DataError
from megc.splits import subject_key
from megc.vqa.evidence_prompt import add_evidence, evidence_text, read_evidence, with_evidence
from megc.vqa.instructions import answer_of
from megc.vqa.prompts import QUESTION_MARK
from megc.vqa.questions import parse

ROOT = Path(__file__).parents[2]


def features_of(flows):
    return {clip: pool(flow.astype(float), 8) for clip, flow in flows.items()}


def sides(records, last):
    return [r for r in records if r["subject"] <= last], [r for r in records if r["subject"] > last]


def with_prompts(records):
    for record in records:
        record["messages"][1]["content"] = f"Picture 1: <image> flow.{QUESTION_MARK}{record['row']['question']}"
    return records


def test_pooled_by_hand():
    terms = np.column_stack([logs([0.8, 0.2]), logs([0.5, 0.5]), logs([0.5, 0.5])])
    assert np.exp(pooled(terms, (0.5, 0.5, 0))) == pytest.approx([2 / 3, 1 / 3])  # square roots of 4 : 1
    assert np.exp(pooled(terms, (2, 0, 0))) == pytest.approx([16 / 17, 1 / 17])
    assert logs([0, 1])[0] > -20


def test_weights_go_to_the_opinion_that_is_right():
    rng, examples = np.random.default_rng(0), []
    for _ in range(200):
        truth = rng.integers(3)
        good = np.full(3, 0.2) + 0.4 * (np.arange(3) == (truth if rng.random() < 0.8 else rng.integers(3)))
        examples.append((np.column_stack([logs(rng.dirichlet([1, 1, 1])), logs(good), np.zeros(3)]), int(truth)))
    bad, good, _ = fit_weights(examples, (0.5, 0.5, 0))
    assert bad < 0.15 and good > 1
    assert fit_weights([], (0.5, 0.5, 0)) == (0.5, 0.5, 0)
    few = fit_weights(examples[:2], (0.5, 0.5, 0), ridge=100)
    assert few == pytest.approx((0.5, 0.5, 0), abs=0.05)


def test_calibration_undoes_overconfidence():
    rng, examples = np.random.default_rng(1), []
    for _ in range(2000):  # says .99 and is right four times of five
        truth = int(rng.random() < 0.8)
        examples.append((np.column_stack([logs([0.01, 0.99]), np.zeros(2)]), truth))
    weights = fit_weights(examples, (1, 0))
    assert np.exp(pooled(examples[0][0], weights))[1] == pytest.approx(0.8, abs=0.02)


def test_evidence_is_calibrated_and_tells_the_class():
    records, flows = make_set(14)
    known, asked = sides(records, "sub12")
    rows = gather(known, asked, features_of(flows), folds=3)
    assert {row["part"] for row in rows} == {"train", "test"} and len(rows) == len(flows)
    truth = {r["clip"]: answer_of(r) for r in records if parse(r["row"]["question"]).kind == "fine"}
    for part in ("train", "test"):
        found = [row for row in rows if row["part"] == part]
        assert np.mean([max(row["fine"], key=row["fine"].get) == truth[row["clip"]] for row in found]) > 0.9
        assert np.mean([row["fine"][truth[row["clip"]]] for row in found]) > 0.6
    for row in rows:
        for kind in ("coarse", "fine", "side"):
            assert sum(row[kind].values()) == pytest.approx(1, abs=1e-4)
        assert all(0 <= p <= 1 for p in row["units"].values()) and "lip corner puller" in row["units"]


def test_no_clip_sees_a_label_of_its_own_subject():
    records, flows = make_set(4)
    known, asked = sides(records, "sub03")
    before = gather(known, asked, features_of(flows))
    blind = json.loads(json.dumps(asked))
    for record in blind:
        record["messages"] = record["messages"][:2]
    assert gather(known, blind, features_of(flows)) == before
    # a training subject whose labels are all wrong: the probabilities of its own clips come from the others
    spoilt = json.loads(json.dumps(known))
    for record in spoilt:
        if record["subject"] == "sub02" and record["messages"][-1]["content"] == "happiness":
            record["messages"][-1]["content"] = "disgust"
    after = gather(spoilt, asked, features_of(flows))

    def best(rows, subject):
        return [max(row["fine"], key=row["fine"].get) for row in rows if row["subject"] == subject]

    assert best(before, "sub02") == best(after, "sub02") and "happiness" in best(after, "sub02")
    assert before != after
    with pytest.raises(ValueError, match="needs two at least"):
        gather([r for r in known if r["subject"] == "sub01"], asked, features_of(flows))


def test_text_by_hand():
    evidence = {
        "coarse": {"negative": 0.2, "positive": 0.7, "surprise": 0.1},
        "fine": {"disgust": 0.2, "happiness": 0.62, "repression": 0.09, "surprise": 0.09},
        "side": {},
        "units": {"lip corner puller": 0.71, "dimpler": 0.3, "chin raiser": 0.05},
    }
    assert evidence_text(evidence) == (
        "Motion statistics suggest: coarse positive 70 %, negative 20 %, surprise 10 %; fine happiness 62 %, disgust "
        "20 %; action units: lip corner puller 71 %, dimpler 30 %."
    )
    with pytest.raises(ValueError, match="no probabilities"):
        evidence_text({"coarse": {}})


def test_text_stands_in_the_shared_part_of_the_prompt():
    records = with_prompts(make_set(1)[0][:7])
    evidence = {records[0]["clip"]: {"coarse": {"negative": 1.0}, "part": "train"}}
    changed = with_evidence(records, evidence)
    shared = {record["messages"][1]["content"].split(QUESTION_MARK)[0] for record in changed}
    assert shared == {"Picture 1: <image> flow.\nMotion statistics suggest: coarse negative 100 %."}
    assert [r["messages"][1]["content"].split(QUESTION_MARK)[1] for r in changed] == [
        r["row"]["question"] for r in records
    ]
    assert [r["messages"][2] for r in changed] == [r["messages"][2] for r in records]
    assert len({r["prompt"] for r in changed}) == 1 and changed[0]["prompt"] != records[0]["prompt"]
    with pytest.raises(ValueError, match="already"):
        with_evidence(changed, evidence)
    with pytest.raises(ValueError, match="no evidence of"):
        with_evidence(records, {})


@pytest.fixture
def files(tmp_path):
    records, flows = make_set(5)
    store(tmp_path, with_prompts(records), flows)
    for name, side in zip(("train", "test"), sides(records, "sub03"), strict=True):
        write_jsonl(tmp_path / f"{name}_dataset.jsonl", side)
    return tmp_path


def test_commands_from_flow_to_prompts(files, monkeypatch, capsys):
    both = ("--train", files / "train_dataset.jsonl", "--test", files / "test_dataset.jsonl")
    assert run_program(monkeypatch, "test/answer_baselines.py", *both, "--evidence", files / "evidence.jsonl") == 0
    rows = [row for _, row in read_jsonl(files / "evidence.jsonl")]
    assert [row["part"] for row in rows].count("train") == 12 and len(rows) == 20
    (files / "test_dataset.split.json").write_text("{}")
    outs = ("--out-train", files / "train_evidence.jsonl", "--out-test", files / "test_evidence.jsonl")
    assert (
        run_program(monkeypatch, "data_process/add_evidence.py", *both, "--evidence", files / "evidence.jsonl", *outs)
        == 0
    )
    assert "84 questions with evidence" in capsys.readouterr().out
    assert (files / "test_evidence.split.json").is_file()
    known, asked = ([r for _, r in read_jsonl(files / f"{name}_evidence.jsonl")] for name in ("train", "test"))
    assert {subject_key(r) for r in known}.isdisjoint(subject_key(r) for r in asked)
    assert {r["prompt"] for r in known} == {r["prompt"] for r in asked}
    assert all("Motion statistics suggest" in r["messages"][1]["content"] for r in known + asked)


def test_evidence_of_the_wrong_part_is_refused(files, monkeypatch):
    train, test, out = (files / name for name in ("train_dataset.jsonl", "test_dataset.jsonl", "new.jsonl"))
    row = {"part": "test", "coarse": {"negative": 1.0}, "fine": {}, "units": {}}
    clips = {r["clip"] for _, r in read_jsonl(train)}
    write_jsonl(files / "evidence.jsonl", [{"clip": clip, **row} for clip in clips])
    with pytest.raises(DataError, match="no evidence of casme2/sub01"):
        add_evidence(train, files / "evidence.jsonl", "train", out)
    with pytest.raises(DataError, match="not a new file beside"):
        add_evidence(test, files / "evidence.jsonl", "test", files / "other" / "new.jsonl")
    (files / "evidence.jsonl").write_text('{"clip": "a"}\n')
    with pytest.raises(DataError, match="no part, coarse"):
        read_evidence(files / "evidence.jsonl")
    assert (
        run_program(monkeypatch, "data_process/add_evidence.py", "--evidence", files / "gone.jsonl", "--train", train)
        == 1
    )
