"""Shared-prefix packing: a clip's questions in one sequence, so that its pictures and legend are computed once.

    [system, pictures, legend | question 1, answer 1 | question 2, answer 2 | …]

A branch (question and answer) sees the prefix and itself, never another branch, and its positions go on from the
prefix; so loss and gradients are those of separate samples. Ordinary inputs of the model do it: a mask (see
`attention`) and position ids. Two questions on a prefix of three tokens (p), each of two tokens (q) and an answer of
one (a) with its end (e):

    token     p p p  q q a e  q q a e
    branch    0 0 0  1 1 1 1  2 2 2 2
    position  0 1 2  3 4 5 6  3 4 5 6
    target    . . .  . a e .  . a e .
"""

import re
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from transformers import PretrainedConfig, ProcessorMixin
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

from megc.model.samples import PictureStore, Sample, chat_messages, raise_first
from megc.model.visuals import NOMINAL_FPS, TEXT, VIDEO, token_kinds
from megc.problems import DataError, Problems

IGNORED = -100  # a target that counts for nothing, as in torch's cross entropy


@dataclass(frozen=True)
class Encoded:
    """One sample in tokens. `answer`: index of the first answer token; the sequence ends with `<|im_end|>`."""

    id: str
    ids: torch.Tensor  # (L,)
    positions: torch.Tensor  # (3, L): time, height, width
    answer: int


@dataclass(frozen=True)
class Packed:
    """One or more samples of a clip in one sequence of L tokens.

    `branch` is 0 in the prefix and n in the n-th question. `targets` is the token to predict at each place (that
    is, already shifted by one), or IGNORED: only answers and the `<|im_end|>` behind them are predicted.
    """

    ids: tuple[str, ...]
    pictures: tuple[Path, ...]  # and frames
    lengths: tuple[int, ...]  # of each tag, as in `Sample`
    input_ids: torch.Tensor  # (L,)
    position_ids: torch.Tensor  # (3, L)
    branch: torch.Tensor  # (L,)
    targets: torch.Tensor  # (L,)

    def __len__(self) -> int:
        return len(self.input_ids)


class PositionIds:
    """The model's own M-RoPE position ids, without its weights."""

    get_rope_index = Qwen2_5_VLModel.get_rope_index
    get_vision_position_ids = Qwen2_5_VLModel.get_vision_position_ids

    def __init__(self, config: PretrainedConfig) -> None:
        self.config = config

    def __call__(self, ids: torch.Tensor, grids: torch.Tensor) -> torch.Tensor:
        """Position ids (3, L) of token ids (L,) with pictures and videos of patch grids (n, 3), in their order."""
        kinds = token_kinds(ids, self.config)
        counts = grids.prod(-1) // self.config.vision_config.spatial_merge_size**2  # tokens of each
        videos = kinds[kinds != TEXT][counts.cumsum(0) - counts] == VIDEO  # (n,), by the kind of its first token
        seconds = [self.config.vision_config.temporal_patch_size / NOMINAL_FPS] * int(videos.sum())
        positions, _ = self.get_rope_index(
            ids[None],
            kinds[None],
            image_grid_thw=grids[~videos],
            video_grid_thw=grids[videos],
            second_per_grid_ts=torch.tensor(seconds),
        )
        return positions[:, 0]


def encode(sample: Sample, store: PictureStore, positions: PositionIds) -> Encoded:
    """Tokens of one answered sample.

    Raises ValueError when the texts hold special tokens of the model, which would break the count of pictures or
    turns.
    """
    processor: ProcessorMixin = store.processor
    text = processor.apply_chat_template(chat_messages(sample.record), tokenize=False)
    turns = {text.count("<|im_start|>"), text.count("<|im_end|>")}
    marks = [processor.video_token if length else processor.image_token for length in sample.lengths]
    texts = re.split(f"({re.escape(processor.image_token)}|{re.escape(processor.video_token)})", text)
    if texts[1::2] != marks or turns != {3}:  # marks stand between texts
        raise ValueError("special tokens such as <|im_start|> or <|image_pad|> in a text")
    grids = store.grids(sample.sizes, sample.lengths)
    # 1. One mark a picture or video becomes as many tokens as it has merged patches, as the processor does with pixels
    # at hand.
    merge = processor.image_processor.merge_size**2
    for number, (times, rows, columns) in enumerate(grids):
        texts[2 * number + 1] *= times * rows * columns // merge
    # 2. Tokens, up to the end of the answer.
    tokenizer = processor.tokenizer
    header = tokenizer.encode("<|im_start|>assistant\n", add_special_tokens=False)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    tokens = tokenizer.encode("".join(texts), add_special_tokens=False)
    while tokens[-1] != end:  # the template writes a newline behind the last turn, which nobody should learn
        tokens.pop()
    # 3. The answer stands behind the last header of an assistant's turn.
    starts = [at for at in range(len(tokens) - len(header) + 1) if tokens[at : at + len(header)] == header]
    ids = torch.tensor(tokens)
    places = positions(ids, torch.tensor(grids, dtype=torch.long).reshape(-1, 3))  # reshaped for none at all
    return Encoded(sample.record["id"], ids, places, starts[-1] + len(header))


