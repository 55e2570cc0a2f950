"""Settings of the commands on spotting; nothing heavy is imported here."""

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Literal

from megc.command import option

TrackName = Literal["signal", "proposals"]


@dataclass(frozen=True)
class TrackSettings:
    """ablation/spotting_tracks.py: real data of spotting without faces, and what to do with them."""

    data: Path = option(
        Path("../shared/real/spotting"), "folder of events, videos, curves of motion and published predictions"
    )
    tracks: tuple[TrackName, ...] = option(("signal", "proposals"), "what to run")
    datasets: tuple[Literal["casme_sq", "samm_lv"], ...] = option(("casme_sq", "samm_lv"), "datasets to run on")
    out: Path = option(Path("result/spotting_tracks"), "folder of tracks.csv, tracks.md and the spotted intervals")
    draws: int = option(20, "draws of the row of random intervals")
    resamples: int = option(1000, "bootstrap resamples")
    seed: int = option(0, "seed of models, draws and bootstrap")


@dataclass(frozen=True)
class SpotExpressionsSettings:
    """test/spot_expressions.py: videos, the spotter, and the folder to write."""

    source: tuple[Path, ...] = option((), "video files or folders of frames", positional=True)
    videos: Path = option(Path("dataset/demo/long/videos.jsonl"), "without VIDEO: the videos of a dataset")
    fps: float = option(30.0, "frame rate of folders of frames")
    spotter: tuple[Path, ...] = option(
        (), "folders of a trained spotter and of its refiners, in order; default: the optical-flow spotter, untrained"
    )
    inputs: Path | None = option(None, "folder of what is measured on the videos (default: `inputs` below --out)")
    out: Path = option(Path("result/spotted"), "folder to write")
    timeline: bool = option(True, "draw a timeline of each video")
    workers: int = option(1, "processes that measure")
    skip_bad: bool = option(False, "exit with 0 even if some videos failed or end early")

    def __post_init__(self) -> None:
        if not self.fps > 0:
            raise ValueError("--fps must be positive")


@dataclass(frozen=True)
class TrainSpotterSettings:
    """train/train_spotter.py: a kind of spotter, and the videos that it learns from."""

    config: Path = option(MISSING, "yaml file: `kind`, and the settings of that spotter")
    output_dir: Path = option(MISSING, "folder to write: spotter.json, weights, log")
    set: tuple[str, ...] = option((), "settings that go before the file's, as epochs=2")
    videos: Path = option(Path("dataset/demo/long/videos.jsonl"), "long videos with their events")
    inputs: Path = option(Path("dataset/demo/long"), "folder above region_flow and what else was measured on them")
    subjects: tuple[str, ...] = option((), "learn from these alone, as samm_lv/006; default: all of them")
    leave_out: tuple[str, ...] = option((), "subjects that it must not see, as samm_lv/006")
    overwrite: bool = option(False, "replace a spotter of other settings or subjects in --output_dir")


@dataclass(frozen=True)
class IndexIntervalsSettings:
    """data_process/index_intervals.py: annotated long videos, proposals in them, and the clips to write."""

    videos: Path = option(Path("dataset/demo/long/videos.jsonl"), "long videos with their events")
    proposals: tuple[Path, ...] = option((), "intervals of spotters on these videos, as score_spotting.py takes them")
    inputs: Path | None = option(
        None, "folder above region_flow, by which apexes are spotted (default: when the key frames are cut)"
    )
    jitter: int = option(3, "copies of each event with other ends")
    seed: int = option(0, "of the copies' ends")
    out: Path = option(Path("dataset/demo/long/intervals/clips.jsonl"), "file to write")
    skip_bad: bool = option(False, "exit with 0 although rows of proposals were left out")


