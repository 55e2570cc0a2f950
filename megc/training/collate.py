"""Packed sequences → what the model's forward takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from megc.model.attention import additive_mask, packed_mask
from megc.model.packing import IGNORED, Packed
from megc.model.samples import PictureStore
from megc.model.visuals import token_kinds


class Clips(Dataset):
    """Packed sequences with the shift that augments their pictures in this epoch.

    The shift is a function of seed, epoch and index, not of a generator's state: a resumed run sees the same
    pictures as one that was not interrupted. `epoch` is set by the trainer.
    """

    def __init__(self, packed: Sequence[Packed], shift: int = 0, seed: int = 0) -> None:
        self.packed, self.shift, self.seed, self.epoch = packed, shift, seed, 0

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, index: int) -> tuple[Packed, tuple[int, int]]:
        if not self.shift:
            return self.packed[index], (0, 0)
        generator = np.random.default_rng([self.seed, self.epoch, index])
        down, right = generator.integers(-self.shift, self.shift + 1, 2).tolist()
        return self.packed[index], (down, right)


@dataclass(frozen=True)
class Collator:
    """Batch of packed sequences, padded on the right.

    `packed_attention`: a 4-D mask; without, a plain 2-D one, which every attention implementation takes but which
    is right only for sequences of one sample. `additive`: the 4-D mask is added to the scores, as eager attention
    takes it; sdpa takes the bool one. Logits are computed where an answer is predicted and nowhere else: `labels` and
    `shift_labels` are the targets at those places (`logits_to_keep`).
    """

    pictures: PictureStore
    pad_token_id: int
    packed_attention: bool = True
    additive: bool = False

    def __call__(self, items: Sequence[tuple[Packed, tuple[int, int]]]) -> dict[str, torch.Tensor]:
        sequences = [sequence for sequence, _ in items]
        ids = _pad([sequence.input_ids for sequence in sequences], self.pad_token_id)  # (B, L)
        branch = _pad([sequence.branch for sequence in sequences], -1)  # (B, L)
        targets = _pad([sequence.targets for sequence in sequences], IGNORED)  # (B, L)
        positions = pad_sequence([sequence.position_ids.T for sequence in sequences], batch_first=True)  # (B, L, 3)
        # Places where any row predicts an answer: the head, 150,000 rows wide, runs at these K of L places only.
        kept = (targets != IGNORED).any(0).nonzero()[:, 0]  # (K,)
        answers = targets[:, kept].contiguous()  # (B, K)
        return {
            "input_ids": ids,
            "attention_mask": self._mask(branch),
            "position_ids": positions.permute(2, 0, 1).contiguous(),  # (3, B, L)
            "mm_token_type_ids": token_kinds(ids, self.pictures.processor),
            "labels": answers,
            "shift_labels": answers,
            "logits_to_keep": kept,
            **self.pictures.batch([(sequence.pictures, sequence.lengths, shift) for sequence, shift in items]),
        }

    def _mask(self, branch: torch.Tensor) -> torch.Tensor:
        """The mask of branches (B, L) in the form that the attention takes."""
        if not self.packed_attention:
            return (branch >= 0).long()
        allowed = packed_mask(branch)
        return additive_mask(allowed) if self.additive else allowed


def _pad(rows: list[torch.Tensor], value: int) -> torch.Tensor:
    return pad_sequence(rows, batch_first=True, padding_value=value)


def answer_weights(targets: torch.Tensor, end: int, loss_per: str) -> torch.Tensor:
    """What each target (B, K) counts for, float: 1 a token, or 1 an answer shared evenly by its tokens.

    An answer ends with the token `end`. Places that are IGNORED count for 0.
    """
    counted = targets != IGNORED
    if loss_per == "token":
        return counted.float()
    ends = targets == end
    # The end of an answer belongs to it: ends before a place, not up to it, number the answers.
    answer = ends.cumsum(1) - ends.long()  # (B, K)
    lengths = torch.zeros_like(targets).scatter_add_(1, answer, counted.long())
    return counted / lengths.gather(1, answer).clamp(min=1)


def token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross entropy (B, K) of each target; 0 where IGNORED."""
    return cross_entropy(logits.float().transpose(1, 2), targets, ignore_index=IGNORED, reduction="none")


def answer_loss(
    outputs: dict,
    targets: torch.Tensor,
    num_items_in_batch: torch.Tensor | float | None = None,
    *,
    end: int,
    loss_per: str = "token",
) -> torch.Tensor:
    """Cross entropy of the answers, each token, or each answer (`loss_per` "question"), with the same weight.

    `outputs.logits` (B, K, V) at the K kept places, `targets` (B, K) already shifted. The sum is divided by the
    step's sum of weights over all micro-batches and processes (`num_items_in_batch`), so that 8×1, 4×2 and two
    processes of 4 take the same step.
    """
    weights = answer_weights(targets, end, loss_per)
    total = (token_losses(outputs["logits"], targets) * weights).sum()
    return total / (weights.sum() if num_items_in_batch is None else num_items_in_batch)


def mark_answers(predicted: np.ndarray, targets: np.ndarray, end: int) -> list[list[bool]]:
    """For each row of (B, K) arrays, and each answer in it: whether all of its tokens are predicted.

    An answer ends with token `end`. With the true answer as context, all tokens right means that greedy decoding
    writes this very answer.
    """
    marks = []
    for row, truth in zip(predicted, targets, strict=True):
        places = np.flatnonzero(truth != IGNORED)
        ends = np.flatnonzero(truth[places] == end)
        answers = np.split(places, ends + 1)[: len(ends)]  # places of each answer, its end included
        marks.append([bool((row[answer] == truth[answer]).all()) for answer in answers])
    return marks
