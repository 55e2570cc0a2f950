"""Questions that branch from a clip's encoded prefix: its pictures and system prompt go through the model once.

    [system, pictures, legend | question 1 | answer 1
                              | question 2 | answer 2 …

Keys and values of a prefix are kept once, whatever the number of its questions and votes; a branch keeps its own
and refers to the prefix. Masks are additive and 4-D, which sdpa and eager attention take and flash attention does
not. Position ids are those that the model gives each question alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache, DynamicLayer

from megc.model.checkpoint import Loaded


@dataclass(frozen=True)
class Prompt:
    """One question in tokens (L,), with its position ids (3, L)."""

    ids: torch.Tensor
    positions: torch.Tensor


@dataclass(frozen=True)
class Opening:
    """What the questions of a clip begin with: its first tokens, and the pictures that stand in them (uint8)."""

    ids: torch.Tensor  # (P,)
    positions: torch.Tensor  # (3, P)
    pictures: Sequence[np.ndarray]


@dataclass(frozen=True)
class Prefix:
    """Openings behind the model. Of each layer (keys, values), each (clips, heads, P, width); `seen` (clips, P)."""

    layers: list[tuple[torch.Tensor, torch.Tensor]]
    seen: torch.Tensor


def common_length(prompts: Sequence[Prompt], picture_token: int) -> int | None:
    """Number of leading tokens that the prompts share, at least one token left to each.

    None if a picture stands behind them: then the prompts cannot branch from one opening.
    """
    limit = min(len(prompt.ids) for prompt in prompts) - 1
    stacked = torch.stack([prompt.ids[:limit] for prompt in prompts])
    differs = (stacked != stacked[0]).any(0).nonzero()
    length = int(differs[0]) if len(differs) else limit
    return None if any((prompt.ids[length:] == picture_token).any() for prompt in prompts) else length


def encode_openings(loaded: Loaded, openings: Sequence[Opening]) -> Prefix:
    """Run openings of any lengths through the model, in one batch padded on the right."""
    model = loaded.model
    ids = pad_sequence([one.ids for one in openings], batch_first=True, padding_value=0)  # (clips, P)
    positions = pad_sequence([one.positions.T for one in openings], batch_first=True).permute(2, 0, 1)
    lengths = torch.tensor([len(one.ids) for one in openings])
    seen = torch.arange(ids.shape[1])[None] < lengths[:, None]
    # padding comes behind what counts, and so is seen by nothing that counts
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril().expand(len(ids), -1, -1)
    pictures = [picture for one in openings for picture in one.pictures]
    vision = {}
    if pictures:
        made = loaded.processor.image_processor(images=pictures, do_resize=False, return_tensors="pt")
        vision = {name: made[name].to(model.device) for name in ("pixel_values", "image_grid_thw")}
    cache = Cache(layers=[DynamicLayer() for _ in model.model.language_model.layers])
    model.model(
        input_ids=ids.to(model.device),
        position_ids=positions.to(model.device),
        attention_mask=additive(causal, model),
        past_key_values=cache,
        use_cache=True,
        **vision,
    )
    return Prefix([(layer.keys, layer.values) for layer in cache.layers], seen)


class _Own(DynamicLayer):
    """Keys and values of branches in one layer, behind those of the prefix that `rows` of them branch from."""

    def __init__(self, prefix: tuple[torch.Tensor, torch.Tensor]) -> None:
        super().__init__()
        self.prefix = prefix
        self.rows: torch.Tensor | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        own = super().update(key_states, value_states)
        keys, values = (
            torch.cat([shared.index_select(0, self.rows), mine], dim=-2)
            for shared, mine in zip(self.prefix, own, strict=True)
        )
        return keys, values


class Branches:
    """Rows that go on from a prefix; `rows` (R,) names the opening of each."""

    def __init__(self, loaded: Loaded, prefix: Prefix, rows: Sequence[int]) -> None:
        self.model = loaded.model
        self.layers = [_Own(layer) for layer in prefix.layers]
        self.prefix_seen = prefix.seen
        self.seen = prefix.seen[list(rows)]  # (R, keys): what later tokens of a row may look at
        self._set_rows(torch.tensor(rows))

    def _set_rows(self, rows: torch.Tensor) -> None:
        self.rows = rows
        for layer in self.layers:
            layer.rows = rows.to(self.model.device)

    def select(self, chosen: Sequence[int]) -> None:
        """Keep the rows `chosen`, in this order; a row that is named twice becomes two."""
        places = torch.tensor(chosen)
        self.seen = self.seen[places]
        self._set_rows(self.rows[places])
        for layer in self.layers:
            on_device = places.to(layer.keys.device)
            layer.keys, layer.values = layer.keys[on_device], layer.values[on_device]

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """Hidden states (R, n, width) of n more tokens a row; `own` (R, n, n), True: the token may look there.

        `positions` (3, R, n). Later tokens will see those of these tokens that see themselves, so that padding,
        which must not be empty in the mask, has to look at the prefix instead.
        """
        count = ids.shape[1]
        mask = torch.cat([self.seen[:, None].expand(-1, count, -1), own], dim=-1)
        self.seen = torch.cat([self.seen, own.diagonal(dim1=1, dim2=2)], dim=1)
        return self.model.model(
            input_ids=ids.to(self.model.device),
            position_ids=positions.to(self.model.device),
            attention_mask=additive(mask, self.model),
            past_key_values=Cache(layers=self.layers),
            use_cache=True,
        ).last_hidden_state

    def ask(self, prompts: Sequence[Prompt], lengths: Sequence[int]) -> torch.Tensor:
        """Hidden states (R, width) of the last token of each row's prompt, whose first `lengths` are the opening."""
        ends = [prompt.ids[length:] for prompt, length in zip(prompts, lengths, strict=True)]
        places = [prompt.positions[:, length:] for prompt, length in zip(prompts, lengths, strict=True)]
        ids, positions, own = left_padded(ends, places)
        return self.forward(ids, positions, own)[:, -1]


def left_padded(
    ids: Sequence[torch.Tensor], positions: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids (R, n), positions (3, R, n) and who sees whom (R, n, n) of rows of different lengths."""
    count = max(len(one) for one in ids)
    gaps = torch.tensor([count - len(one) for one in ids])
    padded = torch.stack([torch.nn.functional.pad(one, (count - len(one), 0)) for one in ids])
    placed = torch.stack([torch.nn.functional.pad(one, (count - one.shape[1], 0)) for one in positions], dim=1)
    real = torch.arange(count)[None] >= gaps[:, None]
    own = torch.ones(count, count, dtype=torch.bool).tril()[None] & real[:, None, :] & real[:, :, None]
    return padded, placed, own


def additive(allowed: torch.Tensor, model: torch.nn.Module) -> torch.Tensor:
    """Mask (R, 1, n, keys) to add to attention scores, of one that is True where a token may look."""
    lowest = torch.finfo(model.dtype).min
    mask = torch.zeros(allowed.shape, dtype=model.dtype).masked_fill_(~allowed, lowest)
    return mask[:, None].to(model.device)
