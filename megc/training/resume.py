"""What an earlier run left in the output folder: go on with it, or make room."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from transformers import TrainingArguments

from megc.files import read_checked, remove_temporaries
from megc.model import distributed
from megc.model.checkpoint import read_training_info
from megc.problems import DataError
from megc.records import Contract
from megc.training.output_folder import (
    check_foreign_weights,
    checkpoints,
    complete_final_save,
    finished_info,
    format_steps,
    remove_checkpoint,
    remove_run,
)
from megc.training.training_info import differences

# Settings without which a run is not the one that it resumes, and settings that may change at a price.
SAME = (
    *("packing", "loss_per", "lora_rank", "lora_alpha", "lora_targets"),
    *("task", "architecture", "image_size", "num_frames", "dim", "depth", "heads", "region", "class_token"),
    *("decoder_dim", "decoder_depth", "decoder_heads", "stride", "mask", "mask_ratio", "targets"),
)
NOTED = (
    *("learning_rate", "vision_rate", "merger_rate", "language_model_rate", "lr_scheduler_type", "warmup_steps"),
    *("weight_decay", "max_steps", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("freeze_vision", "freeze_merger", "freeze_language_model", "lora_dropout", "shift", "seed", "bf16"),
    *("layer_decay", "drop_path", "label_smoothing", "mixup", "cutmix", "erase", "flip", "smallest_crop"),
)


class TrainerState(Contract):
    """`trainer_state.json` of transformers, as far as a run goes on from it."""

    global_step: Annotated[int, Field(ge=0)]
    log_history: list[dict[str, Any]]


def has_state(folder: Path) -> bool:
    """Whether the main process wrote the checkpoint to its end; the state comes last."""
    try:
        read_checked(TrainerState, folder / "trainer_state.json")
    except DataError:
        return False
    return True


def has_states(folder: Path) -> bool:
    """Whether the checkpoint holds what it takes to go on from it, for whatever number of processes."""
    return has_state(folder) and any(folder.glob("rng_state*.pth"))


def is_complete(folder: Path, processes: int) -> bool:
    """Whether the checkpoint has its state and the random state of each of that many processes."""
    names = [f"rng_state_{rank}.pth" for rank in range(processes)] if processes > 1 else ["rng_state.pth"]
    return has_state(folder) and all((folder / name).is_file() for name in names)


def find_checkpoint(args: TrainingArguments, resume: bool) -> str | None:
    """Folder of the checkpoint to go on from, or None to begin.

    `resume`: the latest checkpoint that is complete (a kill may have come while it was written); without any, the
    run begins, which is where the earlier one was, or all that weights without states allow.
    `args.resume_from_checkpoint`: that folder, or "last".
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
        # Checkpoints without states (--save_only_model) hold nothing to go on from: the run begins anew. With states
        # of another number of processes it does not: they are the user's to use or to delete.
        if not named and not any(map(has_states, checkpoints(args.output_dir))):
            return None
    else:
        return None
    what = f"no complete checkpoint of {args.world_size} process(es) to resume from"
    fix = f"name one of {args.output_dir}/checkpoint-* that as many processes wrote"
    raise DataError(named or args.output_dir, None, what, fix)


@dataclass(frozen=True)
class Beginning:
    """Where a run begins: `checkpoint` to go on from, or None for step 0; `lines` say what is not as it was.

    `finished`: the finished checkpoint in the output folder, as `700 steps`, where there is nothing left to do.
    """

    checkpoint: str | None
    lines: tuple[str, ...] = ()
    finished: str = ""


def find_beginning(args: TrainingArguments, info: dict, *, resume: bool = False, overwrite: bool = False) -> Beginning:
    """Compare the run of `info` (its `megc.json` to be) with what lies in the output folder, and make room for it.

    All processes call it. A final save that a kill has interrupted is brought to its end first. Raises DataError
    where the run would replace or mix in what the flags do not allow: see README, "Training the real model".
    """
    # 1. Bring an interrupted save to its end, so that what lies there is either a checkpoint or not one.
    with args.main_process_first(local=False, desc="completing an earlier save"):
        if distributed.is_main():
            remove_temporaries(args.output_dir)
            complete_final_save(args.output_dir)
    # 2. The same run, finished: nothing is left to do.
    resumes = bool(resume or args.resume_from_checkpoint)
    finished = {} if overwrite else finished_info(args.output_dir)
    changes = []
    if finished:
        changes = compare_checkpoint(args.output_dir, info)[1:] if resumes else differences(finished, info)
        if not changes:
            return Beginning(None, finished=format_steps(finished))
    # 3. A checkpoint to go on from.
    start = find_checkpoint(args, resume)
    lines = compare_checkpoint(start, info) if start else []
    if finished and not start:
        why = "holds no states to go on from" if resumes else "is of another run"
        what = f"the finished checkpoint ({format_steps(finished)}) {why}: {'; '.join(changes[:3])}"
        raise DataError(args.output_dir, None, what, "give another --output_dir, or replace it with --overwrite")
    # 4. None: begin at step 0, in a folder without checkpoints of another run.
    if not start:
        lines += check_room(args, overwrite, resumes)
        with args.main_process_first(local=False, desc="making room"):
            if distributed.is_main():
                make_room(args, overwrite)
    return Beginning(start, tuple(lines))


def check_room(args: TrainingArguments, overwrite: bool, resume: bool) -> list[str]:
    """Raise DataError where the output folder holds something that a run from step 0 may not replace.

    Returns a line about checkpoints that `resume` cannot go on from.
    """
    if overwrite:
        return []
    check_foreign_weights(args.output_dir)
    left = checkpoints(args.output_dir)
    if left and not resume:  # they may be days of training
        fix = "go on with --resume, or delete them with --overwrite"
        raise DataError(args.output_dir, None, f"holds {len(left)} checkpoint(s) of an earlier run", fix)
    why = "has weights without states (--save_only_model)" if left and has_state(left[-1]) else "is not whole"
    return [f"begins anew: {left[-1].name} {why}, so that nothing can go on from it"] if left else []


def make_room(args: TrainingArguments, overwrite: bool) -> None:
    """Delete what an earlier run left if `overwrite`; else its checkpoints, which nothing can go on from."""
    if overwrite:
        remove_run(args.output_dir)
    for folder in checkpoints(args.output_dir):
        remove_checkpoint(folder)


def compare_checkpoint(folder: str, info: dict) -> list[str]:
    """A line for each setting that is not as it was when the checkpoint in `folder` was written.

    Raises DataError when `info` (`megc.json` of the run to be) has another model, other rows or another prompt or
    pixel budget, or adapters of another shape: what goes on would not be what began.
    """
    saved = read_training_info(folder)
    pairs = {name: (saved, info) for name in ("base", "prompt_hash", "min_pixels", "max_pixels")}
    data = saved.get("data", {})
    names = ("rows_hash", "validation_subjects", *(["content_hash"] if "content_hash" in data else []))
    pairs |= {name: (data, info.get("data", {})) for name in names}
    pairs |= {name: (saved.get("training", {}), info.get("training", {})) for name in (*SAME, *NOTED)}
    lines = [f"resumes {folder}"]
    for name, (before, now) in pairs.items():
        if before.get(name) == now.get(name):
            continue
        what = f"{name} is {now.get(name)} now, and was {before.get(name)}"
        if name not in NOTED:
            raise DataError(folder, None, what, "resume with the settings and data that the run was started with")
        lines.append(f"{what} in {folder}")
    return lines
