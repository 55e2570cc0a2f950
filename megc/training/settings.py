"""Settings of a training run: what can be set, where it is read from, what does not go together.

Nothing here waits for torch or transformers, so that the flags can be listed in a moment.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from megc.files import read_yaml
from megc.model.parts import LORA_TARGETS, PARTS, part_of_target
from megc.problems import DataError, did_you_mean

if TYPE_CHECKING:
    from transformers import TrainingArguments

PACKINGS = ("clip", "none")
LOSS_UNITS = ("token", "question")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")


def _setting(default: object, text: str) -> object:
    return field(default=default, metadata={"help": text})


@dataclass
class SftSettings:
    """What is trained, on what; how long and how fast is for TrainingArguments to say."""

    model: str = _setting("checkpoints/tiny-base", "checkpoint to start from: a folder, or a name on the hub")
    build_tiny: bool = _setting(False, "build the tiny checkpoint at --model from the training texts if it is missing")
    train_file: str = _setting("dataset/train_dataset.jsonl", "instruction JSONL to train on")
    eval_file: str | None = _setting(None, "instruction JSONL of other subjects, to evaluate on (--eval_strategy)")
    validation_share: float = _setting(
        0.0, "share of each dataset's training subjects to evaluate on instead of training on them; 0: none"
    )
    packing: str = _setting("clip", "clip: a clip's questions share one pass over its pictures; none: one by one")
    loss_per: str = _setting("token", "what weighs the same in the loss: each answer token, or each question's answer")
    max_length: int = _setting(4096, "tokens that a sequence may have; a longer row is an error, never cut")
    min_pixels: int | None = _setting(None, "fewest pixels of a picture; default: the checkpoint's")
    max_pixels: int | None = _setting(None, "most pixels of a picture; default: the checkpoint's")
    shift: int = _setting(0, "augmentation: move a clip's pictures by up to so many pixels, all by the same")
    freeze_vision: bool = _setting(False, "do not train the vision tower")
    freeze_merger: bool = _setting(False, "do not train the merger between vision and language")
    freeze_language_model: bool = _setting(False, "do not train the language model")
    vision_rate: float | None = _setting(None, "learning rate of the vision tower; default: --learning_rate")
    merger_rate: float | None = _setting(None, "learning rate of the merger; default: --learning_rate")
    language_model_rate: float | None = _setting(None, "learning rate of the language model; default: --learning_rate")
    lora_rank: int = _setting(0, "rank of low-rank adapters to train instead of the weights; 0: train the weights")
    lora_alpha: float = _setting(32.0, "adapters are scaled by lora_alpha / lora_rank")
    lora_dropout: float = _setting(0.0, "dropout before the adapters")
    lora_targets: list[str] = field(
        default_factory=lambda: ["vision", "merger", "q", "k"],
        metadata={"help": f"what gets adapters, of {', '.join(LORA_TARGETS)} (q to mlp: of the language model)"},
    )
    attention: str | None = _setting(None, f"{', '.join(ATTENTIONS)}; default: the fastest that fits")
    threads: int = _setting(0, "CPU threads a process; 0: torch's choice")
    allow_mismatch: bool = _setting(False, "start from a checkpoint of another prompt or pixel budget")
    resume: bool = _setting(False, "go on where an earlier run into --output_dir stopped")
    overwrite: bool = _setting(False, "delete what an earlier run left in --output_dir; on the command line only")
    plan: bool = _setting(False, "print parameters, tokens, steps and memory, and stop before loading weights")
    gpu_memory: float = _setting(80.0, "GiB of a GPU, for --plan")
    gpus: int = _setting(0, "number of GPUs, for --plan; 0: the launcher's, this machine's, or the fewest that fit")
    show_sample: int = _setting(0, "print so many packed samples as the model sees them, and stop")


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


def read_config(path: Path | str, names: set[str]) -> dict:
    """Settings of a yaml file. Raises DataError for a key that is none of `names`."""
    values = read_yaml(path, "give a yaml file of settings")
    if "overwrite" in values:
        what = "a file of settings cannot say that something is to be deleted"
        raise DataError(path, "overwrite", what, "give --overwrite on the command line, for one run")
    for key in values:
        if key not in names:
            raise DataError(
                path, key, "no such setting", did_you_mean(key, sorted(names), "--help lists the settings")
            )
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
