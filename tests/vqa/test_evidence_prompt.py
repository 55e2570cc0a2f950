"""Evidence in the prompt: the sentence by hand, in the part that a clip’s questions share, of the right clips."""

from pathlib import Path

import pytest
from flow_set import make_set, split_by_subject, store, with_prompts
from programs import run_program

from megc.files import read_jsonl, write_jsonl
from megc.problems import DataError
from megc.splits import subject_key
from megc.vqa.evidence_prompt import add_evidence, evidence_text, read_evidence, with_evidence
from megc.vqa.prompts import QUESTION_MARK

ROOT = Path(__file__).parents[2]


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
    for name, side in zip(("train", "test"), split_by_subject(records, "sub03"), strict=True):
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
    with pytest.raises(DataError, match="no coarse, fine, units, part"):
        read_evidence(files / "evidence.jsonl")
    assert (
        run_program(monkeypatch, "data_process/add_evidence.py", "--evidence", files / "gone.jsonl", "--train", train)
        == 1
    )
