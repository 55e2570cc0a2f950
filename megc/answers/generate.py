"""Batched generation of answers: questions of different lengths and pictures of different sizes in one call."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from transformers import GenerationConfig, ProcessorMixin
from transformers.modeling_outputs import BaseModelOutputWithPooling

from megc.answers.answerer import Answer
from megc.answers.sampling import RowSampler
from megc.model.checkpoint import Loaded
from megc.model.data import Sample, chat_messages


@dataclass(frozen=True)
class Decoding:
    """How answers are written. One vote is greedy; several are sampled, and then the majority counts.

    All of it is passed to the model explicitly: the checkpoints' own defaults (temperature 1e-6, repetition
    penalty 1.05) would make all votes equal and punish class names that the question lists.
    """

    votes: int = 1
    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 0  # 0: no limit
    seed: int = 0
    max_new_tokens: int = 128
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if self.votes < 1 or self.max_new_tokens < 1:
            raise ValueError("votes and max_new_tokens must be 1 or more")
        if not (self.temperature > 0 and 0 < self.top_p <= 1 and self.top_k >= 0):
            raise ValueError("temperature must be positive, top_p in (0, 1], top_k 0 or more")
        if not self.repetition_penalty > 0:
            raise ValueError("repetition_penalty must be positive")

    def record(self) -> dict:
        """What decides the answers: without those settings that greedy decoding does not use."""
        settings = asdict(self)
        unused = ("temperature", "top_p", "top_k", "seed") if self.votes == 1 else ()
        return {name: value for name, value in settings.items() if name not in unused}


@dataclass(frozen=True)
class Seen:
    """A clip's pictures behind the vision tower: `grids` (n, 3) of patches, and of each picture (tokens, width)."""

    grids: torch.Tensor
    features: tuple[torch.Tensor, ...]


@torch.inference_mode()
def see(loaded: Loaded, groups: Sequence[Sequence[np.ndarray]]) -> list[Seen]:
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


def build_inputs(
    processor: ProcessorMixin, samples: Sequence[Sample], grids: Sequence[torch.Tensor]
) -> dict[str, torch.Tensor]:
    """What the processor makes of the samples' prompts (answers left out), padded on the left, but for the pixels.

    `grids` are the patch grids of each sample's pictures. All of the result must reach the model: without
    `mm_token_type_ids` its positions are silently wrong.
    """
    merge = processor.image_processor.merge_size**2
    texts = []
    for sample, grid in zip(samples, grids, strict=True):
        messages = chat_messages(sample.record, with_answer=False)
        text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        first, *pieces = text.split(processor.image_token)
        counts = [processor.image_token * (count // merge) for count in grid.prod(dim=-1).tolist()]
        texts.append(first + "".join(count + piece for count, piece in zip(counts, pieces, strict=True)))
    made = processor.tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
    return {
        **made,
        "mm_token_type_ids": (made["input_ids"] == processor.image_token_id).int(),
        "image_grid_thw": torch.cat(list(grids)),
    }


def end_tokens(loaded: Loaded) -> list[int]:
    """Tokens that end an answer: those of the checkpoint, else the tokenizer's."""
    found = loaded.model.generation_config.eos_token_id
    found = loaded.processor.tokenizer.eos_token_id if found is None else found
    return list(found) if isinstance(found, (list, tuple)) else [found]


@torch.inference_mode()
def generate(
    loaded: Loaded, samples: Sequence[Sample], seen: Sequence[Seen], decoding: Decoding
) -> list[list[Answer]]:
    """Answers of each sample, as many as `decoding.votes`, in the order of the samples.

    `seen` are the samples' pictures; questions on one clip share them, so that they are encoded once.
    Greedy and sampled answers are those that each sample would get alone, up to the rounding of the arithmetic
    (none seen in float32; bfloat16 may tip an answer that is nearly a tie).
    """
    inputs = build_inputs(loaded.processor, samples, [one.grids.cpu() for one in seen])
    inputs = {name: value.to(loaded.model.device) for name, value in inputs.items()}
    features = tuple(picture for one in seen for picture in one.features)
    vision = {"image": BaseModelOutputWithPooling(pooler_output=features)} if features else {}
    prompt = inputs["input_ids"].shape[1]
    ends = end_tokens(loaded)
    sampler = None
    if decoding.votes > 1:
        sampler = RowSampler(
            [sample.record["id"] for sample in samples for _ in range(decoding.votes)],
            list(range(decoding.votes)) * len(samples),
            decoding.seed,
            decoding.max_new_tokens,
            prompt,
            ends,
            decoding.temperature,
            decoding.top_k,
            decoding.top_p,
        )
    config = GenerationConfig(
        do_sample=sampler is not None,  # the sampler leaves one token to draw
        num_return_sequences=decoding.votes,
        max_new_tokens=decoding.max_new_tokens,
        repetition_penalty=decoding.repetition_penalty,
        temperature=1.0,  # the sampler's work; None would let the checkpoint's defaults in
        top_p=1.0,
        top_k=50 if sampler is None else 0,  # 50: the one value that greedy decoding does not warn of
        num_beams=1,
        eos_token_id=ends,
        pad_token_id=loaded.processor.tokenizer.pad_token_id,
        use_cache=True,
    )
    written = loaded.model.generate(
        **inputs,
        mm_encoder_outputs=vision,
        generation_config=config,
        logits_processor=[sampler] if sampler else [],
    )
    written = written[:, prompt:].cpu()
    texts = loaded.processor.tokenizer.batch_decode(written, skip_special_tokens=True)
    complete = torch.isin(written, torch.tensor(ends)).any(dim=1).tolist()
    chances = sampler.log_probabilities.tolist() if sampler else [None] * len(texts)
    answers = [
        Answer(text.strip(), chance, not ended) for text, chance, ended in zip(texts, chances, complete, strict=True)
    ]
    return [answers[start : start + decoding.votes] for start in range(0, len(answers), decoding.votes)]
