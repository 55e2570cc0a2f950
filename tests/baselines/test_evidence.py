"""Evidence of the flow: calibrated, and never of a clip’s own subject."""

import json

import numpy as np
import pytest
from flow_set import features_of, make_set, split_by_subject

from megc.baselines.evidence import gather_evidence
from megc.vqa.instructions import answer_of
from megc.vqa.questions import parse


def test_evidence_is_calibrated_and_tells_the_class():
    records, flows = make_set(10)
    train, test = split_by_subject(records, "sub08")
    rows = gather_evidence(train, test, features_of(flows), folds=3)
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
