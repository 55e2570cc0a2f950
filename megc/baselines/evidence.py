"""Evidence of the flow probe: its probabilities of each clip, which fusion weighs against a language model's answers.

A clip's evidence never comes from its own subject. Test clips are read by a probe of all training subjects, training
clips by probes of the other folds, so that weights fitted on training evidence meet the same quality in the test.
Calibration (one exponent for the probe, one for the training frequencies) is fitted on out-of-fold
probabilities of training subjects.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from megc.baselines.answer import answer_files, read_training_and_test
from megc.baselines.features import read_features
from megc.baselines.loglinear import fit_weights, log_chances, pool_opinions
from megc.baselines.probe import Probe
from megc.baselines.settings import MIRRORED_PROBE, PROBES, BaselineSettings
from megc.facs import COARSE_EMOTIONS, FINE_TO_COARSE, unit_name, unit_number
from megc.files import read_jsonl, write_json, write_jsonl
from megc.problems import DataError, Problems, excerpt
from megc.records import Contract, Share, check_record
from megc.splits import make_folds, person_key, select_records, subject_key
from megc.vqa.instructions import answer_of
from megc.vqa.labels import ClipLabels, record_labels, smoothed_share
from megc.vqa.questions import Question, allowed_answers

KINDS = ("coarse", "fine", "side")
FOLDS = 5
START = (1.0, 0.0)  # the probe as it is, nothing of the training frequencies put back
UNCHANGED = dict.fromkeys((*KINDS, "units"), START)

ClipChances = dict[str, dict]  # kind: probability of each label; `units`: of each FACS number, or name once calibrated
Features = Mapping[str, np.ndarray]


def _check_units(chances: dict[str, float]) -> dict[str, float]:
    if strange := [name for name in chances if unit_number(name) is None]:
        raise ValueError(f"{excerpt(strange[0])} is no action unit")
    return chances


class Chances(Contract):
    """Probabilities of a clip's classes, side and action units by name."""

    coarse: dict[Literal[COARSE_EMOTIONS], Share]
    fine: dict[Literal[*FINE_TO_COARSE], Share]
    units: Annotated[dict[str, Share], AfterValidator(_check_units)]
    side: dict[Literal["left", "right"], Share] = Field(default_factory=dict)


class EvidenceRow(Chances):
    """A row of evidence: calibrated probabilities, and as `raw` those of the probe itself. `part`: `train` or `test`,
    the side that the clip is on."""

    clip: str
    part: str
    raw: Chances | None = None


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


def _label_terms(chances: Mapping[str, float], shares: LabelShares, kind: str) -> np.ndarray:
    """Log-probabilities (labels, 2) of the labels of a kind: by the probe, and by training frequency."""
    frequencies = [shares.share_of_label(kind, label) for label in chances]
    return np.column_stack([log_chances(list(chances.values())), log_chances(frequencies)])


def _unit_terms(chance: float, share: float) -> np.ndarray:
    """Log-probabilities (2, 2) of an action unit's absence and presence: by the probe, and by training frequency."""
    return np.column_stack([log_chances([1 - chance, chance]), log_chances([1 - share, share])])


def fit_calibration(
    chances: Mapping[str, ClipChances], labels: Sequence[ClipLabels], shares: LabelShares
) -> dict[str, tuple]:
    """Exponents (probe, training frequencies) of each kind, from held-out probabilities by clip and true labels."""
    true = {label.clip: label for label in labels}
    pairs = [(of_clip, true[clip]) for clip, of_clip in chances.items() if clip in true]
    weights = {}
    for kind in KINDS:
        # a class that the other folds' subjects never show has no probability: such a clip teaches nothing
        examples = [
            (_label_terms(of_clip[kind], shares, kind), list(of_clip[kind]).index(getattr(label, kind)))
            for of_clip, label in pairs
            if getattr(label, kind) in of_clip[kind]
        ]
        weights[kind] = fit_weights(examples, START)
    examples = [
        (_unit_terms(chance, shares.share_of_unit(unit)), int(unit in label.units))
        for of_clip, label in pairs
        if label.units
        for unit, chance in of_clip["units"].items()
    ]
    return {**weights, "units": fit_weights(examples, START)}


def calibrate(chances: ClipChances, dataset: str, weights: Mapping[str, tuple], shares: LabelShares) -> ClipChances:
    """Calibrated probabilities of a clip, likeliest first; fine classes are those of its dataset, units are named."""
    result = {}
    for kind in KINDS:
        allowed = allowed_answers(Question(kind), dataset)
        labels = {label: chance for label, chance in chances[kind].items() if label in allowed}
        calibrated = np.exp(pool_opinions(_label_terms(labels, shares, kind), weights[kind])) if labels else []
        result[kind] = _likeliest_first(zip(labels, map(float, calibrated), strict=True))
    units = []
    for unit, chance in chances["units"].items():
        _, present = np.exp(pool_opinions(_unit_terms(chance, shares.share_of_unit(unit)), weights["units"]))
        units.append((unit_name(unit), float(present)))
    return {**result, "units": _likeliest_first(units)}


def _likeliest_first(chances: Iterable[tuple[str, float]]) -> dict[str, float]:
    return {name: round(chance, 6) for name, chance in sorted(chances, key=lambda item: (-item[1], item[0]))}


def _probe_clips(train: Sequence[dict], test: Sequence[dict], features: Features) -> dict[str, ClipChances]:
    """Probabilities of each test clip by a probe of the training records."""
    probe = Probe(train, features)
    chances: dict[str, ClipChances] = {}
    for clip in dict.fromkeys(record["clip"] for record in test):
        classes = {kind: probe.class_chances(kind, features[clip]) for kind in KINDS}
        chances[clip] = {**classes, "units": probe.unit_chances(features[clip])}
    return chances


