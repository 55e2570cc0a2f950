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
from torch.nn.functional import one_hot
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache
from transformers.modeling_outputs import BaseModelOutputWithPooling

from megc.answers.passes import RoomyLayer, run
from megc.answers.tower import picture_features
from megc.model.checkpoint import LoadedCheckpoint


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


@dataclass
class Prefix:
    """Openings behind the model: their keys and values, with room for what branches, and `seen` (clips, P)."""

    cache: Cache
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


@dataclass(frozen=True)
class Beginning:
    """Text before the first picture, encoded: `ids` (h,), and keys and values (1, heads, h, width) by layer."""

    ids: torch.Tensor
    states: Sequence[tuple[torch.Tensor, torch.Tensor]]


def encode_beginning(
    loaded: LoadedCheckpoint, openings: Sequence[Opening], known: Beginning | None
) -> Beginning | None:
    """What all openings begin with before their first picture; `known` if that is it, None if there is nothing.

    Its positions ascend from zero whatever the pictures behind it.
    """
    pictures = [(opening.ids == loaded.processor.image_token_id).nonzero() for opening in openings]
    if not all(map(len, pictures)):
        return None
    length = min(int(places[0]) for places in pictures)
    stacked = torch.stack([opening.ids[:length] for opening in openings])
    differs = (stacked != stacked[0]).any(0).nonzero()
    ids = stacked[0, : int(differs[0]) if len(differs) else length]
    if known is not None and torch.equal(known.ids, ids):
        return known
    if not len(ids):
        return None
    cache = _roomy(loaded, len(ids))
    run(loaded.model, ids[None], torch.arange(len(ids)).expand(3, 1, -1), None, cache, read=_nothing(1))
    return Beginning(ids, [(layer.keys, layer.values) for layer in cache.layers])


def encode_openings(
    loaded: LoadedCheckpoint, openings: Sequence[Opening], beginning: Beginning | None = None
) -> Prefix:
    """Run openings of any lengths through the model, in one batch padded on the right, behind their `beginning`."""
    ids = pad_sequence([one.ids for one in openings], batch_first=True, padding_value=0)  # (clips, P)
    positions = pad_sequence([one.positions.T for one in openings], batch_first=True).permute(2, 0, 1)
    lengths = torch.tensor([len(one.ids) for one in openings])
    # padding comes behind what counts, and so is seen by nothing that counts
    seen = torch.arange(ids.shape[1])[None] < lengths[:, None]
    cache = _roomy(loaded, 2 * ids.shape[1])
    begun = 0
    if beginning is not None:
        begun = len(beginning.ids)
        for layer, states in zip(cache.layers, beginning.states, strict=True):
            layer.update(*(part.expand(len(openings), -1, -1, -1) for part in states))
    # a clip at a time: what all of its pictures take is little enough for a processor's cache
    features = tuple(picture for one in openings if one.pictures for picture in picture_features(loaded, one.pictures))
    vision = {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=features)}} if features else {}
    nothing = _nothing(len(openings))
    run(loaded.model, ids[:, begun:], positions[:, :, begun:], None, cache, read=nothing, **vision)
    return Prefix(cache, seen)


def _roomy(loaded: LoadedCheckpoint, room: int) -> Cache:
    return Cache(layers=[RoomyLayer(room) for _ in loaded.model.model.language_model.layers])


def _nothing(rows: int) -> torch.Tensor:
    """To read no states, as what is encoded has nothing but its keys and values looked at."""
    return torch.zeros(rows, 0, dtype=torch.long)


@dataclass(frozen=True)
class Piece:
    """More tokens of one row: `ids` (n,), `positions` (3, n), and who of them sees whom, `own` (n, n) bool.

    The states of the last `read` of them are asked for; None: of all.
    """

    row: int
    ids: torch.Tensor
    positions: torch.Tensor
    own: torch.Tensor
    read: int | None = None


