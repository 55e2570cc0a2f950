"""Checkpoints that know what they were trained on: a transformers folder plus `megc.json`.

`megc.json` of a trained checkpoint (all keys are written by `sft`):

    kind         "trained" or "tiny, untrained"
    base         the checkpoint that training started from
    prompt_hash  of the instruction records; `prompt` is the record of the settings behind it, if it was at hand
    recipes      settings of the crops and the flow pictures (see `motion.recipes`)
    min_pixels, max_pixels   the pixel budget of every picture, also in preprocessor_config.json
    data         file, rows, rows_hash (of their ids), clips, subjects, validation_subjects (sorted), split (its hash)
    training     every setting of the run
    versions     of python, torch, transformers, deepspeed; `git`: the commit, or null
    weights_hash of the safetensors files beside it (see `weights`); a checkpoint with other weights is refused
    settings_hashes of the files of configuration, tokenizer and chat template; `load` refuses others
"""

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
    PretrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)

from megc.files import read_checked, write_json
from megc.model.distributed import print_main
from megc.model.parts import merge_adapters
from megc.model.versions import check_versions
from megc.model.weight_checks import check_weights, is_hub_name, loading_checkpoint
from megc.model.weights import INFO_NAME, base_of, settings_hashes, weights_hash
from megc.problems import DataError
from megc.records import Contract
from megc.vqa.mismatch import check_prompt
from megc.vqa.prompts import PromptRecord

MODEL_TYPE = "qwen2_5_vl"
Pixels = Annotated[int, Field(ge=1, le=10**9)]


class DataRecord(Contract):
    """What a checkpoint was trained on (the key `data` of `megc.json`)."""

    file: str = ""
    rows: int = 0
    rows_hash: str = ""
    content_hash: str = ""
    clips: int = 0
    subjects: list[str] = Field(default_factory=list)
    validation_subjects: list[str] = Field(default_factory=list)
    split: str | None = None


class TrainingInfo(Contract):
    """`megc.json` of a checkpoint; a key may be absent, as in those of older releases and of the tiny checkpoint."""

    kind: str = ""
    recipe: str = ""
    base: str | None = None
    base_hash: str | None = None
    prompt_hash: str | None = None
    prompt: PromptRecord | None = None
    recipes: dict[str, list[dict]] | None = None
    min_pixels: Pixels | None = None
    max_pixels: Pixels | None = None
    steps: int | None = None
    data: DataRecord | None = None
    training: dict[str, Any] | None = None
    weights_hash: str | None = None
    settings_hashes: dict[str, str] | None = None


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint in memory.

    `training_info` is its `megc.json`; empty for a checkpoint that is not of this repository.
    """

    model: PreTrainedModel
    processor: ProcessorMixin
    training_info: dict


def read_training_info(path: Path | str, fix: str = "train the checkpoint again") -> dict:
    """`megc.json` of the checkpoint; empty where there is none. Raises DataError, with the remedy `fix`, when it is
    damaged."""
    return read_checked(TrainingInfo, Path(path) / INFO_NAME, missing={}, fix=fix)


def load_processor(path: Path | str, min_pixels: int | None = None, max_pixels: int | None = None) -> ProcessorMixin:
    """Processor of a checkpoint with its own pixel budget, or the given one.

    Pictures are resized by Pillow on every machine: its result and torchvision's differ by a grey level or two.
    Raises DataError when the folder holds no processor.
    """
    _check_folder(path)
    budget = {"min_pixels": min_pixels, "max_pixels": max_pixels}
    budget = {name: value for name, value in budget.items() if value is not None}
    with loading_checkpoint(path):
        processor = AutoProcessor.from_pretrained(path)
        processor.image_processor = AutoImageProcessor.from_pretrained(path, backend="pil", **budget)
        low, high = map(operator.index, pixel_budget(processor))  # TypeError for no whole number
    if low > high:
        what = f"min_pixels {low} is more than max_pixels {high}"
        raise DataError(path, None, what, "set both --min_pixels and --max_pixels")
    return processor


def pixel_budget(processor: ProcessorMixin) -> tuple[int, int]:
    """Fewest and most pixels that a picture is resized to."""
    size = processor.image_processor.size
    return size["shortest_edge"], size["longest_edge"]


def inherited_budget(
    info: Mapping, min_pixels: int | None = None, max_pixels: int | None = None
) -> tuple[int | None, int | None]:
    """The given pixel budget, and where there is none that of the checkpoint whose `megc.json` is `info`."""
    return (
        info.get("min_pixels") if min_pixels is None else min_pixels,
        info.get("max_pixels") if max_pixels is None else max_pixels,
    )


def load_config(path: Path | str) -> PretrainedConfig:
    """Configuration of a checkpoint's model, without its weights. Raises DataError for that of another model."""
    _check_folder(path)
    with loading_checkpoint(path):
        config = AutoConfig.from_pretrained(base_of(path) or path)
    if config.model_type != MODEL_TYPE:
        fix = "give a Qwen2.5-VL checkpoint, or its own config.json"
        raise DataError(path, None, f"a model of type {config.model_type}, not {MODEL_TYPE}", fix)
    return config


