"""Votes of several answerers, and of one that is asked in other words."""

from collections.abc import Sequence
from dataclasses import replace

from megc.answers.answerer import Answer, Answerer
from megc.model.samples import Sample
from megc.problems import DataError, Problems
from megc.vqa.instructions import question_of
from megc.vqa.prompts import PromptSettings, build_messages, prompt_hash
from megc.vqa.questions import parse

WORDINGS = ("structured", "bare")


class Several:
    """The votes of all `answerers` together; a sample that one of them fails on is not asked further."""

    def __init__(self, answerers: Sequence[Answerer]) -> None:
        self.answerers = answerers

    def answer(self, samples: Sequence[Sample], problems: Problems) -> list[list[Answer] | None]:
        """Votes of each sample, those of the first answerer first; None where one failed."""
        votes: list[list[Answer] | None] = [[] for _ in samples]
        for answerer in self.answerers:
            left = [place for place, some in enumerate(votes) if some is not None]
            for place, more in zip(left, answerer.answer([samples[at] for at in left], problems), strict=True):
                votes[place] = None if more is None else [*votes[place], *more]
        return votes


class Reworded:
    """An answerer that is asked with other prompt settings (the same pictures in the same order)."""

    def __init__(self, answerer: Answerer, settings: PromptSettings) -> None:
        self.answerer, self.settings = answerer, settings

    def answer(self, samples: Sequence[Sample], problems: Problems) -> list[list[Answer] | None]:
        """Votes of each sample; None for a question that cannot be asked in other words."""
        asked: dict[int, Sample] = {}
        for place, sample in enumerate(samples):
            with problems.collect():
                asked[place] = reworded(sample, self.settings)
        found = dict(zip(asked, self.answerer.answer(list(asked.values()), problems), strict=True))
        return [found.get(place) for place in range(len(samples))]


def reworded(sample: Sample, settings: PromptSettings) -> Sample:
    """The sample with the prompt of `settings`. Raises DataError for a question that is not the challenge's."""
    record = sample.record
    try:
        messages = build_messages(parse(question_of(record)), record["dataset"], settings)
    except ValueError as error:
        fix = "correct the question, or ask without --vote-prompts"
        raise DataError("--vote-prompts", record["id"], f"cannot be asked in other words ({error})", fix) from error
    return replace(sample, record={**record, "messages": messages, "prompt": prompt_hash(settings)})


def wording(settings: PromptSettings, name: str) -> PromptSettings:
    """The settings in another wording (one of WORDINGS): same pictures."""
    if name not in WORDINGS:
        raise ValueError(f"unknown wording {name!r}; known: {', '.join(WORDINGS)}")
    return replace(settings, structured=name == "structured")
