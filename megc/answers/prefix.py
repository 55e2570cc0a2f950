"""Questions that branch from a clip's encoded prefix: its pictures and system prompt go through the model once.

    [system, pictures, legend | question 1 | answer 1
                              | question 2 | answer 2 …

Keys and values of a prefix are kept once, whatever the number of its questions and votes. Masks are additive and
4-D, which sdpa and eager attention take and flash attention does not. Position ids are those that the model gives
each question alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache, DynamicLayer

from megc.model.attention import additive_mask
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


@dataclass(frozen=True)
class Piece:
    """More tokens of one row: `ids` (n,), `positions` (3, n), and who of them sees whom, `own` (n, n) bool."""

    row: int
    ids: torch.Tensor
    positions: torch.Tensor
    own: torch.Tensor


class Branches:
    """Rows that go on from a prefix; `rows` (R,) names the opening of each.

    All rows of a clip stand in one sequence behind its opening, and a mask keeps each to what is its own. So
    nothing of the prefix is ever copied to a row, a row that splits costs no memory, and one that has ended leaves
    nothing but keys that nobody looks at.
    """

    def __init__(self, loaded: Loaded, prefix: Prefix, rows: Sequence[int]) -> None:
        self.model = loaded.model
        self.cache = Cache(layers=[DynamicLayer() for _ in prefix.layers])
        for number, (keys, values) in enumerate(prefix.layers):
            self.cache.update(keys, values, number)
        self.clips = list(rows)
        self.seen = prefix.seen[self.clips]  # (R, keys): what later tokens of a row may look at

    def select(self, chosen: Sequence[int]) -> None:
        """Keep the rows `chosen`, in this order; a row that is named twice becomes two."""
        self.seen = self.seen[list(chosen)]
        self.clips = [self.clips[row] for row in chosen]

    def forward(self, pieces: Sequence[Piece]) -> list[torch.Tensor]:
        """Hidden states (n, width) of each piece, no two of which belong to one row; later tokens see all of it."""
        clips, before = len(self.cache.layers[0].keys), self.seen.shape[1]
        filled = [0] * clips
        starts = []
        for piece in pieces:
            starts.append(filled[self.clips[piece.row]])
            filled[self.clips[piece.row]] += len(piece.ids)
        count = max(filled)
        ids = torch.zeros(clips, count, dtype=torch.long)
        positions = torch.zeros(3, clips, count, dtype=torch.long)
        mask = torch.zeros(clips, count, before + count, dtype=torch.bool)
        mask[:, :, 0] = True  # padding looks at the first token: a row of the mask must not be empty
        seen = torch.cat([self.seen, torch.zeros(len(self.seen), count, dtype=torch.bool)], dim=1)
        for piece, start in zip(pieces, starts, strict=True):
            clip, place = self.clips[piece.row], slice(start, start + len(piece.ids))
            keys = slice(before + place.start, before + place.stop)
            ids[clip, place], positions[:, clip, place] = piece.ids, piece.positions
            mask[clip, place, :before] = self.seen[piece.row]
            mask[clip, place, keys] = piece.own
            seen[piece.row, keys] = True
        self.seen = seen
        hidden = self.model.model(
            input_ids=ids.to(self.model.device),
            position_ids=positions.to(self.model.device),
            attention_mask=additive(mask, self.model),
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state
        return [
            hidden[self.clips[piece.row], start : start + len(piece.ids)]
            for piece, start in zip(pieces, starts, strict=True)
        ]

    def ask(self, prompts: Sequence[Prompt], lengths: Sequence[int]) -> torch.Tensor:
        """Hidden states (R, width) of the last token of each row's prompt, whose first `lengths` are the opening."""
        pieces = [rest_of(row, prompts[row], length) for row, length in enumerate(lengths)]
        return torch.stack([hidden[-1] for hidden in self.forward(pieces)])


def rest_of(row: int, prompt: Prompt, length: int) -> Piece:
    """What a prompt has behind its opening of `length` tokens."""
    ids = prompt.ids[length:]
    own = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
    return Piece(row, ids, prompt.positions[:, length:], own)


def additive(allowed: torch.Tensor, model: torch.nn.Module) -> torch.Tensor:
    """Mask (R, 1, n, keys) to add to attention scores, of one that is True where a token may look."""
    return additive_mask(allowed[:, None], model.dtype).to(model.device)
