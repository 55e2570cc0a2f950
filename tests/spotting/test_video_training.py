"""train/train_video.py: lists of clips in, a checkpoint folder out; two processes under ZeRO take the steps of one."""

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
from safetensors.torch import load_file
from sft_runs import log_of
from video_clips import SMALL, video_arguments, video_settings, write_clips

from megc.model.checkpoint import read_training_info
from megc.problems import DataError
from megc.spotting.clip_lists import ClipListSource, LabelledClip, crop_recipes, read_clip_list, write_clip_list
from megc.spotting.video_encoders import load_classifier
from megc.spotting.video_training import train

ROOT = Path(__file__).parents[2]
STEPS = 6


def test_a_classifier_is_pretrained_trained_and_known_by_its_record(tmp_path):
    clips, others = write_clips(tmp_path, 6), write_clips(tmp_path, 2, "val.csv", first=6)
    pretrained, out = tmp_path / "pretrained", tmp_path / "out"
    train(video_settings(clips, task="pretrain", targets="differences"), video_arguments(pretrained))
    assert (pretrained / "reconstruction.png").is_file()
    settings = video_settings(clips, start_from=str(pretrained), eval_file=str(others), crop="plain", mixup=0.8)
    arguments = {"eval_strategy": "steps", "eval_steps": 3}
    train(settings, video_arguments(out, **arguments))
    info = read_training_info(out)
    assert info["recipes"] == {"crop": [{"name": "plain"}]} and info["base"] == str(pretrained)
    assert (info["data"]["clips"], info["steps"]) == (6, 6) and info["training"]["architecture"] == "videomae"
    assert len(log_of(out, "eval_uar")) == 2
    load_classifier(out, {"name": "plain"})
    assert train(settings, video_arguments(out, **arguments)) == {}  # finished already
    with pytest.raises(DataError, match="cut otherwise"):
        train(video_settings(clips, start_from=str(out), crop="other"), video_arguments(tmp_path / "again"))
    with pytest.raises(DataError, match=r"heads is 4 now, and was 3.*--overwrite"):
        changed = video_settings(clips, start_from=str(pretrained), eval_file=str(others), crop="plain", heads=4)
        train(changed, video_arguments(out, **arguments))


def test_what_does_not_fit_is_refused_before_the_first_step(tmp_path):
    clips, out = write_clips(tmp_path, 4), tmp_path / "out"
    with pytest.raises(ValueError, match="--mask part_window"):
        train(video_settings(clips, task="pretrain", architecture="lgi_former", mask="tube"), video_arguments(out))
    with pytest.raises(DataError, match="image_size 40 is no multiple of patch_size 16"):
        train(video_settings(clips, image_size=40), video_arguments(out))
    with pytest.raises(DataError, match="is trained on too"):
        train(video_settings(clips, eval_file=str(clips)), video_arguments(out, eval_strategy="steps", eval_steps=3))
    with pytest.raises(ValueError, match="need each other"):
        train(video_settings(clips, eval_file=str(clips)), video_arguments(out))
    with pytest.raises(ValueError, match=r"a mask ratio of 0\.4 hides 0 of 8"):
        train(video_settings(clips, task="pretrain", mask_ratio=0.4, region=[2, 1, 1]), video_arguments(out))
    assert not list(out.glob("*.safetensors"))


def test_lists_of_clips_come_back_and_bad_lines_are_named(tmp_path):
    clips = read_clip_list(write_clips(tmp_path, 3))
    assert [clip.label for clip in clips] == [0, 1, 0]
    spaced = tmp_path / "a b"
    shutil.copytree(clips[0].path, spaced)
    write_clip_list(tmp_path / "all.csv", [*clips, LabelledClip(spaced, 2)])
    assert (tmp_path / "all.csv").read_text().splitlines() == ["clips/000 0", "clips/001 1", "clips/002 0", "a b,2"]
    assert [(clip.path.resolve(), clip.label) for clip in read_clip_list(tmp_path / "all.csv")][3] == (spaced, 2)
    (tmp_path / "bad.csv").write_text("clips/000 0\nclips/nine 1\nclips/001 happy\n")
    with pytest.raises(DataError, match=r"row 2: clips/nine does not exist \(and 1 more bad lines\)"):
        read_clip_list(tmp_path / "bad.csv")
    assert crop_recipes(clips, "") == [] and crop_recipes(clips, "plain") == [{"name": "plain"}]


def test_frames_of_a_clip_stand_a_stride_apart_or_are_spread(tmp_path):
    clips = read_clip_list(write_clips(tmp_path, 2, frames=12))
    positions = ClipListSource(clips, 4, 2)._positions
    usable = torch.ones(12, dtype=torch.bool).numpy()
    assert positions(usable, None, 0).tolist() == [0, 2, 4, 6] and positions(usable, None, 1).tolist() == [5, 7, 9, 11]
    assert ClipListSource(clips, 4, 9)._positions(usable, None, 0.5).tolist() == [0, 4, 7, 11]
    usable[:3] = False
    assert positions(usable, None, 0).tolist() == [3, 5, 7, 9]
    source = ClipListSource(clips, 4, 2, starts=2)
    assert len(source) == 4 and [source.label(number) for number in range(4)] == [0, 0, 1, 1]
    assert source.frames(3, None).shape == (4, 40, 48, 3)


def flags(train_file, out, batch, more):
    sizes = [
        word
        for name, value in SMALL.items()
        for word in (f"--{name}", *map(str, value if isinstance(value, list) else [value]))
    ]
    found = ["--train_file", train_file, "--output_dir", out, "--per_device_train_batch_size", batch, *sizes]
    found += ["--max_steps", STEPS, "--logging_steps", 1, "--disable_tqdm", "true", "--smallest_crop", 0.66]
    return [*map(str, found), *more]


def losses(out):
    with (out / "train_log.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]


def two_processes(words):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
    command = [*launcher, "train/train_video.py", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["zero2", "zero3"])
@pytest.mark.parametrize("more", [["--task", "pretrain"], ["--layer_decay", "0.75"]], ids=["pretrain", "classify"])
def test_two_processes_take_the_steps_of_one_and_go_on_exactly(tmp_path, monkeypatch, stage, more):
    clips = write_clips(tmp_path, 8)
    more = [*more, "--architecture", "lgi_former" if stage == "zero3" else "videomae"]
    monkeypatch.setattr(sys, "argv", ["train_video.py", *flags(clips, tmp_path / "single", 4, more)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "train/train_video.py"), run_name="__main__")
    assert end.value.code == 0
    whole, part = tmp_path / "whole", tmp_path / "part"
    more += ["--deepspeed", f"train/{stage}.json", "--save_strategy", "steps", "--save_steps", "4"]
    two_processes(flags(clips, whole, 2, more))
    assert losses(whole) == pytest.approx(losses(tmp_path / "single"), rel=1e-4)
    shutil.copytree(whole / "checkpoint-4", part / "checkpoint-4")
    assert f"resumes {part / 'checkpoint-4'}" in two_processes(flags(clips, part, 2, [*more, "--resume"]))
    assert losses(part) == losses(whole)
    weights = [load_file(folder / "model.safetensors") for folder in (whole, part)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert (whole / "reconstruction.png").is_file() == ("pretrain" in more)
