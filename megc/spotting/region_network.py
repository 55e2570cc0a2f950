"""A small network over the region flow of a video: for each frame, is this in a micro- or a macro-expression, of which
emotion and of which action units.

Two heads on one temporal trunk as in ME-TST and BoostingVRME (zizheng-guo @4e8c22e, @84cddd3), with dilated
convolutions or local attention in the room of their CUDA-only Mamba blocks. Two options are the idea of FGSL
(RamseyZhu/MEGC2025-STR), whose code is not public, so they are ours: a learnt gate over the spectrum of the series,
and a pyramid whose fine level localises while its coarse level classifies.
"""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from megc.facs import ME_VQA_UNITS
from megc.scoring.str_metrics import ANALYSED
from megc.spotting.kind_settings import HEADS
from megc.spotting.region_series import CHANNELS, RATE

TYPES = ("micro", "macro")  # curves of `spots`
EMOTIONS = (*ANALYSED, "others", "neutral")
UNITS = ME_VQA_UNITS
REACH = 45  # frames to either side that a frame attends to: an expression of up to three seconds
IGNORED = -100  # emotion of a frame that has none, or whose event's is not annotated
_BANDS = 16  # of the frequency gate, from 0 to half of RATE
_LAG = 2  # frames
_STRIDE = 4  # frames of one of the coarse level
_NEUTRAL_WEIGHT = 0.1  # of all neutral frames of a batch, against those of expressions


def _norm(width: int) -> nn.BatchNorm1d:
    """Batch normalisation: LayerNorm would take the strength of motion out of a frame."""
    norm = nn.BatchNorm1d(width)
    norm.num_batches_tracked = norm.num_batches_tracked.float()  # whole numbers in a checkpoint are refused
    return norm


class _Convolution(nn.Module):
    """A residual block of a dilated convolution over time and a mixing of channels."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.over_time = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.mix = nn.Conv1d(width, width, 1)
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values + self.dropout(self.mix(functional.gelu(self.over_time(self.norm(values)))))


class _Attention(nn.Module):
    """A residual block of attention within `reach` frames, its bias learnt by distance, and a mixing of channels."""

    def __init__(self, width: int, dropout: float, reach: int, heads: int = HEADS) -> None:
        super().__init__()
        self.heads, self.reach = heads, reach
        self.norm, self.norm_mix = _norm(width), _norm(width)
        self.project = nn.Conv1d(width, 3 * width, 1)
        self.out = nn.Conv1d(width, width, 1)
        self.bias = nn.Parameter(torch.zeros(heads, 2 * reach + 1))
        self.mix = nn.Sequential(nn.Conv1d(width, 2 * width, 1), nn.GELU(), nn.Conv1d(2 * width, width, 1))
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        batch, width, length = values.shape
        parts = self.project(self.norm(values)).view(batch, 3, self.heads, width // self.heads, length)
        query, key, value = parts.transpose(3, 4).unbind(1)  # (B, heads, T, width / heads) each
        frames = torch.arange(length, device=values.device)
        distance = frames[None] - frames[:, None]
        bias = self.bias[:, distance.clamp(-self.reach, self.reach) + self.reach]
        bias = bias.masked_fill(distance.abs() > self.reach, float("-inf"))
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias[None])
        values = values + self.dropout(self.out(mixed.transpose(2, 3).reshape(batch, width, length)))
        return values + self.dropout(self.mix(self.norm_mix(values)))


class FrequencyGate(nn.Module):
    """Each channel's spectrum times a learnt gate between 0 and 2, and back: 1, no change, before it is trained.

    The gate has _BANDS values a channel, with lines between, so that it holds for windows of any length.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(channels, _BANDS))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        length = values.shape[-1]
        pad = min(length - 1, round(RATE))  # mirrored, so that the two ends do not meet
        padded = functional.pad(values, (pad, pad), mode="reflect")
        spectrum = torch.fft.rfft(padded)
        gate = functional.interpolate(
            2 * torch.sigmoid(self.level)[None], size=spectrum.shape[-1], mode="linear", align_corners=True
        )
        return torch.fft.irfft(spectrum * gate, n=padded.shape[-1])[..., pad : pad + length]