@dataclass(frozen=True)
class VlmSettings:
    """`kind: vlm`: a vision-language model looks at another spotter's intervals.

    Raises ValueError for numbers out of range.
    """

    model: str = option("", "checkpoint that answers as it is; empty: the tiny one is trained")
    base: str = option("flow", "kind of the spotter whose false alarms are shown as no expression")
    images: tuple[Literal["onset", "apex", "offset", "flow"], ...] = option(("flow",), "pictures, in order")
    jitter: int = option(3, "copies of each event with other ends")
    steps: int = option(400, "optimiser steps")
    batch: int = option(8, "intervals of a step")
    learning_rate: float = option(1.5e-3, "highest rate")
    max_pixels: int = option(23520, "of a picture: half of an aligned crop")
    shift: int = option(4, "pixels by which pictures are moved in training")
    held_out: float = option(0.25, "share of the subjects that the threshold is chosen on; they are not trained on")
    typed_by: Literal["duration", "model"] = option("duration", "what says micro or macro")
    threads: int = option(1, "of the CPU")
    seed: int = option(0, "of weights, order and jitter")

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.jitter < 0 or not 0 < self.held_out < 1:
            raise ValueError("steps and batch are 1 or more, jitter 0 or more, held_out a share between 0 and 1")


@dataclass(frozen=True)
class RegionSettings:
    """The spotter `region`: a temporal network on region flow, and how its curves become intervals."""

    reference: float = option(6.0, "seconds of the running median that motion is measured against")
    window: float = option(8.5, "seconds of a training window")
    width: int = option(32, "channels of the network")
    depth: int = option(5, "blocks of its trunk")
    dropout: float = option(0.2, "share of channels that are dropped in training")
    temporal: Literal["convolution", "attention"] = option("convolution", "what looks along time")
    frequency_gate: bool = option(False, "a learnt gate over the spectrum of the series (FGSL's idea)")
    pyramid: bool = option(False, "classify on a coarse level, localise on the fine one (FGSL's idea)")
    epochs: int = option(30, "times that the training videos are seen")
    batch: int = option(8, "windows of a step")
    rate: float = option(2e-3, "highest learning rate")
    weight_decay: float = option(0.05, "of AdamW")
    micro_weight: float = option(3.0, "of a frame in a micro-expression, in the loss of its curve")
    emotion_weight: float = option(0.5, "of the loss of emotions")
    unit_weight: float = option(0.5, "of the loss of action units")
    mirror: bool = option(True, "augmentation: mirror half of the windows")
    gain: float = option(0.15, "augmentation: spread of the logarithm of a window's gain")
    noise: float = option(0.05, "augmentation: pixels of noise")
    paste: float = option(1.5, "augmentation: events pasted into a window, on average")
    members: int = option(3, "networks, each trained without one part of the subjects; their curves are averaged")
    decoding: Literal["share", "prior_growth"] = option("share", "from curves to intervals")
    smoothing: float = option(0.03, "seconds of the Gaussian over a curve")
    share: float = option(0.5, "an interval ends where the curve falls to this share of its peak")
    overlap: float = option(0.2, "largest IoU of two intervals")
    drop_neutral: bool = option(False, "leave out intervals whose emotion is neutral")
    seed: int = option(0, "of weights, order and augmentation")


