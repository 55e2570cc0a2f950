"""What clips of training subjects say of action units: how often one is shown, alone or with others."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from megc.files import sha256_of
from megc.problems import DataError
from megc.vqa.labels import ANY, PRETENDED_CLIPS, PRETENDED_SHOWN, ClipLabels, read_labels


class Knowledge:
    """Frequencies of action units in training clips, by dataset; for a dataset without clips, in all of them.

    `labels`: training subjects only. Where none has action units, as in a dataset of coarse classes, nothing is
    learnt.
    """

    def __init__(self, labels: Iterable[ClipLabels]) -> None:
        labels = tuple(labels)
        self.subjects = frozenset(label.subject_key for label in labels)
        self.labels = tuple(label for label in labels if label.units)

    @classmethod
    def from_file(cls, path: Path | str) -> "Knowledge":
        """Of an answered JSONL: instruction records of the training side, or ME-VQA rows. Raises DataError for a bad
        file, and for one without an answer."""
        knowledge = cls(read_labels(path))
        if not knowledge.subjects:
            raise DataError(
                path, None, "no answered row in the file", "give the answered rows of the training subjects"
            )
        return knowledge

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
