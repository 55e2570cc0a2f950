"""What the checkpoints of a run take on the disk, by arithmetic; the bytes a parameter are those of files written by
transformers 5.23 and DeepSpeed 0.19 (`tests/planning/test_disk.py`)."""

import math
from dataclasses import dataclass

from transformers import TrainingArguments

from megc.planning.fit import Parameters
from megc.training.trainer import Schedule

GB = 10**9  # disks are sold and shown in these


@dataclass(frozen=True)
class CheckpointSize:
    """Bytes of the finished checkpoint, of the weights of one on the way to it, and of what resuming needs besides."""

    finished: int
    weights: int
    states: int


def checkpoint_size(parameters: Parameters, stage: str, half: bool) -> CheckpointSize:
    """Size of the checkpoints of a run; `stage`: one of memory.STAGES, `half`: --bf16.

    Without DeepSpeed weights are kept in 32 bits and AdamW has two moments (8 bytes). DeepSpeed's states are 32-bit
    weights and two moments (12 bytes), under ZeRO-2 with the weights of the passes once more.
    """
    trained = parameters.all_trained
    zero = stage != "none"
    size = 2 if half and (zero or parameters.adapters) else 4
    weights = 4 * trained if parameters.adapters else size * parameters.all
    # ZeRO-2 writes the weights of the passes into its states too
    again = size * (trained if parameters.adapters else parameters.all) if stage == "zero2" else 0
    return CheckpointSize(size * parameters.all, weights, (12 if zero else 8) * trained + again)


def count_saves(args: TrainingArguments, run: Schedule) -> int:
    """How many checkpoints the run writes on its way, the one behind the last step included."""
    if args.save_strategy == "no":
        return 0
    if args.save_strategy == "epoch":
        return math.ceil(run.steps / run.epoch)
    every = args.save_steps if args.save_steps >= 1 else math.ceil(run.steps * args.save_steps)
    return math.ceil(run.steps / every)


def _kept_at_a_time(args: TrainingArguments, run: Schedule) -> int:
    written = count_saves(args, run)
    # transformers deletes an old one only after the next is written
    return min(written, args.save_total_limit + 1) if args.save_total_limit else written


def disk_needed(parameters: Parameters, stage: str, args: TrainingArguments, run: Schedule) -> int:
    """Most bytes that the run, as it is set, takes at a time."""
    size = checkpoint_size(parameters, stage, args.bf16)
    each = size.weights if args.save_only_model else size.weights + size.states
    return _kept_at_a_time(args, run) * each + size.finished


def disk_lines(parameters: Parameters, stage: str, args: TrainingArguments, run: Schedule) -> list[str]:
    """Size of a checkpoint with states and without, and what the run as it is set takes at most."""
    size = checkpoint_size(parameters, stage, args.bf16)
    written = count_saves(args, run)
    kind = "with states: a killed run can --resume"
    if not written or args.save_only_model:
        kind = "no states: a killed run begins anew"
    most = gigabytes(disk_needed(parameters, stage, args, run))
    sizes = (size.finished, size.weights, size.weights + size.states)
    finished, weights, whole = map(gigabytes, sizes)
    return [
        f"Disk: finished checkpoint {finished}; on the way to it, one is {weights} with"
        f" --save_only_model true, {whole} with --save_only_model false",
        f"  this run: {written} checkpoint(s) ({kind}), up to {_kept_at_a_time(args, run)} at a time, {most} at most",
    ]


def gigabytes(value: int) -> str:
    """Bytes in words."""
    return f"{value / GB:,.1f} GB" if value >= GB / 10 else f"{value / 1e6:,.1f} MB"