class RegionNetwork(nn.Module):
    """Logits a frame from channels (B, CHANNELS, T): `spots` (B, 2, T) of TYPES, `emotions` (B, 5, T) of EMOTIONS and
    `units` (B, 25, T) of UNITS; with targets the `loss` too.
    """

    def __init__(
        self,
        width: int = 32,
        depth: int = 5,
        dropout: float = 0.2,
        temporal: Literal["convolution", "attention"] = "convolution",
        frequency_gate: bool = False,
        pyramid: bool = False,
        emotion_weight: float = 0.5,
        unit_weight: float = 0.5,
    ) -> None:
        super().__init__()
        self.emotion_weight, self.unit_weight = emotion_weight, unit_weight
        self.gate = FrequencyGate(CHANNELS) if frequency_gate else nn.Identity()
        self.stem = nn.Sequential(nn.Conv1d(2 * CHANNELS, width, 5, padding=2), nn.GELU())
        self.trunk = _trunk(temporal, width, depth, dropout)
        self.down = nn.Conv1d(width, width, 5, stride=_STRIDE, padding=1) if pyramid else None
        self.coarse = _trunk(temporal, width, 2, dropout, REACH // _STRIDE) if pyramid else nn.Identity()
        self.spots = nn.Conv1d(width, len(TYPES), 1)
        self.emotions = nn.Conv1d(width, len(EMOTIONS), 1)
        self.units = nn.Conv1d(width, len(UNITS), 1)
        for head in (self.spots, self.units):
            nn.init.constant_(head.bias, -2.0)  # few frames are in an expression, and few units in each

    def forward(
        self,
        channels: torch.Tensor,
        spot_targets: torch.Tensor | None = None,
        spot_weights: torch.Tensor | None = None,
        emotion_targets: torch.Tensor | None = None,
        unit_targets: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """`spot_targets` and `spot_weights` (B, 2, T), `emotion_targets` (B, T) of EMOTIONS or IGNORED, `unit_targets`
        (B, 25, T), negative where they are not annotated."""
        fine = self.trunk(self.stem(_with_differences(torch.asinh(self.gate(channels)))))
        classed = fine
        if self.down is not None:
            length = fine.shape[-1]
            coarse = self.coarse(self.down(functional.pad(fine, (0, -length % _STRIDE))))
            classed = functional.interpolate(coarse, scale_factor=_STRIDE, mode="linear")[..., :length]
        answers = {"spots": self.spots(fine), "emotions": self.emotions(classed), "units": self.units(classed)}
        if spot_targets is not None:
            spot = functional.binary_cross_entropy_with_logits(answers["spots"], spot_targets, spot_weights)
            answers["loss"] = (
                spot
                + self.emotion_weight * _emotion_loss(answers["emotions"], emotion_targets)
                + self.unit_weight * _unit_loss(answers["units"], unit_targets)
            )
        return answers


def _with_differences(channels: torch.Tensor) -> torch.Tensor:
    """Channels (B, 2 C, T): those given, and how far each moves from _LAG frames before to as many after."""
    padded = functional.pad(channels, (_LAG, _LAG), mode="replicate")
    return torch.cat([channels, padded[..., 2 * _LAG :] - padded[..., : -2 * _LAG]], dim=1)


def _trunk(temporal: str, width: int, depth: int, dropout: float, reach: int = REACH) -> nn.Sequential:
    if temporal == "attention":
        blocks: list[nn.Module] = [_Attention(width, dropout, reach) for _ in range(depth)]
    else:
        blocks = [_Convolution(width, 2**level, dropout) for level in range(depth)]
    return nn.Sequential(*blocks, _norm(width))


def _emotion_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the frames with an emotion, and with _NEUTRAL_WEIGHT of those without an expression."""
    losses = functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none")
    neutral = targets == EMOTIONS.index("neutral")
    expressed = (targets != IGNORED) & ~neutral
    means = [(losses * mask).sum() / mask.sum().clamp(min=1) for mask in (expressed, neutral)]
    return means[0] + _NEUTRAL_WEIGHT * means[1]


def _unit_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of the frames whose action units are annotated, summed over units."""
    annotated = targets >= 0
    losses = functional.binary_cross_entropy_with_logits(logits, targets.clamp(min=0), reduction="none") * annotated
    return losses.sum() / annotated[:, 0].sum().clamp(min=1)
