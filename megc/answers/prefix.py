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
from transformers import Cache, ProcessorMixin
from transformers.modeling_outputs import BaseModelOutputWithPooling

from megc.answers.passes import RoomyLayer, run_model
from megc.model.checkpoint import LoadedCheckpoint
from megc.model.vision_tower import encode_visuals
from megc.model.visuals import token_kinds


@dataclass(frozen=True)
class Prompt:
    """One question in tokens (L,), with its position ids (3, L): time, height, width."""

    ids: torch.Tensor
    positions: torch.Tensor


@dataclass(frozen=True)
class PromptPrefix:
    """What the questions of a clip begin with: the first tokens, and the pictures among them (uint8, H × W × 3; of a
    video frames × H × W × 3)."""

    ids: torch.Tensor  # (P,)
    positions: torch.Tensor  # (3, P)
    pictures: Sequence[np.ndarray]


@dataclass(frozen=True)
class LeadingText:
    """Encoded text before the first picture: `ids` (h,), and keys and values (1, heads, h, width) by layer."""

    ids: torch.Tensor
    states: Sequence[tuple[torch.Tensor, torch.Tensor]]


@dataclass
class EncodedPrefix:
    """Prefixes behind the model: keys and values with room for what branches, and `seen` (clips, P), no padding."""

    cache: Cache
    seen: torch.Tensor


def count_shared_tokens(prompts: Sequence[Prompt], processor: ProcessorMixin) -> int | None:
    """Number of leading tokens that the prompts share, at least one token left to each.

    None if a picture stands behind them: then the prompts cannot branch from one prefix.
    """
    limit = min(len(prompt.ids) for prompt in prompts) - 1
    length = len(_common_start([prompt.ids[:limit] for prompt in prompts]))
    return None if any(token_kinds(prompt.ids[length:], processor).any() for prompt in prompts) else length


