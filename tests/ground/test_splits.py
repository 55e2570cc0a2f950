"""Splits by subject: nobody on both sides, also where two datasets show the same people; the same folds every time."""

from pathlib import Path

import pytest
from clip_folder import build

from megc.splits import make_folds, person_key, select_records, shared_subjects, subject_key


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


def test_a_share_keeps_the_same_test_people_and_fewer_to_learn_from() -> None:
    records = records_of(*(f"samm/{n:03d}" for n in range(6, 16)), *(f"samm_lv/{n:03d}" for n in range(6, 16)))
    folds = {share: make_folds(records, "kfold", folds=5, share=share) for share in (1, 0.5, 0.3, 0.01)}
    assert folds[1] == make_folds(records, "kfold", folds=5)
    for whole, half, third, least in zip(*folds.values(), strict=True):
        assert whole.test == half.test == third.test
        assert set(least.train) < set(third.train) < set(half.train) < set(whole.train)
        # a person's clips and long videos stay together: 8 people, rounded up
        assert [len({person_key(name) for name in f.train}) for f in (half, third, least)] == [4, 3, 1]
        assert len(half.train) == 8 and half.hash != whole.hash
    with pytest.raises(ValueError, match="training subjects; give one above 0"):
        make_folds(records, "kfold", folds=5, share=1.5)


def records_of(*subjects: str) -> list[dict]:
    """Three records of each `dataset/subject`."""
    pairs = [subject.split("/") for subject in subjects for _ in range(3)]
    return [{"dataset": dataset, "subject": subject, "clip": f"{dataset}/{subject}/x"} for dataset, subject in pairs]


@pytest.mark.parametrize("protocol", ["holdout", "kfold", "loso", "cross-dataset"])
def test_people_of_two_datasets_stay_on_one_side(protocol: str) -> None:
    """SAMM 6 and SAMM-LV 6 are one person; CASME II 6 and SMIC 6 are others."""
    numbers = (6, 7, 9, 11, 12)
    subjects = [f"samm/{n:03d}" for n in numbers] + [f"samm_lv/{n:03d}" for n in numbers[:4]]
    subjects += [f"smic/s{n:02d}" for n in numbers] + [f"smic_long/s{n}" for n in numbers[:3]]
    subjects += [f"casme2/sub{n:02d}" for n in numbers]
    records = records_of(*subjects)
    folds = make_folds(records, protocol, folds=4)
    assert len(folds) == {"holdout": 1, "kfold": 4, "loso": 15, "cross-dataset": 3}[protocol]
    for fold in folds:
        assert fold.test and fold.train and sorted(fold.train + fold.test) == sorted(subjects)
        assert shared_subjects(fold.train, fold.test) == []
        for clips, videos, form in (("samm", "samm_lv", "{:03d}"), ("smic", "smic_long", "s{}")):
            for n in numbers[:3]:
                pair = {f"{clips}/{n:03d}" if clips == "samm" else f"smic/s{n:02d}", f"{videos}/{form.format(n)}"}
                assert pair <= set(fold.test) or pair <= set(fold.train)
    if protocol == "cross-dataset":
        assert [fold.name for fold in folds] == ["to-casme2", "to-samm", "to-smic"]
    if protocol == "loso":
        assert {"casme2/sub06", "samm/006", "smic/s06"} <= {fold.name for fold in folds}


def test_a_test_clip_of_the_challenge_is_no_numbered_subject() -> None:
    assert person_key("samm/006") == person_key("samm_lv/006") == person_key("samm_lv/6")
    assert person_key("samm/SAMM-6") == "samm/SAMM-6" and person_key("casme2/sub06") == "casme2/sub06"
    assert shared_subjects(["samm_lv/006", "smic/s06", "casme3/spNO.6"], ["samm/006", "casme2/sub06"]) == [
        "samm_lv/006"
    ]
