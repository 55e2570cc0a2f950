"""The probe must read motion, answer with the classes of the dataset, and train on very few subjects."""

import numpy as np
import pytest
from flow_set import REAL, casme2_records, clip_records, features_of, make_set, score_records, split_by_subject, store
from PIL import Image

from megc.baselines.features import pool_cells, read_features
from megc.baselines.prior import answer_with_prior
from megc.baselines.probe import Probe, answer_with_probe
from megc.facs import FINE_TO_COARSE
from megc.problems import DataError
from megc.scoring.vqa_metrics import is_invalid
from megc.vqa.instructions import answer_of, question_kind
from megc.vqa.questions import compose_long, parse


@pytest.mark.parametrize("source", ["flow", "picture"])
def test_probe_reads_the_motion(tmp_path, source):
    records, flows = make_set()
    store(tmp_path, records, flows)
    features = read_features(records, tmp_path / "instructions.jsonl", source)
    assert features[records[0]["clip"]].shape == ((128,) if source == "flow" else (147,))
    train, test = split_by_subject(records, "sub06")
    answers = answer_with_probe(train, test, features)
    kinds = [question_kind(record) for record in test]
    found = score_records(test, answers)
    prior = score_records(test, answer_with_prior(train, test))
    assert found["uf1_coarse"] > 0.9 and found["uf1_fine"] > 0.9 and found["invalid"] == 0
    assert found["avg"] > prior["avg"] + 0.3
    right = [
        answer == answer_of(record)
        for record, answer, kind in zip(test, answers, kinds, strict=True)
        if kind == "side"
    ]
    assert np.mean(right) >= 0.75
    for start in range(0, len(test), 7):  # the sentence says what the other answers say, coarse goes with fine
        coarse, fine, units, *_, sentence = answers[start : start + 7]
        assert sentence == compose_long(units, fine, coarse) and coarse == FINE_TO_COARSE[fine]


def test_the_mirrored_probe_gives_a_mirrored_clip_the_other_side(tmp_path):
    records, flows = make_set()
    store(tmp_path, records, flows)
    features = read_features(records, tmp_path / "instructions.jsonl", "flow", mirrored=True)
    assert features[records[0]["clip"]].shape == (2, 128), "a clip and its mirror image"
    train, test = split_by_subject(records, "sub06")
    probe = Probe(train, features)
    clips = list(dict.fromkeys(record["clip"] for record in test))
    for clip in clips:
        side, mirrored = (probe.class_chances("side", table) for table in (features[clip], features[clip][::-1]))
        assert side["left"] == pytest.approx(mirrored["right"])
        fine, mirrored = (probe.class_chances("fine", table) for table in (features[clip], features[clip][::-1]))
        assert fine == pytest.approx(mirrored)
    scores = score_records(test, answer_with_probe(train, test, features))
    assert scores["uf1_fine"] > 0.9 and scores["invalid"] == 0
    with pytest.raises(DataError, match="cannot be mirrored"):
        read_features(records, tmp_path / "instructions.jsonl", "picture", mirrored=True)


def test_probe_on_flow_that_belongs_to_other_clips_is_chance():
    records, flows = make_set(12, seed=3)
    clips = list(flows)
    other = np.random.default_rng(5).permutation(len(clips))
    features = {
        clip: pool_cells(flows[clips[index]].astype(float), 8) for clip, index in zip(clips, other, strict=True)
    }
    train, test = split_by_subject(records, "sub06")
    assert score_records(test, answer_with_probe(train, test, features))["uar_fine"] < 0.5


@pytest.mark.parametrize("subjects", [1, 2])
def test_probe_trains_on_very_few_subjects(subjects):
    records, flows = make_set(subjects + 1)
    features = features_of(flows)
    last = f"sub{subjects + 1:02d}"
    train = [record for record in records if record["subject"] != last]
    test = [record for record in records if record["subject"] == last]
    answers = answer_with_probe(train, test, features)
    kinds = [parse(record["row"]["question"]).kind for record in test]
    assert not any(is_invalid(answer, kind, "megc2025", "casme2") for answer, kind in zip(answers, kinds, strict=True))


def test_probe_answers_with_classes_of_the_dataset():
    train = [record for subject in ("sub01", "sub02") for record in clip_records(subject, "a", "happiness")]
    train += clip_records("sub01", "b", "repression") + clip_records("sub02", "b", "repression")
    test = clip_records("sub03", "a", "happiness")
    features = {record["clip"]: np.ones(8) * (record["clip"][-1] == "b") for record in [*train, *test]}
    features[test[0]["clip"]] = np.ones(8)  # moves like repression, which SAMM has not
    assert answer_with_probe(train, test, features)[:2] == ["negative", "repression"]
    for record in test:
        record["dataset"] = "samm"
    assert answer_with_probe(train, test, features)[:2] == ["positive", "happiness"]


def test_probe_of_one_class_answers_it():
    train = [record for subject in ("sub01", "sub02") for record in clip_records(subject, "a", "happiness")]
    test = clip_records("sub03", "a", "surprise")
    features = {record["clip"]: np.zeros(8) for record in [*train, *test]}
    assert answer_with_probe(train, test, features)[:3] == ["positive", "happiness", "lip corner puller"]


@pytest.mark.slow
def test_probe_on_casme2():
    casme2 = casme2_records()
    pictures = {record["clip"]: REAL / record["images"][0] for record in casme2}
    features = {clip: pool_cells(np.asarray(Image.open(path), np.float32) / 255, 7) for clip, path in pictures.items()}
    subjects = sorted({record["subject"] for record in casme2})
    answers = {}
    for fold in range(4):  # four folds of six subjects, for time
        sides = [], []
        for record in casme2:
            sides[record["subject"] in subjects[fold::4]].append(record)
        found = answer_with_probe(*sides, features)
        answers |= {record["id"]: text for record, text in zip(sides[1], found, strict=True)}
    found = score_records(casme2, [answers[record["id"]] for record in casme2])
    assert found["uf1_coarse"] > 0.7 and found["uf1_fine"] > 0.6 and found["avg"] > 0.7
