"""Passes through a model with masks of ours: a cache that leaves room, attention that repeats no keys, flat patches.

What transformers does at each of these places is right, but copies: its cache is a new tensor after every step, its
attention with a mask repeats keys and values for the heads that share them, and its patch embedding is a
convolution whose windows do not overlap, which most backends compute several times slower than the matrix product
that it is. Results differ by the rounding of the arithmetic.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch.nn.functional import linear, scaled_dot_product_attention
from transformers import AttentionInterface, Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from megc.model.attention import additive_mask
from megc.model.checkpoint import Loaded

_GROUPED = "sdpa_grouped"  # our name for `grouped_attention` among the attentions of transformers
_VOCABULARY = 16384  # rows of the last layer that are held in float32 at a time


class RoomyLayer(DynamicLayer):
    """Keys and values of a layer at the front of buffers with room behind them: what is added copies nothing else.

    `crop` gives room back. A buffer that is full is replaced by one with twice the room.
    """

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self._buffers: list[torch.Tensor] = []

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Make the buffers for states of this shape (rows, heads, tokens, width)."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self._buffers = [_with_room(states, self.room) for states in (key_states, value_states)]
        self.keys, self.values = (buffer[:, :, :0] for buffer in self._buffers)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add states (rows, heads, tokens, width); returns all keys and values so far, as views of the buffers."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.keys.shape[2]
        stop = start + key_states.shape[2]
        if stop > self.room:
            self.room = max(stop, 2 * self.room)
            for place, kept in enumerate((self.keys, self.values)):
                self._buffers[place] = _with_room(kept, self.room)
                self._buffers[place][:, :, :start] = kept
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:stop] = states
        self.keys, self.values = (buffer[:, :, :stop] for buffer in self._buffers)
        return self.keys, self.values


def _with_room(states: torch.Tensor, room: int) -> torch.Tensor:
    rows, heads, _, width = states.shape
    return states.new_empty(rows, heads, room, width)


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """sdpa without copies of keys: queries (rows, heads, n, width) of heads that share keys are stacked.

    `attention_mask` (rows, 1, group · n, keys) holds a copy for each head of a group; None is causal.
    """
    if attention_mask is None:
        return sdpa_attention_forward(module, query, key, value, None, scaling=scaling, **kwargs)
    rows, heads, count, width = query.shape
    stacked = query.reshape(rows, key.shape[1], -1, width)
    states = scaled_dot_product_attention(stacked, key, value, attn_mask=attention_mask, scale=scaling)
    return states.reshape(rows, heads, count, -1).transpose(1, 2).contiguous(), None


AttentionInterface.register(_GROUPED, grouped_attention)


@contextmanager
def _grouped(model: torch.nn.Module) -> Iterator[bool]:
    """Have the language model use `grouped_attention` in place of sdpa; yields whether it does."""
    config = model.config.get_text_config()
    usual = config._attn_implementation
    if usual != "sdpa":
        yield False
        return
    config._attn_implementation = _GROUPED
    try:
        yield True
    finally:
        config._attn_implementation = usual


def run(
    model: torch.nn.Module,
    ids: torch.Tensor,
    positions: torch.Tensor,
    allowed: torch.Tensor | None,
    cache: Cache,
    **vision: object,
) -> torch.Tensor:
    """Last hidden states (rows, n, width) of tokens (rows, n) at positions (3, rows, n), behind what `cache` holds.

    `allowed` (rows, n, keys) bool, True where a token may look; None: each token sees those before it, in an empty
    cache. `vision`: what the model takes besides, such as `mm_encoder_outputs`.
    """
    with _grouped(model) as grouped:
        mask = None
        if allowed is None and not grouped:
            allowed = torch.ones(*ids.shape, ids.shape[1], dtype=torch.bool).tril()
        if allowed is not None:
            mask = additive_mask(allowed[:, None], model.dtype).to(model.device)
            if grouped:
                config = model.config.get_text_config()
                mask = mask.repeat(1, 1, config.num_attention_heads // config.num_key_value_heads, 1)
        return model.model(
            input_ids=ids.to(model.device),
            position_ids=positions.to(model.device),
            attention_mask=dict.fromkeys(("full_attention", "sliding_attention"), mask),  # as they are, for all layers
            past_key_values=cache,
            use_cache=True,
            **vision,
        ).last_hidden_state


class FlatPatches(torch.nn.Module):
    """The vision tower's patch embedding as a matrix product, with the weights of the convolution."""

    def __init__(self, convolution: torch.nn.Module) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Patches (count, values) → (count, width)."""
        weight = self.convolution.proj.weight
        return linear(patches.to(weight.dtype), weight.flatten(1), self.convolution.proj.bias)


def picture_features(loaded: Loaded, pictures: Sequence[np.ndarray]) -> tuple[torch.Tensor, ...]:
    """Pictures (uint8, already resized to the pixel budget) through the vision tower; of each (tokens, width)."""
    made = loaded.processor.image_processor(images=list(pictures), do_resize=False, return_tensors="pt")
    made = made.to(loaded.model.device)
    tower = loaded.model.model.visual
    usual = tower.patch_embed
    tower.patch_embed = FlatPatches(usual)
    try:
        return loaded.model.get_image_features(
            made["pixel_values"], made["image_grid_thw"], return_dict=True
        ).pooler_output
    finally:
        tower.patch_embed = usual


def float32_scores(model: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    """Scores (n, vocabulary) of hidden states (n, width) from a last layer in float32, whatever the weights are in.

    In bfloat16 scores of 16 to 32 come in steps of an eighth, so that compared answers tie. Weights are widened a
    part at a time: the whole of the 7B model's last layer would take 2 GB.
    """
    parts = model.lm_head.weight.split(_VOCABULARY)
    return torch.cat([linear(hidden.float(), part.float()) for part in parts], dim=-1)