class Branches:
    """Rows that go on from a prefix; `rows` (R,) names the opening of each.

    All rows of a clip stand in one sequence behind its opening, and a mask keeps each to what is its own. So
    nothing of the prefix is ever copied to a row, a row that splits costs no memory, and one that has ended leaves
    nothing but keys that nobody looks at. They stand in the prefix's own cache: what branched from it before is
    forgotten.
    """

    def __init__(self, loaded: LoadedCheckpoint, prefix: Prefix, rows: Sequence[int]) -> None:
        self.model = loaded.model
        self.cache = prefix.cache
        self.clips = list(rows)
        self.seen = prefix.seen[self.clips]  # (R, keys): what later tokens of a row may look at
        self._crop(self.seen.shape[1])

    def select(self, chosen: Sequence[int]) -> None:
        """Keep the rows `chosen`, in this order; a row that is named twice becomes two."""
        self.seen = self.seen[list(chosen)]
        self.clips = [self.clips[row] for row in chosen]

    def trim(self) -> None:
        """Forget the last keys as far as no row looks at them."""
        length = int(self.seen.any(0).nonzero().max()) + 1
        self.seen = self.seen[:, :length]
        self._crop(length)

    def _crop(self, length: int) -> None:
        self.cache.crop(length - self.cache.get_seq_length())

    def forward(self, pieces: Sequence[Piece]) -> list[torch.Tensor]:
        """Hidden states (read, width) of each piece, no two of which belong to one row; later tokens see all of it."""
        lengths = [len(piece.ids) for piece in pieces]
        counts = [length if piece.read is None else piece.read for piece, length in zip(pieces, lengths, strict=True)]
        hidden = self._forward(
            torch.tensor([piece.row for piece in pieces]).repeat_interleave(torch.tensor(lengths)),
            torch.cat([piece.ids for piece in pieces]),
            torch.cat([piece.positions for piece in pieces], dim=1),
            torch.block_diag(*(piece.own for piece in pieces)).bool(),
            torch.cat([torch.arange(length) >= length - count for length, count in zip(lengths, counts, strict=True)]),
        )
        return list(hidden.split(counts))

    def step(self, tokens: Sequence[int], positions: torch.Tensor) -> torch.Tensor:
        """Hidden states (R, width) of one more token of each row, at `positions` (3, R)."""
        rows, every = torch.arange(len(tokens)), torch.ones(len(tokens), dtype=torch.bool)
        return self._forward(rows, torch.tensor(tokens), positions, every.diag(), every)

    def _forward(
        self,
        rows: torch.Tensor,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        own: torch.Tensor,
        wanted: torch.Tensor,
    ) -> torch.Tensor:
        """Hidden states of those `tokens` (N,) of `rows` (N,) that are `wanted` (N,) bool.

        `own` (N, N): which of them each one sees.
        """
        clips = torch.tensor(self.clips)[rows]
        count = len(self.cache.layers[0].keys)
        places = _ranks(clips, count)
        shape, before = (count, int(places.max()) + 1), self.seen.shape[1]
        ids = torch.zeros(shape, dtype=torch.long)
        grid = torch.zeros(3, *shape, dtype=torch.long)
        ids[clips, places], grid[:, clips, places] = tokens, positions
        later = torch.zeros(len(tokens), before + shape[1], dtype=torch.bool)
        later[:, :before] = self.seen[rows]
        queries, keys = own.nonzero(as_tuple=True)
        later[queries, before + places[keys]] = True
        mask = torch.zeros(*shape, later.shape[1], dtype=torch.bool)
        mask[:, :, 0] = True  # padding looks at the first token: a row of the mask must not be empty
        mask[clips, places] = later
        self.seen = torch.cat([self.seen, torch.zeros(len(self.seen), shape[1], dtype=torch.bool)], dim=1)
        self.seen[rows, before + places] = True
        if wanted.all():
            return run(self.model, ids, grid, mask, self.cache)[clips, places]
        clips, places = clips[wanted], places[wanted]
        lines = _ranks(clips, count)
        read = torch.zeros(count, int(lines.max()) + 1, dtype=torch.long)
        read[clips, lines] = places
        return run(self.model, ids, grid, mask, self.cache, read)[clips, lines]


def _ranks(clips: torch.Tensor, count: int) -> torch.Tensor:
    """Of each entry (N,), how many before it name the same one of `count` clips."""
    return one_hot(clips, count).cumsum(0).gather(1, clips[:, None])[:, 0] - 1


def rest_of(row: int, prompt: Prompt, length: int) -> Piece:
    """What a prompt has behind its opening of `length` tokens; the state of its last one is read."""
    ids = prompt.ids[length:]
    own = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
    return Piece(row, ids, prompt.positions[:, length:], own, 1)
