"""Two-stage questioning, after HierMEQA: the coarse class first, then all other questions with that answer told.

A test clip's true coarse class never reaches a question: what its messages told is taken out before anything is
asked, and what they tell instead is the model's own answer.
"""

from collections.abc import Sequence
from dataclasses import replace

from megc.answers.answerer import Answer, Answerer, prediction
from megc.facs import COARSE_EMOTIONS
from megc.model.samples import Sample
from megc.problems import DataError, Problems
from megc.reasoning.nearest import nearest
from megc.vqa.instructions import question_kind, with_coarse
from megc.vqa.prompts import PromptSettings
from megc.vqa.questions import Question, question_text


def is_hierarchical(record: dict) -> bool:
    """Whether an instruction record belongs to a hierarchy, which must be asked in two stages."""
    return bool(record.get("hierarchy"))


def untold(samples: Sequence[Sample], settings: PromptSettings) -> list[Sample]:
    """The samples without any coarse class in their messages. Raises DataError for settings of no hierarchy."""
    if not settings.hierarchy:
        fix = "build the questions again with data_process/build_instructions.py --hierarchy"
        raise DataError("prompt.json", None, "questions of a hierarchy, but the prompt is of none", fix)
    return [replace(sample, record=with_coarse(sample.record, "", settings)) for sample in samples]


class TwoStage:
    """An Answerer that asks another one in two stages; `settings` are the hierarchy's prompt.

    The coarse question of a clip is asked once, under an id of its own (so that the answer does not depend on
    which questions are asked together), and also answers the clip's own coarse question. A clip whose coarse
    question fails is not asked further.
    """

    def __init__(self, answerer: Answerer, settings: PromptSettings) -> None:
        self._answerer, self._settings = answerer, settings
        self._coarse: dict[str, list[Answer]] = {}

    def answer(self, samples: Sequence[Sample], problems: Problems) -> list[list[Answer] | None]:
        """Votes of each sample, in order; None for a sample that failed, which `problems` is told of."""
        samples = untold(samples, self._settings)
        first = {sample.clip: sample for sample in reversed(samples)}
        new = [self._coarse_question(first[clip]) for clip in first if clip not in self._coarse]
        found = self._answerer.answer(new, problems) if new else []
        self._coarse |= {sample.clip: votes for sample, votes in zip(new, found, strict=True) if votes}
        places, told = [], []
        for place, sample in enumerate(samples):
            if sample.clip in self._coarse and question_kind(sample.record) != "coarse":
                places.append(place)
                told.append(replace(sample, record=with_coarse(sample.record, self._said(sample), self._settings)))
        answers = dict(zip(places, self._answerer.answer(told, problems) if told else [], strict=True))
        return [answers.get(place, self._own(sample)) for place, sample in enumerate(samples)]

    def _own(self, sample: Sample) -> list[Answer] | None:
        """The first stage's votes, for the coarse question itself."""
        return self._coarse.get(sample.clip) if question_kind(sample.record) == "coarse" else None

    def _said(self, sample: Sample) -> str:
        """The coarse class that the first stage's votes make, one of the three."""
        return nearest(prediction(sample, self._coarse[sample.clip])["answer"], COARSE_EMOTIONS, "coarse")

    def _coarse_question(self, sample: Sample) -> Sample:
        row = {**sample.record["row"], "question": question_text(Question("coarse"))}
        record = {**sample.record, "id": f"{sample.clip}/coarse", "row": row}
        return replace(sample, record=with_coarse(record, "", self._settings))
