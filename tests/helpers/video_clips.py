"""Lists of small clips, and short runs of a small video encoder on them."""

from pathlib import Path

import cv2
import numpy as np
from sft_runs import arguments

from megc.spotting.clip_lists import LabelledClip, write_clip_list
from megc.spotting.settings import VideoSettings

SMALL = {"image_size": 32, "num_frames": 4, "dim": 24, "depth": 2, "heads": 3, "region": [2, 1, 2], "stride": 2}
SMALL |= {"decoder_dim": 24, "decoder_depth": 1, "decoder_heads": 2, "mask": "part_window", "mask_ratio": 0.5}


def write_clips(folder: Path, count: int, name: str = "train.csv", frames: int = 12, first: int = 0) -> Path:
    """A list of clips of frames on noise: a bright square moves to the right in class 1, and stays in class 0."""
    clips = []
    for number in range(first, first + count):
        clip = folder / "clips" / f"{number:03d}"
        clip.mkdir(parents=True, exist_ok=True)
        random, label = np.random.default_rng(number), number % 2
        for time in range(frames):
            frame = random.integers(0, 60, (40, 48, 3), dtype=np.uint8)
            left = 4 + 2 * time * label
            frame[12:24, left : left + 12] = 230
            cv2.imwrite(str(clip / f"{time + 1:03d}.png"), frame)
        clips.append(LabelledClip(clip, label))
    write_clip_list(folder / name, clips)
    return folder / name


def video_settings(train_file: Path, **more) -> VideoSettings:
    """Settings of a run of a small encoder."""
    return VideoSettings(**{**SMALL, "train_file": str(train_file), "layer_decay": 0.75, **more})


def video_arguments(out: Path, **more) -> object:
    """TrainingArguments of a few quick steps."""
    return arguments(out, **{"max_steps": 6, "per_device_train_batch_size": 2, **more})
