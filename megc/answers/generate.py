"""The plain way to write answers: a left-padded batch of whole prompts through the `generate` of transformers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, ProcessorMixin
from transformers.modeling_outputs import BaseModelOutputWithPooling

from megc.answers.answerer import Answer
from megc.answers.constrain import Constrained, UnitList
from megc.answers.decoding import Decoding
from megc.answers.sampling import RowSampler
from megc.model.checkpoint import LoadedCheckpoint
from megc.model.samples import Sample, chat_messages


@dataclass(frozen=True)
class Seen:
    """A clip's pictures behind the vision tower: `grids` (n, 3) of patches, and of each picture (tokens, width)."""

    grids: torch.Tensor
    features: tuple[torch.Tensor, ...]


@torch.inference_mode()
def see(loaded: LoadedCheckpoint, groups: Sequence[Sequence[np.ndarray]]) -> list[Seen]:
    """Each group of pictures (uint8, already resized to the pixel budget) through the vision tower, in one pass."""
    images = [picture for group in groups for picture in group]
    made = loaded.processor.image_processor(images=images, do_resize=False, return_tensors="pt")
    made = made.to(loaded.model.device)
    found = loaded.model.get_image_features(made["pixel_values"], made["image_grid_thw"], return_dict=True)
    seen, start = [], 0
    for group in groups:
        stop = start + len(group)
        seen.append(Seen(made["image_grid_thw"][start:stop], tuple(found.pooler_output[start:stop])))
        start = stop
    return seen


def prompt_tokens(
    processor: ProcessorMixin, samples: Sequence[Sample], grids: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """The samples' prompts in tokens (L,), up to where the answer begins, with a picture token for each patch group.

    `grids` (n, 3) are the patch grids of each sample's pictures. Raises ValueError for a text with a picture token.
    """
    texts = [
        processor.apply_chat_template(
            chat_messages(sample.record, with_answer=False), tokenize=False, add_generation_prompt=True
        )
        for sample in samples
    ]
    prompts = []
    for ids, grid in zip(processor.tokenizer(texts)["input_ids"], grids, strict=True):
        tokens = torch.tensor(ids)
        pictures = tokens == processor.image_token_id
        if pictures.sum() != len(grid):
            raise ValueError(f"{int(pictures.sum())} picture tokens for {len(grid)} pictures")
        counts = torch.ones_like(tokens)
        counts[pictures] = grid.prod(dim=-1) // processor.image_processor.merge_size**2
        prompts.append(tokens.repeat_interleave(counts))
    return prompts


def build_inputs(
    processor: ProcessorMixin, samples: Sequence[Sample], grids: Sequence[torch.Tensor]
) -> dict[str, torch.Tensor]:
    """What the processor makes of the samples' prompts (answers left out), padded on the left, but for the pixels.

    All of the result must reach the model: without `mm_token_type_ids` its positions are silently wrong.
    """
    ids = [tokens.tolist() for tokens in prompt_tokens(processor, samples, grids)]
    padded = processor.tokenizer.pad({"input_ids": ids}, padding=True, padding_side="left", return_tensors="pt")
    return {
        **padded,
        "mm_token_type_ids": (padded["input_ids"] == processor.image_token_id).int(),
        "image_grid_thw": torch.cat(list(grids)),
    }


def end_tokens(loaded: LoadedCheckpoint) -> list[int]:
    """Tokens that end an answer: those of the checkpoint, else the tokenizer's."""
    found = loaded.model.generation_config.eos_token_id
    found = loaded.processor.tokenizer.eos_token_id if found is None else found
    return list(found) if isinstance(found, (list, tuple)) else [found]


@torch.inference_mode()
def generate(
    loaded: LoadedCheckpoint,
    samples: Sequence[Sample],
    seen: Sequence[Seen],
    decoding: Decoding,
    votes: Sequence[Sequence[int]] | None = None,
    constraints: Sequence[UnitList | None] | None = None,
) -> list[list[Answer]]:
    """Answers of each sample by the `generate` of transformers: the plain way, nothing shared but the pictures.

    `seen` are the samples' pictures; questions on one clip share them, so that they are encoded once. `votes` are
    the numbers of each sample's sampled votes, equally many; without them the answer is greedy. Both are what each
    sample would get alone, up to the rounding of the arithmetic (none seen in float32; bfloat16 may tip an answer
    that is nearly a tie).
    """
    inputs = build_inputs(loaded.processor, samples, [one.grids.cpu() for one in seen])
    inputs = {name: value.to(loaded.model.device) for name, value in inputs.items()}
    features = tuple(picture for one in seen for picture in one.features)
    vision = {"image": BaseModelOutputWithPooling(pooler_output=features)} if features else {}
    prompt = inputs["input_ids"].shape[1]
    count = len(votes[0]) if votes else 1
    lists = [one for one in constraints or [None] * len(samples) for _ in range(count)]
    limits = [max(decoding.max_new_tokens, one.tokens if one else 0) for one in lists]
    processors: list[LogitsProcessor] = [Constrained(lists, limits, prompt)] if any(lists) else []
    if votes:
        sampler = _sampler(loaded, samples, votes, decoding, limits, prompt)
        processors.append(sampler)
    written = loaded.model.generate(
        **inputs,
        mm_encoder_outputs=vision,
        generation_config=_config(loaded, decoding, count if votes else 0, max(limits)),
        logits_processor=processors,
    )
    written = written[:, prompt:].cpu()
    rows = [row[:limit].tolist() for row, limit in zip(written, limits, strict=True)]
    texts = loaded.processor.tokenizer.batch_decode(rows, skip_special_tokens=True)
    ends = set(end_tokens(loaded))
    chances = sampler.log_probabilities.tolist() if votes else [None] * len(texts)
    answers = [
        Answer(text.strip(), chance, not ends & set(row))
        for text, chance, row in zip(texts, chances, rows, strict=True)
    ]
    return [answers[start : start + count] for start in range(0, len(answers), count)]


def _sampler(
    loaded: LoadedCheckpoint,
    samples: Sequence[Sample],
    votes: Sequence[Sequence[int]],
    decoding: Decoding,
    limits: Sequence[int],
    prompt: int,
) -> RowSampler:
    return RowSampler(
        [sample.record["id"] for sample, some in zip(samples, votes, strict=True) for _ in some],
        [vote for some in votes for vote in some],
        decoding.seed,
        limits,
        prompt,
        end_tokens(loaded),
        decoding.temperature,
        decoding.top_k,
        decoding.top_p,
    )


def _config(loaded: LoadedCheckpoint, decoding: Decoding, samples: int, steps: int) -> GenerationConfig:
    """Everything explicit: a value that is left out would be the checkpoint's. `samples` 0: greedy."""
    return GenerationConfig(
        do_sample=samples > 0,  # the sampler leaves one token to draw
        num_return_sequences=max(samples, 1),
        max_new_tokens=steps,
        repetition_penalty=decoding.repetition_penalty,
        temperature=1.0,  # the sampler's work; None would let the checkpoint's defaults in
        top_p=1.0,
        top_k=0 if samples else 50,  # 50: the one value that greedy decoding does not warn of
        num_beams=1,
        eos_token_id=end_tokens(loaded),
        pad_token_id=loaded.processor.tokenizer.pad_token_id,
        use_cache=True,
    )
