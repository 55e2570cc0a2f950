"""Flow probe: logistic regressions on a clip's pooled flow; the sentence is composed from the other answers."""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from megc.baselines.prior import Prior
from megc.facs import FINE_TO_COARSE
from megc.splits import person_key, subject_key
from megc.vqa.instructions import answer_of, question_kind, question_of
from megc.vqa.questions import (
    CLIP_KINDS,
    COMPOSED,
    MIRRORED,
    Question,
    allowed_answers,
    join_units,
    parse,
    split_units,
)

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)  # C of the logistic regressions
RARE = 3  # an action unit of fewer training clips has no regression of its own


@dataclass(frozen=True)
class _Constant:
    """Stands in for a regression where training has one class only."""

    classes_: np.ndarray

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        return np.ones((len(features), 1))


def _regression(strength: float = 0.01, weight: str | None = None) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight=weight, max_iter=2000))


def _fit_regression(features: np.ndarray, labels: np.ndarray, subjects: np.ndarray) -> Pipeline | _Constant:
    """A logistic regression whose strength and class weight are chosen by folds of the training subjects."""
    if len(set(labels)) < 2:
        return _Constant(np.unique(labels))
    # with few subjects a fold may have one class only to fit, or no row to judge by: it is left out
    folds, splits = min(5, len(set(subjects)), max(Counter(labels.tolist()).values())), []
    if folds > 1:
        parts = StratifiedGroupKFold(folds).split(features, labels, subjects)
        splits = [(fit, judge) for fit, judge in parts if len(set(labels[fit])) > 1 and len(judge)]
    if not splits:
        return _regression().fit(features, labels)
    grid = {"logisticregression__C": STRENGTHS, "logisticregression__class_weight": [None, "balanced"]}
    return GridSearchCV(_regression(), grid, cv=splits, scoring="f1_macro").fit(features, labels).best_estimator_


def _logit(share: float) -> float:
    """Log-odds, kept finite for shares of 0 and 1."""
    return float(logit(min(max(share, 1e-4), 1 - 1e-4)))


def likeliest_list(
    lists: Mapping[tuple[int, ...], float], odds: Mapping[int, float], weight: float = 1.0
) -> tuple[int, ...]:
    """The list with the highest sum of its units' log-odds and of `weight` times the log of its training frequency.

    `lists`: how often training has each list of FACS numbers; `odds`: log-odds of each unit.
    """
    return max(lists, key=lambda numbers: sum(odds[unit] for unit in numbers) + weight * math.log(lists[numbers]))


