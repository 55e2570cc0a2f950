"""What answers questions, whatever it is: a model in memory, several of them, a server. And the row of an answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from megc.answers.vote import majority, mixture
from megc.model.samples import Sample
from megc.problems import Problems


@dataclass(frozen=True)
class Answer:
    """One answer to one question.

    `log_probability`: of its tokens; None where nobody computed it. `cut`: it was cut off at the longest length.
    `choices`: of a question that was answered by comparing the allowed answers, the log-likelihood of each (sum
    over its tokens and the end token), in the order of the allowed answers. `scores` are the same numbers as they
    were compared (divided by the number of tokens with length normalisation); None: the log-likelihoods.
    `way`: by which of its ways a server answered a closed question (see `server`), and `written`: what it wrote
    where that is not an allowed answer.
    """

    text: str
    log_probability: float | None = None
    cut: bool = False
    choices: dict[str, float] | None = None
    scores: dict[str, float] | None = None
    way: str | None = None
    written: str | None = None


class Answerer(Protocol):
    """Answers questions. Answers must not depend on which samples are asked together."""

    def answer(self, samples: Sequence[Sample], problems: Problems) -> list[list[Answer] | None]:
        """Votes of each sample, in order; None for a sample that failed, which `problems` is told of."""


def prediction(sample: Sample, votes: Sequence[Answer]) -> dict:
    """The predictions row of a sample: its ME-VQA row with the answer of the votes.

    `votes` are the texts, `agreement` and `margin` say how clear the result is (see `vote.Vote`), `choices` holds
    the log-likelihood of each allowed answer, or None for a question that was not answered by comparing them. A
    comparison weighs more than texts: votes that have one are averaged as probabilities. Rows of a server have the
    `way` of a closed question too, and what was `written` in place of the votes.
    """
    texts = [vote.text for vote in votes]
    chances = [vote.log_probability for vote in votes]
    compared = [vote for vote in votes if vote.choices is not None]
    choices = None
    if compared:
        choices, _ = mixture([vote.choices for vote in compared])
        scores, margin = mixture([vote.choices if vote.scores is None else vote.scores for vote in compared])
        answer = max(scores, key=scores.get)
        agreement = texts.count(answer) / len(texts) if len(texts) > 1 else None
    else:
        chosen = majority(texts, None if None in chances else chances)
        answer, agreement, margin = chosen.answer, chosen.agreement, chosen.margin
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
