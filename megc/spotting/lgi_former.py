"""LGI-Former, the encoder of MAE-DFER (Sun et al. 2023, arXiv 2307.02227, github.com/sunlicai/MAE-DFER).

Patches attend only within their region, which has a token of its own; region tokens attend to each other, and hand on
what they have learnt to all patches. Names of parameters are those of the published checkpoints. Unlike the original,
nothing is changed in place, so that autograd keeps what it needs.
"""

import torch
from torch import nn
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer

from megc.spotting.video_config import VideoConfig
from megc.spotting.videomae import NORM_EPS, DropPath, drop_path_rates, position_codes


class ContextAttention(nn.Module):
    """Multi-head attention of queries to a context; keys have no bias."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        self.q, self.kv = nn.Linear(dim, dim, bias=False), nn.Linear(dim, 2 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, queries: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Queries (B, Q, d) and context (B, K, d) → (B, Q, d)."""
        keys, values = self.kv(context).chunk(2, dim=-1)
        parts = (self.q(queries) + self.q_bias, keys, values + self.v_bias)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        attended = functional.scaled_dot_product_attention(query, key, value)  # (B, heads, Q, d / heads)
        return self.proj(attended.transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (…, d) → (…, d)."""
        return self.fc2(functional.gelu(self.fc1(tokens)))


class LocalGlobalBlock(GradientCheckpointingLayer):
    """Attention in each region, among region tokens, and from patches to region tokens, then an MLP on all."""

    def __init__(self, config: VideoConfig, rate: float) -> None:
        super().__init__()
        dim, heads = config.dim, config.heads
        self.first_attn_norm0 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.first_attn = ContextAttention(dim, heads)
        self.second_attn_norm0 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.second_attn = ContextAttention(dim, heads)
        self.third_attn_norm0 = nn.LayerNorm(dim, eps=NORM_EPS)  # of the patches
        self.third_attn_norm1 = nn.LayerNorm(dim, eps=NORM_EPS)  # of the region tokens
        self.third_attn = ContextAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Perceptron(dim, dim * config.mlp_ratio)
        self.drop_path = DropPath(rate)

    def forward(self, tokens: torch.Tensor, clips: int) -> torch.Tensor:
        """Tokens (B·n, 1 + S, d) of n regions of each of B `clips`, the region token first; the same shape comes back.

        Rows are regions where the original drops paths by region, and clips where it drops them by clip.
        """
        normed = self.first_attn_norm0(tokens)
        tokens = tokens + self.drop_path(self.first_attn(normed, normed))
        regions = tokens[:, 0].unflatten(0, (clips, -1))  # (B, n, d)
        normed = self.second_attn_norm0(regions)
        regions = regions + self.drop_path(self.second_attn(normed, normed))
        patches = tokens[:, 1:].reshape(clips, -1, tokens.shape[-1])  # (B, n·S, d)
        attended = self.third_attn(self.third_attn_norm0(patches), self.third_attn_norm1(regions))
        patches = (patches + self.drop_path(attended)).reshape(len(tokens), -1, tokens.shape[-1])
        tokens = torch.cat([regions.flatten(0, 1).unsqueeze(1), patches], dim=1)
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))


class PatchEmbedding(nn.Module):
    """A linear map of each patch of a pair of frames."""

    def __init__(self, config: VideoConfig) -> None:
        super().__init__()
        size = (config.tubelet_size, config.patch_size, config.patch_size)
        self.proj = nn.Conv3d(3, config.dim, kernel_size=size, stride=size)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Frames (B, T, 3, H, W) → tokens (B, N, d), in order of pair, row and column."""
        return self.proj(pixel_values.transpose(1, 2)).flatten(2).transpose(1, 2)


class LgiFormer(nn.Module):
    """The encoder. `final_norm`: a norm behind it, as in pretraining."""

    def __init__(self, config: VideoConfig, final_norm: bool = False) -> None:
        super().__init__()
        self.config = config
        regions = [size // part for size, part in config.grid_and_region]
        self.patch_embed = PatchEmbedding(config)
        self.lg_region_tokens = nn.Parameter(torch.empty(regions[0] * regions[1] * regions[2], config.dim))
        self.blocks = nn.ModuleList(LocalGlobalBlock(config, rate) for rate in drop_path_rates(config))
        self.norm = nn.LayerNorm(config.dim, eps=NORM_EPS) if final_norm else None
        self.register_buffer("positions", position_codes(config, config.dim), persistent=False)
        self.apply(self._init_linear)
        nn.init.trunc_normal_(self.lg_region_tokens, std=0.02, a=-0.02, b=0.02)

    def _init_linear(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            if self.norm is None:
                nn.init.trunc_normal_(module.weight, std=0.02, a=-0.02, b=0.02)
            else:  # pretraining begins from larger weights
                nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def patch_tokens(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Tokens (B, N, d) of frames (B, T, 3, H, W), without positions; T may be any number of pairs."""
        return self.patch_embed(pixel_values)

    def group_by_region(self, values: torch.Tensor) -> torch.Tensor:
        """Values (B, N, …) of the patches in flat order → (B, n, S, …): by region, in it in order of the grid."""
        sizes = [number for size, part in self.config.grid_and_region for number in (size // part, part)]
        values = values.unflatten(1, sizes)  # (B, nt, t, nh, h, nw, w, …)
        values = values.movedim((1, 3, 5), (1, 2, 3))
        return values.flatten(4, 6).flatten(1, 3)

    def encode(self, tokens: torch.Tensor, masked: torch.Tensor | None = None) -> torch.Tensor:
        """Tokens (B, N, d) of a clip without positions → those of `class_token`; with `masked` (B, N), the visible
        patches, by region.

        Raises ValueError for a mask that leaves more patches of one region visible than of another.
        """
        clips, _, dim = tokens.shape
        grouped = self.group_by_region(tokens + self.positions.to(tokens))
        if masked is not None:
            visible = ~self.group_by_region(masked)  # (B, n, S)
            counts = visible.sum(-1)
            if counts.min() != counts.max():
                raise ValueError(
                    "LGI-Former needs the same number of visible patches in all regions: --mask part_window"
                )
            grouped = grouped[visible].reshape(clips, visible.shape[1], -1, dim)
        regions = self.lg_region_tokens.to(grouped).expand(clips, -1, -1).unsqueeze(2)
        rows = torch.cat([regions, grouped], dim=2).flatten(0, 1)  # (B·n, 1 + S, d)
        for block in self.blocks:
            rows = block(rows, clips)
        rows = rows.unflatten(0, (clips, -1))
        token = "org" if masked is not None else self.config.class_token
        if token == "region":
            return rows[:, :, 0]
        patches = rows[:, :, 1:] if token == "org" else rows
        patches = patches.flatten(1, 2)
        return patches if self.norm is None else self.norm(patches)
