"""Another model than Qwen2.5-VL trains with the same resume, log, record and stop when it diverges."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from sft_runs import arguments, log_of
from torch import nn

from megc.commits import software
from megc.model.checkpoint import read_training_info
from megc.model.weights import weights_hash
from megc.problems import DataError
from megc.training.log import loss_figure, loss_png  # before conftest.py puts another in its place
from megc.training.resume import find_beginning
from megc.training.trainer import CheckpointTrainer, run_training

STEPS = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3, "num_train_epochs": 3}
INFO = {"kind": "trained", "data": {"rows_hash": "a"}, "training": {"width": 4}}


class Network(nn.Module):
    """Two layers with dropout, whose random state a resume must bring back."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, values, labels):
        """Squared error of values (B, 3) against labels (B, 1)."""
        answers = self.last(nn.functional.dropout(self.first(values), 0.2, self.training))
        return {"loss": (answers - labels).square().mean(), "logits": answers}


class Rows(torch.utils.data.Dataset):
    """Eight rows that shift with the epoch, as an augmentation does."""

    epoch = 0

    def __len__(self):
        return 8

    def __getitem__(self, index):
        values = torch.arange(3, dtype=torch.float32) + index + 10 * self.epoch
        return {"values": values, "labels": values.sum(0, keepdim=True)}


class NetworkTrainer(CheckpointTrainer):
    """The last layer has a learning rate of its own."""

    def part_of(self, name):
        return name.split(".")[0]


def run(out, resume=False, info=INFO, **more):
    """Train, or leave the finished run as it is; returns where it began and the trainer."""
    args = arguments(out, **STEPS | {"learning_rate": 1e-2} | more)
    info = info | software()
    beginning = find_beginning(args, info, resume=resume)
    trainer = NetworkTrainer(
        model=Network(), args=args, train_dataset=Rows(), training_info=info, rates={"last": 1e-3}
    )
    if not beginning.finished:
        run_training(trainer, beginning)
    return beginning, trainer


def test_a_network_resumes_exactly_and_knows_what_it_was_trained_on(tmp_path):
    whole, part = tmp_path / "whole", tmp_path / "part"
    _, trainer = run(whole)
    rates = {group["initial_lr"] for group in trainer.create_optimizer().param_groups}
    assert trainer.train_dataset.epoch == 1 and rates == {1e-2, 1e-3}
    shutil.copytree(whole / "checkpoint-3", part / "checkpoint-3")
    assert run(part, resume=True)[0].checkpoint == str(part / "checkpoint-3")
    assert log_of(part) == log_of(whole) and len(log_of(whole)) == 6
    for folder in (whole, part):
        assert (folder / "loss.png").is_file() and not list(folder.glob("*.bin"))
    evaluated = {"step": 6, "eval_loss": 0.5, "eval_answers_right": 0.5}
    assert loss_png([*trainer.state.log_history, evaluated]).startswith(b"\x89PNG")
    first, second = (load_file(folder / "model.safetensors") for folder in (whole, part))
    assert all(torch.equal(first[name], second[name]) for name in first)
    info = read_training_info(whole)
    assert (info["steps"], info["training"], info["weights_hash"]) == (6, {"width": 4}, weights_hash(whole))


def test_a_finished_network_is_left_as_it_is_and_another_run_is_refused(tmp_path):
    run(tmp_path, max_steps=3)
    assert run(tmp_path, max_steps=3)[0].finished == "3 steps"
    with pytest.raises(DataError, match=r"width is 8 now, and was 4.*--overwrite"):
        run(tmp_path, info=INFO | {"training": {"width": 8}})


def test_a_network_that_diverges_or_is_damaged_is_named(tmp_path):
    with pytest.raises(DataError, match="the training has diverged"):
        run(tmp_path / "far", learning_rate=1e30)
    run(tmp_path / "near", max_steps=3)
    weights = tmp_path / "near" / "checkpoint-3" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    (tmp_path / "near" / "megc.json").unlink()
    with pytest.raises(DataError, match="damaged or truncated"):
        run(tmp_path / "near", resume=True)


def test_the_axis_of_a_loss_that_falls_far_is_logarithmic():
    def scale(*losses: float) -> str:
        history = [{"step": step, "loss": loss} for step, loss in enumerate(losses, start=1)]
        return loss_figure(history).axes[0].get_yscale()

    assert scale(4.0, 0.3, 0.04) == "log"
    assert (scale(4.0, 3.0, 1.0), scale(4.0, 0.0), scale(2.0)) == ("linear",) * 3  # zero has no logarithm
