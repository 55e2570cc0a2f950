"""MEAN: a shallow network of three stems on flow maps, with a head that spots and one that names the emotion.

Layers, penalties and losses as published (genbing99/MEAN_Spot-then-recognize @9009b5c,
define_model.py), of Keras in PyTorch. The recognition head reads the stems that spotting has learnt, frozen. `joint`
trains both heads and the stems together as SFAMNet does (genbing99/SFAMNet @a72ecdd): its loss, and its class more,
no expression, which has no weight in that loss.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

Stage = Literal["spotting", "recognition", "joint"]
FILTERS = (3, 3, 8)  # of the stems of u, v and strain
JOINT_WEIGHT = 0.9  # of spotting in the loss of both; the rest is recognition's
IGNORED = -100  # emotion of a row that has none


class MeanNetwork(nn.Module):
    """A score and logits of `classes` emotions a map.

    `stage` says what is trained: stems and spotting head, the recognition head on the frozen rest, or all together.
    `class_weights` (classes,) are those of recognition's loss in the joint stage; `penalty` is that of the squares of
    the spotting head's kernels, so large as published that a few thousand steps leave nothing of them.
    """

    def __init__(
        self, classes: int, stage: Stage, class_weights: Iterable[float] | None = None, penalty: float = 0.1
    ) -> None:
        super().__init__()
        self.stage, self.penalty = stage, penalty
        self.stems = nn.ModuleList(nn.Conv2d(1, filters, 5, padding=2) for filters in FILTERS)
        self.norm = nn.BatchNorm2d(sum(FILTERS), eps=1e-3, momentum=0.01)  # Keras's defaults; each channel apart
        self.norm.num_batches_tracked = self.norm.num_batches_tracked.float()  # checkpoints hold no integers
        self.dropout = nn.Dropout(0.3)
        self.spotting, self.recognition = _head(1), _head(classes)
        weights = torch.tensor(list(class_weights or [1.0] * classes), dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)  # Keras's
                nn.init.zeros_(module.bias)
        nn.init.zeros_(self.spotting[-1].weight)  # not Keras's: scores begin at 0, not at ten times the labels
        trained = {
            "spotting": (self.stems, self.norm, self.spotting),
            "recognition": (self.recognition,),
            "joint": (self,),
        }
        self.requires_grad_(False)
        for part in trained[stage]:
            part.requires_grad_(True)

    def train(self, mode: bool = True) -> "MeanNetwork":
        """Frozen stems keep the statistics of their normalisation, as frozen layers of Keras do."""
        super().train(mode)
        if self.stage == "recognition":
            self.norm.eval()
        return self

    def forward(
        self, maps: torch.Tensor, spots: torch.Tensor | None = None, emotions: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """`spots` (B,) and `emotions` (B, classes) of maps (B, 3, 42, 42); with targets the `loss` too.

        Targets: `spots` (B,) of 0 and 1, `emotions` (B,) class or IGNORED.
        """
        shared = self._shared(maps)
        answers = {"spots": self.spotting(shared)[:, 0], "emotions": self.recognition(shared)}
        if spots is not None:
            answers["loss"] = self._loss(answers, spots, emotions)
        return answers

    def _shared(self, maps: torch.Tensor) -> torch.Tensor:
        """What the stems give both heads: (B, 14, 14, 14)."""
        # one convolution whose kernels are 0 in the channels of the other stems: a quarter less time than three
        kernels = [
            functional.pad(stem.weight, (0, 0, 0, 0, index, len(FILTERS) - 1 - index))
            for index, stem in enumerate(self.stems)
        ]
        bias = torch.cat([stem.bias for stem in self.stems])
        values = functional.relu(functional.conv2d(maps, torch.cat(kernels), bias, padding=2))
        return self.dropout(functional.max_pool2d(self.norm(values), 3))  # 42 to 14

    def _loss(self, answers: dict[str, torch.Tensor], spots: torch.Tensor, emotions: torch.Tensor) -> torch.Tensor:
        # Keras adds the squares of the kernels to the loss; Adam's weight decay would be another penalty
        penalty = 1e-3 * sum(stem.weight.square().sum() for stem in self.stems)
        penalty = penalty + self.penalty * self.spotting[0].weight.square().sum()
        spotting = functional.mse_loss(answers["spots"], spots)
        if self.stage == "spotting":
            return spotting + penalty
        recognition = _weighted_entropy(answers["emotions"], emotions, self.class_weights)
        if self.stage == "recognition":
            return recognition
        return JOINT_WEIGHT * spotting + (1 - JOINT_WEIGHT) * recognition + penalty


def _head(outputs: int) -> nn.Sequential:
    """From the stems' maps (B, 14, 14, 14) to `outputs`."""
    return nn.Sequential(
        nn.Conv2d(sum(FILTERS), 8, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(8 * 7 * 7, outputs),
    )


def _weighted_entropy(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Cross-entropy by class weights; 0 for a batch without a row that counts, where torch's is 0 / 0."""
    counted = weights[targets.clamp(min=0)] * (targets != IGNORED)
    losses = functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none")
    return (losses * counted).sum() / counted.sum().clamp(min=1e-6)
