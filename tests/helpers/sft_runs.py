"""Short runs of the tiny model for the tests of training."""

import csv
from pathlib import Path

from transformers import TrainingArguments

from megc.training.settings import SftSettings, training_defaults


def settings(train_file: Path, base: Path, **more) -> SftSettings:
    """Settings of a run on small pictures."""
    own = {"model": str(base), "build_tiny": True, "train_file": str(train_file), "shift": 3, "max_pixels": 12544}
    return SftSettings(**{**own, **more})


def arguments(out: Path, **more) -> TrainingArguments:
    """Two quick steps without a checkpoint, unless told otherwise."""
    quick = {"max_steps": 2, "per_device_train_batch_size": 2, "learning_rate": 1.5e-3, "logging_steps": 1}
    quick |= {"disable_tqdm": True, "save_strategy": "no", "output_dir": str(out)}
    return TrainingArguments(**{**training_defaults(), **quick, **more})


def log_of(out: Path, column: str = "loss") -> list[str]:
    """One column of `train_log.csv`, where it is filled."""
    with (out / "train_log.csv").open() as file:
        return [row[column] for row in csv.DictReader(file) if row[column]]
