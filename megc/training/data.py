"""The rows of a training run: those to train on, and those to evaluate on, of other subjects than any that is tested.

`read_training_data` reads and checks them once, for a run and for the plan of one; `TrainingData.pack` cuts them into
tokens, which needs a tokenizer and a pixel budget, but no weights.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from transformers import PretrainedConfig

from megc.model.distributed import print_main
from megc.model.packing import Packed, pack_samples
from megc.model.samples import PictureStore, Sample, read_samples, training_texts, vocabulary_beside
from megc.problems import DataError
from megc.splits import make_folds, record_subjects, shared_subjects, subjects_in
from megc.training.settings import SftSettings
from megc.vqa.instructions import question_kind, read_split


@dataclass(frozen=True)
class TrainingData:
    """Checked samples of a run; `evaluated` is empty where nothing is evaluated on. All pictures can be decoded."""

    settings: SftSettings
    samples: list[Sample]
    evaluated: list[Sample]

    @property
    def texts(self) -> list[str]:
        """What the vocabulary of the tiny checkpoint is trained on."""
        texts = training_texts(sample.record for sample in self.samples)
        return texts + vocabulary_beside(self.settings.train_file)

    def pack(self, pictures: PictureStore, config: PretrainedConfig, packing: str = "") -> list[Packed]:
        """The sequences to train on; `packing` "clip" or "none" (the one of the settings).

        Raises DataError, naming the row, for one that does not fit into `max_length` tokens.
        """
        return self._pack(self.samples, self.settings.train_file, pictures, config, packing or self.settings.packing)

    def pack_evaluated(self, pictures: PictureStore, config: PretrainedConfig) -> list[Packed]:
        """The sequences to evaluate on; none where there are none. Raises what `pack` raises."""
        if not self.evaluated:
            return []
        file = self.settings.eval_file or self.settings.train_file
        return self._pack(self.evaluated, file, pictures, config, self.settings.packing)

    def _pack(
        self, samples: list[Sample], file: str, pictures: PictureStore, config: PretrainedConfig, packing: str
    ) -> list[Packed]:
        limit = self.settings.max_length
        return pack_samples(samples, pictures, config, packing=packing, max_length=limit, file=file)


def read_training_data(settings: SftSettings, seed: int) -> TrainingData:
    """Read and check the rows of a run.

    `validation_share` takes whole subjects out of the training file, of each dataset its share, drawn by `seed`. A
    mixed picture that shows a subject taken out is neither trained on nor evaluated, and their number is printed:
    it is one of training subjects in part, and has no subject of its own.
    Raises DataError for bad rows, for an evaluation file that shares a subject with the training file or with the
    test side of its split, and for a dataset with too few subjects.
    """
    samples = read_samples(settings.train_file)
    if settings.validation_share:
        return TrainingData(settings, *_hold_out(samples, settings, seed))
    if not settings.eval_file:
        return TrainingData(settings, samples, [])
    evaluated = read_samples(settings.eval_file)
    fix = "evaluate on subjects of neither side: --validation_share takes them out of the training file"
    tested = set(read_split(settings.train_file).get("test", ()))
    _refuse_subjects(evaluated, set(subjects_of(samples)), settings.eval_file, "is also trained on", fix)
    _refuse_subjects(evaluated, tested, settings.eval_file, "is kept for the test", fix)
    return TrainingData(settings, samples, evaluated)


def subjects_of(samples: Iterable[Sample]) -> list[str]:
    """Every `dataset/subject` that the samples' pictures show, sorted."""
    return sorted(subjects_in(sample.record for sample in samples))


def question_kinds(samples: Iterable[Sample]) -> dict[str, str]:
    """Kind of question by row id; "other" for wordings that are none of the challenge's."""
    return {sample.record["id"]: question_kind(sample.record, unknown="other") for sample in samples}


def _hold_out(samples: list[Sample], settings: SftSettings, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Samples of the subjects to train on, and of those that `validation_share` takes out."""
    share = settings.validation_share
    try:
        (fold,) = make_folds([sample.record for sample in samples], "holdout", test_fraction=share, seed=seed)
    except ValueError as error:
        fix = "lower or leave out --validation_share, or name an --eval_file"
        raise DataError(settings.train_file, None, str(error), fix) from error
    held = set(fold.test)
    kept, evaluated, mixed = [], [], 0
    for sample in samples:
        if not shared_subjects(record_subjects(sample.record), held):
            kept.append(sample)
        elif "sources" not in sample.record:
            evaluated.append(sample)
        else:
            mixed += 1
    if mixed:
        print_main(f"{mixed} questions on mixed pictures left out: they show subjects that are kept for validation")
    return kept, evaluated


def _refuse_subjects(samples: list[Sample], subjects: set[str], file: str, what: str, fix: str) -> None:
    for sample in samples:
        if shared := shared_subjects(record_subjects(sample.record), subjects):
            raise DataError(file, sample.record["id"], f"subject {shared[0]} {what}", fix)
