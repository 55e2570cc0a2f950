"""Answers written token by token behind a shared prefix, greedily or sampled."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import RepetitionPenaltyLogitsProcessor

from megc.answers.answerer import Answer
from megc.answers.constrain import UnitList, only
from megc.answers.decoding import Decoding
from megc.answers.prefix import Branches, Prompt
from megc.answers.sampling import draw, log_chances, uniforms, warpers_of
from megc.model.checkpoint import LoadedCheckpoint


@dataclass
class Writing:
    """One answer to be written: which row asks (`asked`), its own random numbers (None: greedy), and its state."""

    asked: int
    limit: int
    numbers: np.ndarray | None = None
    constraint: UnitList | None = None
    row: int = 0  # of the branches, which those share who have written the same so far
    tokens: list[int] = field(default_factory=list)
    log_probability: float = 0.0
    ended: bool = False

    @property
    def going(self) -> bool:
        """Whether more is to be written."""
        return not self.ended and len(self.tokens) < self.limit


def writings(
    identity: str, asked: int, votes: Sequence[int], sample: bool, constraint: UnitList | None, decoding: Decoding
) -> list[Writing]:
    """What to write for the `votes` (numbers) on the question of row id `identity`."""
    limit = max(decoding.max_new_tokens, constraint.tokens if constraint else 0)
    return [
        Writing(asked, limit, uniforms(identity, vote, decoding.seed, limit) if sample else None, constraint)
        for vote in votes
    ]


@torch.inference_mode()
def write(
    loaded: LoadedCheckpoint,
    branches: Branches,
    hidden: torch.Tensor,
    prompts: Sequence[Prompt],
    wanted: Sequence[Writing],
    decoding: Decoding,
    ends: Sequence[int],
) -> list[Answer]:
    """Write the `wanted` answers to prompts, which the rows of `branches` have read.

    `hidden` (R, width): the states of the prompts' last tokens. Votes are computed once as long as they have
    written the same, and what has ended is computed no further; neither changes an answer.
    """
    for one in wanted:
        one.row = one.asked
    going = list(wanted)
    warpers = warpers_of(decoding.temperature, decoding.top_k, decoding.top_p)
    while going:
        scores = loaded.model.lm_head(hidden).float()
        _add_tokens(going, scores, prompts, warpers, decoding.repetition_penalty, ends)
        going = [one for one in going if one.going]
        if going:
            hidden = _step(branches, prompts, going)
    texts = loaded.processor.tokenizer.batch_decode([one.tokens for one in wanted], skip_special_tokens=True)
    return [Answer(text.strip(), one.log_probability, not one.ended) for text, one in zip(texts, wanted, strict=True)]


def _step(branches: Branches, prompts: Sequence[Prompt], going: Sequence[Writing]) -> torch.Tensor:
    """Take up the last token of each writing; those with the same row and token share a row from here on."""
    firsts: dict[tuple[int, int], Writing] = {}
    for one in going:
        firsts.setdefault((one.row, one.tokens[-1]), one)
    places = {key: place for place, key in enumerate(firsts)}
    branches.select([row for row, _ in places])
    for one in going:
        one.row = places[one.row, one.tokens[-1]]
    lasts = torch.stack([prompts[one.asked].positions[:, -1] for one in firsts.values()], dim=1)  # (3, R)
    written = torch.tensor([len(one.tokens) for one in firsts.values()])
    return branches.step([token for _, token in places], lasts + written)


def _add_tokens(
    going: Sequence[Writing],
    scores: torch.Tensor,
    prompts: Sequence[Prompt],
    warpers: Sequence,
    penalty: float,
    ends: Sequence[int],
) -> None:
    """Choose the next token of each writing from the scores (rows, vocabulary) of its row."""
    scores = scores[[one.row for one in going]]
    if penalty != 1.0:
        scores = _penalised(scores, going, prompts, penalty)
    for place, one in enumerate(going):
        if one.constraint:
            allowed = one.constraint.allowed(one.tokens, one.limit - len(one.tokens))
            scores[place] = only(scores[place], allowed)
    tokens = scores.argmax(dim=-1)
    drawn = [place for place, one in enumerate(going) if one.numbers is not None]
    if drawn:
        numbers = torch.tensor([going[place].numbers[len(going[place].tokens)] for place in drawn])
        tokens[drawn] = draw(scores[drawn], numbers, warpers)
    chances = log_chances(scores, tokens).tolist()
    for one, token, chance in zip(going, tokens.tolist(), chances, strict=True):
        one.tokens.append(token)
        one.log_probability += chance
        one.ended = token in ends


def _penalised(
    scores: torch.Tensor, going: Sequence[Writing], prompts: Sequence[Prompt], penalty: float
) -> torch.Tensor:
    """Scores with the repetition penalty of transformers, over prompt and answer, for each row by itself."""
    process = RepetitionPenaltyLogitsProcessor(penalty)
    made = []
    for row, one in zip(scores, going, strict=True):
        written = torch.cat([prompts[one.asked].ids, torch.tensor(one.tokens, dtype=torch.long)])
        made.append(process(written[None].to(scores.device), row[None].clone()))
    return torch.cat(made)
