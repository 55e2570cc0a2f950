"""Training of any model with exact resume, whole checkpoints, a log and a stop when it diverges.

`CheckpointTrainer` is transformers' Trainer with what every training here needs. It knows neither Qwen2.5-VL nor
instruction records; `sft.SftTrainer` adds those. Another model (a network on flow pictures, VideoMAE) uses it so:

    info = {"kind": "trained", "data": {...}, "training": {...}, **software()}     # its megc.json to be
    beginning = find_beginning(args, info, resume=..., overwrite=...)             # raises, or makes room
    trainer = CheckpointTrainer(model=model, args=args, train_dataset=data, training_info=info)
    run_training(trainer, beginning)

The model is an `nn.Module` whose forward takes the keys of a batch and returns a dictionary with `loss`; its weights
are saved as model.safetensors. What differs is overridden: `write_beside` (tokenizer, configuration), `load_saved`,
`check_saved`, `write_final`, `part_of` (parts with learning rates of their own), `decays`, and Trainer's methods and
arguments for the loss and the metrics. A dataset that augments by epoch has an attribute `epoch`, which is set.
"""

import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from megc.files import write_json
from megc.model import distributed
from megc.model.checkpoint import read_training_info
from megc.model.distributed import print_main
from megc.model.parts import is_matrix
from megc.model.weight_checks import check_values
from megc.model.weights import INFO_NAME, WHOLE, check_files, weights_hash
from megc.problems import DataError
from megc.training.log import LossLog
from megc.training.output_folder import PART, empty_part, finished_info, full_disk_named, publish, remove_checkpoint
from megc.training.resume import Beginning


