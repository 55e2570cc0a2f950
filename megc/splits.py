"""Splits by subject: no person is on both sides.

Subjects are keyed by dataset (SAMM 6 ≠ CASME II 6); datasets of the same people are known (SAMM 6 = SAMM-LV 6).
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from megc.files import sha256_of, write_json
from megc.records import Contract

PROTOCOLS = ("holdout", "kfold", "loso", "cross-dataset")

# Long videos of the same people, with the same subject numbers, as a dataset of clips; cameras are one dataset anyway.
# CAS(ME)³ recorded other people in each part (100 + 116 + 31 = 247, Li et al., IEEE TPAMI 2023).
SAME_PEOPLE = {"samm_lv": "samm", "smic_long": "smic"}


@dataclass(frozen=True)
class Fold:
    """Subjects (`dataset/subject`) to train on and to test on."""

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def hash(self) -> str:
        """Sixteen hex digits of both lists: stored with checkpoints and scores."""
        return sha256_of(*self.train, "|", *self.test)


class FoldRecord(Contract):
    """A fold of a frozen split: subjects as `dataset/subject`."""

    name: str
    train: list[str]
    test: list[str]
    hash: str

    @model_validator(mode="after")
    def _hash_fits(self) -> Self:
        if self.hash != Fold(self.name, tuple(self.train), tuple(self.test)).hash:
            raise ValueError(f"the hash of {self.name} is not that of its subjects")
        return self


class SplitSettings(Contract):
    """What made a split: the number of the fold that the file beside it is of."""

    protocol: Literal["", *PROTOCOLS] = ""
    fold: Annotated[int, Field(ge=0)]


class SplitRecord(Contract):
    """`<name>.split.json`: the frozen folds behind an instruction file."""

    settings: SplitSettings
    folds: Annotated[list[FoldRecord], Field(min_length=1)]

    @model_validator(mode="after")
    def _fold_exists(self) -> Self:
        if self.settings.fold >= len(self.folds):
            raise ValueError(f"the split has no fold of its own: {self.settings.fold} of {len(self.folds)}, from 0")
        return self


def subject_key(record: dict) -> str:
    """`dataset/subject` of an instruction record."""
    return f"{record['dataset']}/{record['subject']}"


def record_subjects(record: dict) -> set[str]:
    """Every `dataset/subject` whose face stands in the record's pictures: a mixed picture shows several."""
    return {subject_key(record), *("/".join(clip.split("/")[:2]) for clip in record.get("sources", ()))}


@cache
def person_key(subject: str) -> str:
    """The person behind `dataset/subject`: one key in all datasets of SAME_PEOPLE, else the subject's own."""
    dataset, _, name = subject.partition("/")
    dataset = SAME_PEOPLE.get(dataset, dataset)
    if dataset in SAME_PEOPLE.values() and (number := re.fullmatch(r"s?(\d+)", name)):  # `s1`, `s01`
        name = f"{int(number[1]):03d}"
    return f"{dataset}/{name}"


def shared_subjects(subjects: Iterable[str], others: Iterable[str]) -> list[str]:
    """Those of `subjects` (`dataset/subject`) whose person is among `others` too, sorted."""
    people = {person_key(other) for other in others}
    return sorted({subject for subject in subjects if person_key(subject) in people})


def subjects_in(records: Iterable[dict]) -> set[str]:
    """`record_subjects` of all records together."""
    return {subject for record in records for subject in record_subjects(record)}


def make_folds(
    records: list[dict], protocol: str, folds: int = 5, test_fraction: float = 0.25, seed: int = 0, share: float = 1
) -> list[Fold]:
    """Folds over the subjects of instruction records; a person's subjects in several datasets stay together.

    `holdout`: one fold, `test_fraction` of each dataset's people; `kfold`: `folds` folds of about equally many
    records; `loso`: a fold a person; `cross-dataset`: a fold a dataset, tested on it and trained on the others, where
    datasets of the same people count as one. A `share` below 1 keeps that share of each fold's training people, for
    learning curves: those of a smaller share are among those of a larger one. Raises ValueError when there are too
    few people or datasets.
    """
    whole = _whole_folds(records, protocol, folds, test_fraction, seed)
    return whole if share == 1 else [_with_share(fold, share, seed) for fold in whole]


