"""Settings of a training run: what can be set, where it is read from, what does not go together.

Nothing here waits for torch or transformers, so that the flags can be listed in a moment.
"""

import re
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from functools import cache, reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BeforeValidator, Field

from megc.command import option, print_help
from megc.files import read_yaml
from megc.model.parts import LORA_TARGETS, PARTS, part_of_target
from megc.problems import DataError, did_you_mean
from megc.records import check_record

if TYPE_CHECKING:
    from transformers import HfArgumentParser, TrainingArguments

PACKINGS = ("clip", "none")
LOSS_UNITS = ("token", "question")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")
GpuName = Literal["h100", "h200", "a100", "a100_40gb", "l40s", "a40", "rtx4090", "rtx3090"]  # of planning.fit.GPUS


@dataclass
class SftSettings:
    """What is trained, on what; how long and how fast is for TrainingArguments to say."""

    model: str = option("checkpoints/tiny-base", "checkpoint to start from: a folder, or a name on the hub")
    build_tiny: bool = option(False, "build the tiny checkpoint at --model from the training texts if it is missing")
    train_file: str = option("dataset/train_dataset.jsonl", "instruction JSONL to train on")
    eval_file: str | None = option(None, "instruction JSONL of other subjects, to evaluate on (--eval_strategy)")
    validation_share: float = option(
        0.0, "share of each dataset's training subjects to evaluate on instead of training on them; 0: none"
    )
    packing: str = option("clip", "clip: a clip's questions share one pass over its pictures; none: one by one")
    loss_per: str = option("token", "what weighs the same in the loss: each answer token, or each question's answer")
    max_length: int = option(4096, "tokens that a sequence may have; a longer row is an error, never cut")
    min_pixels: int | None = option(None, "fewest pixels of a picture; default: the checkpoint's")
    max_pixels: int | None = option(None, "most pixels of a picture; default: the checkpoint's")
    shift: int = option(0, "augmentation: move a clip's pictures by up to so many pixels, all by the same")
    freeze_vision: bool = option(False, "do not train the vision tower")
    freeze_merger: bool = option(False, "do not train the merger between vision and language")
    freeze_language_model: bool = option(False, "do not train the language model")
    vision_rate: float | None = option(None, "learning rate of the vision tower; default: --learning_rate")
    merger_rate: float | None = option(None, "learning rate of the merger; default: --learning_rate")
    language_model_rate: float | None = option(None, "learning rate of the language model; default: --learning_rate")
    lora_rank: int = option(0, "rank of low-rank adapters to train instead of the weights; 0: train the weights")
    lora_alpha: float = option(32.0, "adapters are scaled by lora_alpha / lora_rank")
    lora_dropout: float = option(0.0, "dropout before the adapters")
    lora_targets: list[str] = field(
        default_factory=lambda: ["vision", "merger", "q", "k"],
        metadata={"help": f"what gets adapters, of {', '.join(LORA_TARGETS)} (q to mlp: of the language model)"},
    )
    attention: str | None = option(None, f"{', '.join(ATTENTIONS)}; default: the fastest that fits")
    threads: int = option(0, "CPU threads a process; 0: torch's choice")
    allow_mismatch: bool = option(False, "start from a checkpoint of another prompt or pixel budget")
    resume: bool = option(False, "go on where an earlier run into --output_dir stopped")
    overwrite: bool = option(False, "delete what an earlier run left in --output_dir; on the command line only")
    plan: bool = option(False, "print parameters, tokens, steps and memory, and stop before loading weights")
    clips: int = option(0, "for --plan: so many made-up clips instead of the training file")
    gpu: GpuName = option("h100", "kind of GPU, for --plan")
    gpus: int = option(0, "number of GPUs, for --plan; 0: the launcher's, this machine's, or the fewest that fit")
    show_sample: int = option(0, "print so many packed samples as the model sees them, and stop")


@dataclass
class TrainerOptions:
    """Options of Hugging Face's TrainingArguments that the yaml files of train/ set, for the short --help."""

    output_dir: str = option("checkpoints/sft", "folder of the checkpoint")
    max_steps: int = option(-1, "optimiser steps; -1: by num_train_epochs")
    num_train_epochs: float = option(3.0, "times that the training file is seen")
    per_device_train_batch_size: int = option(8, "clips of a step and process (rows, with --packing none)")
    gradient_accumulation_steps: int = option(1, "batches added up to one step")
    learning_rate: float = option(5e-5, "highest rate")
    lr_scheduler_type: str = option("linear", "course of the rate after the warm-up")
    warmup_steps: float = option(0, "steps of rising rate; below 1: a share of all steps")
    weight_decay: float = option(0.0, "of the weights, not of biases and norms")
    adam_beta2: float = option(0.999, "memory of AdamW's second moment")
    max_grad_norm: float = option(1.0, "longest gradient")
    bf16: bool = option(False, "compute in bfloat16")
    activation_checkpointing: bool = option(False, "less memory for a third more time")
    deepspeed: str | None = option(None, "DeepSpeed configuration, such as train/zero3.json")
    use_cpu: bool = option(False, "train on the CPU (default: where there is no GPU)")
    eval_strategy: str = option("no", "when to evaluate: no, steps, epoch")
    save_strategy: str = option("steps", "when to save states: no, steps, epoch")
    save_total_limit: int | None = option(None, "states to keep (default: all)")
    save_only_model: bool = option(False, "save no optimiser states; such a run cannot --resume")
    logging_steps: float = option(500, "steps between two lines of the log")
    report_to: str = option("none", "none, tensorboard, wandb, …")
    seed: int = option(42, "of order, drop-out and new weights")


