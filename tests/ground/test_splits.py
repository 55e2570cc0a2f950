"""Splits by subject: nobody on both sides, the same folds every time."""

from pathlib import Path

import pytest
from clip_folder import build

from megc.splits import make_folds, select_records, subject_key


@pytest.mark.parametrize("protocol", ["holdout", "kfold", "loso", "cross-dataset"])
def test_no_subject_on_both_sides(data: Path, protocol: str) -> None:
    records, _ = build(data)
    folds = make_folds(records, protocol, folds=3)
    assert len(folds) == {"holdout": 1, "kfold": 3, "loso": 6, "cross-dataset": 2}[protocol]
    for fold in folds:
        assert not set(fold.train) & set(fold.test)
        assert set(fold.train) | set(fold.test) == {subject_key(record) for record in records}
        assert len(select_records(records, fold.train)) + len(select_records(records, fold.test)) == len(records)
    if protocol != "holdout":
        assert sorted(s for fold in folds for s in fold.test) == sorted({subject_key(r) for r in records})
    assert [fold.hash for fold in make_folds(records, protocol, folds=3)] == [fold.hash for fold in folds]


@pytest.mark.parametrize("protocol", ["holdout", "kfold", "loso"])
def test_a_person_of_two_datasets_is_on_one_side(protocol: str) -> None:
    origins = [(dataset, f"{n:03d}") for dataset in ("samm", "samm_lv", "casme2") for n in range(1, 9)]
    records = [{"dataset": dataset, "subject": subject, "id": f"{dataset}/{subject}"} for dataset, subject in origins]
    for fold in make_folds(records, protocol, folds=3):
        sides = [select_records(records, subjects) for subjects in (fold.train, fold.test)]
        people = [{record["subject"] for record in side if record["dataset"] != "casme2"} for side in sides]
        assert people[0] | people[1] == {f"{n:03d}" for n in range(1, 9)} and not people[0] & people[1]
        assert sum(map(len, sides)) == len(records)
    mixed = {"dataset": "casme2", "subject": "001", "sources": ["samm_lv/002/002_1_1"]}
    assert select_records([mixed], ("casme2/001", "samm/003")) == []


def test_datasets_of_the_same_people_are_not_crossed() -> None:
    records = [{"dataset": dataset, "subject": str(n)} for dataset in ("samm", "samm_lv", "casme2") for n in (1, 2)]
    names = [fold.name for fold in make_folds(records, "cross-dataset")]
    assert names == ["to-casme2", "to-samm"]
