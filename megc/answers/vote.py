"""Several sampled answers to one question, made into one."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from megc.vqa.questions import normalise_answer


@dataclass(frozen=True)
class Vote:
    """What most of the votes say, and how clearly.

    `agreement` is the winner's share of the votes, `margin` its lead over the second as a share; both are None
    where there was one vote, which agrees with nothing.
    """

    answer: str
    agreement: float | None
    margin: float | None


def majority(votes: Sequence[str], log_probabilities: Sequence[float] | None = None) -> Vote:
    """The answer with most votes.

    Answers with equally many votes: the one with the most probable vote (`log_probabilities`, one a vote), else
    the one that was drawn first. The winner is written as its most probable, else first, vote writes it.
    Raises ValueError for no votes, and for as many probabilities as votes do not have.
    """
    if not votes:
        raise ValueError("no votes")
    chances = [0.0] * len(votes) if log_probabilities is None else list(log_probabilities)
    if len(chances) != len(votes):
        raise ValueError(f"{len(chances)} probabilities for {len(votes)} votes")
    if len(votes) == 1:
        return Vote(votes[0], None, None)
    groups: dict[str, list[int]] = {}
    for place, vote in enumerate(votes):
        groups.setdefault(normalise_answer(vote), []).append(place)
    # max() keeps the first of equals: of groups the one drawn first, of a group its first vote
    winner = max(groups.values(), key=lambda places: (len(places), max(chances[place] for place in places)))
    sizes = sorted((len(places) for places in groups.values()), reverse=True)
    second = sizes[1] if len(sizes) > 1 else 0
    best = max(winner, key=lambda place: chances[place])
    return Vote(votes[best], sizes[0] / len(votes), (sizes[0] - second) / len(votes))


def mixture(scores: Sequence[Mapping[str, float]]) -> tuple[dict[str, float], float]:
    """Scores (log-likelihoods) of the same answers from several judges, made into one, and the margin.

    The result is the log of the mean likelihood, that is, of the judges' mixture. The margin is the lead of the
    best answer over the second as probabilities within the set (0 to 1, as the lead among votes is); 1 for a set
    of one. Raises ValueError for judges that scored different answers.
    """
    first, *others = scores
    if any(other.keys() != first.keys() for other in others):
        raise ValueError("the scores are of different answers")
    mixed = {answer: _log_sum([one[answer] for one in scores]) - math.log(len(scores)) for answer in first}
    total = _log_sum(mixed.values())
    shares = sorted((math.exp(score - total) for score in mixed.values()), reverse=True)
    return mixed, shares[0] - (shares[1] if len(shares) > 1 else 0.0)


def _log_sum(values: Iterable[float]) -> float:
    values = list(values)
    top = max(values)
    return top + math.log(math.fsum(math.exp(value - top) for value in values))
