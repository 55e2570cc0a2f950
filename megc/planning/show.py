"""Training sequences as the model sees them: prefix, branches, which tokens are trained, at which positions."""

import os
import sys
from dataclasses import replace
from itertools import groupby
from typing import TextIO

import torch
from transformers import ProcessorMixin

from megc.model.packing import IGNORED, Packed
from megc.planning.dry_run import dry_run
from megc.training.settings import SftSettings

_GREY, _GREEN, _PLAIN = "\033[90m", "\033[1;32m", "\033[0m"
BRACKETS = ("⟦", "⟧")


def takes_colour(stream: TextIO) -> bool:
    """Whether `stream` is a terminal and its user has not asked for none (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def trained_tokens(packed: Packed) -> torch.Tensor:
    """Which tokens are answers that the loss is on, bool (L,). Targets stand one place before the token."""
    trained = torch.zeros(len(packed), dtype=torch.bool)
    trained[1:] = packed.targets[:-1] != IGNORED
    return trained


def _decode_tokens(ids: list[int], processor: ProcessorMixin, pictures: int) -> tuple[str, int]:
    """Text of tokens, a run of picture tokens as one mark, and the number of pictures up to here."""
    pieces = []
    visuals = processor.image_token_id, processor.video_token_id
    for is_picture, run in groupby(ids, key=lambda token: token in visuals):
        run = list(run)
        if is_picture:
            pictures += 1
            pieces.append(f"<picture {pictures}: {len(run)} tokens>")
        else:
            pieces.append(processor.tokenizer.decode(run, clean_up_tokenization_spaces=False))
    return "".join(pieces), pictures


def show_packed(packed: Packed, processor: ProcessorMixin, colour: bool = False) -> str:
    """A sequence as text: a headline, then each branch with its counts, positions and decoded tokens.

    Tokens that are trained are green between grey ones with `colour`, else in ⟦brackets⟧.
    """
    trained = trained_tokens(packed)
    before, behind = (_GREEN, _PLAIN) if colour else BRACKETS
    lines = [
        f"{len(packed)} tokens, {int((packed.branch == 0).sum())} of them in the prefix, {int(trained.sum())} trained;"
        f" {len(packed.ids)} question(s), {len(packed.pictures)} picture(s)"
    ]
    pictures = 0
    for number in packed.branch.unique_consecutive().tolist():
        branch = packed.branch == number  # (L,)
        positions = packed.position_ids[:, branch]  # (3, tokens of the branch)
        name = f"question {number}, {packed.ids[number - 1]}" if number else "prefix"
        counted = f", {int(trained[branch].sum())} trained" if number else ""
        span = f"positions {int(positions.min())} to {int(positions.max())}"
        lines.append(f"── {name}: {int(branch.sum())} tokens{counted}, {span}")
        pieces = []
        marked = zip(packed.input_ids[branch].tolist(), trained[branch].tolist(), strict=True)
        for is_trained, run in groupby(marked, key=lambda pair: pair[1]):
            text, pictures = _decode_tokens([token for token, _ in run], processor, pictures)
            if is_trained:
                pieces.append(f"{before}{text}{behind}")
            else:
                pieces.append(f"{_GREY}{text}{_PLAIN}" if colour else text)
        lines.append("".join(pieces))
    return "\n".join(lines)


def show_samples(settings: SftSettings, seed: int = 0, stream: TextIO | None = None) -> str:
    """The first `settings.show_sample` sequences of the training file as text for `stream` (standard output).

    No weights are loaded. Raises what `dry_run` raises.
    """
    run = dry_run(settings, seed)
    clips = set(run.clips[: settings.show_sample])  # a clip gives at least one sequence: no others need be packed
    samples = [sample for sample in run.data.samples if sample.clip in clips]
    run = replace(run, data=replace(run.data, samples=samples))
    colour = takes_colour(stream or sys.stdout)
    texts = [f"{settings.train_file} as {settings.model} reads it", *(f"  {note}" for note in run.notes)]
    for number, packed in enumerate(run.pack(settings.packing)[: settings.show_sample], start=1):
        texts.append(f"\nSequence {number}: {show_packed(packed, run.processor, colour)}")
    return "\n".join(texts)
