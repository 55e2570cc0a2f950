"""Answers that look at no picture: the likeliest ones of the training answers, or the labels of a training clip."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from megc.facs import FINE_EMOTIONS, FINE_OF_DATASET
from megc.vqa.instructions import answer_of, question_kind, question_of
from megc.vqa.questions import Question, allowed_answers, compose_long, join_units, parse, split_units

DRAWS = 100  # the mean over them is known to a tenth of what one set varies by


class Prior:
    """What the training answers alone say: for each question the answer that was most often right.

    Action units: the most frequent list of the wording (one unit, several). Shown: what was right more often for
    that unit, of equally many and for an unseen unit `no`. Long: composed from the other answers.
    """

    def __init__(self, records: Sequence[dict]) -> None:
        self.answers: dict[tuple, Counter] = defaultdict(Counter)
        for record in records:
            question = parse(question_of(record))
            key = (question.kind, question.unit if question.kind == "shown" else None, question.many)
            self.answers[key][answer_of(record)] += 1

    def most(self, kind: str, many: bool | None = None, allowed: Sequence[str] | None = None) -> str | None:
        """The most frequent answer (of the allowed ones), the alphabetically first of several; None where none."""
        counts = self.answers.get((kind, None, many), {})
        found = [answer for answer in counts if allowed is None or answer in allowed]
        return min(found, key=lambda answer: (-counts[answer], answer), default=None)

    def shown(self, unit: int) -> float:
        """How often `yes` was right for a unit, drawn towards one half by one pretended question."""
        counts = self.answers.get(("shown", unit, None), Counter())
        return (counts["yes"] + 0.5) / (counts.total() + 1)

    def units(self, many: bool) -> str:
        """The most frequent list of the wording; where training has no such wording, from the other one."""
        same, other = self.most("units", many=many), self.most("units", many=not many)
        if same is None and other is None:
            raise ValueError("the training questions hold no list of action units")
        return same or (other if many else other.split(",")[0])

    def answer(self, question: Question, dataset: str) -> str:
        """The answer to a question. Raises ValueError where training says nothing about its kind."""
        if question.kind in ("long", "analysis"):
            classes = (self.answer(Question(kind), dataset) for kind in ("fine", "coarse"))
            return compose_long(self.units(bool(question.many)), *classes)
        if question.kind == "units":
            return self.units(bool(question.many))
        if question.kind == "shown":
            return "yes" if self.shown(question.unit) > 0.5 else "no"
        allowed = allowed_answers(question, dataset)
        found = self.most(question.kind, allowed=allowed) or next(iter(allowed or ()), None)
        if found is None:
            raise ValueError(f"no training question of the kind {question.kind!r}")
        return found


def prior_only(train: Sequence[dict], test: Sequence[dict]) -> list[str]:
    """Answers to the test records by the priors of the training records (instruction records, as `Prior` says)."""
    prior = Prior(train)
    return [prior.answer(parse(question_of(record)), record["dataset"]) for record in test]


@dataclass(frozen=True)
class Profile:
    """The labels of one training clip, which go together."""

    coarse: str
    fine: str
    units: tuple[int, ...]

    def answer(self, question: Question) -> str | None:
        """The profile's answer to a question; None for what it does not hold (the side)."""
        if question.kind in ("long", "analysis"):
            return compose_long(join_units(list(self.units)), self.fine, self.coarse)
        if question.kind == "shown":
            return "yes" if question.unit in self.units else "no"
        answers = {"coarse": self.coarse, "fine": self.fine, "units": join_units(list(self.units))}
        return answers.get(question.kind)


def profiles(records: Sequence[dict]) -> list[Profile]:
    """The profile of each clip whose coarse class, fine class and action units are all answered, in order of clip."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for record in records:
        found[record["clip"]].setdefault(question_kind(record), answer_of(record))
    kept = []
    for _, answers in sorted(found.items()):
        if all(answers.get(kind) for kind in ("coarse", "fine", "units")):
            units = tuple(number for number in split_units(answers["units"]) if number)
            kept.append(Profile(answers["coarse"], answers["fine"], units))
    return kept


def prior_sampled(
    train: Sequence[dict], test: Sequence[dict], seed: int = 0, draws: int = DRAWS
) -> list[tuple[str, ...]]:
    """Answers to the test records by the profiles of training clips that are drawn for each test clip: `draws` sets of
    answers, a record's answers of all sets together.

    Drawn are clips with one action unit or with several, as the test clip's questions are worded, and of fine
    classes that its dataset has; all clips where there is none. So a clip's answers of a set go together, and they
    are as frequent as in training (the pseudo-profiles of a MEGC 2026 entry do the same). One set is a matter of
    luck: the score of the baseline is the mean over the sets. The draws depend on the seed and the clip's id only.
    What a profile does not hold is answered by the priors. Raises ValueError for fewer than one draw.
    """
    if draws < 1:
        raise ValueError(f"{draws} draws: give one at least")
    prior, known = Prior(train), profiles(train)
    asked = [parse(question_of(record)) for record in test]
    many = {
        record["clip"]: question.many
        for record, question in zip(test, asked, strict=True)
        if question.many is not None
    }
    drawn: dict[str, list[Profile]] = {}
    answers = []
    for record, question in zip(test, asked, strict=True):
        clip, dataset = record["clip"], record["dataset"]
        if clip not in drawn and known:
            classes = FINE_OF_DATASET.get(dataset, FINE_EMOTIONS)
            allowed = [profile for profile in known if profile.fine in classes] or known
            same = [profile for profile in allowed if (len(profile.units) > 1) == many.get(clip)] or allowed
            drawn[clip] = random.Random(f"{seed}:{clip}").choices(same, k=draws)
        texts = [profile.answer(question) for profile in drawn[clip]] if known else [None] * draws
        answers.append(tuple(text or prior.answer(question, dataset) for text in texts))
    return answers
