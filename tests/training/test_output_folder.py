"""What lies in the output folder is never replaced without a word, and a finished run resumes to nothing."""

import errno
import os
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from sft_runs import arguments, log_of, settings
from tiny_data import SMALL, write_instructions
from transformers import PreTrainedModel, TrainingArguments

from megc.files import lock_folder, read_jsonl, write_jsonl
from megc.model import checkpoint
from megc.problems import DataError
from megc.training import output_folder
from megc.training.output_folder import PART, WHOLE, full_disk_named
from megc.training.settings import read_config
from megc.training.sft import SftTrainer, prepare, train

ROOT = Path(__file__).parents[2]
STEPS = {"max_steps": 3, "save_strategy": "steps", "save_steps": 2, "per_device_train_batch_size": 1}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    return write_instructions(folder, clips=2, size=SMALL), folder / "tiny"


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished")
    train(settings(*world), arguments(out, **STEPS))
    return out


@pytest.fixture
def out(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "out"))


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("resume", [True, False])
def test_a_finished_run_is_left_as_it_is(world, out, capsys, resume):
    before = stamps(out)
    for _ in range(2):
        assert train(settings(*world, resume=resume), arguments(out, **STEPS)) == {}
        assert "is already finished: 3 steps with these settings and data" in capsys.readouterr().out
    assert stamps(out) == before


def test_resumed_behind_its_last_step_a_run_takes_no_other(world, finished, out):
    """Within an epoch, where the base class takes one step too many."""
    for name in ("megc.json", "model.safetensors"):
        (out / name).unlink()
    train(settings(*world, resume=True), arguments(out, **STEPS))
    assert weights(out) == weights(finished) and checkpoint.read_training_info(out)["steps"] == 3
    assert log_of(out, "step") == ["1", "2", "3"]


def test_more_steps_go_on_from_the_last_checkpoint_and_other_rates_change_nothing(world, out, capsys):
    before = weights(out)
    train(settings(*world, resume=True), arguments(out, **{**STEPS, "learning_rate": 1e-4}))
    assert "is already finished: 3 steps, and none is left to take" in capsys.readouterr().out
    assert weights(out) == before and checkpoint.read_training_info(out)["training"]["learning_rate"] == 1.5e-3
    train(settings(*world, resume=True), arguments(out, **{**STEPS, "max_steps": 5}))
    assert checkpoint.read_training_info(out)["steps"] == 5 and weights(out) != before
    for path in out.glob("checkpoint-*"):
        shutil.rmtree(path)
    with pytest.raises(DataError, match=r"holds no states to go on from: max_steps is 9 now, and was 5.*--overwrite"):
        train(settings(*world, resume=True), arguments(out, **{**STEPS, "max_steps": 9}))


def other_answers(train_file):
    path = train_file.with_name("other.jsonl")
    rows = [row for _, row in read_jsonl(train_file)]
    rows[0]["messages"][2]["content"] = "positive"
    write_jsonl(path, rows)
    return path


def test_a_finished_checkpoint_is_replaced_only_when_told_on_the_command_line(world, out, tmp_path):
    before = stamps(out)
    path = other_answers(world[0])
    for run, more, message in (
        (settings(*world), {"max_steps": 2}, r"finished checkpoint \(3 steps\) is of another run: max_steps is 2"),
        (settings(path, world[1], build_tiny=False), {}, "the rows or their pictures differ"),
        (settings(*world, shift=1), {}, "shift is 1 now, and was 3; give another --output_dir, or .* --overwrite"),
    ):
        with pytest.raises(DataError, match=message):
            train(run, arguments(out, **{**STEPS, **more}))
    assert stamps(out) == before
    file = tmp_path / "run.yaml"
    file.write_text("overwrite: true\n")
    with pytest.raises(DataError, match="--overwrite on the command line"):
        read_config(file, {"overwrite"})
    with pytest.raises(ValueError, match="give one of them"):
        prepare(settings(*world, overwrite=True, resume=True), arguments(out, **STEPS))
    train(settings(*world, overwrite=True), arguments(out, **{**STEPS, "max_steps": 1}))
    assert checkpoint.read_training_info(out)["steps"] == 1
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-1"]


def test_a_changed_picture_is_another_run(world, out):
    picture = next(world[0].parent.rglob("flow.png"))
    before = picture.read_bytes()
    try:
        picture.write_bytes(picture.with_name("apex.png").read_bytes())
        for resume, message in ((False, "the rows or their pictures differ"), (True, "content_hash is")):
            with pytest.raises(DataError, match=message):
                train(settings(*world, resume=resume), arguments(out, **STEPS))
    finally:
        picture.write_bytes(before)


def test_weights_of_somebody_else_are_neither_replaced_nor_trained_onto_themselves(world, tmp_path):
    prepare(settings(*world), arguments(tmp_path))  # builds the tiny checkpoint
    foreign = Path(shutil.copytree(world[1], tmp_path / "foreign"))
    with pytest.raises(DataError, match=r"holds model.safetensors, which is of no finished run of train.py"):
        prepare(settings(*world), arguments(foreign))
    with pytest.raises(ValueError, match="is the checkpoint to start from"):
        prepare(settings(*world, overwrite=True), arguments(world[1]))


