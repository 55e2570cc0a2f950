"""What an earlier run left in the output folder: go on with it, or make room."""

import json
import re
import shutil
from pathlib import Path

from transformers import TrainingArguments

from megc.model import distributed
from megc.model.checkpoint import read_record
from megc.problems import DataError

# Settings without which a run is not the one that it resumes, and settings that may change at a price.
SAME = ("packing", "loss_per", "lora_rank", "lora_alpha", "lora_targets")
NOTED = (
    *("learning_rate", "vision_rate", "merger_rate", "language_model_rate", "lr_scheduler_type", "warmup_steps"),
    *("weight_decay", "max_steps", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("freeze_vision", "freeze_merger", "freeze_language_model", "lora_dropout", "shift", "seed", "bf16"),
)


def has_state(folder: Path) -> bool:
    """Whether the main process wrote the checkpoint to its end; the state comes last."""
    try:
        json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return False
    return True


def is_complete(folder: Path, processes: int) -> bool:
    """Whether the checkpoint has its state and the random state of each of that many processes."""
    names = [f"rng_state_{rank}.pth" for rank in range(processes)] if processes > 1 else ["rng_state.pth"]
    return has_state(folder) and all((folder / name).is_file() for name in names)


def checkpoints(folder: Path | str) -> list[Path]:
    """Checkpoints in the folder, complete or not, the latest last."""
    found = [path for path in Path(folder).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]))


def resume_from(args: TrainingArguments, resume: bool) -> str | None:
    """Folder of the checkpoint to go on from, or None to begin.

    `resume`: the latest checkpoint that is complete (a kill may have come while it was written); without any, the
    run begins, which is where the earlier one was. `args.resume_from_checkpoint`: that folder, or "last".
    Raises DataError when it holds no complete checkpoint.
    """
    named = args.resume_from_checkpoint
    if named and named not in ("last", "True", "true"):
        if is_complete(Path(named), args.world_size):
            return named
    elif named or resume:
        complete = [path for path in checkpoints(args.output_dir) if is_complete(path, args.world_size)]
        if complete:
            return str(complete[-1])
        if not named and not any(map(has_state, checkpoints(args.output_dir))):
            return None
    else:
        return None
    what = f"no complete checkpoint of {args.world_size} process(es) to resume from"
    fix = f"name one of {args.output_dir}/checkpoint-* that as many processes wrote"
    raise DataError(named or args.output_dir, None, what, fix)


def make_room(args: TrainingArguments, overwrite: bool) -> None:
    """Delete the checkpoints of an earlier run if `overwrite`; raise DataError if there are any and it is not."""
    left = checkpoints(args.output_dir)
    if left and not overwrite:
        fix = "go on with --resume, or delete them with --overwrite"
        raise DataError(args.output_dir, None, f"holds {len(left)} checkpoint(s) of an earlier run", fix)
    if distributed.is_main():
        for folder in left:
            shutil.rmtree(folder)


def compare(folder: str, record: dict) -> list[str]:
    """A line for each setting that is not as it was when the checkpoint in `folder` was written.

    Raises DataError when `record` (`megc.json` of the run to be) has another model, other rows or another prompt or
    pixel budget, or adapters of another shape: what goes on would not be what began.
    """
    saved = read_record(folder)
    pairs = {name: (saved, record) for name in ("base", "prompt_hash", "min_pixels", "max_pixels")}
    pairs |= {name: (saved.get("data", {}), record["data"]) for name in ("rows_hash", "validation_subjects")}
    pairs |= {name: (saved.get("training", {}), record["training"]) for name in (*SAME, *NOTED)}
    lines = [f"resumes {folder}"]
    for name, (before, now) in pairs.items():
        if before.get(name) == now.get(name):
            continue
        what = f"{name} is {now.get(name)} now, and was {before.get(name)}"
        if name not in NOTED:
            raise DataError(folder, None, what, "resume with the settings and data that the run was started with")
        lines.append(f"{what} in {folder}")
    return lines
