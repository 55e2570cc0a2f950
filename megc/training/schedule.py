"""How many optimiser steps a run has, and how many of them warm up."""

import math
from dataclasses import dataclass

from transformers import TrainingArguments


@dataclass(frozen=True)
class Schedule:
    """Optimiser steps of an epoch and of the run, and those at its start in which the learning rate rises."""

    epoch: int
    steps: int
    warmup: int

    def __str__(self) -> str:
        return f"{self.epoch:,} steps an epoch, {self.steps:,} in all, {self.warmup:,} of them warm-up"

    @property
    def warning(self) -> str:
        """What is wrong with it; empty where nothing is."""
        if 2 * self.warmup <= self.steps or self.warmup < 2:
            return ""
        what = f"the learning rate rises in {self.warmup} of {self.steps} steps"
        return f"{what}: give a share instead of a number, such as --warmup_steps 0.1"


def schedule(sequences: int, processes: int, args: TrainingArguments) -> Schedule:
    """Schedule of a run over that many sequences an epoch, as transformers' Trainer counts it."""
    batches = math.ceil(sequences / (processes * args.per_device_train_batch_size))
    epoch = math.ceil(batches / args.gradient_accumulation_steps)
    steps = args.max_steps if args.max_steps > 0 else math.ceil(epoch * args.num_train_epochs)
    return Schedule(epoch, steps, min(args.get_warmup_steps(steps), steps))
