"""Killed at any moment, a run goes on as if nothing had happened."""

import multiprocessing
import os
import shutil
import signal

import pytest
import torch
from sft_runs import arguments, log_of, settings
from tiny_data import SMALL, write_instructions

from megc.model import checkpoint
from megc.problems import DataError
from megc.training.log import LossLog
from megc.training.sft import SftTrainer, prepare, train

STEPS = {"max_steps": 7, "save_strategy": "steps", "save_steps": 3, "per_device_train_batch_size": 1}
STEPS |= {"gradient_accumulation_steps": 2, "eval_strategy": "steps", "eval_steps": 3, "weight_decay": 0.1}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    return write_instructions(folder, clips=5, size=SMALL), folder / "tiny"


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    train(settings(*world, validation_share=0.2), arguments(out, **STEPS))
    return out


def killed(world, out, where, step):
    """Run in a process that kills itself when step `step` is logged, or while its checkpoint is written."""

    def run():
        owner, name = (LossLog, "on_log") if where == "logging" else (SftTrainer, "_save_optimizer_and_scheduler")
        kept = getattr(owner, name)

        def deadly(self, *args, **kwargs):
            state = self.state if where == "saving" else args[1]
            if state.global_step == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return kept(self, *args, **kwargs)

        setattr(owner, name, deadly)
        train(settings(*world, validation_share=0.2), arguments(out, **STEPS))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(("where", "step"), [("logging", 5), ("saving", 6)])
def test_kill_and_resume_give_the_same_log_and_weights(world, whole, tmp_path, where, step):
    out = tmp_path / "out"
    killed(world, out, where, step)
    left = sorted(path.name for path in out.glob("checkpoint-*"))
    assert left == (["checkpoint-3"] if step == 5 else ["checkpoint-3", "checkpoint-6"])
    train(settings(*world, validation_share=0.2, resume=True), arguments(out, **STEPS))
    for column in ("step", "loss", "eval_loss", "grad_norm", "learning_rate", "eval_right_coarse"):
        assert log_of(out, column) == log_of(whole, column), column
    wanted, found = (checkpoint.load_model(folder).state_dict() for folder in (whole, out))
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert (out / "loss.png").is_file()
    seconds = [float(value) for value in log_of(out, "seconds")]
    assert seconds == sorted(seconds)


def test_other_data_and_other_settings_do_not_resume(world, whole, tmp_path, capsys):
    shutil.copytree(whole / "checkpoint-3", tmp_path / "checkpoint-3")
    again = arguments(tmp_path, **STEPS, resume_from_checkpoint="last")
    for more, message in (
        ({"validation_share": 0.4}, "rows_hash"),
        ({"validation_share": 0.2, "packing": "none"}, "packing is none now, and was clip"),
        ({"validation_share": 0.2, "max_pixels": 50176}, "max_pixels is 50176 now, and was 12544"),
    ):
        with pytest.raises(DataError, match=message):
            prepare(settings(*world, **more), again)
    prepare(settings(*world, validation_share=0.2, shift=1), again)
    assert "shift is 1 now, and was 3" in capsys.readouterr().out


def test_checkpoints_of_more_processes_are_neither_resumed_nor_deleted(world, whole, tmp_path):
    shutil.copytree(whole / "checkpoint-3", tmp_path / "checkpoint-3")
    (tmp_path / "checkpoint-3" / "rng_state.pth").rename(tmp_path / "checkpoint-3" / "rng_state_0.pth")
    with pytest.raises(DataError, match=r"no complete checkpoint of 1 process\(es\)"):
        prepare(settings(*world, validation_share=0.2, resume=True), arguments(tmp_path, **STEPS))
    assert (tmp_path / "checkpoint-3" / "model.safetensors").is_file()
