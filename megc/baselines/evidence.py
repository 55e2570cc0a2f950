"""Evidence of the flow probe: its probabilities of each clip, which fusion weighs against a language model's answers.

A clip's evidence never comes from its own subject. Test clips are read by a probe of all training subjects, training
clips by probes of the other folds, so that weights fitted on training evidence meet the same quality in the test.
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
from megc.baselines.loglinear import log_chances
from megc.baselines.probe import Probe
from megc.baselines.settings import MIRRORED_PROBE, PROBES, BaselineSettings
from megc.facs import COARSE_EMOTIONS, FINE_TO_COARSE, unit_name, unit_number
from megc.files import read_jsonl, write_json, write_jsonl
from megc.problems import DataError, Problems, excerpt
from megc.records import ClosedContract, Share, check_record
from megc.splits import make_folds, person_key, select_records, subject_key
from megc.vqa.instructions import answer_of
from megc.vqa.questions import Question, allowed_answers

KINDS = ("coarse", "fine", "side")
FOLDS = 5

ClipChances = dict[str, dict]  # kind: probability of each label; `units`: of each FACS number, or name in a row
Features = Mapping[str, np.ndarray]


def _check_units(chances: dict[str, float]) -> dict[str, float]:
    if strange := [name for name in chances if unit_number(name) is None]:
        raise ValueError(f"{excerpt(strange[0])} is no action unit")
    return chances


class EvidenceRow(ClosedContract):
    """A row of evidence: the probe's probabilities of a clip's classes, side and action units by name. `part`: `train`
    or `test`, the side that the clip is on."""

    clip: str
    dataset: str
    subject: str
    part: str
    coarse: dict[Literal[COARSE_EMOTIONS], Share]
    fine: dict[Literal[*FINE_TO_COARSE], Share]
    units: Annotated[dict[str, Share], AfterValidator(_check_units)]
    side: dict[Literal["left", "right"], Share] = Field(default_factory=dict)


def name_chances(chances: ClipChances, dataset: str) -> ClipChances:
    """The probabilities of a clip as a row holds them, likeliest first: classes of its dataset, named action units."""
    result = {}
    for kind in KINDS:
        allowed = allowed_answers(Question(kind), dataset)
        labels = {label: chance for label, chance in chances[kind].items() if label in allowed}
        result[kind] = _likeliest_first(labels, np.exp(log_chances([*labels.values()]))) if labels else {}
    present = [np.exp(log_chances([1 - chance, chance]))[1] for chance in chances["units"].values()]
    return {**result, "units": _likeliest_first(map(unit_name, chances["units"]), present)}


def _likeliest_first(names: Iterable[str], chances: Iterable[float]) -> dict[str, float]:
    pairs = sorted(zip(names, map(float, chances), strict=True), key=lambda pair: (-pair[1], pair[0]))
    return {name: round(chance, 6) for name, chance in pairs}


def gather_evidence(
    training: Sequence[dict], test: Sequence[dict], features: Features, folds: int = FOLDS, seed: int = 0
) -> list[dict]:
    """Evidence of every clip of `training` (from other folds of its subjects) and of `test` (from all of `training`).

    A row: `clip, dataset, subject, part` (`train` or `test`), `coarse, fine, side` (probability of each label; empty
    where training has no such question) and `units` (probability of each action unit by name).
    Raises ValueError for fewer than two training subjects.
    """
    subjects = len({person_key(subject_key(record)) for record in training})
    if subjects < 2:
        raise ValueError(f"{subjects} training subject(s): evidence of training clips needs two at least")
    training, rows = list(training), []
    with threadpool_limits(1):  # threads cost more than these small matrices
        for fold in tqdm(make_folds(training, "kfold", min(folds, subjects), seed=seed), desc="folds", disable=None):
            held_out = select_records(training, fold.test)
            rows += _evidence_rows("train", select_records(training, fold.train), held_out, features)
        return rows + (_evidence_rows("test", training, test, features) if test else [])


def _evidence_rows(part: str, train: Sequence[dict], test: Sequence[dict], features: Features) -> list[dict]:
    """Rows of each test clip, by a probe of the training records."""
    probe, rows = Probe(train, features), []
    for clip, record in {record["clip"]: record for record in test}.items():
        classes = {kind: probe.class_chances(kind, features[clip]) for kind in KINDS}
        chances = {**classes, "units": probe.unit_chances(features[clip])}
        origin = {key: record[key] for key in ("clip", "dataset", "subject")}
        rows.append({**origin, "part": part, **name_chances(chances, record["dataset"])})
    return rows


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
