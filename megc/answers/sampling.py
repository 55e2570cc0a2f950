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


class RowSampler(LogitsProcessor):
    """Draws each sequence's next token by inverting its distribution at the sequence's own number of the step.

    Everything but the drawn token is set to -inf, so that any sampling behind this one draws that token. The
    distribution is that of temperature, then top-k, then top-p, as in transformers. `log_probabilities` adds up
    the unwarped log-probability of each sequence's tokens, the end token included.

    `identities` and `votes` name the sequences of the batch, `prompt` is the padded prompt's length.
    """

    def __init__(
        self,
        identities: Sequence[str],
        votes: Sequence[int],
        seed: int,
        steps: int,
        prompt: int,
        end_tokens: Sequence[int],
        temperature: float,
        top_k: int,
        top_p: float,
    ) -> None:
        drawn = [uniforms(one, vote, seed, steps) for one, vote in zip(identities, votes, strict=True)]
        self.uniforms = torch.from_numpy(np.stack(drawn))  # (sequences, steps), float64
        self.prompt = prompt
        self.end_tokens = torch.tensor(end_tokens)
        self.warpers: list[LogitsProcessor] = [TemperatureLogitsWarper(temperature)]
        if top_k > 0:
            self.warpers.append(TopKLogitsWarper(top_k))
        if top_p < 1:
            self.warpers.append(TopPLogitsWarper(top_p))
        self.log_probabilities = torch.zeros(len(drawn), dtype=torch.float64)
        self._ended = torch.zeros(len(drawn), dtype=torch.bool)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Scores (sequences, vocabulary) with one finite entry a sequence."""
        step = input_ids.shape[1] - self.prompt
        if step:
            self._ended |= torch.isin(input_ids[:, -1].cpu(), self.end_tokens)
        warped = scores.float()
        for warper in self.warpers:
            warped = warper(input_ids, warped)
        cumulated = torch.softmax(warped.double(), dim=-1).cumsum(dim=-1)
        level = self.uniforms[:, step].to(cumulated.device)[:, None] * cumulated[:, -1:]
        drawn = (cumulated <= level).sum(dim=-1, keepdim=True)
        chances = torch.log_softmax(scores.double(), dim=-1).gather(-1, drawn)[:, 0].cpu()
        self.log_probabilities += torch.where(self._ended, 0.0, chances)
        return torch.full_like(scores, -torch.inf).scatter(-1, drawn, 0.0)
