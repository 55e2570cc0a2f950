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