def _common_start(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    """The tokens that all rows, of one length, begin with."""
    stacked = torch.stack(list(rows))
    differs = (stacked != stacked[0]).any(0).nonzero()
    return stacked[0, : int(differs[0])] if len(differs) else stacked[0]


def encode_leading_text(
    loaded: LoadedCheckpoint, prefixes: Sequence[PromptPrefix], previous: LeadingText | None
) -> LeadingText | None:
    """The text that all prefixes begin with before their first picture; None if there is none.

    `previous` is returned if its text is the same: then nothing is computed. Positions of text before any picture
    ascend from zero, whatever pictures follow.
    """
    pictures = [token_kinds(prefix.ids, loaded.processor).nonzero() for prefix in prefixes]
    if not all(map(len, pictures)):
        return None
    length = min(int(indices[0]) for indices in pictures)
    ids = _common_start([prefix.ids[:length] for prefix in prefixes])
    if previous is not None and torch.equal(previous.ids, ids):
        return previous
    if not len(ids):
        return None
    cache = _make_cache(loaded, len(ids))
    run_model(loaded.model, ids[None], torch.arange(len(ids)).expand(3, 1, -1), None, cache, read=_no_states(1))
    return LeadingText(ids, [(layer.keys, layer.values) for layer in cache.layers])


def encode_prefixes(
    loaded: LoadedCheckpoint, prefixes: Sequence[PromptPrefix], leading: LeadingText | None = None
) -> EncodedPrefix:
    """Run prefixes of any lengths through the model in one batch, padded on the right, behind their `leading` text.

    clip 1   [leading text | pictures, legend           ]      leading text: keys copied, not computed
    clip 2   [leading text | pictures, legend | padding ]      padding: behind all that counts, never seen
    """
    # 1. one batch, padded behind what counts: under a causal mask no token that counts sees it
    ids = pad_sequence([prefix.ids for prefix in prefixes], batch_first=True, padding_value=0)  # (clips, P)
    positions = pad_sequence([prefix.positions.T for prefix in prefixes], batch_first=True).permute(2, 0, 1)
    lengths = torch.tensor([len(prefix.ids) for prefix in prefixes])
    seen = torch.arange(ids.shape[1])[None] < lengths[:, None]  # (clips, P)
    # 2. keys and values of the leading text, the same for every clip
    cache = _make_cache(loaded, 2 * ids.shape[1])
    begun = 0
    if leading is not None:
        begun = len(leading.ids)
        for layer, states in zip(cache.layers, leading.states, strict=True):
            layer.update(*(part.expand(len(prefixes), -1, -1, -1) for part in states))
    # 3. pictures through the tower, a clip at a time: what one clip's pictures take fits a processor's cache
    features: dict[str, list[torch.Tensor]] = {"image": [], "video": []}
    for prefix in prefixes:
        for picture, states in zip(prefix.pictures, _encode_pictures(loaded, prefix), strict=True):
            features["video" if picture.ndim == 4 else "image"].append(states)
    outputs = {
        kind: BaseModelOutputWithPooling(pooler_output=tuple(states)) for kind, states in features.items() if states
    }
    vision = {"mm_encoder_outputs": outputs} if outputs else {}
    # 4. the rest of the prefixes, for their keys and values alone
    nothing = _no_states(len(prefixes))
    run_model(loaded.model, ids[:, begun:], positions[:, :, begun:], None, cache, read=nothing, **vision)
    return EncodedPrefix(cache, seen)


def _encode_pictures(loaded: LoadedCheckpoint, prefix: PromptPrefix) -> list[torch.Tensor]:
    return encode_visuals(loaded, prefix.pictures) if prefix.pictures else []


def _make_cache(loaded: LoadedCheckpoint, room: int) -> Cache:
    return Cache(layers=[RoomyLayer(room) for _ in loaded.model.model.language_model.layers])


def _no_states(rows: int) -> torch.Tensor:
    """`read` of a pass of which only keys and values are used."""
    return torch.zeros(rows, 0, dtype=torch.long)


@dataclass(frozen=True)
class TokenSpan:
    """More tokens of one row: `ids` (n,), `positions` (3, n), and which of them each one sees, `mask` (n, n) bool.

    The states of the last `read` of them are returned; None: of all.
    """

    row: int
    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    read: int | None = None


def suffix_of(row: int, prompt: Prompt, length: int) -> TokenSpan:
    """What a prompt has behind its prefix of `length` tokens; the state of its last one is read."""
    ids = prompt.ids[length:]
    causal = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
    return TokenSpan(row, ids, prompt.positions[:, length:], causal, 1)


class Branches:
    """Rows that go on from an encoded prefix; `rows` (R,) names the clip of each.

    All rows of a clip stand in one sequence behind its prefix, and a mask lets each see the prefix and its own
    tokens only. So nothing of the prefix is ever copied to a row, a row that splits costs no memory, and one that
    has ended leaves nothing but keys that nobody looks at. They stand in the prefix's own cache: what branched from
    it before is forgotten.

        clip 1   [ prefix | q1 q1 q1 | q2 q2 | a1 a2 | a1 a2 … ]     q: questions in one pass, a: one token a step
        row 1       see      see        -      see -   see -
        row 2       see       -        see      - see   - see
    """

    def __init__(self, loaded: LoadedCheckpoint, prefix: EncodedPrefix, rows: Sequence[int]) -> None:
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
        self.cache.crop(length - self.cache.get_seq_length())  # a negative number: so many keys fewer

    def encode_suffixes(self, spans: Sequence[TokenSpan]) -> list[torch.Tensor]:
        """Hidden states (read, width) of each span, one a row at most; later tokens of the row see all of it."""
        lengths = [len(span.ids) for span in spans]
        counts = [length if span.read is None else span.read for span, length in zip(spans, lengths, strict=True)]
        hidden = self._run_tokens(
            torch.tensor([span.row for span in spans]).repeat_interleave(torch.tensor(lengths)),
            torch.cat([span.ids for span in spans]),
            torch.cat([span.positions for span in spans], dim=1),
            torch.block_diag(*(span.mask for span in spans)).bool(),  # spans do not see each other
            torch.cat([torch.arange(length) >= length - count for length, count in zip(lengths, counts, strict=True)]),
        )
        return list(hidden.split(counts))

    def step(self, tokens: Sequence[int], positions: torch.Tensor) -> torch.Tensor:
        """Hidden states (R, width) of one more token of each row, at `positions` (3, R)."""
        rows, every = torch.arange(len(tokens)), torch.ones(len(tokens), dtype=torch.bool)
        return self._run_tokens(rows, torch.tensor(tokens), positions, every.diag(), every)

    def _run_tokens(
        self,
        rows: torch.Tensor,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        mutual: torch.Tensor,
        read: torch.Tensor,
    ) -> torch.Tensor:
        """Hidden states of those `tokens` (N,) of `rows` (N,) that are `read` (N,) bool; positions (3, N).

        `mutual` (N, N) bool: which of the new tokens each one sees. N counts the tokens of all rows together.
        """
        # 1. a slot for each token: its clip's sequence, and its place among the clip's new tokens
        clips = torch.tensor(self.clips)[rows]  # (N,)
        clip_count = len(self.cache.layers[0].keys)
        slots = _count_earlier(clips, clip_count)  # (N,)
        shape, before = (clip_count, int(slots.max()) + 1), self.seen.shape[1]  # slots a clip; keys in the cache
        ids = torch.zeros(shape, dtype=torch.long)
        grid = torch.zeros(3, *shape, dtype=torch.long)
        ids[clips, slots], grid[:, clips, slots] = tokens, positions
        # 2. what each token sees: the old keys of its row, and new ones by `mutual`
        visible = torch.zeros(len(tokens), before + shape[1], dtype=torch.bool)
        visible[:, :before] = self.seen[rows]
        queries, keys = mutual.nonzero(as_tuple=True)
        visible[queries, before + slots[keys]] = True
        mask = torch.zeros(*shape, visible.shape[1], dtype=torch.bool)  # (clips, slots, keys)
        mask[:, :, 0] = True  # empty slots see the first token: the softmax of an empty row of the mask is NaN
        mask[clips, slots] = visible
        # 3. from now on the row sees its new tokens
        self.seen = torch.cat([self.seen, torch.zeros(len(self.seen), shape[1], dtype=torch.bool)], dim=1)
        self.seen[rows, before + slots] = True
        # 4. one pass; of slots that nobody reads, the last layer computes keys and values alone
        if read.all():
            return run_model(self.model, ids, grid, mask, self.cache)[clips, slots]
        clips, slots = clips[read], slots[read]
        columns = _count_earlier(clips, clip_count)
        chosen = torch.zeros(
            clip_count, int(columns.max()) + 1, dtype=torch.long
        )  # a clip with fewer reads slot 0 too
        chosen[clips, columns] = slots
        return run_model(self.model, ids, grid, mask, self.cache, chosen)[clips, columns]


def _count_earlier(clips: torch.Tensor, count: int) -> torch.Tensor:
    """Of each entry (N,), how many before it name the same one of `count` clips: (0, 1, 0) → (0, 0, 1)."""
    return one_hot(clips, count).cumsum(0).gather(1, clips[:, None])[:, 0] - 1