def _whole_folds(records: list[dict], protocol: str, folds: int, test_fraction: float, seed: int) -> list[Fold]:
    import numpy as np  # here, not above: commands read PROTOCOLS for their --help
    from sklearn.model_selection import GroupKFold, LeaveOneGroupOut

    names = sorted({subject_key(record) for record in records})
    people = np.array([person_key(subject_key(record)) for record in records])  # one a record: folds balance records
    datasets = sorted({person.split("/")[0] for person in people})
    least = {"kfold": folds, "loso": 2}.get(protocol, 1)
    if (count := len(set(people))) < least:
        raise ValueError(f"{protocol} needs {least} subjects or more, but the questions are of {count}")
    if protocol == "holdout":
        test = [name for dataset in datasets for name in _hold_out(people, dataset, test_fraction, seed)]
        return [_fold("holdout", names, test)]
    if protocol == "kfold":
        splitter = GroupKFold(folds, shuffle=True, random_state=seed)
    elif protocol == "loso":
        splitter = LeaveOneGroupOut()
    elif protocol == "cross-dataset":
        if len(datasets) < 2:
            raise ValueError(f"cross-dataset needs two datasets; the records have only {datasets}")
        return [_fold(f"to-{d}", names, [p for p in people if p.startswith(f"{d}/")]) for d in datasets]
    else:
        raise ValueError(f"unknown protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
    by_fold = []
    for number, (_, test_rows) in enumerate(splitter.split(people, groups=people)):
        fold = _fold(f"fold{number}", names, people[test_rows])
        by_fold.append(replace(fold, name=fold.test[0]) if protocol == "loso" else fold)
    return by_fold


def _with_share(fold: Fold, share: float, seed: int) -> Fold:
    """The fold with a share of its training people, rounded up, in an order drawn with the seed."""
    import numpy as np

    if not 0 < share <= 1:
        raise ValueError(f"a share of {share:g} of the training subjects; give one above 0, up to 1")
    people = sorted({person_key(name) for name in fold.train})
    order = np.random.default_rng(seed).permutation(len(people))
    kept = {people[index] for index in order[: math.ceil(share * len(people))]}
    return replace(fold, train=tuple(name for name in fold.train if person_key(name) in kept))


def _hold_out(people: Sequence[str], dataset: str, fraction: float, seed: int) -> list[str]:
    import numpy as np
    from sklearn.model_selection import GroupShuffleSplit

    of_dataset = np.array(sorted({person for person in people if person.startswith(f"{dataset}/")}))
    if len(of_dataset) < 2:
        raise ValueError(f"{dataset} has {len(of_dataset)} subject(s): too few to hold any out")
    if not 0 < fraction < 1 or math.ceil(fraction * len(of_dataset)) >= len(of_dataset):
        # rounding up may leave nobody to train on: scikit-learn would say so in terms of samples
        what = "none to test on" if fraction <= 0 else "none to train on"
        raise ValueError(f"a test share of {fraction:g} leaves {what} of the {len(of_dataset)} subjects of {dataset}")
    # every person is a group of its own, so that the share is one of people
    (_, test), *_ = GroupShuffleSplit(1, test_size=fraction, random_state=seed).split(of_dataset, groups=of_dataset)
    return list(of_dataset[test])


def _fold(name: str, names: list[str], people: Iterable[str]) -> Fold:
    """The fold that tests on all subjects who are one of `people`."""
    chosen = set(people)
    # in the order of the sorted names, so that the hash depends on who is in the fold only
    train, test = (tuple(n for n in names if (person_key(n) in chosen) == side) for side in (False, True))
    return Fold(name, train, test)


def select_records(records: list[dict], subjects: tuple[str, ...]) -> list[dict]:
    """The records that show these subjects and nobody else, in their order."""
    chosen = set(subjects)
    # a mixed picture is of the side only if all of its faces are
    return [record for record in records if record_subjects(record) <= chosen]


def write_folds(path: Path | str, folds: list[Fold], settings: dict) -> None:
    """Freeze folds as JSON, with the settings that made them and a hash each."""
    write_json(path, {"settings": settings, "folds": [{**asdict(fold), "hash": fold.hash} for fold in folds]})
