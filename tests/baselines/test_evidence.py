"""Evidence of the flow: probabilities, and never of a clip’s own subject."""

import json

import numpy as np
import pytest
from flow_set import features_of, make_set, split_by_subject, store, with_prompts
from programs import run_program

from megc.baselines.evidence import gather_evidence, read_evidence
from megc.baselines.probe import Probe
from megc.files import write_jsonl
from megc.problems import DataError
from megc.vqa.instructions import answer_of
from megc.vqa.questions import parse


def test_evidence_is_of_probabilities_and_tells_the_class():
    records, flows = make_set(10)
    train, test = split_by_subject(records, "sub08")
    rows = gather_evidence(train, test, features_of(flows), folds=3)
    assert {row["part"] for row in rows} == {"train", "test"} and len(rows) == len(flows)
    truth = {r["clip"]: answer_of(r) for r in records if parse(r["row"]["question"]).kind == "fine"}
    for part in ("train", "test"):
        found = [row for row in rows if row["part"] == part]
        assert np.mean([max(row["fine"], key=row["fine"].get) == truth[row["clip"]] for row in found]) > 0.9
    probe = Probe(train, features_of(flows))
    for row in rows:
        if row["part"] == "test":
            chances = probe.class_chances("fine", features_of(flows)[row["clip"]])
            assert row["fine"] == pytest.approx(chances, abs=1e-3)
            assert [*row["fine"]] == sorted(row["fine"], key=lambda name: (-row["fine"][name], name))
        for kind in ("coarse", "fine", "side"):
            assert sum(row[kind].values()) == pytest.approx(1, abs=1e-4)
        assert all(0 <= p <= 1 for p in row["units"].values()) and "lip corner puller" in row["units"]


def test_no_clip_sees_a_label_of_its_own_subject():
    records, flows = make_set(4)
    train, test = split_by_subject(records, "sub03")
    before = gather_evidence(train, test, features_of(flows))
    blind = json.loads(json.dumps(test))
    for record in blind:
        record["messages"] = record["messages"][:2]
    assert gather_evidence(train, blind, features_of(flows)) == before
    # a training subject whose labels are all wrong: the probabilities of its own clips come from the others
    spoilt = json.loads(json.dumps(train))
    for record in spoilt:
        if record["subject"] == "sub02" and record["messages"][-1]["content"] == "happiness":
            record["messages"][-1]["content"] = "disgust"
    after = gather_evidence(spoilt, test, features_of(flows))

    def best(rows, subject):
        return [max(row["fine"], key=row["fine"].get) for row in rows if row["subject"] == subject]

    assert best(before, "sub02") == best(after, "sub02") and "happiness" in best(after, "sub02")
    assert before != after
    with pytest.raises(ValueError, match="needs two at least"):
        gather_evidence([r for r in train if r["subject"] == "sub01"], test, features_of(flows))


def test_the_program_writes_what_fusion_reads(tmp_path, monkeypatch):
    records, flows = make_set(5)
    store(tmp_path, with_prompts(records), flows)
    for name, side in zip(("train", "test"), split_by_subject(records, "sub03"), strict=True):
        write_jsonl(tmp_path / f"{name}.jsonl", side)
    both = ("--train", tmp_path / "train.jsonl", "--test", tmp_path / "test.jsonl")
    file = tmp_path / "evidence.jsonl"
    assert run_program(monkeypatch, "test/answer_baselines.py", *both, "--evidence", file) == 0
    train, test = read_evidence(file, "train"), read_evidence(file, "test")
    assert len(train) == 12 and {row["subject"] for row in train.values()} == {"sub01", "sub02", "sub03"}
    assert len(test) == 8 and {row["subject"] for row in test.values()} == {"sub04", "sub05"}
    assert read_evidence(file) == train | test
    assert sum(test["casme2/sub04/EP00"]["fine"].values()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "row 2: second evidence of casme2/sub01/a"),
        ({"coarse": None}, "row 2: coarse is None, not an object"),
        ({"units": {"tail wagger": 0.5}}, "'tail wagger' is no action unit"),
        ({"fine": {"disgust": 1.5}}, "fine.disgust is 1.5"),
        ({"raw": {"coarse": {"negative": 1.0}}}, r"row 2: .*raw.*write it with test/answer_baselines\.py --evidence"),
    ],
)
def test_a_row_that_is_no_evidence_is_named(tmp_path, change, words):
    origin = {"clip": "casme2/sub01/a", "dataset": "casme2", "subject": "sub01"}
    row = {**origin, "part": "test", "coarse": {"negative": 1.0}, "fine": {}, "units": {}}
    write_jsonl(tmp_path / "evidence.jsonl", [row, {**row, **change}])
    with pytest.raises(DataError, match=words):
        read_evidence(tmp_path / "evidence.jsonl")
    write_jsonl(tmp_path / "evidence.jsonl", [])
    with pytest.raises(DataError, match=r"no row in the file; .*answer_baselines\.py --evidence"):
        read_evidence(tmp_path / "evidence.jsonl")
