"""Batched generation of answers: questions of different lengths and pictures of different sizes in one call."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from transformers import BatchFeature, GenerationConfig, ProcessorMixin

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
class Answer:
    """One answer: its text, its log-probability (None where it was not sampled), and whether it hit the limit."""

    text: str
    log_probability: float | None = None
    cut: bool = False


def build_inputs(
    processor: ProcessorMixin, samples: Sequence[Sample], pictures: Sequence[Sequence[np.ndarray]]
) -> BatchFeature:
    """Everything the processor makes of the samples' prompts (answers left out) and pictures, padded on the left.

    `pictures` are those of each sample, already resized to the pixel budget. All of the result must reach the
    model: without `mm_token_type_ids` its positions are silently wrong.
    """
    texts = [
        processor.apply_chat_template(
            chat_messages(sample.record, with_answer=False), tokenize=False, add_generation_prompt=True
        )
        for sample in samples
    ]
    images = [picture for group in pictures for picture in group]
    inputs = processor(
        text=texts,
        images=images,
        do_resize=False,
        padding=True,
        padding_side="left",
        return_mm_token_type_ids=True,
        return_tensors="pt",
    )
    assert "mm_token_type_ids" in inputs
    return inputs


def end_tokens(loaded: Loaded) -> list[int]:
    """Tokens that end an answer: those of the checkpoint, else the tokenizer's."""
    found = loaded.model.generation_config.eos_token_id
    found = loaded.processor.tokenizer.eos_token_id if found is None else found
    return list(found) if isinstance(found, (list, tuple)) else [found]


@torch.inference_mode()
def generate(
    loaded: Loaded, samples: Sequence[Sample], pictures: Sequence[Sequence[np.ndarray]], decoding: Decoding
) -> list[list[Answer]]:
    """Answers of each sample, as many as `decoding.votes`, in the order of the samples.

    Greedy and sampled answers are those that each sample would get alone, up to the rounding of the arithmetic
    (none seen in float32; bfloat16 may tip an answer that is nearly a tie).
    """
    inputs = build_inputs(loaded.processor, samples, pictures).to(loaded.model.device)
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
    written = loaded.model.generate(**inputs, generation_config=config, logits_processor=[sampler] if sampler else [])
    written = written[:, prompt:].cpu()
    texts = loaded.processor.tokenizer.batch_decode(written, skip_special_tokens=True)
    complete = torch.isin(written, torch.tensor(ends)).any(dim=1).tolist()
    chances = sampler.log_probabilities.tolist() if sampler else [None] * len(texts)
    answers = [
        Answer(text.strip(), chance, not ended) for text, chance, ended in zip(texts, chances, complete, strict=True)
    ]
    return [answers[start : start + decoding.votes] for start in range(0, len(answers), decoding.votes)]
