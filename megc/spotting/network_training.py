"""Training of a small network for spotting, and its weights back: what all kinds with a network of their own share."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.data import Dataset
from tqdm import tqdm
from transformers import PrinterCallback, TrainerCallback, TrainingArguments

from megc.commits import software
from megc.files import read_json, sha256_of, write_json
from megc.problems import DataError, excerpt
from megc.spotting.video_encoders import load_weights
from megc.training.output_folder import checkpoints, remove_checkpoint
from megc.training.resume import find_beginning
from megc.training.settings import training_defaults
from megc.training.trainer import CheckpointTrainer, run_training

Network = TypeVar("Network", bound=nn.Module)
_RUN = "run.json"  # the hash of what a run is trained on and how; a run of another hash is begun anew


@dataclass(frozen=True)
class NetworkSchedule:
    """How long and how fast a network is trained: AdamW, the rate up in a tenth of the steps, then down to 0.

    `constant`: one rate from first to last, and gradients of any length, as Keras trains.
    """

    epochs: int
    batch: int
    rate: float
    weight_decay: float
    seed: int
    constant: bool = False


class _Bar(TrainerCallback):
    """A progress bar over the steps, with the last loss."""

    def __init__(self, name: str) -> None:
        self.name = name

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.bar = tqdm(desc=self.name, total=state.max_steps, initial=state.global_step, unit="step", leave=False)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.bar.update()

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        if "loss" in (logs or {}):
            self.bar.set_postfix(loss=f"{float(logs['loss']):.3f}")

    def on_train_end(self, args, state, control, **kwargs) -> None:
        self.bar.close()


def train_network(
    model: nn.Module, data: Dataset, out: Path, schedule: NetworkSchedule, subjects: list[str], content: str
) -> None:
    """Train a network on `data`, which may augment by its attribute `epoch`; `out` gets weights, log and `megc.json`.

    `content` is a hash of data and settings: a killed run with the same goes on from its last quarter, a finished one
    is kept; what a run with another left in `out` is replaced. The samples are dictionaries of tensors, `model` takes
    their keys and returns `loss`.
    """
    steps = max(1, -(-len(data) // schedule.batch)) * schedule.epochs
    args = TrainingArguments(
        **training_defaults()
        | {
            "output_dir": str(out),
            "num_train_epochs": schedule.epochs,
            "per_device_train_batch_size": schedule.batch,
            "learning_rate": schedule.rate,
            "weight_decay": schedule.weight_decay,
            "lr_scheduler_type": "constant" if schedule.constant else "cosine",
            "warmup_steps": 0 if schedule.constant else 0.1,
            "max_grad_norm": 1e9 if schedule.constant else 1.0,  # not 0: a gradient that diverges is still seen
            "logging_steps": max(1, steps // 20),
            "save_strategy": "steps",
            "save_steps": max(1, -(-steps // 4)),
            "save_total_limit": 1,
            "seed": schedule.seed,
            "disable_tqdm": True,
        }
    )
    run_hash = sha256_of(content, json.dumps(asdict(schedule)))
    info = {
        "kind": "trained",
        "data": {"content_hash": content, "rows": len(data), "subjects": subjects},
        "training": asdict(schedule) | {"run": run_hash},
        **software(),
    }
    same = read_json(out / _RUN, missing={}).get("run") == run_hash
    beginning = find_beginning(args, info, resume=same, overwrite=not same)
    if beginning.finished:
        return
    write_json(out / _RUN, {"run": run_hash})
    trainer = CheckpointTrainer(model=model, args=args, train_dataset=data, training_info=info)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Bar(out.name))
    run_training(trainer, beginning)
    for folder in checkpoints(out):  # states to go on from: the run is finished
        remove_checkpoint(folder)


def member_settings(settings: Any, number: int) -> Any:
    """The settings of a kind of spotter for one of its networks, which has a seed of its own."""
    return replace(settings, seed=settings.seed * 1000 + number)


def train_member(
    network: Network, data: Dataset, of_member: Any, folder: Path, subjects: list[str], content: str
) -> Network:
    """`train_network` as `member_settings` say; returns the trained network, ready to answer."""
    names = ("epochs", "batch", "rate", "weight_decay", "seed")
    schedule = NetworkSchedule(**{name: getattr(of_member, name) for name in names})
    train_network(network, data, folder, schedule, subjects, content)
    return load_network(network, folder)


def load_network(model: Network, folder: Path) -> Network:
    """The network with the weights of a folder that `train_network` filled, ready to answer.

    Raises DataError for weights that are missing, damaged, not finite, or not those of the network.
    """
    model.load_state_dict(
        load_weights(folder, model, "train the spotter again: the settings are not those of the weights")
    )
    return model.eval()


def load_members(new_network: Callable[[], Network], folder: Path, count: int, record: Path) -> tuple[Network, ...]:
    """The networks of the folders `member0`, `member1` and so on, as `load_network` reads them.

    Raises DataError as it does, and where there are fewer than the `count` of the file `record`.
    """
    for number in range(count):
        if not (folder / f"member{number}").is_dir():
            what = f"members is {excerpt(count)}, and there is no member{number}"
            raise DataError(record, "members", what, "train the spotter again")
    return tuple(load_network(new_network(), folder / f"member{number}") for number in range(count))


def seeded_network(kind: type[Network], seed: int, **shape: object) -> Network:
    """A network whose first weights depend on the seed alone, not on what random numbers were drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(**shape)