def gather_evidence(
    training: Sequence[dict], test: Sequence[dict], features: Features, folds: int = FOLDS, seed: int = 0
) -> list[dict]:
    """Evidence of every clip of `training` (from other folds of its subjects) and of `test` (from all of `training`).

    A row: `clip, dataset, subject, part` (`train` or `test`), `coarse, fine, side` (probability of each label; empty
    where training has no such question) and `units` (probability of each action unit by name), all calibrated; and
    the same as `raw`, as the probe has them.
    Raises ValueError for fewer than two training subjects.
    """
    subjects = len({person_key(subject_key(record)) for record in training})
    if subjects < 2:
        raise ValueError(f"{subjects} training subject(s): evidence of training clips needs two at least")
    parts, training = [], list(training)
    with threadpool_limits(1):  # threads cost more than these small matrices
        # 1. each fold's clips are read by a probe of the other folds
        for fold in tqdm(make_folds(training, "kfold", min(folds, subjects), seed=seed), desc="folds", disable=None):
            held_out = select_records(training, fold.test)
            parts.append((held_out, _probe_clips(select_records(training, fold.train), held_out, features)))
        tested = _probe_clips(training, test, features) if test else {}
    rows = []
    # 2. a fold's clips are calibrated by the clips of the other folds
    for held_out, chances in parts:
        others = [part for part in parts if part[0] is not held_out]
        calibrating = [record for records, _ in others for record in records]
        rows += _evidence_rows("train", held_out, chances, _joined(others), calibrating)
    # 3. test clips are calibrated by all training clips
    return rows + _evidence_rows("test", test, tested, _joined(parts), training)


def _joined(parts: Sequence[tuple[list[dict], dict[str, ClipChances]]]) -> dict[str, ClipChances]:
    """Probabilities by clip of several folds together."""
    return {clip: chances for _, by_clip in parts for clip, chances in by_clip.items()}


def _evidence_rows(
    part: str,
    records: Sequence[dict],
    chances: Mapping[str, ClipChances],
    held_out: Mapping[str, ClipChances],
    training: Sequence[dict],
) -> list[dict]:
    """Rows of the clips in `chances`, calibrated by those `held_out`, of clips with the records `training`."""
    labels = record_labels(training)
    shares = LabelShares(labels)
    weights = fit_calibration(held_out, labels, shares)
    clips = {record["clip"]: record for record in records}
    return [
        {
            **{key: clips[clip][key] for key in ("clip", "dataset", "subject")},
            "part": part,
            **calibrate(of_clip, clips[clip]["dataset"], weights, shares),
            "raw": calibrate(of_clip, clips[clip]["dataset"], UNCHANGED, shares),
        }
        for clip, of_clip in chances.items()
    ]


def write_evidence(
    train: Path | str,
    test: Path | str,
    out: Path | str,
    source: str = "flow",
    loso: bool = False,
    seed: int = 0,
    mirrored: bool = False,
) -> str:
    """Write the evidence of all clips of two instruction files, and its settings as `<out>.run.json`.

    With `loso`, `train` is not read, and each subject of `test` is read by a probe of all other subjects. Returns a
    summary. Raises ValueError when a subject is in both files, DataError as `answer.read_training_and_test`.
    """
    training, questions = read_training_and_test(train, test, loso)
    folds = FOLDS
    if loso:
        training, questions = [record for record in questions if answer_of(record)], []
        folds = len({person_key(subject_key(record)) for record in training})
    features = read_features(training, test if loso else train, source, mirrored)
    features |= read_features(questions, test, source, mirrored)
    rows = gather_evidence(training, questions, features, folds, seed)
    write_jsonl(out, rows)
    settings = {"train": "all other subjects" if loso else str(train), "test": str(test)}
    settings |= {"probe": PROBES[mirrored], "features": source, "folds": folds, "seed": seed}
    write_json(Path(out).with_suffix(".run.json"), settings)
    parts = Counter(row["part"] for row in rows)
    return f"{out}: evidence of {parts['train']} clips from other folds, of {parts['test']} from all training subjects"


def read_evidence(path: Path | str, part: str | None = None) -> dict[str, dict]:
    """Evidence rows by clip, all or those of a part (`train`, `test`).

    Raises DataError for a line that is no evidence, and for a file without a row.
    """
    line, evidence, fix = 0, {}, "write it with test/answer_baselines.py --evidence"
    for line, row in read_jsonl(path):
        check_record(EvidenceRow, row, path, line, fix)
        if part in (None, row["part"]):
            if row["clip"] in evidence:
                raise DataError(path, line, f"second evidence of {row['clip']}", "keep one of the two rows")
            evidence[row["clip"]] = row
    if not line:
        raise DataError(path, None, "no row in the file", fix)
    return evidence


def answer_or_write_evidence(settings: BaselineSettings, _problems: Problems) -> str:
    """Answers of a baseline, or with `evidence` the probabilities of the probe; returns a summary."""
    options = {"source": settings.features, "loso": settings.leave_one_subject_out, "seed": settings.seed}
    if settings.evidence:
        files = (settings.train, settings.test, settings.evidence)
        return write_evidence(*files, **options, mirrored=settings.baseline == MIRRORED_PROBE)
    files = (settings.train, settings.test, settings.predictions)
    return answer_files(settings.baseline, *files, **options, draws=settings.draws)
