"""A run without its weights: configuration, processor and packed data, as far as they are at hand.

The configuration of a hub checkpoint that is not on this machine comes from `architectures.json`; for a tokenizer
that is not, a vocabulary trained on the data stands in, which counts nearly the same tokens.
"""

import json
import tempfile
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache
from transformers import (
    AutoModelForImageTextToText,
    PretrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
    Qwen2_5_VLConfig,
)

from megc.files import write_json
from megc.model import tiny
from megc.model.checkpoint import load_config, load_processor, read_training_info
from megc.model.packing import Packed, pack_samples
from megc.model.samples import PictureStore, Sample, training_texts
from megc.model.weight_checks import check_weights
from megc.model.weights import holds_weights
from megc.planning.example_clip import example_samples
from megc.problems import DataError, Problems
from megc.training.settings import SftSettings
from megc.training.validation import read_training_samples

STAND_IN_VOCABULARY = 50_000  # enough for every word of the texts to be one token


@dataclass(frozen=True)
class Outline:
    """What a run would be made of. `notes`: where each thing comes from; `made_up`: the data comes from nowhere."""

    settings: SftSettings
    config: PretrainedConfig
    processor: ProcessorMixin
    samples: list[Sample]
    notes: tuple[str, ...]
    made_up: bool = False

    @cached_property
    def pixels(self) -> PictureStore:
        """Pictures at the pixel budget of the run; only their sizes are read."""
        return PictureStore(self.processor)

    @cached_property
    def sizes(self) -> dict[Path, tuple[int, int]]:
        """Height and width of every picture on disk."""
        return {
            picture: size
            for sample in self.samples
            for picture, size in zip(sample.pictures, sample.sizes, strict=True)
        }

    def packed(self, packing: str) -> list[Packed]:
        """The sequences that training would take, `packing` as in SftSettings."""
        # the ids of the special tokens are the processor's, which a stand-in numbers in its own way
        config = tiny.tiny_config(self.processor.tokenizer)
        problems = Problems() if self.settings.skip_bad else None
        options = {"packing": packing, "max_length": self.settings.max_length, "problems": problems}
        return pack_samples(self.samples, self.pixels, config, **options, file=self.settings.train_file)

    def grids(self, packed: Packed) -> tuple[tuple[int, int], ...]:
        """Patches in height and width of a sequence's pictures."""
        return tuple(self.pixels.grid(*self.sizes[picture])[1:] for picture in packed.pictures)


def folder_of(model: str, file: str) -> Path | None:
    """Folder that holds `file` of the checkpoint `model`: itself, or its place in the hub's cache."""
    if Path(model, file).is_file():
        return Path(model)
    if Path(model).is_absolute() or model.count("/") != 1:
        return None
    found = try_to_load_from_cache(model, file)
    return Path(found).parent if isinstance(found, str) else None


def public_architecture(model: str) -> Qwen2_5_VLConfig | None:
    """Configuration of the public checkpoint that `model` names in its last part, or None."""
    known = json.loads(files(__package__).joinpath("architectures.json").read_text(encoding="utf-8"))
    known.pop("source")
    found = next((value for name, value in known.items() if name.lower() == Path(model).name.lower()), None)
    return Qwen2_5_VLConfig(**found) if found else None


def read_config(settings: SftSettings, texts: list[str]) -> tuple[PretrainedConfig, str]:
    """Configuration of the model and where it comes from.

    Raises DataError for a model that is neither here nor known, and for one whose weights are not whole.
    """
    folder = folder_of(settings.model, "config.json")
    if folder:
        if holds_weights(folder):
            check_weights(folder, values=False)
        return load_config(folder), f"model: {folder / 'config.json'}"
    if settings.build_tiny:
        return tiny.tiny_config(tiny.train_tokenizer(texts)), "model: the tiny one that the run would build"
    config = public_architecture(settings.model)
    if config is None:
        fix = "give a folder with its config.json, or Qwen2.5-VL-3B-Instruct or Qwen2.5-VL-7B-Instruct"
        raise DataError(settings.model, None, "no configuration at hand", fix)
    return config, "model: not on this machine; sizes from megc/planning/architectures.json"


def read_processor(settings: SftSettings, texts: list[str]) -> tuple[ProcessorMixin, str]:
    """Processor of the run with its pixel budget, and where its tokenizer comes from."""
    record = read_training_info(settings.model)
    budget = [
        record.get(name) if getattr(settings, name) is None else getattr(settings, name)
        for name in ("min_pixels", "max_pixels")
    ]
    folder = folder_of(settings.model, "tokenizer.json")
    if folder:
        return load_processor(folder, *budget), f"tokenizer: {folder}"
    own = settings.build_tiny
    with tempfile.TemporaryDirectory() as made:
        tiny.train_tokenizer(texts, tiny.VOCABULARY if own else STAND_IN_VOCABULARY).save_pretrained(made)
        write_json(Path(made) / "preprocessor_config.json", tiny.PREPROCESSOR)
        processor = load_processor(made, *budget)
    if own:
        return processor, "tokenizer: the one that the run would build"
    return processor, "tokenizer: not on this machine; a word counts as one token"


def outline(settings: SftSettings, seed: int = 0, *, made_up: bool = False) -> Outline:
    """What the run of `settings` would read, without its weights; `seed` draws the validation subjects.

    `made_up`: where the training file is missing, a made-up clip stands for it. Raises DataError for bad rows
    (unless `skip_bad`), for a missing file otherwise, and for a model that is not known.
    """
    is_here = not made_up or Path(settings.train_file).is_file()
    samples = read_training_samples(settings, seed)[0] if is_here else example_samples()
    texts = training_texts(sample.record for sample in samples)
    config, where = read_config(settings, texts)
    processor, tokenizer = read_processor(settings, texts)
    data = () if is_here else (f"data: {settings.train_file} is missing; one made-up clip stands for it",)
    return Outline(settings, config, processor, samples, (where, tokenizer, *data), not is_here)


def on_meta(config: PretrainedConfig) -> PreTrainedModel:
    """The model of a configuration with parameters that have a size and no values."""
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config)