class CheckpointTrainer(Trainer):
    """Trainer whose checkpoints are whole and know what they were trained on, and whose resume is exact.

    `training_info`: `megc.json` of every checkpoint, but for the number of steps and the hash of the weights.
    `rates`: learning rate by part (see `part_of`), for those that differ from `args.learning_rate`.
    """

    def __init__(
        self, *args: object, training_info: dict, rates: Mapping[str, float] | None = None, **kwargs: object
    ) -> None:
        self.training_info, self.rates = training_info, dict(rates or {})
        self.took_no_step = True
        super().__init__(*args, **kwargs)
        self.add_callback(_SetEpoch(self.train_dataset))
        self.add_callback(LossLog())

    # ---- what another model overrides

    def part_of(self, name: str) -> str:
        """The part of the model that the parameter `name` belongs to, as a key of `rates`."""
        return ""

    def decays(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether weight decay applies to the parameter `name`: to matrices. Going by names, as the base class does,
        would decay the vision tower's norms."""
        return is_matrix(parameter)

    def write_beside(self, folder: Path) -> None:
        """Write what loading a checkpoint needs beside its weights, which lie in `folder` already."""
        write_json(folder / INFO_NAME, {**self.info_now(), "weights_hash": weights_hash(folder)})

    def load_saved(self, model: nn.Module, folder: Path | str) -> None:
        """Set the weights of `model` to those of the checkpoint in `folder`, all of them (strict)."""
        model.load_state_dict(load_file(Path(folder) / WHOLE), strict=True)

    def check_saved(self, folder: Path | str) -> None:
        """Raise DataError for a checkpoint whose weights are damaged, not finite, or not those of its `megc.json`."""
        check_files(folder)
        check_values(folder, read_training_info(folder).get("weights_hash"))

    def write_final(self, folder: Path) -> None:
        """Write the finished checkpoint to `folder`. All processes call it."""
        self.save_model(str(folder))

    # ---- what they share

    def info_now(self) -> dict:
        """`megc.json` of a checkpoint that is saved now: that of the run with its number of steps."""
        return {**self.training_info, "steps": self.state.global_step}

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Groups of parameters by part (for its rate) and by whether weight decay applies to them."""
        model = self.model if model is None else model
        if self.optimizer is None:
            members: dict[tuple[str, bool], list[nn.Parameter]] = {}
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    members.setdefault((self.part_of(name), self.decays(name, parameter)), []).append(parameter)
            groups = [
                {
                    "params": parameters,
                    "weight_decay": self.args.weight_decay if decay else 0.0,
                    "lr": self.rates.get(part, self.args.learning_rate),
                }
                for (part, decay), parameters in members.items()
            ]
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args, model)
            self.optimizer = kind(groups, **settings)
        return self.optimizer

    def log(self, logs: dict[str, float], *args: object, **kwargs: object) -> None:
        """Log; stop a run whose weights are lost: AdamW makes NaN of them all, and the loss is then logged as 0.

        Raises DataError for a gradient that is not finite; float16 skips such steps, and goes on.
        """
        super().log(logs, *args, **kwargs)
        if not self.args.fp16 and not math.isfinite(logs.get("grad_norm", 0.0)):
            what = f"the gradient is {logs['grad_norm']} at step {self.state.global_step}: the training has diverged"
            raise DataError(self.args.output_dir, None, what, "lower --learning_rate, or take an earlier checkpoint")

    def save_final(self) -> None:
        """Write the finished checkpoint to the output folder. All processes call it.

        A kill at any moment leaves the folder without the checkpoint or with all of it (see `output_folder`). Raises
        DataError, and leaves none, where the weights are not finite.
        """
        folder = Path(self.args.output_dir)
        part = folder / PART
        if self.args.should_save:
            empty_part(folder)
        distributed.wait_for_all()  # nobody writes into a folder that is about to be emptied
        with full_disk_named(part, self.args.should_save):
            self.write_final(part)
        distributed.wait_for_all()
        if self.args.should_save:
            try:
                self.check_saved(part)
            except DataError:
                shutil.rmtree(part)
                raise
            publish(folder)

    def _run_epoch(self, *args: object, **kwargs: object) -> None:
        # The base class looks for the end behind a step: resumed at the last one, it would take one more.
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        self.took_no_step = False
        super()._run_epoch(*args, **kwargs)

    def _save_checkpoint(self, *args: object, **kwargs: object) -> None:
        # What an earlier run left under this name goes first: beside its state, half-written files would seem whole.
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save and folder.exists():
            remove_checkpoint(folder)
        distributed.wait_for_all()
        with full_disk_named(folder, self.args.should_save):
            super()._save_checkpoint(*args, **kwargs)

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        distributed.wait_for_all()  # the state, which says that the checkpoint is whole, is written next

    def _save_weights(self, output_dir: str | None, state_dict: dict | None) -> None:
        """Write the weights alone; a hook for models whose weights are saved in another form."""
        super()._save(output_dir, state_dict)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        self._save_weights(output_dir, state_dict)
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            self.write_beside(folder)
            (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle; megc.json has the settings

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        # The base class matches names with strict=False, and saved Qwen2.5-VL names differ from those in memory:
        # it would resume from the initial weights (huggingface/transformers#43701).
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            wrapped = self.model if model is None else model
            self.load_saved(self.accelerator.unwrap_model(wrapped), resume_from_checkpoint)

    def _load_best_model(self) -> None:
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            super()._load_best_model()
        else:
            self._load_from_checkpoint(self.state.best_model_checkpoint)


class _SetEpoch(TrainerCallback):
    """Says to the data which epoch begins, also after a resume in the middle of one."""

    def __init__(self, data: Dataset) -> None:
        self.data = data

    def on_epoch_begin(self, args, state, control, **kwargs) -> None:
        if hasattr(self.data, "epoch"):
            self.data.epoch = int((state.epoch or 0) + 1e-6)  # a resumed run counts up to 0.999999…


def run_training(trainer: CheckpointTrainer, beginning: Beginning) -> dict[str, float]:
    """Take the steps and write the finished checkpoint; returns Trainer's metrics (train_loss, train_runtime, …).

    Where the checkpoint to resume is that of the last step and the run is finished, nothing is written. Raises
    DataError for a checkpoint to resume whose weights are damaged, and for a run that diverges.
    """
    started = time.monotonic()
    folder = trainer.args.output_dir
    if beginning.checkpoint and not distributed.uses_deepspeed(trainer.args):  # whose states lie in files of its own
        trainer.check_saved(beginning.checkpoint)
    result = trainer.train(resume_from_checkpoint=beginning.checkpoint)
    steps = result.global_step
    if trainer.took_no_step and finished_info(folder):
        print_main(f"Checkpoint {folder} is already finished: {steps} steps, and none is left to take")
        return result.metrics
    trainer.save_final()
    seconds = time.monotonic() - started
    print_main(f"Checkpoint {folder}: {steps} steps, {seconds:.0f} s, log in train_log.csv and loss.png")
    return result.metrics


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


def count_steps(sequences: int, processes: int, args: TrainingArguments) -> Schedule:
    """Schedule of a run over that many sequences an epoch, as transformers' Trainer counts it."""
    batches = math.ceil(sequences / (processes * args.per_device_train_batch_size))
    epoch = math.ceil(batches / args.gradient_accumulation_steps)
    steps = args.max_steps if args.max_steps > 0 else math.ceil(epoch * args.num_train_epochs)
    return Schedule(epoch, steps, min(args.get_warmup_steps(steps), steps))