@pytest.mark.parametrize("moved", [0, 3, 7])
def test_a_final_save_that_was_interrupted_is_completed(world, finished, out, moved, monkeypatch):
    """Its files are written and `moved` of them in place when the process is gone."""
    (out / PART).mkdir()
    for path in finished.iterdir():
        if path.is_file() and path.name not in ("train_log.csv", "loss.png"):
            shutil.copy(path, out / PART)
    places = iter([True] * moved)

    def replace(*paths):
        if not next(places, False):
            raise KeyboardInterrupt
        return os.rename(*paths)

    monkeypatch.setattr(output_folder.os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        output_folder.publish(out)
    monkeypatch.undo()
    assert not (out / "megc.json").exists() and (out / WHOLE).exists()
    assert train(settings(*world, resume=True), arguments(out, **STEPS)) == {}
    assert not (out / WHOLE).exists() and weights(out) == weights(finished)
    assert (out / "megc.json").read_bytes() == (finished / "megc.json").read_bytes()


def test_weights_without_states_begin_anew(world, out, capsys):
    """What --save_only_model leaves of a killed run; checkpoints with states are made as before."""
    shutil.rmtree(out)
    train(settings(*world), arguments(out, **STEPS, save_only_model=True))
    assert not list((out / "checkpoint-2").glob("*.pt*"))
    before = weights(out)
    (out / "megc.json").unlink()
    (out / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"holds 2 checkpoint\(s\)"):
        train(settings(*world), arguments(out, **STEPS, save_only_model=True))
    train(settings(*world, resume=True), arguments(out, **STEPS, save_only_model=True))
    assert "begins anew: checkpoint-3 has weights without states (--save_only_model)" in capsys.readouterr().out
    assert weights(out) == before


@pytest.mark.parametrize("where", ["checkpoint-2", PART])
def test_a_full_disk_says_so_and_keeps_the_last_complete_checkpoint(world, finished, tmp_path, monkeypatch, where):
    out = tmp_path / "out"
    write = PreTrainedModel.save_pretrained

    def full(self, folder, *args, **kwargs):
        write(self, folder, *args, **kwargs)
        if Path(folder).name == where:
            raise safetensors.SafetensorError("Error while serializing: I/O error: No space left (os error 28)")

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", full)
    steps = {**STEPS, "save_steps": 1}
    with pytest.raises(OSError, match="No space left on device") as error:
        train(settings(*world), arguments(out, **steps))
    assert error.value.errno == errno.ENOSPC and Path(error.value.filename).name == where
    assert not (out / where).exists() and (out / "checkpoint-1" / "trainer_state.json").is_file()
    monkeypatch.undo()
    train(settings(*world, resume=True), arguments(out, **steps))
    assert weights(out) == weights(finished)


def test_torchs_way_to_say_that_the_disk_is_full_is_known(tmp_path):
    with pytest.raises(OSError, match="No space left"), full_disk_named(tmp_path / "x", True):
        (tmp_path / "x").mkdir()
        torch.save(torch.zeros(100_000), "/dev/full")
    assert not (tmp_path / "x").exists()
    with pytest.raises(RuntimeError, match="shapes"), full_disk_named(tmp_path, True):
        raise RuntimeError("shapes differ")  # stays what it is
    assert tmp_path.exists()


def run_program(world, out, monkeypatch, *more):
    """Exit code of train.py."""
    flags = ["--train_file", str(world[0]), "--model", str(world[1]), "--output_dir", str(out), "--max_steps", "1"]
    monkeypatch.setattr(sys, "argv", ["train.py", *flags, "--disable_tqdm", "true", *more])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    return end.value.code


def test_a_second_training_in_the_folder_refuses(world, out, monkeypatch, capsys):
    before = weights(out), (out / "megc.json").read_bytes()
    with lock_folder(out, "training"):
        assert run_program(world, out, monkeypatch, "--overwrite") == 1
    assert "another run is at work there" in capsys.readouterr().err
    assert before == (weights(out), (out / "megc.json").read_bytes())


def test_ctrl_c_and_a_full_disk_are_a_line_and_a_code(world, tmp_path, monkeypatch, capsys):
    for error, code, line in (
        (
            KeyboardInterrupt(),
            130,
            "Stopped. --resume goes on from the last checkpoint with states, or begins anew.\n",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "log"), 1, "no space left on log: what is finished is kept"),
    ):

        def fail(*args, error=error, **kwargs):
            raise error

        monkeypatch.setattr(SftTrainer, "training_step", fail)
        assert run_program(world, tmp_path, monkeypatch, "--overwrite") == code
        assert line in capsys.readouterr().err


def test_an_empty_training_file_is_an_error(world, tmp_path):
    empty = tmp_path / "train.jsonl"
    for text in ("", "\n\n"):
        empty.write_text(text)
        with pytest.raises(DataError, match=r"train.jsonl: no (usable row|question) in the file"):
            prepare(settings(empty, world[1]), arguments(tmp_path / "out"))


def test_several_gpus_without_a_launcher_train_on_one(world, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "device_count", lambda: 4)
        patch.setattr(torch.cuda, "is_available", lambda: False)  # it asks for the count, and for a driver then
        args = TrainingArguments(output_dir=str(tmp_path), max_steps=1, report_to="none", save_strategy="no")
        assert args.n_gpu == 4
    args.remove_unused_columns, args.dataloader_pin_memory = False, False
    run = prepare(settings(*world), args)
    assert args.n_gpu == 1 and args.train_batch_size == args.per_device_train_batch_size
    assert "4 GPUs, but no launcher: training on one of them" in capsys.readouterr().out
    run.trainer.train()
    assert not isinstance(run.trainer.model_wrapped, torch.nn.DataParallel)
