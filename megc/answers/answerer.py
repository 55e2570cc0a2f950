"""What answers questions, be it a model in memory, several of them, or a server; and how votes become one answer."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from megc.answers.settings import OPEN
from megc.model.samples import Sample
from megc.problems import Problems
from megc.vqa.instructions import question_of
from megc.vqa.questions import Question, normalise_answer, parse


@dataclass(frozen=True)
class Answer:
    """One answer to one question.

    `log_probability`: of its tokens; None where nobody computed it. `cut`: it was cut off at the longest length.
    `choices`: of a question that was answered by comparing the allowed answers, the log-likelihood of each (sum
    over its tokens and the end token), in the order of the allowed answers. `way`: how a server answered a closed
    question (see `server`), and `written`: what it wrote where that is not an allowed answer.
    """

    text: str
    log_probability: float | None = None
    cut: bool = False
    choices: dict[str, float] | None = None
    way: str | None = None
    written: str | None = None


class Answerer(Protocol):
    """Answers questions. An answer must not depend on the other samples of the call."""

    def answer(self, samples: Sequence[Sample], problems: Problems) -> list[list[Answer] | None]:
        """Votes of each sample, in order; None for a sample that failed, which is reported in `problems`."""


def parse_question(sample: Sample) -> Question:
    """The question of a sample; of kind OPEN in words that are not the challenge's."""
    try:
        return parse(question_of(sample.record))
    except ValueError:
        return Question(OPEN)


# ---- votes


@dataclass(frozen=True)
class Vote:
    """The answer of most votes, and how clear it is.

    `agreement` is the winner's share of the votes, `margin` its lead over the second as a share. Both are None for
    a single vote.
    """

    answer: str
    agreement: float | None
    margin: float | None


def majority_vote(votes: Sequence[str], log_probabilities: Sequence[float] | None = None) -> Vote:
    """The answer with most votes; texts that `normalise_answer` makes equal count as one answer.

    Answers with equally many votes: the one with the most probable vote (`log_probabilities`, one a vote), else
    the one that was drawn first. The winner is written as its most probable, else first, vote writes it.
    Raises ValueError for no votes, and where votes and probabilities differ in number.
    """
    if not votes:
        raise ValueError("no votes")
    chances = [0.0] * len(votes) if log_probabilities is None else list(log_probabilities)
    if len(chances) != len(votes):
        raise ValueError(f"{len(chances)} probabilities for {len(votes)} votes")
    if len(votes) == 1:
        return Vote(votes[0], None, None)
    groups: dict[str, list[int]] = {}  # numbers of the votes for each answer
    for number, vote in enumerate(votes):
        groups.setdefault(normalise_answer(vote), []).append(number)
    # max() keeps the first of equals: of groups the one drawn first, of a group its first vote
    winner = max(groups.values(), key=lambda numbers: (len(numbers), max(chances[number] for number in numbers)))
    sizes = sorted((len(numbers) for numbers in groups.values()), reverse=True)
    second = sizes[1] if len(sizes) > 1 else 0
    best = max(winner, key=lambda number: chances[number])
    return Vote(votes[best], sizes[0] / len(votes), (sizes[0] - second) / len(votes))


def mean_likelihood(scores: Sequence[Mapping[str, float]]) -> tuple[dict[str, float], float]:
    """Log of the mean likelihood of each answer over several votes' log-likelihoods `scores`, and the margin.

    The margin is the lead of the best answer over the second as probabilities within the set (0 to 1, as the lead
    among votes is); 1 for a set of one. Raises ValueError for votes that scored different answers.
    """
    first, *others = scores
    if any(other.keys() != first.keys() for other in others):
        raise ValueError("the scores are of different answers")
    means = {answer: _log_sum([vote[answer] for vote in scores]) - math.log(len(scores)) for answer in first}
    total = _log_sum(means.values())
    shares = sorted((math.exp(score - total) for score in means.values()), reverse=True)
    return means, shares[0] - (shares[1] if len(shares) > 1 else 0.0)


def _log_sum(values: Iterable[float]) -> float:
    """log Σ exp(value), in double precision; fsum, so that the order of the values does not matter."""
    values = list(values)
    top = max(values)
    return top + math.log(math.fsum(math.exp(value - top) for value in values))


def make_prediction(sample: Sample, votes: Sequence[Answer]) -> dict:
    """The predictions row of a sample: its ME-VQA row with the answer of the votes.

    `votes` are the texts, `agreement` and `margin` tell how clear the result is (see `Vote`), `choices` holds
    the log-likelihood of each allowed answer, or None for a question that was not answered by comparing them. A
    comparison weighs more than texts: votes that have one are averaged as probabilities. Rows of a server have the
    `way` of a closed question too, and what was `written` in place of the votes.
    """
    texts = [vote.text for vote in votes]
    chances = [vote.log_probability for vote in votes]
    compared = [vote.choices for vote in votes if vote.choices is not None]
    if compared:
        choices, margin = mean_likelihood(compared)
        answer = max(choices, key=choices.get)
        agreement = texts.count(answer) / len(texts) if len(texts) > 1 else None
    else:
        vote = majority_vote(texts, None if None in chances else chances)
        answer, agreement, margin, choices = vote.answer, vote.agreement, vote.margin, None
    return {
        **sample.record["row"],
        "answer": answer,
        "votes": texts,
        "agreement": agreement,
        "margin": margin,
        "choices": choices,
        **({"way": votes[0].way} if votes[0].way else {}),
        **({"written": [vote.written for vote in votes]} if votes[0].written is not None else {}),
    }


# ---- answerers made of others


class Ensemble:
    """The votes of all `answerers` together; a sample that one of them fails on is not passed to the next."""

    def __init__(self, answerers: Sequence[Answerer]) -> None:
        self.answerers = answerers

    def answer(self, samples: Sequence[Sample], problems: Problems) -> list[list[Answer] | None]:
        """Votes of each sample, those of the first answerer first; None where one failed."""
        votes: list[list[Answer] | None] = [[] for _ in samples]
        for answerer in self.answerers:
            left = [number for number, so_far in enumerate(votes) if so_far is not None]
            answers = answerer.answer([samples[number] for number in left], problems)
            for number, more in zip(left, answers, strict=True):
                votes[number] = None if more is None else [*votes[number], *more]
        return votes
