"""A run without its weights: configuration, processor and packed data, as far as they are at hand.

The configuration of a hub checkpoint that is not on this machine comes from `architectures.json`; for a tokenizer
that is not, a vocabulary trained on the data stands in, which counts nearly the same tokens.
"""

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import torch
from huggingface_hub import try_to_load_from_cache
from pydantic import Field
from transformers import (
    AutoModelForImageTextToText,
    PretrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
    Qwen2_5_VLConfig,
)

from megc.files import read_checked, write_json
from megc.model import tiny
from megc.model.checkpoint import inherited_budget, load_config, load_processor, read_training_info
from megc.model.packing import Packed
from megc.model.samples import PictureStore
from megc.model.weight_checks import check_weights
from megc.model.weights import holds_weights
from megc.planning.example_clip import example_samples
from megc.problems import DataError
from megc.records import ClosedContract
from megc.training.data import TrainingData, read_training_data
from megc.training.settings import SftSettings

ARCHITECTURES = Path(__file__).with_name("architectures.json")
STAND_IN_VOCABULARY = 50_000  # enough for every word of the texts to be one token


Size = Annotated[int, Field(ge=1, le=10**9)]


class VisionSizes(ClosedContract):
    """What decides the size and the speed of a vision tower, under the names of transformers."""

    depth: Size
    hidden_size: Size
    intermediate_size: Size
    num_heads: Size
    out_hidden_size: Size
    patch_size: Size
    spatial_merge_size: Size
    temporal_patch_size: Size
    window_size: Size
    fullatt_block_indexes: list[int]


class RopeParameters(ClosedContract):
    """Rotary positions of three axes: time, height, width."""

    rope_type: Literal["default"]
    rope_theta: float
    mrope_section: Annotated[list[Size], Field(min_length=3, max_length=3)]


class TextSizes(ClosedContract):
    """As `VisionSizes`, of a language model."""

    vocab_size: Size
    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Size
    num_attention_heads: Size
    num_key_value_heads: Size
    rope_parameters: RopeParameters


class Architecture(ClosedContract):
    """What a plan needs of a checkpoint's `config.json`."""

    tie_word_embeddings: bool
    vision_config: VisionSizes
    text_config: TextSizes


class ArchitecturesFile(ClosedContract):
    """`architectures.json`: public checkpoints by the last part of their names, and where the values come from."""

    source: str
    architectures: dict[str, Architecture]


@dataclass(frozen=True)
class DryRun:
    """What a run would consist of, without its weights.

    `notes` say where each thing comes from; `is_example`: one made-up clip stands for the
    training file.
    """

    data: TrainingData
    config: PretrainedConfig
    processor: ProcessorMixin
    notes: tuple[str, ...]
    is_example: bool = False

    @property
    def settings(self) -> SftSettings:
        """Settings of the run."""
        return self.data.settings

    @cached_property
    def pictures(self) -> PictureStore:
        """Pictures at the pixel budget of the run; only their sizes are read."""
        return PictureStore(self.processor)

    @cached_property
    def sizes(self) -> dict[Path, tuple[int, int]]:
        """Height and width of every picture on disk."""
        return {
            picture: size
            for sample in self.data.samples
            for picture, size in zip(sample.pictures, sample.sizes, strict=True)
        }

    @property
    def clips(self) -> list[str]:
        """Ids of the clips to train on, in the order of the file."""
        return list(dict.fromkeys(sample.clip for sample in self.data.samples))

    def pack(self, packing: str) -> list[Packed]:
        """The sequences that training would take, `packing` as in SftSettings."""
        # the ids of the special tokens are the processor's, which a stand-in numbers in its own way
        config = tiny.tiny_config(self.processor.tokenizer)
        return self.data.pack(self.pictures, config, packing)

    def grids(self, packed: Packed) -> tuple[tuple[int, int], ...]:
        """Patches in height and width of a sequence's pictures; two frames of a video are as much as a picture."""
        sizes = [self.sizes[picture] for picture in packed.pictures]
        return tuple(grid[1:] for grid in self.pictures.grids(sizes, packed.lengths) for grid in [grid] * grid[0])


def folder_of(model: str, file: str) -> Path | None:
    """Folder that holds `file` of the checkpoint `model`: itself, or its place in the hub's cache."""
    if Path(model, file).is_file():
        return Path(model)
    if Path(model).is_absolute() or model.count("/") != 1:
        return None
    cached = try_to_load_from_cache(model, file)  # a path, None, or a mark that the hub has no such file
    return Path(cached).parent if isinstance(cached, str) else None


def public_architecture(model: str, file: Path = ARCHITECTURES) -> Qwen2_5_VLConfig | None:
    """Configuration of the public checkpoint that `model` names in its last part, or None."""
    architectures = read_checked(ArchitecturesFile, file)["architectures"]
    values = {name.lower(): value for name, value in architectures.items()}.get(Path(model).name.lower())
    return Qwen2_5_VLConfig(**values) if values else None


def find_config(settings: SftSettings, texts: list[str]) -> tuple[PretrainedConfig, str]:
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


def find_processor(settings: SftSettings, texts: list[str]) -> tuple[ProcessorMixin, str]:
    """Processor of the run with its pixel budget, and where its tokenizer comes from."""
    budget = inherited_budget(read_training_info(settings.model), settings.min_pixels, settings.max_pixels)
    folder = folder_of(settings.model, "tokenizer.json")
    if folder:
        return load_processor(folder, *budget), f"tokenizer: {folder}"
    vocabulary = tiny.VOCABULARY if settings.build_tiny else STAND_IN_VOCABULARY
    with tempfile.TemporaryDirectory() as stand_in:
        tiny.train_tokenizer(texts, vocabulary).save_pretrained(stand_in)
        write_json(Path(stand_in) / "preprocessor_config.json", tiny.PREPROCESSOR)
        processor = load_processor(stand_in, *budget)
    if settings.build_tiny:
        return processor, "tokenizer: the one that the run would build"
    return processor, "tokenizer: not on this machine; a word counts as one token"


def dry_run(settings: SftSettings, seed: int = 0, *, allow_example: bool = False) -> DryRun:
    """What the run of `settings` would read, without its weights; `seed` draws the validation subjects.

    `allow_example`: with --clips, or where the training file is missing, a made-up clip stands for it. Raises
    DataError for bad rows, for a missing file otherwise, and for a model that is not known.
    """
    is_example = allow_example and (settings.clips > 0 or not Path(settings.train_file).is_file())
    data = TrainingData(settings, example_samples(), []) if is_example else read_training_data(settings, seed)
    texts = data.texts
    config, config_note = find_config(settings, texts)
    processor, processor_note = find_processor(settings, texts)
    notes = [config_note, processor_note]
    if is_example:
        why = f"--clips {settings.clips}" if settings.clips else f"{settings.train_file} is missing"
        notes.append(f"data: {why}; one made-up clip of six questions and four pictures stands for all")
    return DryRun(data, config, processor, tuple(notes), is_example)


def build_on_meta(config: PretrainedConfig) -> PreTrainedModel:
    """The model of a configuration with parameters that have a size and no values."""
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config)
