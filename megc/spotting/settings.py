"""Settings of the commands on spotting; nothing heavy is imported here."""

from dataclasses import dataclass
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
