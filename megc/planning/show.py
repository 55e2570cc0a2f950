"""Training sequences as the model sees them: prefix, branches, which tokens are trained, at which positions."""

import os
import sys
from dataclasses import replace
from itertools import groupby
from typing import TextIO

import torch
from transformers import ProcessorMixin

from megc.model.packing import IGNORED, Packed
from megc.planning.dry_run import outline
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


def _text(ids: list[int], processor: ProcessorMixin, pictures: int) -> tuple[str, int]:
    """Text of tokens, a run of picture tokens as one mark, and the number of pictures up to here."""
    pieces = []
    for is_picture, run in groupby(ids, key=lambda token: token == processor.image_token_id):
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
        own = packed.branch == number
        positions = packed.position_ids[:, own]
        name = f"question {number}, {packed.ids[number - 1]}" if number else "prefix"
        counted = f", {int(trained[own].sum())} trained" if number else ""
        span = f"positions {int(positions.min())} to {int(positions.max())}"
        lines.append(f"── {name}: {int(own.sum())} tokens{counted}, {span}")
        pieces = []
        marked = zip(packed.input_ids[own].tolist(), trained[own].tolist(), strict=True)
        for is_trained, run in groupby(marked, key=lambda pair: pair[1]):
            text, pictures = _text([token for token, _ in run], processor, pictures)
            if is_trained:
                pieces.append(f"{before}{text}{behind}")
            else:
                pieces.append(f"{_GREY}{text}{_PLAIN}" if colour else text)
        lines.append("".join(pieces))
    return "\n".join(lines)


def show_samples(settings: SftSettings, seed: int = 0, stream: TextIO | None = None) -> str:
    """The first `settings.show_sample` sequences of the training file as text for `stream` (standard output).

    No weights are loaded. Raises what `outline` raises.
    """
    made = outline(settings, seed)
    clips = list(dict.fromkeys(sample.clip for sample in made.samples))[: settings.show_sample]
    shown = replace(made, samples=[sample for sample in made.samples if sample.clip in set(clips)])
    colour = takes_colour(stream or sys.stdout)
    parts = [f"{settings.train_file} as {settings.model} reads it", *(f"  {note}" for note in made.notes)]
    for number, packed in enumerate(shown.packed(settings.packing)[: settings.show_sample], start=1):
        parts.append(f"\nSequence {number}: {show_packed(packed, made.processor, colour)}")
    return "\n".join(parts)
