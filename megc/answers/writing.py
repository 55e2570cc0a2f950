"""Answers written token by token behind a shared prefix, greedily or sampled, lists of action units kept to names.

What a vote draws depends on its row, its number and the seed, never on the batch: each step inverts the distribution
at a number in [0, 1) that belongs to the vote.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import (
    LogitsProcessor,
    PreTrainedTokenizerBase,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from megc.answers.answerer import Answer
from megc.answers.prefix import Branches, Prompt
from megc.answers.settings import Decoding
from megc.facs import ME_VQA_UNITS, unit_name
from megc.model.checkpoint import LoadedCheckpoint
from megc.vqa.questions import Question, join_units

# ---- lists of action units


class UnitList:
    """The tokens that may follow in a list of `least` to `most` different names, joined as an answer joins them.

    `ends` are the tokens that end an answer; the constraint offers the first of them.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, ends: Sequence[int], least: int, most: int) -> None:
        names = [unit_name(number) for number in ME_VQA_UNITS]
        joint = join_units(list(ME_VQA_UNITS[:2])).removeprefix(names[0]).removesuffix(names[1])
        self.least, self.most, self.end = least, min(most, len(names)), ends[0]
        # a name that is not the first begins with the joint: `,` and the space are tokens of it
        self._first = [tuple(tokenizer.encode(name, add_special_tokens=False)) for name in names]
        self._later = [tuple(tokenizer.encode(joint + name, add_special_tokens=False)) for name in names]
        longest = [max(map(len, self._first)), *sorted(map(len, self._later), reverse=True)]
        self._room = longest[1]
        self.tokens = sum(longest[: self.least]) + 1  # that the shortest list may need, with the end token

    def allowed(self, written: Sequence[int], room: int) -> list[int]:
        """Tokens that may follow `written`, when `room` tokens may still be written, the end token included.

        A list that has no room for one more name ends, so that no name is ever cut off. `written` must have been
        written under this constraint.
        """
        used: list[int] = []  # names that are complete, by their place in ME_VQA_UNITS
        rest = tuple(written)
        while True:
            names = self._later if used else self._first
            begun = [n for n, name in enumerate(names) if n not in used and name[: len(rest)] == rest]
            if begun:
                break
            # no name continues `rest`, so a whole name stands at its front
            used.append(next(n for n, name in enumerate(names) if n not in used and rest[: len(name)] == name))
            rest = rest[len(names[used[-1]]) :]
        following = {names[n][len(rest)] for n in begun if len(names[n]) > len(rest)}
        for n in begun:
            if names[n] == rest:  # a whole name
                following |= self._after([*used, n], room)
        return sorted(following)

    def _after(self, used: list[int], room: int) -> set[int]:
        """Tokens that may follow a whole name: the end, or the beginning of a name that is not `used`."""
        following = {self.end} if len(used) >= self.least else set()
        if len(used) < self.most and (len(used) < self.least or room > self._room):
            following |= {name[0] for n, name in enumerate(self._later) if n not in used}
        return following


def make_unit_list(question: Question, tokenizer: PreTrainedTokenizerBase, ends: Sequence[int]) -> UnitList | None:
    """The constraint of a question for a list of action units; None for others."""
    if question.kind == "units":
        return UnitList(tokenizer, ends, 2, len(ME_VQA_UNITS)) if question.many else UnitList(tokenizer, ends, 1, 1)
    return UnitList(tokenizer, ends, 1, len(ME_VQA_UNITS)) if question.kind == "distinct_units" else None