class Probe:
    """Logistic regressions on pooled flow: coarse class, fine class, action units, side.

    `features` by clip: a vector, or two (2, features) of the motion and its mirror image. Both are learnt from then,
    and their probabilities averaged; in the mirror image the sides change places.

    Class: the fine class that fits best together with its coarse class. Action units: of the lists that training
    clips have in the same wording, the likeliest. Shown: the unit's probability, and how often `yes` was right for
    that unit. What training lacks is answered by its priors.
    """

    def __init__(self, records: Sequence[dict], features: Mapping[str, np.ndarray]) -> None:
        self.prior = Prior(records)
        by_kind: dict[str, list[dict]] = defaultdict(list)
        for record in records:
            by_kind[question_kind(record)].append(record)
        self.classes = {kind: self._classifier(by_kind[kind], features) for kind in ("coarse", "fine", "side")}
        self._learn_units(by_kind["units"], features)

    @staticmethod
    def _classifier(records: Sequence[dict], features: Mapping[str, np.ndarray]) -> Pipeline | _Constant | None:
        if not records:
            return None
        subjects = np.array([person_key(subject_key(record)) for record in records])
        labels = np.array([answer_of(record) for record in records])
        table = np.array([np.atleast_2d(features[record["clip"]]) for record in records])  # (clips, views, features)
        views = [labels, np.array([MIRRORED.get(label, label) for label in labels])][: table.shape[1]]
        rows = np.concatenate([*table.swapaxes(0, 1)])  # (views · clips, features)
        return _fit_regression(rows, np.concatenate(views), np.tile(subjects, len(views)))

    def _learn_units(self, records: Sequence[dict], features: Mapping[str, np.ndarray]) -> None:
        lists = [tuple(number for number in split_units(answer_of(record)) if number) for record in records]
        self.lists = Counter(lists)
        self.base = {unit: sum(unit in numbers for numbers in lists) / len(lists) for unit in {*sum(lists, ())}}
        table = np.array([np.atleast_2d(features[record["clip"]]) for record in records])  # (clips, views, features)
        # units are too many and too rare to choose a strength for each: the fine class's is taken
        strength = 0.01
        if isinstance(fine := self.classes["fine"], Pipeline):
            strength = fine.named_steps["logisticregression"].C
        self.units = {}
        for unit in sorted(self.base):
            present = np.array([unit in numbers for numbers in lists])
            if RARE <= present.sum() < len(present):
                rows = np.concatenate([*table.swapaxes(0, 1)])
                self.units[unit] = _regression(strength).fit(rows, np.tile(present, table.shape[1]))

    def class_chances(self, kind: str, feature: np.ndarray) -> dict[str, float]:
        """Probability of each label of a kind (`coarse`, `fine`, `side`); empty where training does not ask for it."""
        model = self.classes[kind]
        if model is None:
            return {}
        first, *mirrored = (
            dict(zip(model.classes_, row, strict=True)) for row in model.predict_proba(np.atleast_2d(feature))
        )
        views = [first, *({MIRRORED.get(label, label): p for label, p in view.items()} for view in mirrored)]
        return {label: float(np.mean([view.get(label, 0.0) for view in views])) for label in first}

    def unit_chances(self, feature: np.ndarray) -> dict[int, float]:
        """Probability of each action unit of the training clips; of a rare one its share of them."""
        table = np.atleast_2d(feature)
        units = {unit: float(model.predict_proba(table)[:, 1].mean()) for unit, model in self.units.items()}
        return {**self.base, **units}

    def predict(self, feature: np.ndarray, dataset: str, kinds: Collection[str] = CLIP_KINDS) -> dict:
        """Labels of a clip by its pooled flow, shape (features,): `fine` (of the dataset's classes), `coarse`, `side`,
        and `units`, the probability of each action unit. None for what training does not ask.

        `kinds` are those that the clip is asked: without a question that needs the fine class, as in a dataset that
        has none, the coarse class stands alone.
        """
        coarse = self.class_chances("coarse", feature)
        fine = {} if {"fine", *COMPOSED}.isdisjoint(kinds) else self.class_chances("fine", feature)
        allowed = allowed_answers(Question("fine"), dataset)
        # the fine class is chosen together with its coarse class, which more clips teach
        joint = {name: p * coarse.get(FINE_TO_COARSE[name], 1e-6) for name, p in fine.items() if name in allowed}
        side = self.class_chances("side", feature)
        best = max(joint, key=joint.get) if joint else None
        return {
            "fine": best,
            "coarse": FINE_TO_COARSE.get(best) if best else max(coarse, key=coarse.get, default=None),
            "side": max(side, key=side.get, default=None),
            "units": self.unit_chances(feature),
        }

    def list_units(self, units: Mapping[int, float], many: bool) -> str | None:
        """The likeliest list of the wording, or None where training has none."""
        lists = Counter({numbers: count for numbers, count in self.lists.items() if (len(numbers) > 1) == many})
        odds = {unit: _logit(p) for unit, p in units.items()}
        return join_units(list(likeliest_list(lists, odds))) if lists else None

    def answer(self, question: Question, dataset: str, labels: dict) -> str:
        """The answer to a question on a clip with the labels of `predict`."""
        if question.kind in COMPOSED:
            fine, coarse = (self.answer(Question(kind), dataset, labels) for kind in ("fine", "coarse"))
            units = self.answer(Question("units", many=question.many), dataset, labels)
            return COMPOSED[question.kind](units, fine, coarse)
        if question.kind == "units":
            return self.list_units(labels["units"], bool(question.many)) or self.prior.list_units(bool(question.many))
        if question.kind == "shown":
            # questions are drawn so that half are right: only how far the flow moves a unit from its base rate counts
            odds = _logit(self.prior.share_of_yes(question.unit))
            if question.unit in self.base:
                odds += _logit(labels["units"][question.unit]) - _logit(self.base[question.unit])
            return "yes" if odds > 0 else "no"
        return labels.get(question.kind) or self.prior.answer(question, dataset)


def answer_with_probe(train: Sequence[dict], test: Sequence[dict], features: Mapping[str, np.ndarray]) -> list[str]:
    """Answers to the test records by a `Probe` of the training records; `features` are those of `read_features`."""
    with threadpool_limits(1):  # threads cost more than these small matrices
        probe = Probe(train, features)
        datasets, kinds = {record["clip"]: record["dataset"] for record in test}, defaultdict(set)
        for record in test:
            kinds[record["clip"]].add(question_kind(record))
        labels = {clip: probe.predict(features[clip], dataset, kinds[clip]) for clip, dataset in datasets.items()}
    return [probe.answer(parse(question_of(record)), record["dataset"], labels[record["clip"]]) for record in test]
