"""Answers that look at no picture: the likeliest ones of the training answers, or the labels of a training clip."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from megc.baselines.long_prior import LongPrior
from megc.baselines.settings import DRAWS
from megc.facs import FINE_EMOTIONS, FINE_OF_DATASET
from megc.vqa.instructions import answer_of, question_of
from megc.vqa.labels import ClipLabels, record_labels, smoothed_share
from megc.vqa.questions import COMPOSED, LONG_KINDS, Question, allowed_answers, join_units, parse


class Prior:
    """Frequencies of the training answers: each question gets the answer that was right most often.

    Action units: the most frequent list of the wording (one unit, several). Shown: what was right more often for
    that unit; `no` for an unseen unit and where both were equally frequent. Long: composed from the other answers.
    """

    def __init__(self, records: Sequence[dict]) -> None:
        """`records`: answered instruction records of training subjects. Raises ValueError for another question."""
        self.answers: dict[tuple, Counter] = defaultdict(Counter)
        for record in records:
            question = parse(question_of(record))
            # which side a unit is on, or what the sentence says, hardly depends on the unit; yes or no does
            key = (question.kind, question.unit if question.kind == "shown" else None, question.many)
            self.answers[key][answer_of(record)] += 1

    def most_frequent(self, kind: str, many: bool | None = None, allowed: Sequence[str] | None = None) -> str | None:
        """The most frequent answer to a kind of question, of the allowed ones; None where there is none.

        Of equally frequent answers the alphabetically first, so that the order of the training rows does not matter.
        """
        counts = self.answers.get((kind, None, many), {})
        answers = [answer for answer in counts if allowed is None or answer in allowed]
        return min(answers, key=lambda answer: (-counts[answer], answer), default=None)

    def share_of_yes(self, unit: int) -> float:
        """How often `yes` was right for an action unit, smoothed (see `labels.smoothed_share`)."""
        counts = self.answers.get(("shown", unit, None), Counter())
        return smoothed_share(counts["yes"], counts.total())

    def list_units(self, many: bool) -> str:
        """The most frequent list of the wording; where training has no such wording, made from the other one's.

        Raises ValueError where training has neither.
        """
        fitting, other = self.most_frequent("units", many=many), self.most_frequent("units", many=not many)
        if fitting is None and other is None:
            raise ValueError("the training questions hold no list of action units")
        return fitting or (other if many else other.split(",")[0])

    def answer(self, question: Question, dataset: str) -> str:
        """The answer to a question. Raises ValueError where training says nothing about its kind."""
        if question.kind in COMPOSED:
            classes = (self.answer(Question(kind), dataset) for kind in ("fine", "coarse"))
            return COMPOSED[question.kind](self.list_units(bool(question.many)), *classes)
        if question.kind == "units":
            return self.list_units(bool(question.many))
        if question.kind == "shown":
            return "yes" if self.share_of_yes(question.unit) > 0.5 else "no"
        # a dataset whose classes training never shows still gets one of its classes
        allowed = allowed_answers(question, dataset)
        answer = self.most_frequent(question.kind, allowed=allowed) or next(iter(allowed or ()), None)
        if answer is None:
            raise ValueError(f"no training question of the kind {question.kind!r}")
        return answer


def answer_with_prior(train: Sequence[dict], test: Sequence[dict]) -> list[str]:
    """Answers to the test records by the `Prior` of the training records, of questions on long videos by their
    `LongPrior`. Raises ValueError as the `answer` of these."""
    prior, long_prior, answers = Prior(train), LongPrior(train), []
    many = _asks_for_several(test)
    for record in test:
        question = parse(question_of(record))
        if question.kind == "analysis":  # it does not say how many units its clip shows; its other questions do
            question = replace(question, many=many.get(record["clip"]))
        source = long_prior if question.kind in LONG_KINDS else prior
        answers.append(source.answer(question, record["dataset"]))
    return answers


def _asks_for_several(records: Sequence[dict]) -> dict[str, bool]:
    """By clip, whether the wording of its questions speaks of several action units; no entry where none tells."""
    questions = [parse(question_of(record)) for record in records]
    pairs = zip(records, questions, strict=True)
    return {record["clip"]: question.many for record, question in pairs if question.many is not None}


def answer_from_labels(labels: ClipLabels, question: Question) -> str | None:
    """The answer that a clip with these labels would have; None for the side, which another clip cannot tell."""
    units = join_units(list(labels.units))
    if question.kind in COMPOSED:
        return COMPOSED[question.kind](units, labels.fine, labels.coarse)
    if question.kind == "shown":
        return "yes" if question.unit in labels.units else "no"
    return {"coarse": labels.coarse, "fine": labels.fine, "units": units}.get(question.kind)


def answer_with_drawn_labels(
    train: Sequence[dict], test: Sequence[dict], seed: int = 0, draws: int = DRAWS
) -> list[tuple[str, ...]]:
    """Answers to the test records by the labels of training clips that are drawn for each test clip: `draws` sets of
    answers, a record's answers of all sets together.

    Drawn are clips with one action unit or with several, as the test clip's questions are worded, and of fine
    classes that its dataset has; all clips where there is none. So a clip's answers of a set go together, and they
    are as frequent as in training (the pseudo-profiles of a MEGC 2026 entry do the same). One set is a matter of
    luck: the score of the baseline is the mean over the sets. The draws depend on the seed and the clip's id only.
    What a clip's labels do not hold is answered by the priors. Raises ValueError for fewer than one draw.
    """
    if draws < 1:
        raise ValueError(f"{draws} draws: give one at least")
    prior = Prior(train)
    labels = record_labels(train)
    complete = [label for label in labels if label.coarse and label.fine and label.units]
    complete = complete or [label for label in labels if label.coarse]  # of a dataset that has no other label
    complete.sort(key=lambda label: label.clip)  # the draws must not depend on the order of the training file
    questions = [parse(question_of(record)) for record in test]
    many = _asks_for_several(test)
    drawn: dict[str, list[ClipLabels]] = {}
    answers = []
    for record, question in zip(test, questions, strict=True):
        clip, dataset = record["clip"], record["dataset"]
        if clip not in drawn and complete:
            classes = FINE_OF_DATASET.get(dataset, FINE_EMOTIONS)
            of_dataset = [label for label in complete if label.fine in classes] or complete
            alike = [label for label in of_dataset if (len(label.units) > 1) == many.get(clip)] or of_dataset
            # a generator of the clip's own: leaving a clip out does not change the others' draws
            drawn[clip] = random.Random(f"{seed}:{clip}").choices(alike, k=draws)
        texts = [answer_from_labels(label, question) for label in drawn.get(clip, ())] or [None] * draws
        answers.append(tuple(text or prior.answer(question, dataset) for text in texts))
    return answers
