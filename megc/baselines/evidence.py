"""What the flow probe believes of each clip, as calibrated probabilities: evidence for a language model to weigh.

A clip's evidence never comes from its own subject. Test clips are read by a probe of all training subjects, training
clips by probes of the other folds, so that a model trained with evidence meets the same quality in training as in the
test. Calibration (one exponent for the probe, one for the training frequencies) is fitted on out-of-fold
probabilities of training subjects.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from megc.baselines.answer import read_sides
from megc.baselines.features import read_features
from megc.baselines.loglinear import fit_weights, logs, pooled
from megc.baselines.probe import Probe
from megc.facs import unit_name
from megc.files import write_json, write_jsonl
from megc.splits import make_folds, select, subject_key
from megc.vqa.instructions import answer_of
from megc.vqa.labels import ClipLabels, record_labels, smoothed_share
from megc.vqa.questions import Question, allowed_answers

KINDS = ("coarse", "fine", "side")
FOLDS = 5
START = (1.0, 0.0)  # the probe as it is, nothing of the training frequencies put back

Raw = dict[str, dict]  # kind: probability of each label; `units`: of each FACS number
Features = Mapping[str, np.ndarray]


class LabelShares:
    """How frequent each label is among training clips, smoothed (see `labels.smoothed_share`)."""

    def __init__(self, labels: Sequence[ClipLabels]) -> None:
        self.clips = len(labels)
        answers = {kind: [getattr(label, kind) for label in labels] for kind in KINDS}
        self.counts = {kind: Counter(filter(None, answers[kind])) for kind in KINDS}
        self.units = Counter(unit for label in labels for unit in label.units)

    def share_of_label(self, kind: str, label: str) -> float:
        """Share of a label among the clips that have one of its kind (`coarse`, `fine`, `side`)."""
        counts = self.counts[kind]
        return smoothed_share(counts[label], counts.total(), max(len(counts), 1))

    def share_of_unit(self, unit: int) -> float:
        """Share of the clips that show an action unit."""
        return smoothed_share(self.units[unit], self.clips)


def _terms(found: Mapping[str, float], shares: LabelShares, kind: str) -> np.ndarray:
    return np.column_stack([logs(list(found.values())), logs([shares.share_of_label(kind, label) for label in found])])


def _unit_terms(probability: float, share: float) -> np.ndarray:
    return np.column_stack([logs([1 - probability, probability]), logs([1 - share, share])])


def fit_calibration(raw: Mapping[str, Raw], labels: Sequence[ClipLabels], shares: LabelShares) -> dict[str, tuple]:
    """Exponents (probe, training frequencies) of each kind, from held-out probabilities `raw` and the true labels."""
    true = {label.clip: label for label in labels}
    pairs = [(probabilities, true[clip]) for clip, probabilities in raw.items() if clip in true]
    weights = {}
    for kind in KINDS:
        # a class that the other folds' subjects never show has no probability: such a clip teaches nothing
        examples = [
            (_terms(probabilities[kind], shares, kind), list(probabilities[kind]).index(getattr(label, kind)))
            for probabilities, label in pairs
            if getattr(label, kind) in probabilities[kind]
        ]
        weights[kind] = fit_weights(examples, START)
    examples = [
        (_unit_terms(chance, shares.share_of_unit(unit)), int(unit in label.units))
        for probabilities, label in pairs
        if label.units
        for unit, chance in probabilities["units"].items()
    ]
    return {**weights, "units": fit_weights(examples, START)}


def calibrated(raw: Raw, dataset: str, weights: Mapping[str, tuple], shares: LabelShares) -> Raw:
    """Calibrated probabilities of a clip; fine classes are those of its dataset, units are named, likeliest first."""
    result = {}
    for kind in KINDS:
        allowed = allowed_answers(Question(kind), dataset)
        found = {label: p for label, p in raw[kind].items() if label in allowed}
        chances = np.exp(pooled(_terms(found, shares, kind), weights[kind])) if found else []
        result[kind] = _sorted({label: float(p) for label, p in zip(found, chances, strict=True)})
    units = {
        unit_name(unit): float(np.exp(pooled(_unit_terms(p, shares.share_of_unit(unit)), weights["units"]))[1])
        for unit, p in raw["units"].items()
    }
    return {**result, "units": _sorted(units)}


def _sorted(chances: dict[str, float]) -> dict[str, float]:
    return {name: round(p, 6) for name, p in sorted(chances.items(), key=lambda item: (-item[1], item[0]))}


def _read(train: Sequence[dict], test: Sequence[dict], features: Features) -> dict[str, Raw]:
    """Probabilities of each test clip by a probe of the training records."""
    probe = Probe(train, features)
    found: dict[str, Raw] = {}
    for clip in dict.fromkeys(record["clip"] for record in test):
        classes = {kind: probe.probabilities(kind, features[clip]) for kind in KINDS}
        found[clip] = {**classes, "units": probe.unit_probabilities(features[clip])}
    return found


def gather(
    known: Sequence[dict], asked: Sequence[dict], features: Features, folds: int = FOLDS, seed: int = 0
) -> list[dict]:
    """Evidence of every clip of `known` (from other folds of its subjects) and of `asked` (from all of `known`).

    A row: `clip, dataset, subject, part` (`train` or `test`), `coarse, fine, side` (probability of each label; empty
    where training has no such question) and `units` (probability of each action unit by name).
    Raises ValueError for fewer than two training subjects.
    """
    subjects = len({subject_key(record) for record in known})
    if subjects < 2:
        raise ValueError(f"{subjects} training subject(s): evidence of training clips needs two at least")
    parts, known = [], list(known)
    with threadpool_limits(1):
        for fold in tqdm(make_folds(known, "kfold", min(folds, subjects), seed=seed), desc="folds", disable=None):
            fit, held = select(known, fold.train), select(known, fold.test)
            parts.append((held, _read(fit, held, features)))
        tested = _read(known, asked, features) if asked else {}
    rows = []
    for held, raw in parts:  # a fold is calibrated by the others
        others = {clip: found for other, part in parts if other is not held for clip, found in part.items()}
        rest = [record for other, _ in parts if other is not held for record in other]
        rows += _rows("train", held, raw, others, rest)
    return rows + _rows(
        "test", asked, tested, {clip: found for _, part in parts for clip, found in part.items()}, known
    )


def _rows(
    part: str, records: Sequence[dict], raw: Mapping[str, Raw], held_out: Mapping[str, Raw], known: Sequence[dict]
) -> list[dict]:
    labels = record_labels(known)
    shares = LabelShares(labels)
    weights = fit_calibration(held_out, labels, shares)
    clips = {record["clip"]: record for record in records}
    return [
        {
            **{key: clips[clip][key] for key in ("clip", "dataset", "subject")},
            "part": part,
            **calibrated(found, clips[clip]["dataset"], weights, shares),
        }
        for clip, found in raw.items()
    ]


def evidence_files(
    train: Path | str, test: Path | str, out: Path | str, source: str = "flow", loso: bool = False, seed: int = 0
) -> str:
    """Write the evidence of all clips of two instruction files, and its settings as `<out>.run.json`.

    With `loso`, `train` is not read, and each subject of `test` is read by a probe of all other subjects. Returns a
    summary. Raises ValueError when a subject is on both sides.
    """
    known, asked = read_sides(train, test, loso)
    folds = FOLDS
    if loso:
        known, asked = [record for record in asked if answer_of(record)], []
        folds = len({subject_key(record) for record in known})
    root = Path(test if loso else train).parent
    features = read_features(known, root, source) | read_features(asked, Path(test).parent, source)
    rows = gather(known, asked, features, folds, seed)
    write_jsonl(out, rows)
    settings = {"train": "all other subjects" if loso else str(train), "test": str(test)}
    write_json(Path(out).with_suffix(".run.json"), {**settings, "features": source, "folds": folds, "seed": seed})
    parts = Counter(row["part"] for row in rows)
    return f"{out}: evidence of {parts['train']} clips from other folds, of {parts['test']} from all training subjects"
