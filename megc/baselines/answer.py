"""Instruction files answered by a baseline, or by all of them."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from megc.baselines.features import read_features
from megc.baselines.prior import prior_only, prior_sampled
from megc.baselines.probe import flow_probe
from megc.baselines.settings import BASELINES, DRAWS
from megc.commits import commit
from megc.files import write_json, write_jsonl
from megc.problems import DataError
from megc.splits import make_folds, select, subjects_in
from megc.vqa.instructions import answer_of, read_records, record_key

Answer = str | tuple[str, ...]  # one, or one of each drawn set
Baseline = Callable[[Sequence[dict], Sequence[dict]], list[Answer]]


def leave_one_subject_out(records: Sequence[dict], baseline: Baseline) -> list[Answer]:
    """Answers to all records, those of each subject by the baseline trained on all other subjects."""
    answers: dict[tuple[str, ...], Answer] = {}
    for fold in tqdm(make_folds(list(records), "loso"), desc="subjects", disable=None):
        test = select(list(records), fold.test)
        found = baseline(select(list(records), fold.train), test)
        answers |= {record_key(record): answer for record, answer in zip(test, found, strict=True)}
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
    """Answer an instruction file by one of BASELINES and write predictions, and `run.json` beside them.

    With `loso`, `train` is not read: each subject of `test` is answered from its other subjects. `source` is what
    the flow probe reads, `seed` that of `prior-sampled`, whose rows hold all `draws` and the first as `answer`. With
    the baseline `all`, `out` is a folder that gets `<baseline>/predictions.jsonl` of each. Returns a summary.
    Raises ValueError for another baseline and when a test subject is among the training subjects.
    """
    if baseline not in (*BASELINES, "all"):
        raise ValueError(f"unknown baseline {baseline!r}: choose from {', '.join(BASELINES)}, all")
    known, asked = read_sides(train, test, loso)
    lines = []
    for name in BASELINES if baseline == "all" else (baseline,):
        path = Path(out) / name / "predictions.jsonl" if baseline == "all" else Path(out)
        settings = {"baseline": name, "train": "all other subjects" if loso else str(train), "test": str(test)}
        answer: Baseline = prior_only
        if name == "prior-sampled":
            settings |= {"seed": seed, "draws": draws}
            answer = partial(prior_sampled, seed=seed, draws=draws)
        elif name == "flow-probe":
            settings["features"] = source
            features = read_features(asked, Path(test).parent, source)
            answer = partial(flow_probe, features=features | read_features(known, Path(train).parent, source))
        found = leave_one_subject_out(asked, answer) if loso else answer(known, asked)
        rows = [_answered(record["row"], text) for record, text in zip(asked, found, strict=True)]
        write_jsonl(path, rows)
        write_json(path.with_name("run.json"), {**settings, "commits": sorted({commit()} - {""})})
        lines.append(f"{name}: {len(rows)} answers in {path}")
    return "\n".join(lines)


def _answered(row: dict, answer: Answer) -> dict:
    return {**row, "answer": answer} if isinstance(answer, str) else {**row, "answer": answer[0], "draws": answer}


def read_sides(train: Path | str, test: Path | str, loso: bool = False) -> tuple[list[dict], list[dict]]:
    """Answered records to learn from (none with `loso`) and records to answer.

    Raises DataError when there is nothing to learn from or to answer, and ValueError when a subject is on both sides.
    """
    asked = read_records(test)
    if loso and any("sources" in record for record in asked):
        raise ValueError(f"{test} has mixed pictures, which show several subjects: none of them can be left out")
    known = [] if loso else [record for record in read_records(train) if answer_of(record)]
    if not asked:
        raise DataError(test, None, "no question in the file", "write it with data_process/build_instructions.py")
    if not known and not loso:
        raise DataError(train, None, "no answered question in the file", "give the training side of the split")
    if shared := subjects_in(asked) & subjects_in(known):
        raise ValueError(f"{', '.join(sorted(shared))} in both {train} and {test}: split by subject, or leave one out")
    return known, asked
