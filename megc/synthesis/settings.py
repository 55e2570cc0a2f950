"""Settings of the synthetic sets and of the commands that write them; nothing heavy is imported here."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from megc.command import option
from megc.motion.settings import FieldEncoding

# The layouts of `layouts.yaml`, and all of them at once.
LayoutName = Literal[
    "all", "casme2", "casme2-2014", "casme2-raw", "samm", "samm-v1", "smic", "smic-raw", "smic-long", "smic-long-vis",
    "casme", "casme_sq", "casme3", "casme3-long", "casme3-clips", "casme3_c", "casme3_c-long", "4dme", "mmew",
    "mmew-by-subject", "samm_lv", "challenge",
]  # fmt: skip


@dataclass(frozen=True)
class Difficulty:
    """What makes a set hard. Pixels are those of a face 236 px wide."""

    amplitude: float = option(1.7, "median peak motion of a clip's largest action unit, px")
    spread: float = option(0.38, "standard deviation of its logarithm")
    variation: float = option(1.0, "factor of the differences between subjects' action units")
    drift: float = option(1.0, "factor of head motion")
    noise: float = option(1.0, "factor of sensor noise")
    blink: float = option(0.1, "share of clips with a blink")


@dataclass(frozen=True)
class DemoSettings:
    """What decides the bytes of a demo set."""

    seed: int = option(2, "another seed, other people and clips")
    casme2_subjects: int = option(24, "at most 99")
    samm_subjects: int = option(12, "at most 31")
    clips: int = option(16, "clips of each subject")
    every: int = option(4, "write each n-th frame, besides onset, apex and offset; 1 writes all")
    samm_width: int = option(480, "width of SAMM frames; real: 960", flag="samm-size")
    others: float = option(0.08, "share of clips labelled others")
    difficulty: Difficulty = field(default_factory=Difficulty)


@dataclass(frozen=True)
class LongSettings:
    """What decides the bytes of a set of long videos, besides seed, `others` and difficulty."""

    long_subjects: int = option(8, "subjects of each dataset of long videos, at most 31")
    videos: int = option(2, "long videos of each subject, at most 7")
    samm_seconds: float = option(10, "length of a video of SAMM-LV, 200 frames a second")
    casme3_seconds: float = option(40, "length of a video of CAS(ME)³, 30 frames a second")
    micros: int = option(2, "micro-expressions of a long video, on average; 0: none")
    macros: int = option(2, "macro-expressions of a long video, on average; 0: none")
    talks: int = option(1, "times that somebody talks in a long video, on average; 0: never")
    blinks: float = option(15, "blinks a minute in long videos")
    turns: float = option(4, "turns of the head a minute in long videos")
    long_width: int = option(240, "width of long videos' frames; the face is half as wide")


@dataclass(frozen=True)
class MakeDemoSettings:
    """data_process/make_demo_dataset.py: the set, and the folder to write."""

    out: Path = option(Path("dataset/demo"), "folder to write")
    layout: tuple[LayoutName, ...] = option((), "instead of the demo set: small sets as real datasets are released")
    long: bool = option(False, "instead of the demo set: long videos in the layouts of SAMM-LV and CAS(ME)³")
    demo: DemoSettings = field(default_factory=DemoSettings)
    long_videos: LongSettings = field(default_factory=LongSettings)
    workers: int = option(os.cpu_count() or 1, "processes (default: one a core); results do not change")
    overwrite: bool = option(False, "delete an earlier demo set in the folder first")


@dataclass(frozen=True)
class FlowSetSettings:
    """data_process/make_flow_set.py: flow pictures to draw, and questions on each."""

    clips: int = option(4000, "number of pictures")
    size: int = option(28, "pixels a side")
    encoding: FieldEncoding = option("uv-strain-centred", "of the pictures")
    pairs: int = option(4, "pairs of yes/no questions a picture")
    bare: bool = option(False, "ask without system prompt, legend and regions")
    motion_words: bool = option(False, "say in words which regions of the face move, where to and how far")
    seed: int = option(0, "another seed, other pictures")
    out: Path = option(Path("dataset/synthetic_flow"), "folder to write")
