"""Settings of a training run: what can be set, where it is read from, what does not go together."""

import difflib
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml
from transformers import TrainingArguments

from megc.model.trainer import PARTS
from megc.problems import DataError


def _setting(default: object, text: str) -> object:
    return field(default=default, metadata={"help": text})


@dataclass
class SftSettings:
    """What is trained, on what; how long and how fast is for TrainingArguments to say."""

    model: str = _setting("checkpoints/tiny-base", "checkpoint to start from: a folder, or a name on the hub")
    build_tiny: bool = _setting(False, "build the tiny checkpoint at --model from the training texts if it is missing")
    train_file: str = _setting("dataset/train_dataset.jsonl", "instruction JSONL to train on")
    eval_file: str | None = _setting(None, "instruction JSONL for loss and accuracy while training (--eval_strategy)")
    packing: str = _setting("clip", "clip: a clip's questions share one pass over its pictures; none: one by one")
    max_length: int = _setting(4096, "tokens that a sequence may have; a longer row is an error, never cut")
    min_pixels: int | None = _setting(None, "fewest pixels of a picture; default: the checkpoint's")
    max_pixels: int | None = _setting(None, "most pixels of a picture; default: the checkpoint's")
    cache_pictures: bool = _setting(True, "keep resized pictures in memory")
    shift: int = _setting(0, "augmentation: move a clip's pictures by up to so many pixels, all alike")
    freeze_vision: bool = _setting(False, "do not train the vision tower")
    freeze_merger: bool = _setting(False, "do not train the merger between vision and language")
    freeze_language_model: bool = _setting(False, "do not train the language model")
    vision_rate: float | None = _setting(None, "learning rate of the vision tower; default: --learning_rate")
    merger_rate: float | None = _setting(None, "learning rate of the merger; default: --learning_rate")
    language_model_rate: float | None = _setting(None, "learning rate of the language model; default: --learning_rate")
    attention: str | None = _setting(None, "sdpa, eager or flash_attention_2; default: the best that fits")
    threads: int = _setting(0, "CPU threads a process; 0: torch's choice")
    skip_bad: bool = _setting(False, "train on the good rows when some are bad")
    overwrite: bool = _setting(False, "delete the checkpoints that an earlier run left in --output_dir")
    plan: bool = _setting(False, "print parameters, tokens, steps and memory, and stop before loading weights")
    gpu_memory: float | None = _setting(None, "GiB of a GPU, for --plan")
    gpus: int = _setting(0, "number of GPUs, for --plan; 0: the launcher's")
    show_sample: int = _setting(0, "print so many packed samples as the model sees them, and stop")


def training_defaults() -> dict:
    """Defaults of TrainingArguments that this data and this machine need."""
    gpu = torch.cuda.is_available()
    return {
        "output_dir": "checkpoints/sft",
        "remove_unused_columns": False,  # the collator's keys are none of the dataset's columns
        "use_cpu": not gpu,  # bf16 on a CPU is refused without it
        "dataloader_pin_memory": gpu,
        "report_to": "none",
        "ddp_find_unused_parameters": False,  # a frozen part takes no gradient at all
    }


def read_config(path: Path | str, known: set[str]) -> dict:
    """Settings of a yaml file. Raises DataError for a key that is none of `known`."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise DataError(path, None, str(error).replace("\n", " "), "give a yaml file of settings") from error
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            fix = f"did you mean {near[0]}?" if near else "--help lists the settings"
            raise DataError(path, key, "no such setting", fix)
    return values


def check_settings(settings: SftSettings, args: TrainingArguments) -> None:
    """Raise ValueError for settings that do not go together, with the flag to change."""
    if settings.packing not in ("clip", "none"):
        raise ValueError(f"--packing is clip or none, not {settings.packing!r}")
    if settings.packing == "clip" and (settings.attention or "").startswith("flash"):
        raise ValueError("packed clips need a 4-D mask, which flash attention does not take: --packing none or sdpa")
    if all(getattr(settings, f"freeze_{part}") for part in PARTS):
        raise ValueError("every part is frozen: leave one of --freeze_vision, _merger, _language_model out")
    if args.eval_strategy != "no" and not settings.eval_file:
        raise ValueError("--eval_strategy needs --eval_file")
    if args.n_gpu > 1:
        raise ValueError("several GPUs need a launcher: torchrun --nproc_per_node N train.py, or deepspeed train.py")
