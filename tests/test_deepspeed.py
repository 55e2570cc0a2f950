"""ZeRO-2, ZeRO-3 and plain data parallelism in two CPU processes take the steps of one process."""

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_data import write_instructions

from megc.model import checkpoint

ROOT = Path(__file__).parents[1]
WAYS = {
    "data_parallel": [],
    "zero2": ["--deepspeed", "train/zero2.json"],
    "zero3": ["--deepspeed", "train/zero3.json"],
}


def run(folder, out, batch, launcher, more=()):
    flags = ["--model", folder / "base", "--train_file", folder / "train.jsonl", "--output_dir", out]
    flags += ["--per_device_train_batch_size", batch, "--max_steps", 4, "--warmup_steps", 1, "--logging_steps", 1]
    command = [*launcher, "train.py", *map(str, flags), "--disable_tqdm", "true", *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with (out / "train_log.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)], done.stdout


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    folder = tmp_path_factory.mktemp("single")
    write_instructions(folder, clips=4)
    losses, _ = run(folder, folder / "out", 4, [sys.executable])
    return folder, losses


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_two_processes_train_as_one(single, tmp_path, way):
    folder, wanted = single
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
    losses, printed = run(folder, tmp_path, 2, launcher, WAYS[way])
    assert losses == pytest.approx(wanted, rel=1e-4)
    assert printed.count("language_model") == 1  # one process speaks
    weights = checkpoint.load_model(tmp_path).state_dict()
    for name, value in checkpoint.load_model(folder / "out").state_dict().items():
        torch.testing.assert_close(weights[name], value, atol=2e-4, rtol=1e-3)
    assert checkpoint.read_record(tmp_path)["data"]["clips"] == 4
