"""A small transformer over the region flow of an interval: is this an expression, of which emotion, and how well does
the interval fit it.

The form of He 2024 (hitheyuhong/MEGC2024-CODE, model/transformer_block.py): a token a frame, a CLS token, learnt
positions, and a class for no expression. Ours has fewer layers, reads the interval with its surroundings at a fixed
number of tokens, and says how well the interval fits, so that the best of several can be taken.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from megc.spotting.kind_settings import HEADS
from megc.spotting.region_network import EMOTIONS, IGNORED, TYPES, UNITS
from megc.spotting.region_series import CHANNELS, RATE, window_channels

TOKENS = 32  # of an interval with its surroundings
SURROUNDINGS = 0.5  # of an interval's length, before and behind it
_SHORTEST = 4.0  # frames of an interval that is looked at
CHANNELS_OF_INTERVAL = CHANNELS + 1  # and the logarithm of its seconds


def interval_channels(
    motion: np.ndarray, blink: np.ndarray, seen: np.ndarray, first: float, last: float
) -> np.ndarray:
    """Channels (CHANNELS_OF_INTERVAL, TOKENS) float32 of an interval of a series, against the motion at its onset.

    `first` and `last` are positions in the series, in fractions; beyond its ends the outermost frame stands.
    """
    middle, length = (first + last) / 2, max(last - first + 1, _SHORTEST)
    half = (0.5 + SURROUNDINGS) * length
    at = np.clip(np.linspace(middle - half, middle + half, TOKENS), 0, len(motion) - 1)
    low = np.floor(at).astype(int)
    high, share = np.minimum(low + 1, len(motion) - 1), (at - low)[:, None, None].astype(np.float32)
    sampled = (1 - share) * motion[low] + share * motion[high]
    quarter = TOKENS // 4  # where the interval begins
    onset = sampled[quarter - 2 : quarter + 1].mean(axis=0)
    channels = window_channels(sampled - onset, blink[low], seen[low])
    seconds = np.full((1, TOKENS), np.log(length / RATE), np.float32)
    return np.concatenate([channels, seconds])


class RecogniserNetwork(nn.Module):
    """Logits of an interval from channels (B, CHANNELS_OF_INTERVAL, TOKENS): `emotions` (B, 5) of EMOTIONS (the last:
    no expression), `types` (B, 2), `units` (B, 25), `fit` (B,); with targets the `loss` too.
    """

    def __init__(self, width: int = 48, depth: int = 2, heads: int = HEADS, dropout: float = 0.2) -> None:
        super().__init__()
        self.embed = nn.Conv1d(CHANNELS_OF_INTERVAL, width, 3, padding=1)
        self.norm = nn.LayerNorm(width)
        self.first = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.position = nn.Parameter(torch.randn(1, TOKENS + 1, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.dropout = nn.Dropout(dropout)
        self.emotions = nn.Linear(width, len(EMOTIONS))
        self.types = nn.Linear(width, len(TYPES))
        self.units = nn.Linear(width, len(UNITS))
        self.fit = nn.Linear(width, 1)
        nn.init.constant_(self.units.bias, -2.0)

    def forward(
        self,
        channels: torch.Tensor,
        emotion_targets: torch.Tensor | None = None,
        type_targets: torch.Tensor | None = None,
        unit_targets: torch.Tensor | None = None,
        fit_targets: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """`emotion_targets` (B,): an index of EMOTIONS, or IGNORED for an expression of unknown emotion;
        `type_targets` (B,) of TYPES, IGNORED for no expression; `unit_targets` (B, 25), negative: unknown;
        `fit_targets` (B,) from 0 to 1."""
        tokens = self.norm(self.embed(channels).transpose(1, 2))
        tokens = torch.cat([self.first.expand(len(tokens), -1, -1), tokens], dim=1) + self.position
        answer = self.dropout(self.encoder(tokens)[:, 0])
        answers = {"emotions": self.emotions(answer), "types": self.types(answer), "units": self.units(answer)}
        answers["fit"] = self.fit(answer)[:, 0]
        if emotion_targets is not None:
            units = functional.binary_cross_entropy_with_logits(
                answers["units"], unit_targets.clamp(min=0), unit_targets >= 0, reduction="sum"
            )
            types = functional.cross_entropy(answers["types"], type_targets, ignore_index=IGNORED, reduction="sum")
            answers["loss"] = (
                _emotion_loss(answers["emotions"], emotion_targets)
                + functional.binary_cross_entropy_with_logits(answers["fit"], fit_targets)
                + 0.3 * (types + units) / len(channels)
            )
        return answers


def _emotion_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy; of an expression whose emotion is unknown, that of its being any."""
    logs = functional.log_softmax(logits, dim=1)
    any_emotion = torch.logsumexp(logs[:, :-1], dim=1)
    given = logs.gather(1, targets.clamp(min=0)[:, None])[:, 0]
    return -torch.where(targets == IGNORED, any_emotion, given).mean()