def load_model(
    path: Path | str, dtype: torch.dtype | str = "auto", attn_implementation: str | dict | None = None
) -> PreTrainedModel:
    """Model of a checkpoint from its safetensors; `dtype` "auto" is the one it was saved in. Not moved to a device.

    A checkpoint of adapters alone (`checkpoint-*` of a run with LoRA) is merged into the model that it began with.
    Raises DataError for what `check_weights` refuses and for a folder that is no Qwen2.5-VL checkpoint.
    """
    # before loading: transformers fills missing tensors with random numbers, and only warns
    check_weights(path, read_training_info(path).get("weights_hash"))
    base = base_of(path)
    if base:
        return merge_adapters(load_model(base, dtype, attn_implementation), path)
    with loading_checkpoint(path):
        return AutoModelForImageTextToText.from_pretrained(
            path, dtype=dtype, attn_implementation=attn_implementation, use_safetensors=True
        )


def check_mismatch(
    path: Path | str,
    info: dict,
    *,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    prompt_hash: str | None = None,
    prompts: Iterable[Mapping] = (),
    allow_mismatch: bool = False,
) -> list[str]:
    """Compare prompt and pixel budget with those that the checkpoint was trained on; returns a line a setting.

    `info` is the checkpoint's `megc.json`, `prompts` are the prompt settings at hand (`instructions.read_prompts`).
    Raises DataError for a prompt or pixel budget other than the checkpoint's, unless `allow_mismatch`; of a prompt,
    it names what differs.
    """
    if not allow_mismatch and prompt_hash is not None:
        check_prompt(path, info, prompt_hash, prompts)
    lines = []
    given = {"prompt_hash": prompt_hash, "min_pixels": min_pixels, "max_pixels": max_pixels}
    for name, value in given.items():
        trained = info.get(name)
        if trained is None:
            lines.append(f"{name}: {'as the checkpoint has it' if value is None else f'{value} (given)'}")
        elif value is None:
            lines.append(f"{name}: {trained} (inherited from the checkpoint)")
        elif value == trained:
            lines.append(f"{name}: {value} (as the checkpoint was trained)")
        elif allow_mismatch:
            lines.append(f"{name}: {value} (overrides {trained}, which the checkpoint was trained with)")
        else:
            what = f"{name} is {value}, but the checkpoint was trained with {trained}"
            fix = "ask as it was trained, or say that the difference is meant: --allow_mismatch"
            raise DataError(path, None, what, fix)
    return lines