@dataclass
class TrainingHelp:
    """What the short --help of train.py lists."""

    config: str = option("train/tiny.yaml", "yaml file of settings; its values are the defaults below")
    training: SftSettings = field(default_factory=SftSettings)
    hugging_face: TrainerOptions = field(default_factory=TrainerOptions)
    help_all: bool = option(False, "every option of Hugging Face's TrainingArguments too")


def print_training_help(
    description: str, config: Path | str, name: str, kind: type = SftSettings, layout: type = TrainingHelp
) -> None:
    """Print --help with the values of a yaml file as defaults, `name` being what to call it; waits for no torch.

    Raises DataError for a file that is no mapping.
    """
    values = read_yaml(config, "give a yaml file of settings")
    parts = []
    for part in (kind, TrainerOptions):
        names = {item.name for item in fields(part)}
        parts.append(part(**{key: value for key, value in values.items() if key in names}))
    print_help(description, layout(name, *parts))


@dataclass(frozen=True)
class TrainingFlags:
    """The flags of a training program by name. Settings are made of them late: TrainingArguments that name a
    configuration of DeepSpeed ask for its processes."""

    parser: "HfArgumentParser"
    values: Mapping[str, Any]

    def settings(self, **changes: object) -> tuple[Any, "TrainingArguments"]:
        """What the flags say, with `changes` of some. Raises ValueError for what TrainingArguments refuse."""
        return self.parser.parse_dict({**self.values, **changes})


def parse_flags(
    description: str, default_config: Path, kind: type = SftSettings, layout: type = TrainingHelp
) -> TrainingFlags | None:
    """The command line of a training program: flags, over the yaml file of --config, over its defaults.

    `kind`: the settings beside TrainingArguments; `layout`: the dataclass of its --help, such as TrainingHelp. Prints
    --help, without waiting for torch, and returns None; ends the program with 2 for a flag that is none. Raises
    DataError as `read_config`.
    """
    first = ArgumentParser(add_help=False, allow_abbrev=False)
    beside = f"yaml file of settings; without it, {default_config.name} beside this"
    first.add_argument("--config", default=SUPPRESS, help=beside)
    given, rest = first.parse_known_args()
    config = getattr(given, "config", default_config)
    if {"-h", "--help"} & set(rest):
        name = getattr(given, "config", f"train/{default_config.name}")
        print_training_help(description, config, name, kind, layout)
        return None
    from transformers import HfArgumentParser, TrainingArguments

    kinds, usage = (kind, TrainingArguments), "%(prog)s [--config FILE] [FLAGS]"
    parser = HfArgumentParser(
        kinds, description=description, parents=[first], usage=usage, add_help=False, allow_abbrev=False
    )
    parser.add_argument("--help-all", "--help_all", action="help", help="show this help message and exit")
    names = {item.name for part in kinds for item in fields(part)}
    parser.set_defaults(**{**training_defaults(), **read_config(config, names, kind)})
    arguments, unknown = parser.parse_known_args()
    if unknown:
        name = unknown[0].partition("=")[0].lstrip("-").replace("-", "_")
        parser.error(f"{unknown[0]}: no such flag; {did_you_mean(name, sorted(names), '--help-all lists all')}")
    return TrainingFlags(parser, {name: value for name, value in vars(arguments).items() if name != "config"})


def training_defaults() -> dict:
    """Defaults of TrainingArguments that this data and this machine need."""
    import torch

    gpu = torch.cuda.is_available()
    return {
        "output_dir": "checkpoints/sft",
        "remove_unused_columns": False,  # the collator's keys are none of the dataset's columns
        "use_cpu": not gpu,  # bf16 on a CPU is refused without it
        "dataloader_pin_memory": gpu,
        "report_to": "none",
        "ddp_find_unused_parameters": False,  # a frozen part takes no gradient at all
    }


Whole = Annotated[int, Field(ge=-(2**31), lt=2**31)]


def _as_number(value: object) -> object:
    """A text such as `1e-5`, which YAML 1.1 takes for no number; the command line's parser does."""
    return float(value) if isinstance(value, str) and re.fullmatch(r"[-+]?[\d.]+[eE][-+]?\d+", value) else value


Number = Annotated[float, BeforeValidator(_as_number)]


