"""Pictures through the vision tower: equal windows together, patches embedded by a matrix product.

What transformers does is right, but slow: its patch embedding is a convolution whose windows do not overlap, which
most backends compute several times slower than the matrix product that it is, and its windowed attention is a call
for each window of each picture. Results differ by the rounding of the arithmetic.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import groupby

import numpy as np
import torch
from torch.nn.functional import linear, scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.vision_utils import get_vision_window_index

from megc.model.checkpoint import LoadedCheckpoint
from megc.model.visuals import patch_inputs

# among the attentions of transformers; "flash" in the name is what has the tower hand over all windows at once
_WINDOWS = "sdpa_flash_windows"


def window_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    cu_seq_lens_q: torch.Tensor,
    scaling: float | None = None,
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """sdpa within windows of states (1, heads, n, width) that begin at `cu_seq_lens_q`, equal neighbours at once."""
    attended, start = [], 0
    # inner windows of a picture are equal, those at its edges smaller: a few calls instead of one a window
    for length, windows in groupby(cu_seq_lens_q.diff().tolist()):
        count = len(list(windows))
        stop = start + count * length
        parts = [
            states[0, :, start:stop].unflatten(1, (count, length)).transpose(0, 1) for states in (query, key, value)
        ]
        states = scaled_dot_product_attention(*parts, scale=scaling)  # (count, heads, length, width)
        attended.append(states.transpose(1, 2).flatten(0, 1))
        start = stop
    return torch.cat(attended)[None], None


AttentionInterface.register(_WINDOWS, window_attention)


@lru_cache(maxsize=256)
def _windows_of(height: int, width: int, merge: int, window: int, patch: int) -> tuple[torch.Tensor, tuple[int, ...]]:
    """The order of a picture's merged patches, window by window, large windows first; and the windows' patches."""
    order, bounds = get_vision_window_index(torch.tensor([[1, height, width]]), merge, window, patch)
    lengths = bounds.diff().tolist()
    windows = order.split([length // merge**2 for length in lengths])
    largest_first = sorted(range(len(windows)), key=lambda number: -lengths[number])
    return torch.cat([windows[number] for number in largest_first]), tuple(lengths[number] for number in largest_first)


def _windows(tower: torch.nn.Module, grids: torch.Tensor) -> dict[str, torch.Tensor]:
    """The tower's arguments for the windows of pictures with `grids` (n, 3): equal windows of a picture together."""
    orders, lengths, start = [], [0], 0
    for _, height, width in grids.tolist():
        # the order counts merged patches (tokens), the lengths count patches: the tower expects both so
        order, patches = _windows_of(height, width, tower.spatial_merge_size, tower.window_size, tower.patch_size)
        orders.append(order + start)
        lengths += patches
        start += len(order)
    bounds = torch.tensor(lengths).cumsum(0, dtype=torch.int32)
    return {"window_index": torch.cat(orders).to(grids.device), "cu_window_seqlens": bounds.to(grids.device)}


class FlatPatches(torch.nn.Module):
    """The vision tower's patch embedding as a matrix product, with the weights of the convolution."""

    def __init__(self, convolution: torch.nn.Module) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Patches (count, values) → (count, width)."""
        weight = self.convolution.proj.weight
        return linear(patches.to(weight.dtype), weight.flatten(1), self.convolution.proj.bias)


@contextmanager
def _fast(tower: torch.nn.Module) -> Iterator[None]:
    """Have the tower embed patches by `FlatPatches`, and attend by `window_attention` in place of sdpa."""
    patches, attention = tower.patch_embed, tower.config._attn_implementation
    tower.patch_embed = FlatPatches(patches)  # holds the same weights, nothing is copied
    if attention == "sdpa":
        tower.config._attn_implementation = _WINDOWS
    try:
        yield
    finally:
        tower.patch_embed, tower.config._attn_implementation = patches, attention


def encode_visuals(loaded: LoadedCheckpoint, visuals: Sequence[np.ndarray]) -> list[torch.Tensor]:
    """Pictures (uint8, H × W × 3) and videos (frames × H × W × 3), already resized to the pixel budget, through the
    vision tower; of each (tokens, width)."""
    inputs = patch_inputs(loaded.processor.image_processor, visuals)
    # a time of a video attends to itself alone: to the tower it is a picture, of other patches
    videos = inputs.get("video_grid_thw", torch.empty(0, 3, dtype=torch.long))
    times = videos[:, 0].tolist()
    pictures = inputs.get("image_grid_thw", videos[:0])
    grids = torch.cat([pictures, videos.repeat_interleave(videos[:, 0], 0)])
    grids[:, 0] = 1
    patches = torch.cat([inputs[name] for name in ("pixel_values", "pixel_values_videos") if name in inputs])
    tower, device = loaded.model.model.visual, loaded.model.device
    grids = grids.to(device)
    with _fast(tower):
        parts = loaded.model.get_image_features(
            patches.to(device), grids, return_dict=True, **_windows(tower, grids)
        ).pooler_output
    of_pictures = iter(parts[: len(pictures)])
    of_videos = map(torch.cat, _split_parts(parts[len(pictures) :], times))
    return [next(of_videos if visual.ndim == 4 else of_pictures) for visual in visuals]


def _split_parts(parts: Sequence[torch.Tensor], counts: Sequence[int]) -> Iterator[Sequence[torch.Tensor]]:
    start = 0
    for count in counts:
        yield parts[start : start + count]
        start += count