def mask_scores(scores: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """Scores (vocabulary,) with -inf for all but `tokens`."""
    kept = torch.tensor(tokens, device=scores.device)
    return torch.full_like(scores, -torch.inf).scatter(-1, kept, scores[kept])


# ---- sampling


def uniform_numbers(identity: str, vote: int, seed: int, count: int) -> np.ndarray:
    """`count` numbers in [0, 1) that belong to one vote on one row; a longer draw begins with the shorter one."""
    digest = hashlib.sha256(f"{seed}\n{vote}\n{identity}".encode()).digest()
    return np.random.Generator(np.random.Philox(np.frombuffer(digest, np.uint32).tolist())).random(count)


def make_warpers(decoding: Decoding) -> list[LogitsProcessor]:
    """What shapes the distribution before a draw, in the order of transformers."""
    warpers: list[LogitsProcessor] = [TemperatureLogitsWarper(decoding.temperature)]
    if decoding.top_k > 0:
        warpers.append(TopKLogitsWarper(decoding.top_k))
    if decoding.top_p < 1:
        warpers.append(TopPLogitsWarper(decoding.top_p))
    return warpers


def draw_tokens(scores: torch.Tensor, numbers: torch.Tensor, warpers: Sequence[LogitsProcessor]) -> torch.Tensor:
    """A token for each row of scores (rows, vocabulary): its distribution inverted at the row's number in [0, 1)."""
    warped = scores.float()
    for warper in warpers:
        warped = warper(None, warped)
    # in double precision: a float32 sum over 150,000 tokens would move the borders between rare ones
    cumulated = torch.softmax(warped.double(), dim=-1).cumsum(dim=-1)
    level = numbers.to(cumulated.device)[:, None] * cumulated[:, -1:]
    return (cumulated <= level).sum(dim=-1)


def log_probabilities(scores: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-probability of a token for each row of scores (rows, vocabulary), in double precision on the CPU."""
    return torch.log_softmax(scores.double(), dim=-1).gather(-1, tokens[:, None])[:, 0].cpu()


# ---- writing


@dataclass
class PartialAnswer:
    """One answer while it is written: number of its `question` in the batch, its random `numbers` (None: greedy)."""

    question: int
    limit: int  # longest length in tokens
    numbers: np.ndarray | None = None
    constraint: UnitList | None = None
    row: int = 0  # of the branches; votes that have written the same so far share a row
    tokens: list[int] = field(default_factory=list)
    log_probability: float = 0.0
    ended: bool = False

    @property
    def unfinished(self) -> bool:
        """Whether more is to be written."""
        return not self.ended and len(self.tokens) < self.limit


def start_answers(
    identity: str, question: int, votes: Sequence[int], sample: bool, constraint: UnitList | None, decoding: Decoding
) -> list[PartialAnswer]:
    """Empty answers for the `votes` (numbers) on the question of row id `identity`."""
    limit = max(decoding.max_new_tokens, constraint.tokens if constraint else 0)
    return [
        PartialAnswer(
            question, limit, uniform_numbers(identity, vote, decoding.seed, limit) if sample else None, constraint
        )
        for vote in votes
    ]


@torch.inference_mode()
def write_answers(
    loaded: LoadedCheckpoint,
    branches: Branches,
    hidden: torch.Tensor,
    prompts: Sequence[Prompt],
    answers: Sequence[PartialAnswer],
    decoding: Decoding,
    ends: Sequence[int],
) -> list[Answer]:
    """Write `answers` to the end, whose prompts the rows of `branches` have read.

    `hidden` (R, width): the states of the prompts' last tokens. Votes are computed once as long as they have
    written the same, and what has ended is computed no further; neither changes an answer.
    """
    for answer in answers:
        answer.row = answer.question
    unfinished, warpers = list(answers), make_warpers(decoding)
    while unfinished:
        scores = loaded.model.lm_head(hidden).float()  # (R, vocabulary)
        _add_tokens(unfinished, scores, warpers, ends)
        unfinished = [answer for answer in unfinished if answer.unfinished]
        if unfinished:
            hidden = _read_tokens(branches, prompts, unfinished)
    texts = loaded.processor.tokenizer.batch_decode([answer.tokens for answer in answers], skip_special_tokens=True)
    return [
        Answer(text.strip(), answer.log_probability, not answer.ended)
        for text, answer in zip(texts, answers, strict=True)
    ]


def _add_tokens(
    answers: Sequence[PartialAnswer], scores: torch.Tensor, warpers: Sequence[LogitsProcessor], ends: Sequence[int]
) -> None:
    """Choose the next token of each answer from the scores (R, vocabulary) of its row."""
    scores = scores[[answer.row for answer in answers]]  # (answers, vocabulary): rows that are shared repeat
    for number, answer in enumerate(answers):
        if answer.constraint:
            allowed = answer.constraint.allowed(answer.tokens, answer.limit - len(answer.tokens))
            scores[number] = mask_scores(scores[number], allowed)
    tokens = scores.argmax(dim=-1)
    sampled = [number for number, answer in enumerate(answers) if answer.numbers is not None]
    if sampled:
        numbers = torch.tensor([answers[number].numbers[len(answers[number].tokens)] for number in sampled])
        tokens[sampled] = draw_tokens(scores[sampled], numbers, warpers)
    # before temperature, top-k and top-p, which must not decide which of two votes is the likelier
    chances = log_probabilities(scores, tokens).tolist()
    for answer, token, chance in zip(answers, tokens.tolist(), chances, strict=True):
        answer.tokens.append(token)
        answer.log_probability += chance
        answer.ended = token in ends


def _read_tokens(branches: Branches, prompts: Sequence[Prompt], answers: Sequence[PartialAnswer]) -> torch.Tensor:
    """Run the last token of each answer through the model; returns states (R, width) of the new rows.

    row 0  "lip"  → "corner"  ┐ the same row and token: one new row for both
    row 0  "lip"  → "corner"  ┘
    row 0  "lip"  → "tight"   ─ another token: the row splits, and both go on from its keys
    """
    firsts: dict[tuple[int, int], PartialAnswer] = {}  # (row, token) → the first answer that wrote it
    for answer in answers:
        firsts.setdefault((answer.row, answer.tokens[-1]), answer)
    new_rows = {key: row for row, key in enumerate(firsts)}
    branches.select([row for row, _ in new_rows])
    for answer in answers:
        answer.row = new_rows[answer.row, answer.tokens[-1]]
    # positions go on by one from the prompt's last token; its three components are equal behind the pictures
    lasts = torch.stack([prompts[answer.question].positions[:, -1] for answer in firsts.values()], dim=1)  # (3, R)
    written = torch.tensor([len(answer.tokens) for answer in firsts.values()])
    return branches.step([token for _, token in new_rows], lasts + written)
