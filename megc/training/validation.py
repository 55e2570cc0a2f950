"""Rows to train on and rows to evaluate on: other subjects, and none that the split keeps for the test."""

from collections.abc import Iterable

from megc.model.distributed import print_main
from megc.model.samples import Sample, read_samples
from megc.problems import DataError, Problems
from megc.splits import make_folds, record_subjects, subjects_in
from megc.training.settings import SftSettings
from megc.vqa.instructions import question_kind, read_split


def subjects_of(samples: Iterable[Sample]) -> list[str]:
    """Every `dataset/subject` that the samples' pictures show, sorted."""
    return sorted(subjects_in(sample.record for sample in samples))


def read_training_samples(settings: SftSettings, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Samples to train on and to evaluate on; the latter may be empty.

    `validation_share` takes whole subjects out of the training file, of each dataset its share, drawn by `seed`. A
    mixed picture that shows a subject taken out is neither trained on nor evaluated, and their number is printed:
    it is one of training subjects in part, and has no subject of its own.
    Raises DataError for bad rows, for an evaluation file that shares a subject with the training file or with the
    test side of its split, and for a dataset with too few subjects.
    """
    trained = _read(settings.train_file, settings)
    if settings.validation_share:
        return _hold_out(trained, settings, seed)
    if not settings.eval_file:
        return trained, []
    evaluated = _read(settings.eval_file, settings)
    fix = "evaluate on subjects of neither side: --validation_share takes them out of the training file"
    _refuse(evaluated, set(subjects_of(trained)), settings.eval_file, "is also trained on", fix)
    kept_for_test = set(read_split(settings.train_file).get("test", ()))
    _refuse(evaluated, kept_for_test, settings.eval_file, "is kept for the test", fix)
    return trained, evaluated


def question_kinds(samples: Iterable[Sample]) -> dict[str, str]:
    """Kind of question by row id; "other" for wordings that are none of the challenge's."""
    return {sample.record["id"]: question_kind(sample.record, unknown="other") for sample in samples}


def _read(path: str, settings: SftSettings) -> list[Sample]:
    problems = Problems() if settings.skip_bad else None
    samples = read_samples(path, problems=problems)
    if problems:
        problems.report()
    return samples


def _hold_out(samples: list[Sample], settings: SftSettings, seed: int) -> tuple[list[Sample], list[Sample]]:
    share = settings.validation_share
    try:
        (fold,) = make_folds([sample.record for sample in samples], "holdout", test_fraction=share, seed=seed)
    except ValueError as error:
        fix = "lower or leave out --validation_share, or name an --eval_file"
        raise DataError(settings.train_file, None, str(error), fix) from error
    held = set(fold.test)
    trained, evaluated, mixed = [], [], 0
    for sample in samples:
        if not record_subjects(sample.record) & held:
            trained.append(sample)
        elif "sources" not in sample.record:
            evaluated.append(sample)
        else:
            mixed += 1
    if mixed:
        print_main(f"{mixed} questions on mixed pictures left out: they show subjects that are kept for validation")
    return trained, evaluated


def _refuse(samples: list[Sample], subjects: set[str], file: str, what: str, fix: str) -> None:
    for sample in samples:
        if shared := sorted(record_subjects(sample.record) & subjects):
            raise DataError(file, sample.record["id"], f"subject {shared[0]} {what}", fix)
