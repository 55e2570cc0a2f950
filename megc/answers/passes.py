"""Masked passes through a model: a cache that leaves room, attention that repeats no keys, a short last layer.

What transformers does in each of these is right, but more than is needed: its cache is a new tensor after every step,
its attention with a mask repeats keys and values for the heads that share them, and its last layer computes states
that nobody reads. Results differ by the rounding of the arithmetic.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.functional import linear, pad, scaled_dot_product_attention
from transformers import AttentionInterface, Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import rotate_half

from megc.model.attention import additive_mask

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
            self.room = max(stop, 2 * self.room)  # doubled, so that n steps copy about n keys in all
            for number, states in enumerate((self.keys, self.values)):
                self._buffers[number] = _with_room(states, self.room)
                self._buffers[number][:, :, :start] = states
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

    `attention_mask` (rows, 1, group · n, keys) holds a copy for each head of a group; None is causal, and the
    queries belong to the last keys.
    """
    if attention_mask is None:
        before = key.shape[2] - query.shape[2]
        padded = pad(query, (0, 0, before, 0))  # the causal kernel lines up the first query with the first key
        states, _ = sdpa_attention_forward(module, padded, key, value, None, scaling=scaling, **kwargs)
        return states[:, before:], None
    rows, heads, count, width = query.shape
    # group · n queries for each head of keys, instead of keys repeated for each head of queries
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


class _Held:
    """A cache to read keys and values from; it ignores those that it is given, which are in it already."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def update(self, keys: torch.Tensor, values: torch.Tensor, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of layer `number`."""
        layer = self.cache.layers[number]
        return layer.keys, layer.values


class LastLayer(torch.nn.Module):
    """The last layer, computed for the tokens `read` (rows, k) alone; all others leave their keys and values."""

    def __init__(self, layer: torch.nn.Module, read: torch.Tensor, mask: torch.Tensor | None) -> None:
        super().__init__()
        self.layer, self.read, self.mask = layer, read, mask

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        past_key_values: Cache,
        **kwargs: object,
    ) -> torch.Tensor:
        """States (rows, n, width) → those of the tokens that are read (rows, k, width)."""
        # 1. keys and values of all tokens, as the layer itself computes them
        attention = self.layer.self_attn
        normed = self.layer.input_layernorm(hidden_states)
        keys, values = (
            part(normed).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
            for part in (attention.k_proj, attention.v_proj)
        )
        cos, sin = (part[:, None] for part in position_embeddings)
        past_key_values.update(keys * cos + rotate_half(keys) * sin, values, attention.layer_idx)
        # 2. the rest of the layer for the tokens that are read, with the keys and values from the cache
        rows = torch.arange(len(hidden_states), device=self.read.device)[:, None]
        states = hidden_states[rows, self.read]
        if not self.read.shape[1]:
            return states
        embeddings = tuple(part[rows, self.read] for part in position_embeddings)
        kwargs |= {"attention_mask": self.mask, "position_embeddings": embeddings}
        return self.layer(states, past_key_values=_Held(past_key_values), **kwargs)


@contextmanager
def _reading(model: torch.nn.Module, read: torch.Tensor | None, mask: torch.Tensor | None) -> Iterator[None]:
    """Have the language model end in a `LastLayer`, unless all states are read (None)."""
    layers = model.model.language_model.layers
    usual = layers[-1]
    if read is not None:
        layers[-1] = LastLayer(usual, read.to(model.device), mask)
    try:
        yield
    finally:
        layers[-1] = usual


def run_model(
    model: torch.nn.Module,
    ids: torch.Tensor,
    positions: torch.Tensor,
    allowed: torch.Tensor | None,
    cache: Cache,
    read: torch.Tensor | None = None,
    **vision: object,
) -> torch.Tensor:
    """Last hidden states of tokens (rows, n) at positions (3, rows, n), behind what `cache` holds.

    `allowed` (rows, n, keys) bool, True where a token may look; None: each token sees all before it. `read` (rows, k)
    names the tokens whose states (rows, k, width) are returned; None: all. `vision`: other arguments of the model,
    such as `mm_encoder_outputs`.
    """
    with _grouped(model) as grouped:
        # without a mask sdpa takes its causal kernel, which is faster; eager needs one, and so does a last layer that
        # computes some tokens only: its queries do not belong to the last keys
        if allowed is None and not (grouped and (read is None or not read.shape[1])):
            before = cache.get_seq_length()
            allowed = torch.ones(*ids.shape, before + ids.shape[1], dtype=torch.bool).tril(before)
        mask = end = None
        if allowed is not None:
            mask = _mask(model, allowed, grouped)
            if read is not None:
                end = _mask(model, allowed.gather(1, read[..., None].expand(-1, -1, allowed.shape[2])), grouped)
        with _reading(model, read, end):
            return model.model(
                input_ids=ids.to(model.device),
                position_ids=positions.to(model.device),
                attention_mask=dict.fromkeys(("full_attention", "sliding_attention"), mask),  # as is, for all layers
                past_key_values=cache,
                use_cache=True,
                **vision,
            ).last_hidden_state


def _mask(model: torch.nn.Module, allowed: torch.Tensor, grouped: bool) -> torch.Tensor:
    """The additive mask (rows, 1, n, keys), with a copy for each head of a group for `grouped_attention`."""
    mask = additive_mask(allowed[:, None], model.dtype).to(model.device)
    if grouped:
        config = model.config.get_text_config()
        mask = mask.repeat(1, 1, config.num_attention_heads // config.num_key_value_heads, 1)
    return mask


def score_in_float32(model: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    """Scores (n, vocabulary) of hidden states (n, width) from a last layer in float32, whatever the weights are in.

    In bfloat16 scores of 16 to 32 come in steps of an eighth, so that compared answers tie. Weights are widened a
    part at a time: the whole of the 7B model's last layer would take 2 GB.
    """
    parts = model.lm_head.weight.split(_VOCABULARY)
    return torch.cat([linear(hidden.float(), part.float()) for part in parts], dim=-1)
