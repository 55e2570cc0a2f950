"""ZeRO-2, ZeRO-3 and plain data parallelism in two CPU processes take the steps of one process, and go on exactly."""

import csv
import os
import runpy
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_data import write_instructions

from megc.model import checkpoint
from megc.model.samples import PictureStore, chat_messages, read_samples

ROOT = Path(__file__).parents[2]
LORA = ["--lora_rank", "4", "--learning_rate", "5e-3"]
WAYS = {
    "data_parallel": [],
    "zero2": ["--deepspeed", "train/zero2.json"],
    "zero3": ["--deepspeed", "train/zero3.json"],
}
STEPS = 20


def flags(folder, out, batch):
    """Four clips to train on and four to evaluate on, so that batches are whole in one process and in two."""
    found = ["--model", folder / "base", "--train_file", folder / "train.jsonl", "--output_dir", out]
    found += ["--per_device_train_batch_size", batch, "--max_steps", STEPS, "--warmup_steps", 1, "--logging_steps", 1]
    found += ["--max_pixels", 12544, "--loss_per", "question", "--validation_share", 0.5]
    return [*map(str, found), "--eval_strategy", "steps", "--eval_steps", "10", "--disable_tqdm", "true"]


def values(out, column):
    with (out / "train_log.csv").open() as file:
        return [float(row[column]) for row in csv.DictReader(file) if row.get(column)]


def two_processes(folder, out, more):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
    command = [*launcher, "train.py", *flags(folder, out, 2), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_instructions(folder, clips=8)
    return folder


@pytest.fixture(scope="module")
def single(data):
    """A function that makes the same run in this process, once for each `more`; returns its folder."""

    def reference(more=()):
        out = data / ("lora" if more else "plain")
        if not out.exists():
            with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
                patch.setattr(sys, "argv", ["train.py", *flags(data, out, 4), *more])
                runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
            assert end.value.code == 0
        return out

    return reference


def answers(model_folder, data):
    """Greedy answers of a checkpoint to the questions of the first clip."""
    loaded = checkpoint.load(model_folder, device="cpu")
    store = PictureStore(loaded.processor)
    found = []
    for sample in read_samples(data / "train.jsonl")[:6]:
        text = loaded.processor.apply_chat_template(
            chat_messages(sample.record)[:2], tokenize=False, add_generation_prompt=True
        )
        pictures = [Image.fromarray(store.picture(path)) for path in sample.pictures]
        inputs = loaded.processor(text=[text], images=pictures, return_tensors="pt")
        out = loaded.model.generate(**inputs, max_new_tokens=24, do_sample=False, repetition_penalty=1.0)
        found.append(loaded.processor.decode(out[0, inputs["input_ids"].shape[1] :]))
    return found


def assert_same_run(out, wanted, data):
    assert len(values(out, "loss")) == STEPS
    for column in ("loss", "eval_loss", "eval_answers_right", "eval_right_coarse"):
        assert values(out, column) == pytest.approx(values(wanted, column), rel=1e-3), column
    assert answers(out, data) == answers(wanted, data)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_two_processes_train_as_one(data, single, tmp_path, way):
    printed = two_processes(data, tmp_path, WAYS[way])
    assert printed.count("language_model") == 1  # one process speaks
    assert_same_run(tmp_path, single(), data)


@pytest.mark.slow
def test_adapters_under_zero3_train_as_one_process_and_resume_exactly(data, single, tmp_path):
    whole, part = tmp_path / "whole", tmp_path / "part"
    more = ["--deepspeed", "train/zero3.json", "--save_strategy", "steps", "--save_steps", "8", *LORA]
    two_processes(data, whole, more)
    assert_same_run(whole, single(LORA), data)
    shutil.copytree(whole / "checkpoint-16", part / "checkpoint-16")
    assert f"resumes {part / 'checkpoint-16'}" in two_processes(data, part, [*more, "--resume"])
    assert values(part, "loss") == values(whole, "loss")
    weights = [checkpoint.load_model(folder).state_dict() for folder in (whole, part)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
