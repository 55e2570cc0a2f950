"""VideoMAE (Tong et al. 2022, arXiv 2203.12602) on transformers: an encoder with joint attention, and the decoder.

transformers' layers have neither drop path nor the epsilon 1e-6 of the original code's norms; both are set here.
"""

import numpy as np
import torch
from torch import nn
from transformers import VideoMAEConfig, VideoMAEModel
from transformers.models.videomae.modeling_videomae import (
    VideoMAEDecoder,
    VideoMAELayer,
    get_sinusoid_encoding_table,
)

from megc.spotting.video_config import VideoConfig

NORM_EPS = 1e-6


class DropPath(nn.Module):
    """Drops a residual branch of whole samples (first dimension) in training, and scales the others up.

    Huang et al. 2016, arXiv 1603.09382.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: torch.Tensor) -> torch.Tensor:
        """`branch` (B, …) with samples set to 0."""
        if not self.training or not self.rate:
            return branch
        kept = branch.new_empty(branch.shape[0], *[1] * (branch.dim() - 1)).bernoulli_(1 - self.rate)
        return branch * kept / (1 - self.rate)


def drop_path_rates(config: VideoConfig) -> list[float]:
    """Rate of each block: from 0 to `drop_path`, linear in depth."""
    return np.linspace(0, config.drop_path, config.depth).tolist()


def position_codes(config: VideoConfig, dim: int) -> torch.Tensor:
    """Fixed sine and cosine codes (1, patches, dim) of the flat index of a patch, float32."""
    return get_sinusoid_encoding_table(config.patches, dim)


def transformers_config(config: VideoConfig) -> VideoMAEConfig:
    """The configuration as transformers has it."""
    return VideoMAEConfig(
        image_size=config.image_size,
        patch_size=config.patch_size,
        num_frames=config.num_frames,
        tubelet_size=config.tubelet_size,
        hidden_size=config.dim,
        num_hidden_layers=config.depth,
        num_attention_heads=config.heads,
        intermediate_size=config.dim * config.mlp_ratio,
        decoder_hidden_size=config.decoder_dim,
        decoder_num_hidden_layers=config.decoder_depth,
        decoder_num_attention_heads=config.decoder_heads,
        decoder_intermediate_size=config.decoder_dim * config.mlp_ratio,
        layer_norm_eps=NORM_EPS,
        num_labels=config.num_labels,
        attn_implementation="sdpa",
    )


class DropPathLayer(VideoMAELayer):
    """A layer of VideoMAE with drop path on both of its residuals."""

    def __init__(self, config: VideoMAEConfig, rate: float) -> None:
        super().__init__(config)
        self.drop_path = DropPath(rate)

    def forward(self, hidden_states: torch.Tensor, **kwargs: object) -> torch.Tensor:
        """Tokens (B, N, d) after attention and MLP."""
        attended = self.attention(self.layernorm_before(hidden_states), **kwargs)
        hidden_states = hidden_states + self.drop_path(attended)
        widened = self.intermediate(self.layernorm_after(hidden_states))
        return hidden_states + self.drop_path(self.output(widened, 0))  # the layer's output adds its second argument


class JointEncoder(VideoMAEModel):
    """VideoMAE's encoder: every patch attends to every other. `final_norm`: a norm behind it, as in pretraining."""

    def __init__(self, config: VideoConfig, final_norm: bool = False) -> None:
        settings = transformers_config(config)
        settings.use_mean_pooling = not final_norm
        super().__init__(settings)
        if config.drop_path:
            layers = [DropPathLayer(settings, rate) for rate in drop_path_rates(config)]
            self.encoder.layer = nn.ModuleList(layers)
            self.encoder.layer.apply(self._init_weights)

    def patch_tokens(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Tokens (B, N, d) of frames (B, T, 3, H, W), without positions; T may be any number of pairs."""
        return self.embeddings.patch_embeddings(pixel_values)

    def encode(self, tokens: torch.Tensor, masked: torch.Tensor | None = None) -> torch.Tensor:
        """Tokens (B, N, d) of a clip without positions → all, or those that `masked` (B, N) leaves visible."""
        tokens = tokens + self.embeddings.position_embeddings.to(tokens)
        if masked is not None:
            tokens = tokens[~masked].reshape(len(tokens), -1, tokens.shape[-1])
        tokens = self.encoder(tokens).last_hidden_state
        return tokens if self.layernorm is None else self.layernorm(tokens)


class MaskDecoder(VideoMAEDecoder):
    """The small decoder of pretraining, which both architectures have."""

    def __init__(self, config: VideoConfig) -> None:
        super().__init__(transformers_config(config))
        self.norm = nn.LayerNorm(config.decoder_dim, eps=NORM_EPS)  # transformers leaves 1e-5 here