@cache
def setting_types(settings: type = SftSettings) -> dict[str, Any]:
    """The contract of each setting of a training program, from the hints of its dataclasses: whole numbers that a
    machine has, and for a setting of an enumeration the names in it."""
    from transformers import TrainingArguments

    types = {}
    for kind in (settings, TrainingArguments):
        hints = get_type_hints(kind)
        for setting in fields(kind):
            hint = hints[setting.name]
            members = (hint,) if get_origin(hint) in (list, dict, Literal) else get_args(hint) or (hint,)
            named = [member for member in members if isinstance(member, type) and issubclass(member, Enum)]
            if named:
                members = (*(Literal[tuple(choice.value for choice in kind)] for kind in named), *members)
                members = tuple(member for member in members if member not in (str, *named))
            strict = {int: Whole, float: Number}
            contracts = [strict.get(member, member) for member in members if "ParallelismConfig" not in str(member)]
            types[setting.name] = reduce(or_, [*contracts, *([type(None)] if setting.default is None else [])])
    types["output_dir"] = str  # Hugging Face takes a folder of its own for null; our lock and log need one
    return types


def check_types(path: Path | str, values: Mapping[str, object], section: str = "", kind: type = SftSettings) -> None:
    """Raise DataError for a setting with a value of another type; `section`: its part of the file, `kind`: the
    program's settings."""
    types = setting_types(kind)
    for key, value in values.items():
        if key in types:
            fix = "write it as --help says; names that YAML takes for yes or no (no, off, on) need quotes"
            check_record(types[key], value, path, f"{section}{key}", fix, key)


def read_config(path: Path | str, names: set[str], kind: type = SftSettings) -> dict:
    """Settings of a yaml file. Raises DataError for a key that is none of `names`, and for a value of another type."""
    values = read_yaml(path, "give a yaml file of settings")
    if "overwrite" in values:
        what = "a file of settings cannot say that something is to be deleted"
        raise DataError(path, "overwrite", what, "give --overwrite on the command line, for one run")
    for key in values:
        if key not in names:
            raise DataError(
                path, key, "no such setting", did_you_mean(key, sorted(names), "--help lists the settings")
            )
    check_types(path, values, kind=kind)
    return values


def check_settings(settings: SftSettings, args: "TrainingArguments") -> None:
    """Raise ValueError for settings that do not go together, with the flag to change."""
    if settings.packing not in PACKINGS:
        raise ValueError(f"--packing is {' or '.join(PACKINGS)}, not {settings.packing!r}")
    if settings.loss_per not in LOSS_UNITS:
        raise ValueError(f"--loss_per is {' or '.join(LOSS_UNITS)}, not {settings.loss_per!r}")
    if settings.attention not in (None, *ATTENTIONS):
        raise ValueError(f"--attention is one of {', '.join(ATTENTIONS)}, not {settings.attention!r}")
    if settings.packing == "clip" and settings.attention == "flash_attention_2":
        raise ValueError("packed clips need a 4-D mask, which flash attention does not take: --packing none or sdpa")
    if all(getattr(settings, f"freeze_{part}") for part in PARTS):
        raise ValueError("every part is frozen: leave one of --freeze_vision, _merger, _language_model out")
    if settings.eval_file and settings.validation_share:
        raise ValueError("give --eval_file or --validation_share, not both")
    if not 0 <= settings.validation_share < 1:
        raise ValueError(f"--validation_share is a share of the subjects, not {settings.validation_share}")
    if (args.eval_strategy != "no") != bool(settings.eval_file or settings.validation_share):
        raise ValueError("--validation_share or --eval_file, and --eval_strategy epoch or steps, need each other")
    _check_output(settings, args)
    _check_lora(settings)


def _check_output(settings: SftSettings, args: "TrainingArguments") -> None:
    if settings.overwrite and (settings.resume or args.resume_from_checkpoint):
        raise ValueError("--resume goes on with what is there, --overwrite deletes it: give one of them")
    if Path(settings.model).resolve() == Path(args.output_dir).resolve():
        raise ValueError(f"--output_dir {args.output_dir} is the checkpoint to start from: give another folder")
    if args.save_only_model and args.load_best_model_at_end and args.deepspeed:
        raise ValueError("DeepSpeed loads the best checkpoint from its states: add --save_only_model false")


def adapter_targets(settings: SftSettings) -> list[str]:
    """Targets of the adapters in parts that are not frozen; none without LoRA."""
    targets = settings.lora_targets if settings.lora_rank else []
    return [target for target in targets if not getattr(settings, f"freeze_{part_of_target(target)}")]


def _check_lora(settings: SftSettings) -> None:
    if settings.lora_rank < 0:
        raise ValueError(f"--lora_rank is 0 or more, not {settings.lora_rank}")
    unknown = [name for name in settings.lora_targets if name not in LORA_TARGETS]
    if unknown:
        raise ValueError(f"--lora_targets are of {', '.join(LORA_TARGETS)}; not {', '.join(unknown)}")
    if settings.lora_rank and not adapter_targets(settings):
        raise ValueError("no part that is not frozen gets adapters: name one with --lora_targets")