def shared_prefix(samples: list[Encoded]) -> int:
    """Number of leading tokens that all samples have in common, never reaching the token that predicts an answer."""
    # The token before an answer predicts its first one: it belongs to the branch, which has a target there.
    limit = min(sample.answer for sample in samples) - 1
    stacked = torch.stack([sample.ids[:limit] for sample in samples])
    differs = (stacked != stacked[0]).any(0).nonzero()  # (places where any sample has another token, 1)
    return int(differs[0]) if len(differs) else limit


def pack(samples: list[Encoded], pictures: tuple[Path, ...], lengths: tuple[int, ...], prefix: int) -> Packed:
    """One sequence of the samples' first `prefix` tokens, once, and of what each has behind them."""
    first = samples[0]
    ids, positions = [first.ids[:prefix]], [first.positions[:, :prefix]]
    branch, targets = [torch.zeros(prefix, dtype=torch.long)], [torch.full((prefix,), IGNORED)]
    for number, sample in enumerate(samples, start=1):
        target = torch.full_like(sample.ids, IGNORED)  # (L,), shifted by one: the place before a token predicts it
        target[sample.answer - 1 : -1] = sample.ids[sample.answer :]
        ids.append(sample.ids[prefix:])
        positions.append(sample.positions[:, prefix:])
        branch.append(torch.full((len(sample.ids) - prefix,), number))
        targets.append(target[prefix:])
    return Packed(
        tuple(sample.id for sample in samples),
        pictures,
        lengths,
        torch.cat(ids),
        torch.cat(positions, dim=1),
        torch.cat(branch),
        torch.cat(targets),
    )


def pack_samples(
    samples: list[Sample],
    store: PictureStore,
    config: PretrainedConfig,
    *,
    packing: str = "clip",
    max_length: int = 4096,
    file: Path | str = "",
) -> list[Packed]:
    """Sequences of the samples: a sequence a clip (`packing` "clip") or a sequence a sample ("none").

    Neighbours with the same clip and pictures are packed. A clip whose questions do not fit into `max_length`
    tokens is cut into several sequences between questions. Raises DataError, naming `file` and row, for a sample
    that is longer than `max_length` by itself, or has a picture that cannot be cut into tokens; nothing is ever
    truncated. All of them are printed before the first is raised.
    """
    positions = PositionIds(config)
    problems = Problems()
    packed = []
    for (_, *files), clip_samples in groupby(samples, key=lambda each: (each.clip, each.pictures, each.lengths)):
        encoded = []
        for sample in clip_samples:
            with problems.collect():
                encoded.append(_encode_checked(sample, store, positions, max_length, file))
        together = encoded if packing == "clip" else []
        prefix = shared_prefix(encoded) if together else 0
        if together and token_kinds(encoded[0].ids[prefix:], config).any():
            together = []  # the texts part before the last picture, which every branch would have to hold again
        if not together:
            packed += [pack([sample], *files, 0) for sample in encoded]
        else:
            packed += [pack(group, *files, prefix) for group in _split_long(together, prefix, max_length)]
    raise_first(problems)
    return packed


def _encode_checked(
    sample: Sample, store: PictureStore, positions: PositionIds, max_length: int, file: Path | str
) -> Encoded:
    """`encode`, with the file and the row in what is raised."""
    row = sample.record["id"]
    for picture, size in zip(sample.pictures, sample.sizes, strict=True):
        try:
            store.grid(*size)
        except ValueError as error:  # smart_resize takes no picture that is 200 times as long as it is wide
            what = f"{picture.name} of {size[0]} × {size[1]} pixels cannot be cut into tokens ({error})"
            raise DataError(file, row, what, "crop the picture") from error
    try:
        encoded = encode(sample, store, positions)
    except ValueError as error:
        raise DataError(file, row, str(error), "reword the text") from error
    if len(encoded.ids) > max_length:
        picture_tokens = int(token_kinds(encoded.ids, positions.config).count_nonzero())
        what = f"{len(encoded.ids)} tokens, {picture_tokens} of them pictures, more than max_length {max_length}"
        raise DataError(file, row, what, "raise --max_length, or lower --max_pixels")
    return encoded


def _split_long(samples: list[Encoded], prefix: int, max_length: int) -> list[list[Encoded]]:
    """The samples of a clip in as few sequences as fit into `max_length` tokens each, cut between questions."""
    groups: list[list[Encoded]] = [[]]
    length = prefix  # of the last group, in tokens; each group has the prefix once
    for sample in samples:
        branch = len(sample.ids) - prefix
        if groups[-1] and length + branch > max_length:
            groups.append([])
            length = prefix
        groups[-1].append(sample)
        length += branch
    return groups
