"""Killed with SIGKILL at random and at chosen moments, a run ends after --resume in the bytes of the undisturbed one.

`KILLS=50 pytest tests/training/test_kills.py -s` kills fifty times and prints how many kills fell into which phase.
"""

import collections
import csv
import json
import multiprocessing
import os
import random
import shutil
import signal
import time

import pytest
from sft_runs import arguments, settings
from tiny_data import write_instructions
from video_clips import video_arguments, video_settings, write_clips

from megc.spotting import video_training
from megc.training import output_folder, sft
from megc.training.output_folder import PART, WHOLE, checkpoints
from megc.training.resume import is_complete
from megc.training.trainer import CheckpointTrainer

KILLS = int(os.environ.get("KILLS", "6"))
STEPS = {"max_steps": 5, "save_strategy": "steps", "save_steps": 2, "per_device_train_batch_size": 1}
STRATEGIES = ({}, {"save_total_limit": 1}, {"save_strategy": "no"})
PHASES = (
    "before the first checkpoint",
    "between",
    "while a checkpoint is written",
    "during the final save",
    "after it",
)
# The place in the program from which on the kill may fall, and the share of the kills that it gets.
PLACES = {"start": 2, "stepping": 2, "checkpoint": 3, "final": 3, "publish": 3, "end": 2}


def train_language_model(folder, out, more, resume):
    """The run of train.py: the tiny Qwen2.5-VL on four clips."""
    run = settings(folder / "train.jsonl", folder / "tiny", resume=resume, max_pixels=3136)
    sft.train(run, arguments(out, **{**STEPS, **more}))


def pretrain_video_encoder(folder, out, more, resume):
    """The run of train_video.py: a small LGI-Former that rebuilds clips; a picture is part of its checkpoint."""
    run = video_settings(folder / "train.csv", task="pretrain", architecture="lgi_former", resume=resume)
    run.smallest_crop, run.flip = 0.66, 0.5
    video_training.train(run, video_arguments(out, **{**STEPS, **more}))


def train_in_child(world, out, more, resume, place, pipe):
    """The run in this process, which tells `pipe` when it comes to `place`; the parent kills it then or later."""

    def announce(owner, name, where):
        whole = getattr(owner, name)

        def announced(*args, **kwargs):
            if place == where:
                pipe.send(where)
            return whole(*args, **kwargs)

        setattr(owner, name, announced)

    if place == "start":
        pipe.send(place)
    announce(CheckpointTrainer, "training_step", "stepping")
    announce(CheckpointTrainer, "_save_checkpoint", "checkpoint")
    announce(CheckpointTrainer, "save_final", "final")
    announce(output_folder, "_remove_finished", "publish")
    if place == "publish":  # a matter of microseconds otherwise
        moved = os.replace
        output_folder.os = type("SlowOs", (), {"replace": lambda *paths: (time.sleep(0.01), moved(*paths))})
    train, folder = world
    train(folder, out, more, resume)
    if place == "end":
        pipe.send(place)
    pipe.send("done")
    if place == "end":
        time.sleep(60)


def start(world, out, more, resume, place=None):
    """The process of a run, and the end of the pipe that it speaks to."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=train_in_child, args=(world, out, more, resume, place, theirs))
    process.start()
    theirs.close()
    return process, ours


def kill(world, out, more, resume, place, calls, delay):
    """Start a run, wait until it has come to `place` for the `calls`-th time, and `delay` seconds more; kill it.

    Returns False when the run ended before.
    """
    process, pipe = start(world, out, more, resume, place)
    try:
        while calls and pipe.recv() != "done":
            calls -= 1
    except EOFError:
        process.join()
        raise AssertionError(f"the run failed before it was killed, code {process.exitcode}") from None
    time.sleep(0 if place == "end" else delay)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL


def finish(world, out, more, resume):
    process, _ = start(world, out, more, resume)
    process.join(300)
    process.kill()  # nothing, but for a run that hangs
    process.join()
    assert process.exitcode == 0


def phase(out):
    """What the kill has met, read from the folder that it left."""
    if (out / PART).exists() or (out / WHOLE).exists():
        return PHASES[3]
    if (out / "megc.json").exists():
        return PHASES[4]
    left = checkpoints(out)
    if left and not is_complete(left[-1], 1):
        return PHASES[2]
    return PHASES[1] if left else PHASES[0]


def content(out):
    """Bytes of all files that a run leaves, but for seconds in logs and states, and for the commit of the code."""
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    found = {name: path.read_bytes() for name, path in files.items() if not name.endswith("trainer_state.json")}
    for name in [name for name in found if name.endswith("megc.json")]:
        found[name] = json.dumps({**json.loads(found[name]), "git": None}).encode()
    rows = list(csv.DictReader(found.pop("train_log.csv").decode().splitlines()))
    return {**found, "train_log.csv": json.dumps([{**row, "seconds": None} for row in rows]).encode()}


def differing(out, wanted):
    found = content(out)
    return sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))


@pytest.mark.slow
@pytest.mark.parametrize("train", [train_language_model, pretrain_video_encoder])
def test_a_killed_run_ends_in_the_bytes_of_the_undisturbed_one(tmp_path, train):
    world, out = (train, tmp_path), tmp_path / "out"
    if train is train_language_model:
        write_instructions(tmp_path, clips=4, size=(56, 56))
    else:
        write_clips(tmp_path, 4)
    wanted, seconds = {}, {}
    for number, more in enumerate(STRATEGIES):
        began = time.monotonic()
        finish(world, out, more, resume=False)
        seconds[number] = time.monotonic() - began
        wanted[number] = content(out)
        shutil.rmtree(out)
    draw = random.Random(int(os.environ.get("KILL_SEED", "0")))
    counts, equal, kills = collections.Counter(), collections.Counter(), 0
    while kills < KILLS:
        number = draw.choices(range(len(STRATEGIES)), (3, 2, 2))[0]
        more, met = STRATEGIES[number], []
        for again in range(draw.choice((1, 1, 2))):  # sometimes the resumed run is killed as well
            place = draw.choices(list(PLACES), list(PLACES.values()))[0]
            if place == "checkpoint" and more.get("save_strategy") == "no":
                place = "final"
            longest = {"start": seconds[number], "stepping": 0.1, "publish": 0.15}.get(place, 0.08)
            calls = draw.randint(1, {"stepping": 5, "checkpoint": 3}.get(place, 1))
            if kill(world, out, more, bool(again), place, calls, draw.uniform(0, longest)):
                met.append(phase(out))
        kills += len(met)
        counts.update(met)
        finish(world, out, more, resume=True)
        left = differing(out, wanted[number])
        assert not left, f"killed {met} with {more}: {left}"
        equal.update(met)
        shutil.rmtree(out)
        print(f"{kills:>4} killed {met}, then in the same bytes", flush=True)
    print(f"\n{kills} kills, then --resume until the end:")
    for name in PHASES:
        print(f"  {name:<32}{counts[name]:>4}, of which in the same bytes {equal[name]:>4}")