def load(
    path: Path | str,
    *,
    dtype: torch.dtype | str = "auto",
    device: torch.device | str | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    prompt_hash: str | None = None,
    prompts: Iterable[Mapping] = (),
    allow_mismatch: bool = False,
    attn_implementation: str | None = None,
) -> LoadedCheckpoint:
    """Model (in eval mode, on `device`: a GPU if there is one), processor and `megc.json` of a checkpoint.

    `path` is a folder, or a name on the hub. Pixel budget and prompt come with the checkpoint; what is inherited
    and what is overridden is printed. Raises DataError for a mismatch (see `check_mismatch`), for weights that are
    not whole (see `load_model`), for a tokenizer that does not belong to the model, and for a release of
    transformers that is known to answer wrongly.
    """
    check_versions()
    info = read_training_info(path)
    lines = check_mismatch(
        path,
        info,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        prompt_hash=prompt_hash,
        prompts=prompts,
        allow_mismatch=allow_mismatch,
    )
    budget = inherited_budget(info, min_pixels, max_pixels)
    load_config(path)  # names another model, which the processor may fit
    processor = load_processor(path, *budget)
    model = load_model(path, dtype, attn_implementation)
    check_tokens(path, model, processor)
    _check_settings(path, info.get("settings_hashes"))  # last: what else is wrong says more
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    print_main(f"Loaded {path} ({model.dtype}, {device})", *(f"  {line}" for line in lines))
    return LoadedCheckpoint(model.to(device).eval(), processor, info)


def _check_settings(path: Path | str, recorded: Mapping[str, str] | None) -> None:
    """Raise DataError for a configuration, tokenizer or chat template other than the checkpoint was saved with."""
    present = settings_hashes(path) if recorded else {}
    others = sorted(name for name in {*present, *(recorded or ())} if present.get(name) != recorded.get(name))
    if others:
        what = f"{', '.join(others)}: not as the checkpoint was saved ({INFO_NAME} has their hashes)"
        fix = f"copy the checkpoint again; delete settings_hashes in {INFO_NAME} if they were changed on purpose"
        raise DataError(path, None, what, fix)


def check_tokens(path: Path | str, model: PreTrainedModel, processor: ProcessorMixin) -> None:
    """Raise DataError when tokenizer and model disagree on the picture token or the vocabulary's size."""
    config = model.config
    same_token = all(
        getattr(processor, name) == getattr(config, name) for name in ("image_token_id", "video_token_id")
    )
    # the model's vocabulary is padded to a multiple of 64, so that it may be larger than the tokenizer's
    if not same_token or len(processor.tokenizer) > config.text_config.vocab_size:
        what = f"tokenizer (picture token {processor.image_token_id}) and model ({config.image_token_id}) differ"
        raise DataError(path, None, what, "take tokenizer and weights from one checkpoint")


def save_beside(path: Path | str, processor: ProcessorMixin, info: dict) -> None:
    """Write tokenizer, chat template, preprocessor_config.json (with the pixel budget) and `megc.json` to `path`.

    The weights must lie there already: their hash goes into `megc.json`. The picture settings are written under the
    names of the hub's files, so that other programs read them too.
    """
    path = Path(path)
    processor.tokenizer.save_pretrained(path)
    low, high = pixel_budget(processor)
    pictures = {
        "min_pixels": low,
        "max_pixels": high,
        **{name: getattr(processor.image_processor, name) for name in ("patch_size", "temporal_patch_size")},
        "merge_size": processor.image_processor.merge_size,
        "image_mean": list(processor.image_processor.image_mean),
        "image_std": list(processor.image_processor.image_std),
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
    }
    write_json(path / "preprocessor_config.json", pictures)
    hashes = {"weights_hash": weights_hash(path), "settings_hashes": settings_hashes(path)}
    write_json(path / INFO_NAME, {**info, **hashes})


def _check_folder(path: Path | str) -> None:
    """Raise DataError for a folder that is gone; a name on the hub (`Qwen/Qwen2.5-VL-7B-Instruct`) passes."""
    if not Path(path).is_dir() and not is_hub_name(path):
        raise DataError(path, None, "the folder does not exist", "check the path, or train a checkpoint with train.py")
