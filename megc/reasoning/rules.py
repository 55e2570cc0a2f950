"""Evidence of action units for the fine class and for each other: published rules, and labels of training clips.

Rules are data (`rules.json`), and so is what is learnt: labels of clips of training subjects.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from sklearn.naive_bayes import BernoulliNB

from megc.facs import FINE_TO_COARSE
from megc.files import read_checked, sha256_of
from megc.problems import DataError
from megc.records import Contract
from megc.vqa.labels import ANY, PRETENDED_CLIPS, PRETENDED_SHOWN, ClipLabels, read_labels

RULES = Path(__file__).with_name("rules.json")
_SMOOTHING = PRETENDED_CLIPS / 2  # in each class, clips with each action unit and as many without


@dataclass(frozen=True)
class Rule:
    """Clips with all of `units` and none of `without` show the fine class `fine`."""

    units: frozenset[int]
    without: frozenset[int]
    fine: str

    def fits(self, units: Iterable[int]) -> bool:
        """Whether the rule holds for a clip with these action units."""
        present = set(units)
        return self.units <= present and not self.without & present


@dataclass(frozen=True)
class Rules:
    """Rules in the order they are tried, and how much (nats) the class of the rule that holds gains."""

    rules: tuple[Rule, ...]
    strength: float

    def evidence(self, units: Sequence[int], classes: Iterable[str]) -> dict[str, float]:
        """What to add to the log-likelihood of each class: `strength` for the first rule's that fits, else 0.

        A rule for a class that is none of `classes` is passed over.
        """
        classes = list(classes)
        # the first that fits: rules with most action units come first, so the most specific one holds
        first = next((rule.fine for rule in self.rules if rule.fits(units) and rule.fine in classes), None)
        return {name: self.strength if name == first else 0.0 for name in classes}


UnitNumber = Annotated[int, Field(ge=1, le=99)]


class RuleRecord(Contract):
    """A rule of `rules.json`, with the numbers of its action units."""

    units: Annotated[list[UnitNumber], Field(min_length=1)]
    without: list[UnitNumber] = Field(default_factory=list)
    fine: Literal[*FINE_TO_COARSE]


class RulesRecord(Contract):
    """`rules.json`: rules, and the nats that one that holds adds to its class."""

    rules: list[RuleRecord]
    strength: Annotated[float, Field(ge=0, le=100)]


def read_rules(path: Path | str = RULES) -> Rules:
    """Rules of a JSON file like `rules.json`, those with most action units first, else in the file's order.

    Raises DataError for a file that is no such JSON or names an unknown class.
    """
    fix = "write it like megc/reasoning/rules.json"
    record = read_checked(RulesRecord, path, fix=fix)
    rules = [
        Rule(frozenset(rule["units"]), frozenset(rule.get("without", ())), rule["fine"]) for rule in record["rules"]
    ]
    return Rules(tuple(sorted(rules, key=lambda rule: -len(rule.units))), float(record["strength"]))


class Knowledge:
    """Frequencies of action units in training clips, by dataset; for a dataset without clips, in all of them.

    `labels`: training subjects only. Raises ValueError where none has action units.
    """

    def __init__(self, labels: Iterable[ClipLabels]) -> None:
        self.labels = tuple(label for label in labels if label.units)
        self.subjects = frozenset(label.subject_key for label in self.labels)
        if not self.labels:
            raise ValueError("no training clip with action units")

    @classmethod
    def from_file(cls, path: Path | str) -> "Knowledge":
        """Of an answered JSONL: instruction records of the training side, or ME-VQA rows. Raises DataError."""
        labels = read_labels(path)
        try:
            return cls(labels)
        except ValueError as error:
            raise DataError(path, None, str(error), "give the answered rows of the training subjects") from error

    @property
    def hash(self) -> str:
        """Sixteen hex digits of the labels."""
        return sha256_of(*(repr(label) for label in self.labels))

    def labels_for(self, dataset: str) -> tuple[ClipLabels, ...]:
        """Labels of a dataset's clips; of all clips where it has none."""
        return self._by_dataset.get(dataset, self._by_dataset[ANY])

    @cached_property
    def _by_dataset(self) -> dict[str, tuple[ClipLabels, ...]]:
        groups: dict[str, list[ClipLabels]] = defaultdict(list)
        for label in self.labels:
            groups[label.dataset].append(label)
            groups[ANY].append(label)
        return {name: tuple(labels) for name, labels in groups.items()}

    @cached_property
    def _units(self) -> list[int]:
        return sorted({unit for label in self.labels for unit in label.units})

    @cached_property
    def _models(self) -> dict[str, tuple[BernoulliNB, BernoulliNB]]:
        """By dataset: action units given the fine class, and given any class, both by naive Bayes."""
        models = {}
        for dataset, labels in self._by_dataset.items():
            classed = [label for label in labels if label.fine]
            if classed:
                present = np.array([self._vector(label.units) for label in classed])  # (clips, units) bool
                classes = [label.fine for label in classed]
                by_class = BernoulliNB(alpha=_SMOOTHING, fit_prior=False).fit(present, classes)
                models[dataset] = (by_class, BernoulliNB(alpha=_SMOOTHING).fit(present, ["any"] * len(classed)))
        return models

    def _vector(self, units: Iterable[int]) -> list[bool]:
        present = set(units)
        return [unit in present for unit in self._units]

    def evidence(self, dataset: str, units: Sequence[int], classes: Iterable[str]) -> dict[str, float]:
        """log p(action units | fine class) - log p(action units), by naive Bayes with half a clip of smoothing.

        The class's own frequency is left out: the model that was trained on these clips knows it. A class that
        training does not have gets 0, neither for nor against.
        """
        classes = list(classes)
        pair = self._models.get(dataset, self._models.get(ANY))
        if pair is None:
            return dict.fromkeys(classes, 0.0)
        by_class, any_class = pair
        present = np.array([self._vector(units)])
        # the priors are uniform, so joint log-likelihoods differ from likelihoods by one constant
        joint = by_class.predict_joint_log_proba(present)[0] + math.log(len(by_class.classes_))
        base = float(any_class.predict_joint_log_proba(present)[0, 0])
        ratios = {name: float(value) - base for name, value in zip(by_class.classes_, joint, strict=True)}
        return {name: ratios.get(name, 0.0) for name in classes}

    def unit_support(self, dataset: str, unit: int, others: Sequence[int], many: bool) -> float:
        """Log of how often a training clip shows `unit`: alone (`many` false), or together with `others`.

        Smoothed by one pretended clip that shows it as often as all clips do.
        """
        clips = [label for label in self.labels_for(dataset) if (len(label.units) > 1) == many]
        counts = self._counts(dataset)
        base = (counts[unit] + PRETENDED_SHOWN) / (len(self.labels_for(dataset)) + PRETENDED_CLIPS)
        # beside others: in clips that show any of them; few show all
        with_others = [label for label in clips if set(others) & set(label.units)] if others else clips
        count = sum(unit in label.units for label in with_others)
        return math.log((count + base) / (len(with_others) + PRETENDED_CLIPS))

    def _counts(self, dataset: str) -> Mapping[int, int]:
        return Counter(unit for label in self.labels_for(dataset) for unit in label.units)
