"""Sampling whose result depends on the row and the seed, not on the batch that the row happens to be in."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from transformers import LogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper


def uniforms(identity: str, vote: int, seed: int, count: int) -> np.ndarray:
    """`count` numbers in [0, 1) that belong to one vote on one row; a longer draw begins with the shorter one."""
    digest = hashlib.sha256(f"{seed}\n{vote}\n{identity}".encode()).digest()
    return np.random.Generator(np.random.Philox(np.frombuffer(digest, np.uint32).tolist())).random(count)


def warpers_of(temperature: float, top_k: int, top_p: float) -> list[LogitsProcessor]:
    """What shapes the distribution before a draw, in the order of transformers."""
    warpers: list[LogitsProcessor] = [TemperatureLogitsWarper(temperature)]
    if top_k > 0:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    return warpers


def draw(scores: torch.Tensor, numbers: torch.Tensor, warpers: Sequence[LogitsProcessor]) -> torch.Tensor:
    """A token for each row of scores (rows, vocabulary): its distribution inverted at the row's number in [0, 1)."""
    warped = scores.float()
    for warper in warpers:
        warped = warper(None, warped)
    cumulated = torch.softmax(warped.double(), dim=-1).cumsum(dim=-1)
    level = numbers.to(cumulated.device)[:, None] * cumulated[:, -1:]
    return (cumulated <= level).sum(dim=-1)


def log_chances(scores: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-probability of a token for each row of scores (rows, vocabulary), in double precision on the CPU."""
    return torch.log_softmax(scores.double(), dim=-1).gather(-1, tokens[:, None])[:, 0].cpu()


class RowSampler(LogitsProcessor):
    """Draws each sequence's next token by inverting its distribution at the sequence's own number of the step.

    Everything but the drawn token is set to -inf, so that any sampling behind this one draws that token. The
    distribution is that of temperature, then top-k, then top-p, as in transformers. `log_probabilities` adds up
    the unwarped log-probability of each sequence's tokens, the end token included.

    `identities` and `votes` name the sequences of the batch, `limits` are their longest lengths in tokens, `prompt`
    is the padded prompt's length.
    """

    def __init__(
        self,
        identities: Sequence[str],
        votes: Sequence[int],
        seed: int,
        limits: Sequence[int],
        prompt: int,
        end_tokens: Sequence[int],
        temperature: float,
        top_k: int,
        top_p: float,
    ) -> None:
        drawn = [uniforms(one, vote, seed, max(limits)) for one, vote in zip(identities, votes, strict=True)]
        self.uniforms = torch.from_numpy(np.stack(drawn))  # (sequences, steps), float64
        self.limits = torch.tensor(limits)
        self.prompt = prompt
        self.end_tokens = torch.tensor(end_tokens)
        self.warpers = warpers_of(temperature, top_k, top_p)
        self.log_probabilities = torch.zeros(len(drawn), dtype=torch.float64)
        self._ended = torch.zeros(len(drawn), dtype=torch.bool)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Scores (sequences, vocabulary) with one finite entry a sequence."""
        step = input_ids.shape[1] - self.prompt
        if step:
            self._ended |= torch.isin(input_ids[:, -1].cpu(), self.end_tokens) | (step >= self.limits)
        drawn = draw(scores, self.uniforms[:, step], self.warpers)
        self.log_probabilities += torch.where(self._ended, 0.0, log_chances(scores, drawn))
        return torch.full_like(scores, -torch.inf).scatter(-1, drawn[:, None], 0.0)
