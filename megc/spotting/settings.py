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
class FlowSpotterSettings:
    """The optical-flow spotter (`kind: flow`), a yaml file's settings. Raises ValueError for one out of range."""

    fit: bool = option(True, "learn thresholds and lengths; off: those that were published for CAS(ME)²")
    reference: float = option(3.0, "seconds of the running median that motion is measured from; 0: the window's start")
    bridge_blinks: bool = option(True, "take motion around the eyes during a blink from before and after it")
    below_eyes: bool = option(False, "spot in the two regions below the eyes, too")

    def __post_init__(self) -> None:
        if not 0 <= self.reference <= 3600:
            raise ValueError("reference must be 0 to 3600 seconds")