@dataclass(frozen=True)
class WindowSettings:
    """The spotter `windows`: a video encoder on windows of face crops. Raises ValueError for sizes that do not fit."""

    lengths: tuple[float, ...] = option((0.3, 0.6, 1.4, 2.4), "seconds of the windows; they begin a quarter apart")
    frames: int = option(8, "frames that a window is resampled to: a multiple of 8")
    inputs: Literal["differences", "crops"] = option("differences", "what the encoder sees of a frame")
    inner: bool = option(True, "only the inner face: without hair, contour and neck")
    least_iou: float = option(0.5, "overlap with an event from which a window is one")
    negative_iou: float = option(0.0, "overlap up to which it is none; in between it is left out")
    negatives: float = option(3.0, "windows without an event for one with")
    architecture: Literal["videomae", "lgi_former"] = option("videomae", "encoder")
    patch_size: int = option(12, "pixels of a patch")
    dim: int = option(64, "width of the encoder")
    depth: int = option(3, "its blocks")
    heads: int = option(4, "its attention heads")
    region: tuple[int, int, int] = option((2, 2, 4), "pairs of frames, rows and columns of a region of LGI-Former")
    drop_path: float = option(0.1, "rate of the last block")
    pretrained: str = option("", "folder of a pretrained encoder of the same sizes to start from")
    epochs: int = option(14, "epochs; one shows as many windows as there are without shifts in time")
    batch: int = option(32, "windows of a step")
    rate: float = option(2e-3, "highest learning rate")
    weight_decay: float = option(0.05, "of AdamW")
    mirror: bool = option(True, "augmentation: mirror half of the windows")
    members: int = option(2, "networks, each trained without one part of the subjects; their scores are averaged")
    share: float = option(0.5, "an interval ends where the curve of scores falls to this share of its peak")
    sigma: float = option(0.3, "of soft non-maximum suppression over the lengths; smaller: harder")
    allow_mismatch: bool = option(False, "take crops of another recipe than those it was trained on, at a price")
    seed: int = option(0, "of weights, order and augmentation")

    def __post_init__(self) -> None:
        if self.frames < 8 or self.frames % 8:
            raise ValueError("frames must be a multiple of 8: windows then share whole pairs of frames")
        if not self.lengths or not all(0.1 <= length <= 60 for length in self.lengths):
            raise ValueError("lengths must be 0.1 to 60 seconds")


@dataclass(frozen=True)
class WindowFusionSettings:
    """The refiner `window_fusion`: another spotter's intervals and those of the spotter `windows`."""

    base: str = option("flow", "kind of the spotter on whose intervals the thresholds are learnt")
    windows: dict | None = option(None, "settings of the spotter `windows` that is trained; default: its own")
    trained: str = option("", "folder of a spotter `windows` of the same subjects, instead of training it")
    reference: float = option(3.0, "seconds of the running median that motion is measured from")


@dataclass(frozen=True)
class FlowSpotterSettings:
    """The optical-flow spotter (`kind: flow`), a yaml file's settings. Raises ValueError for one out of range."""

    fit: bool = option(True, "learn thresholds and lengths; off: those that were published for CAS(ME)²")
    reference: float = option(3.0, "seconds of the running median that motion is measured from; 0: the window's start")
    bridge_blinks: bool = option(True, "take motion around the eyes during a blink from before and after it")
    below_eyes: bool = option(False, "spot in the two regions below the eyes, too")

    def __post_init__(self) -> None:
        if not 0 <= self.reference <= 3600:
            raise ValueError("reference must be 0 to 3600 seconds")


@dataclass(frozen=True)
class ConvertVideoSettings:
    """train/convert_video_checkpoint.py: a published checkpoint, and sizes that its weights do not tell."""

    source: Path = option(
        MISSING, "a .pth file of VideoMAE, MAE-DFER or MEGC2023, or a transformers folder of VideoMAE"
    )
    output_dir: Path = option(MISSING, "folder to write: video.json, model.safetensors, megc.json")
    image_size: int | None = option(None, "pixels of a side; default: as the file says, else 160")
    num_frames: int | None = option(None, "frames of a clip; default: as the file says, else 16")
    region: tuple[int, ...] | None = option(None, "pairs of frames, rows and columns of a region; default: 2 5 10")
    class_token: Literal["region", "org", "all"] | None = option(
        None, "what LGI-Former's classifier averages; default: as the file says, else region"
    )
    heads: int | None = option(None, "attention heads; default: one for 64 values")
    decoder_heads: int | None = option(None, "attention heads of the decoder; default: one for 64 values")
    crop: str = option("", "name of the face crops that it was trained on, as dfew_jpg_256; others are refused then")
