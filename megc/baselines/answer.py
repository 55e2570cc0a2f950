"""Answer instruction files with a baseline, or with all of them."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from megc.baselines.features import read_features
from megc.baselines.long_prior import answer_on_videos
from megc.baselines.prior import answer_with_drawn_labels, answer_with_prior
from megc.baselines.probe import answer_with_probe
from megc.baselines.settings import BASELINES, DRAWS, LONG_BASELINES, MIRRORED_PROBE, PROBES
from megc.commits import commit
from megc.files import write_json, write_jsonl
from megc.problems import DataError
from megc.splits import make_folds, select_records, shared_subjects, subjects_in
from megc.vqa.instructions import answer_of, read_records, record_key

Answer = str | tuple[str, ...]  # one, or one of each drawn set
Baseline = Callable[[Sequence[dict], Sequence[dict]], list[Answer]]  # training and test records → answers


def answer_left_out_subjects(records: Sequence[dict], baseline: Baseline) -> list[Answer]:
    """Answers to all records, those of each subject by the baseline trained on all other subjects.

    Raises ValueError for fewer than two subjects.
    """
    answers: dict[tuple[str, ...], Answer] = {}
    for fold in tqdm(make_folds(list(records), "loso"), desc="subjects", disable=None):
        test = select_records(list(records), fold.test)
        texts = baseline(select_records(list(records), fold.train), test)
        answers |= {record_key(record): text for record, text in zip(test, texts, strict=True)}
    return [answers[record_key(record)] for record in records]


def answer_files(
    baseline: str,
    train: Path | str,
    test: Path | str,
    out: Path | str,
    source: str = "flow",
    loso: bool = False,
    seed: int = 0,
    draws: int = DRAWS,
) -> str:
    """Answer an instruction file with a baseline and write predictions, and `run.json` beside them.

    With `loso`, `train` is not read: each subject of `test` is answered from its other subjects. `source` is what
    the flow probe reads (see `features.SOURCES`), `seed` that of `prior-sampled`, whose rows hold all `draws` and the
    first as `answer`. With the baseline `all`, `out` is a folder that gets `<baseline>/predictions.jsonl` of each.
    Returns a summary. Raises ValueError for another baseline and when a test subject is among the training subjects,
    DataError for files that cannot be read or hold nothing to learn from or to answer.
    """
    if baseline not in (*BASELINES, MIRRORED_PROBE, *LONG_BASELINES, "all"):
        names = ", ".join((*BASELINES, MIRRORED_PROBE, *LONG_BASELINES))
        raise ValueError(f"unknown baseline {baseline!r}: choose from {names}, all")
    training, questions = read_training_and_test(train, test, loso)
    lines = []
    for name in BASELINES if baseline == "all" else (baseline,):
        path = Path(out) / name / "predictions.jsonl" if baseline == "all" else Path(out)
        settings = {"baseline": name, "train": "all other subjects" if loso else str(train), "test": str(test)}
        answer: Baseline = answer_with_prior
        if name == "prior-sampled":
            settings |= {"seed": seed, "draws": draws}
            answer = partial(answer_with_drawn_labels, seed=seed, draws=draws)
        elif name == "prior-ordinals":
            answer = partial(answer_on_videos, ordinals=True)
        elif name in PROBES:
            settings["features"] = source
            mirrored = name == MIRRORED_PROBE
            features = read_features(questions, test, source, mirrored)
            features |= read_features(training, train, source, mirrored)
            answer = partial(answer_with_probe, features=features)
        # with loso the baseline is trained anew for each subject, on the answered rows of the others
        texts = answer_left_out_subjects(questions, answer) if loso else answer(training, questions)
        rows = [_answered_row(record["row"], text) for record, text in zip(questions, texts, strict=True)]
        write_jsonl(path, rows)
        write_json(path.with_name("run.json"), {**settings, "commits": sorted({commit()} - {""})})
        lines.append(f"{name}: {len(rows)} answers in {path}")
    return "\n".join(lines)


def _answered_row(row: dict, answer: Answer) -> dict:
    return {**row, "answer": answer} if isinstance(answer, str) else {**row, "answer": answer[0], "draws": answer}


def read_training_and_test(train: Path | str, test: Path | str, loso: bool = False) -> tuple[list[dict], list[dict]]:
    """Answered records to learn from (none with `loso`, when `train` is not read) and records to answer.

    Raises DataError when there is nothing to learn from or to answer, and ValueError when a subject is in both files.
    """
    questions = read_records(test)
    # a mixed picture would be left out with one of its subjects and trained on with the others
    if loso and any("sources" in record for record in questions):
        raise ValueError(f"{test} has mixed pictures, which show several subjects: none of them can be left out")
    training = [] if loso else [record for record in read_records(train) if answer_of(record)]
    if not training and not loso:
        raise DataError(train, None, "no answered question in the file", "give the training side of the split")
    if shared := shared_subjects(subjects_in(questions), subjects_in(training)):
        raise ValueError(f"{', '.join(shared)} in both {train} and {test}: split by subject, or leave one out")
    return training, questions
