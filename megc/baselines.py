"""Answers without a language model, to hold a model against: the training answers' priors, and a flow probe.

`prior_only` looks at no picture. `flow_probe` reads the flow, pooled to a coarse grid, with logistic regressions;
it composes its sentence from its own answers. Both learn from the training subjects only.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from megc.facs import FINE_TO_COARSE
from megc.files import resolve_inside, write_json, write_jsonl
from megc.motion.fields import read_flow
from megc.problems import DataError
from megc.scoring.pairs import is_motion_picture
from megc.vqa.instructions import answer_of, read_records
from megc.vqa.questions import Question, allowed_answers, compose_long, join_units, parse, split_units
from megc.vqa.splits import make_folds, select, subject_key

BASELINES = ("prior", "flow-probe")
SOURCES = ("flow", "picture")
FLOW_GRID, PICTURE_GRID = 8, 7
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)  # C of the logistic regressions
RARE = 3  # an action unit of fewer training clips has no regression of its own


class Prior:
    """What the training answers alone say: for each question the answer that was most often right.

    Action units: the most frequent list of the wording (one unit, several). Shown: what was right more often for
    that unit, of equally many and for an unseen unit `no`. Long: composed from the other answers.
    """

    def __init__(self, records: Sequence[dict]) -> None:
        self.answers: dict[tuple, Counter] = defaultdict(Counter)
        for record in records:
            question = parse(record["row"]["question"])
            key = (question.kind, question.unit if question.kind == "shown" else None, question.many)
            self.answers[key][answer_of(record)] += 1

    def most(self, kind: str, many: bool | None = None, allowed: Sequence[str] | None = None) -> str | None:
        """The most frequent answer (of the allowed ones), the alphabetically first of several; None where none."""
        counts = self.answers.get((kind, None, many), {})
        found = [answer for answer in counts if allowed is None or answer in allowed]
        return min(found, key=lambda answer: (-counts[answer], answer), default=None)

    def shown(self, unit: int) -> float:
        """How often `yes` was right for a unit, drawn towards one half by one pretended question."""
        counts = self.answers.get(("shown", unit, None), Counter())
        return (counts["yes"] + 0.5) / (counts.total() + 1)

    def units(self, many: bool) -> str:
        """The most frequent list of the wording; where training has no such wording, from the other one."""
        same, other = self.most("units", many=many), self.most("units", many=not many)
        if same is None and other is None:
            raise ValueError("the training questions hold no list of action units")
        return same or (other if many else other.split(",")[0])

    def answer(self, question: Question, dataset: str) -> str:
        """The answer to a question. Raises ValueError where training says nothing about its kind."""
        if question.kind in ("long", "analysis"):
            classes = (self.answer(Question(kind), dataset) for kind in ("fine", "coarse"))
            return compose_long(self.units(bool(question.many)), *classes)
        if question.kind == "units":
            return self.units(bool(question.many))
        if question.kind == "shown":
            return "yes" if self.shown(question.unit) > 0.5 else "no"
        allowed = allowed_answers(question, dataset)
        found = self.most(question.kind, allowed=allowed) or next(iter(allowed or ()), None)
        if found is None:
            raise ValueError(f"no training question of the kind {question.kind!r}")
        return found


def prior_only(train: Sequence[dict], test: Sequence[dict]) -> list[str]:
    """Answers to the test records by the priors of the training records (instruction records, as `Prior` says)."""
    prior = Prior(train)
    return [prior.answer(parse(record["row"]["question"]), record["dataset"]) for record in test]


def pool(picture: np.ndarray, grid: int) -> np.ndarray:
    """Means of the cells of a grid x grid raster over an array (H, W, C): a vector of grid x grid x C."""
    rows = np.array_split(np.arange(picture.shape[0]), grid)
    columns = np.array_split(np.arange(picture.shape[1]), grid)
    cells = [[picture[np.ix_(row, column)].mean(axis=(0, 1)) for column in columns] for row in rows]
    return np.concatenate([np.concatenate(line) for line in cells]).astype(np.float64)


def read_features(records: Sequence[dict], root: Path, source: str = "flow") -> dict[str, np.ndarray]:
    """Pooled flow of each clip: from the `.npy` beside its flow picture (`flow`, pixels, 8 x 8) or from the picture
    itself (`picture`, 7 x 7). Raises DataError for a clip without it, ValueError for another source."""
    if source not in SOURCES:
        raise ValueError(f"no features from {source!r}: choose from {', '.join(SOURCES)}")
    found: dict[str, np.ndarray] = {}
    for record in records:
        if record["clip"] in found:
            continue
        image = next((image for image in record["images"] if is_motion_picture(image)), None)
        if image is None:
            fix = "build the instructions with --images flow"
            raise DataError(root, record["id"], "the record has no flow picture", fix)
        path = resolve_inside(root, image)
        if source == "flow":
            found[record["clip"]] = pool(read_flow(path.with_suffix(".npy"), record["id"]), FLOW_GRID)
        else:
            found[record["clip"]] = pool(_read_picture(path, record["id"]), PICTURE_GRID)
    return found


def _read_picture(path: Path, row: str) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"), np.float32) / 255
    except (FileNotFoundError, UnidentifiedImageError, OSError) as error:
        raise DataError(path, row, f"the picture cannot be read ({error})", "run compute_flow.py") from error


@dataclass(frozen=True)
class _Constant:
    """Stands in for a regression where training knows one class only."""

    classes_: np.ndarray

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        return np.ones((len(features), 1))


def _regression(strength: float = 0.01, weight: str | None = None) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight=weight, max_iter=2000))


def _fit(features: np.ndarray, labels: np.ndarray, subjects: np.ndarray) -> Pipeline | _Constant:
    """A logistic regression whose strength and class weight are chosen by folds of the training subjects."""
    if len(set(labels)) < 2:
        return _Constant(np.unique(labels))
    folds, splits = min(5, len(set(subjects)), max(Counter(labels.tolist()).values())), []
    if folds > 1:
        parts = StratifiedGroupKFold(folds).split(features, labels, subjects)
        splits = [(fit, held) for fit, held in parts if len(set(labels[fit])) > 1 and len(held)]
    if not splits:
        return _regression().fit(features, labels)
    grid = {"logisticregression__C": STRENGTHS, "logisticregression__class_weight": [None, "balanced"]}
    return GridSearchCV(_regression(), grid, cv=splits, scoring="f1_macro").fit(features, labels).best_estimator_


def _logit(share: float) -> float:
    return float(logit(min(max(share, 1e-4), 1 - 1e-4)))


class Probe:
    """Logistic regressions on pooled flow: coarse class, fine class, action units, side.

    Class: the fine class that fits best together with its coarse class. Action units: of the lists that training
    clips have in the same wording, the likeliest. Shown: the unit's probability, and how often `yes` was right for
    that unit. What training lacks is answered by its priors.
    """

    def __init__(self, records: Sequence[dict], features: Mapping[str, np.ndarray]) -> None:
        self.prior = Prior(records)
        asked: dict[str, list[dict]] = defaultdict(list)
        for record in records:
            asked[parse(record["row"]["question"]).kind].append(record)
        self.classes = {kind: self._classifier(asked[kind], features) for kind in ("coarse", "fine", "side")}
        self._learn_units(asked["units"], features)

    @staticmethod
    def _classifier(records: Sequence[dict], features: Mapping[str, np.ndarray]) -> Pipeline | _Constant | None:
        if not records:
            return None
        subjects = np.array([subject_key(record) for record in records])
        labels = np.array([answer_of(record) for record in records])
        return _fit(np.array([features[record["clip"]] for record in records]), labels, subjects)

    def _learn_units(self, records: Sequence[dict], features: Mapping[str, np.ndarray]) -> None:
        lists = [tuple(number for number in split_units(answer_of(record)) if number) for record in records]
        self.lists = Counter(lists)
        self.base = {unit: sum(unit in numbers for numbers in lists) / len(lists) for unit in {*sum(lists, ())}}
        table = np.array([features[record["clip"]] for record in records])
        strength = 0.01
        if isinstance(fine := self.classes["fine"], Pipeline):
            strength = fine.named_steps["logisticregression"].C
        self.units = {}
        for unit in sorted(self.base):
            there = np.array([unit in numbers for numbers in lists])
            if RARE <= there.sum() < len(there):
                self.units[unit] = _regression(strength).fit(table, there)

    def _probabilities(self, kind: str, feature: np.ndarray) -> dict[str, float]:
        model = self.classes[kind]
        if model is None:
            return {}
        return dict(zip(model.classes_, model.predict_proba(feature[None])[0], strict=True))

    def read(self, feature: np.ndarray, dataset: str) -> dict:
        """What the flow of one clip says: `fine` (of the dataset's classes), `coarse`, `side`, and `units`, the
        probability of each unit."""
        coarse, fine = self._probabilities("coarse", feature), self._probabilities("fine", feature)
        allowed = allowed_answers(Question("fine"), dataset)
        joint = {name: p * coarse.get(FINE_TO_COARSE[name], 1e-6) for name, p in fine.items() if name in allowed}
        side = self._probabilities("side", feature)
        units = {unit: model.predict_proba(feature[None])[0, 1] for unit, model in self.units.items()}
        best = max(joint, key=joint.get) if joint else None
        return {
            "fine": best,
            "coarse": FINE_TO_COARSE.get(best) if best else max(coarse, key=coarse.get, default=None),
            "side": max(side, key=side.get, default=None),
            "units": {**self.base, **units},
        }

    def list_units(self, units: Mapping[int, float], many: bool) -> str | None:
        """The likeliest list of the wording, or None where training has none."""

        def fit(numbers: tuple[int, ...]) -> float:
            odds = sum(_logit(units[unit]) for unit in numbers)
            return odds + math.log(self.lists[numbers])

        lists = [numbers for numbers in self.lists if (len(numbers) > 1) == many]
        return join_units(list(max(lists, key=fit))) if lists else None

    def answer(self, question: Question, dataset: str, seen: dict) -> str:
        """The answer to a question on a clip of which `read` returned `seen`."""
        if question.kind in ("long", "analysis"):
            fine, coarse = (self.answer(Question(kind), dataset, seen) for kind in ("fine", "coarse"))
            units = self.answer(Question("units", many=question.many), dataset, seen)
            return compose_long(units, fine, coarse)
        if question.kind == "units":
            return self.list_units(seen["units"], bool(question.many)) or self.prior.units(bool(question.many))
        if question.kind == "shown":
            asked = _logit(self.prior.shown(question.unit))
            if question.unit in self.base:
                asked += _logit(seen["units"][question.unit]) - _logit(self.base[question.unit])
            return "yes" if asked > 0 else "no"
        return seen.get(question.kind) or self.prior.answer(question, dataset)


def flow_probe(train: Sequence[dict], test: Sequence[dict], features: Mapping[str, np.ndarray]) -> list[str]:
    """Answers to the test records by a `Probe` of the training records; `features` are those of `read_features`."""
    with threadpool_limits(1):  # threads cost more than these small matrices
        probe = Probe(train, features)
        clips = {record["clip"]: record["dataset"] for record in test}
        seen = {clip: probe.read(features[clip], dataset) for clip, dataset in clips.items()}
    return [probe.answer(parse(record["row"]["question"]), record["dataset"], seen[record["clip"]]) for record in test]


Baseline = Callable[[Sequence[dict], Sequence[dict]], list[str]]


def leave_one_subject_out(records: Sequence[dict], baseline: Baseline) -> list[str]:
    """Answers to all records, those of each subject by the baseline trained on all other subjects."""
    answers: dict[str, str] = {}
    for fold in tqdm(make_folds(list(records), "loso"), desc="subjects", disable=None):
        test = select(list(records), fold.test)
        found = baseline(select(list(records), fold.train), test)
        answers |= {record["id"]: answer for record, answer in zip(test, found, strict=True)}
    return [answers[record["id"]] for record in records]


def answer_files(
    baseline: str,
    train: Path | str,
    test: Path | str,
    out: Path | str,
    source: str = "flow",
    loso: bool = False,
) -> str:
    """Answer an instruction file by `prior` or `flow-probe` and write predictions, and `run.json` beside them.

    With `loso`, `train` is not read: each subject of `test` is answered from its other subjects. Returns a summary.
    Raises ValueError for another baseline and when a test subject is among the training subjects.
    """
    if baseline not in BASELINES:
        raise ValueError(f"unknown baseline {baseline!r}: choose from {', '.join(BASELINES)}")
    asked = read_records(test)
    known = [] if loso else [record for record in read_records(train) if answer_of(record)]
    if shared := {subject_key(record) for record in asked} & {subject_key(record) for record in known}:
        raise ValueError(f"{', '.join(sorted(shared))} in both {train} and {test}: split by subject, or leave one out")
    answer: Baseline = prior_only
    settings = {"baseline": baseline, "train": "all other subjects" if loso else str(train), "test": str(test)}
    if baseline == "flow-probe":
        settings["features"] = source
        features = read_features(asked, Path(test).parent, source)
        answer = partial(flow_probe, features=features | read_features(known, Path(train).parent, source))
    found = leave_one_subject_out(asked, answer) if loso else answer(known, asked)
    rows = [{**record["row"], "answer": text} for record, text in zip(asked, found, strict=True)]
    write_jsonl(out, rows)
    write_json(Path(out).with_name("run.json"), settings)
    return f"{baseline}: {len(rows)} answers in {out}"
