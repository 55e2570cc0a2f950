"""Two-stage questioning, after HierMEQA: the coarse class first, then all other questions with that answer in them.

A test clip's true coarse class never reaches a question: it is taken out of the messages before anything is
answered, and the model's own answer is put in.
"""

from collections.abc import Sequence
from dataclasses import replace

from megc.answers.answerer import Answer, Answerer, make_prediction
from megc.facs import COARSE_EMOTIONS
from megc.model.samples import Sample
from megc.problems import DataError, Problems
from megc.reasoning.nearest import nearest_answer
from megc.vqa.instructions import question_kind, with_coarse
from megc.vqa.prompts import PromptSettings
from megc.vqa.questions import Question, question_text


def is_hierarchical(record: dict) -> bool:
    """Whether an instruction record belongs to a hierarchy, which must be answered in two stages."""
    return bool(record.get("hierarchy"))


def without_coarse(samples: Sequence[Sample], settings: PromptSettings) -> list[Sample]:
    """The samples without any coarse class in their messages. Raises DataError for settings of no hierarchy."""
    if not settings.hierarchy:
        fix = "split the questions again with train/set_train_dataset.py --hierarchy"
        raise DataError("prompt.json", None, "questions of a hierarchy, but the prompt is of none", fix)
    return [replace(sample, record=with_coarse(sample.record, "", settings)) for sample in samples]


class TwoStage:
    """An Answerer that queries another one in two stages; `settings` are the hierarchy's prompt.

    The coarse question of a clip is answered once, under an id of its own (so that the answer does not depend on
    the other questions of the call), and also answers the clip's own coarse question. A clip whose coarse
    question fails gets no second stage.
    """

    def __init__(self, answerer: Answerer, settings: PromptSettings) -> None:
        self._answerer, self._settings = answerer, settings
        self._coarse: dict[str, list[Answer]] = {}  # by clip, kept for later calls

    def answer(self, samples: Sequence[Sample], problems: Problems) -> list[list[Answer] | None]:
        """Votes of each sample, in order; None for a sample that failed, which is reported in `problems`."""
        samples = without_coarse(samples, self._settings)
        # 1. the coarse question of each clip that has no answer yet
        firsts = {sample.clip: sample for sample in reversed(samples)}
        new = [self._coarse_question(firsts[clip]) for clip in firsts if clip not in self._coarse]
        answers = self._answerer.answer(new, problems) if new else []
        self._coarse |= {sample.clip: votes for sample, votes in zip(new, answers, strict=True) if votes}
        # 2. all other questions, with that answer in their messages
        second = {
            number: replace(sample, record=with_coarse(sample.record, self._coarse_class(sample), self._settings))
            for number, sample in enumerate(samples)
            if sample.clip in self._coarse and not _is_coarse(sample)
        }
        answers = self._answerer.answer(list(second.values()), problems) if second else []
        votes = dict(zip(second, answers, strict=True))
        # 3. a clip's own coarse question has the first stage's votes
        for number, sample in enumerate(samples):
            if _is_coarse(sample):
                votes[number] = self._coarse.get(sample.clip)
        return [votes.get(number) for number in range(len(samples))]

    def _coarse_class(self, sample: Sample) -> str:
        """The coarse class that the first stage's votes make, one of the three."""
        return nearest_answer(make_prediction(sample, self._coarse[sample.clip])["answer"], COARSE_EMOTIONS, "coarse")

    def _coarse_question(self, sample: Sample) -> Sample:
        row = {**sample.record["row"], "question": question_text(Question("coarse"))}
        record = {**sample.record, "id": f"{sample.clip}/coarse", "row": row}
        return replace(sample, record=with_coarse(record, "", self._settings))


def _is_coarse(sample: Sample) -> bool:
    return question_kind(sample.record) == "coarse"
