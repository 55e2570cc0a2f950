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
class RegionSettings:
    """The spotter `region`: a temporal network on region flow, and how its curves become intervals."""

    reference: float = option(6.0, "seconds of the running median that motion is measured against")
    window: float = option(4.3, "seconds of a training window")
    width: int = option(32, "channels of the network")
    depth: int = option(5, "blocks of its trunk")
    dropout: float = option(0.1, "share of channels that are dropped in training")
    temporal: Literal["convolution", "attention"] = option("convolution", "what looks along time")
    frequency_gate: bool = option(False, "a learnt gate over the spectrum of the series (FGSL's idea)")
    pyramid: bool = option(False, "classify on a coarse level, localise on the fine one (FGSL's idea)")
    epochs: int = option(30, "times that the training videos are seen")
    batch: int = option(4, "windows of a step")
    rate: float = option(2e-3, "highest learning rate")
    weight_decay: float = option(0.05, "of AdamW")
    micro_weight: float = option(3.0, "of a frame in a micro-expression, in the loss of its curve")
    emotion_weight: float = option(0.5, "of the loss of emotions")
    unit_weight: float = option(0.5, "of the loss of action units")
    mirror: bool = option(True, "augmentation: mirror half of the windows")
    gain: float = option(0.15, "augmentation: spread of the logarithm of a window's gain")
    noise: float = option(0.05, "augmentation: pixels of noise")
    paste: float = option(6.0, "augmentation: events pasted into a window, on average")
    members: int = option(3, "networks, each trained without one part of the subjects; their curves are averaged")
    decoding: Literal["share", "prior_growth"] = option("share", "from curves to intervals")
    smoothing: float = option(0.03, "seconds of the Gaussian over a curve")
    share: float = option(0.5, "an interval ends where the curve falls to this share of its peak")
    overlap: float = option(0.2, "largest IoU of two intervals")
    drop_neutral: bool = option(False, "leave out intervals whose emotion is neutral")
    seed: int = option(0, "of weights, order and augmentation")


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
class RecogniserSettings:
    """The refiner `recogniser`: a transformer on the region flow of spotted intervals."""

    base: Literal["region", "flow"] = option("region", "kind of spotter whose false alarms it learns from")
    reference: float = option(6.0, "seconds of the running median that motion is measured against")
    width: int = option(48, "channels of the network")
    depth: int = option(2, "layers")
    dropout: float = option(0.2, "of the layers")
    epochs: int = option(20, "times that `samples` samples are drawn")
    samples: int = option(512, "samples of an epoch")
    batch: int = option(32, "samples of a step")
    rate: float = option(1e-3, "highest learning rate")
    weight_decay: float = option(0.05, "of AdamW")
    jitter: float = option(0.15, "spread of the ends of training intervals, in shares of their length")
    gain: float = option(0.15, "augmentation: spread of the logarithm of a sample's gain")
    noise: float = option(0.05, "augmentation: pixels of noise")
    members: int = option(3, "networks, each trained without one part of the subjects; their answers are averaged")
    move: bool = option(True, "move the ends of an interval to where they fit best")
    base_weight: float = option(0.5, "power of the base spotter's score in the score; 0: it does not count")
    overlap: float = option(0.2, "largest IoU of two intervals")
    seed: int = option(0, "of weights, order and augmentation")
