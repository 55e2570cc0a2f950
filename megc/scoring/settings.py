"""Settings of the commands that score answers; nothing heavy is imported here."""

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Literal

from megc.command import option

RESAMPLES = 1000  # of the bootstrap
CARDS = 150  # clips shown in the report; about 25 kB each
ProfileName = Literal["megc2025", "tie", "m26"]
StrProfileName = Literal["strict", "official", "megc2020"]

_REFERENCES = Path("dataset/test_dataset.jsonl")


@dataclass(frozen=True)
class ScoreSettings:
    """test/score_answers.py: runs, the true answers, and the folder of table, plots and report."""

    predictions: tuple[Path, ...] = option(
        (), "rows with answers (default: those below --out that answer this test set)"
    )
    references: tuple[Path, ...] = option((_REFERENCES,), "answered rows; of several files, scored together")
    out: Path = option(Path("result/demo"), "folder of table, plots and report")
    names: tuple[str, ...] = option((), "a name for each file (default: its folder's)")
    profiles: tuple[Literal[ProfileName, "all"], ...] = option(
        ("megc2025",),
        "how to score, side by side; the report marks by the first",
        flag="profile",
        aliases=("profiles",),
    )
    resamples: int = option(RESAMPLES, "bootstrap resamples")
    seed: int = option(0, "seed of the bootstrap")
    cards: int = option(CARDS, "clips shown in the report at most")
    skip_bad: bool = option(False, "exit with 0 although answers or rows are bad")


@dataclass(frozen=True)
class MetricSettings:
    """ablation/Metrics: runs and the true answers."""

    predictions: tuple[Path, ...] = option(
        (), "rows with answers (default: those in result/demo that answer this test set)"
    )
    references: tuple[Path, ...] = option((_REFERENCES,), "answered rows")
    profile: ProfileName = option("tie", "how to score")
    skip_bad: bool = option(False, "exit with 0 although answers or rows are bad")


@dataclass(frozen=True)
class SpottingScoreSettings:
    """test/score_spotting.py: spotted intervals, the annotated events, and the folder of the table."""

    predictions: tuple[Path, ...] = option(
        MISSING, "CSV files of spotted intervals, or folders of them: a run each; differences are to the first"
    )
    events: Path = option(
        Path("dataset/videos.jsonl"), "annotated videos: videos.jsonl, or a table of events", aliases=("references",)
    )
    videos: Path | None = option(None, "with a table of events: a table of all videos, with frames and fps")
    out: Path = option(Path("result/spotting"), "folder of spotting.csv")
    names: tuple[str, ...] = option((), "a name for each file (default: its own)")
    profiles: tuple[Literal[StrProfileName, "all"], ...] = option(
        ("strict",), "how to score, side by side", flag="profile", aliases=("profiles",)
    )
    dataset: str = option("", "dataset of files that name none")
    fps: float | None = option(None, "frame rate where the ground truth has none", metavar="HZ")
    emotions: tuple[str, ...] = option(("negative", "positive", "surprise"), "emotions that are analysed")
    draws: int = option(20, "draws of the row of random intervals; 0 leaves it out")
    resamples: int = option(RESAMPLES, "bootstrap resamples")
    seed: int = option(0, "seed of the bootstrap and of the draws")
    skip_bad: bool = option(False, "exit with 0 although rows are bad")


@dataclass(frozen=True)
class SpottingSubmissionSettings:
    """test/make_spotting_submission.py: spotted intervals, the videos of the test set, and the folder to hand in."""

    predictions: tuple[Path, ...] = option(MISSING, "CSV files of spotted intervals, or folders of them")
    videos: Path = option(
        Path("dataset/videos.jsonl"), "all videos of the test set: videos.jsonl, or a table with video and frames"
    )
    form: Literal["str", "spotting"] = option(
        "str", "str: with emotions (2024, 2025); spotting: with types (2022, 2023)"
    )
    out: Path = option(Path("result/submission"), "folder of the files")
    zip: Path | None = option(None, "also pack the files, when nothing is wrong with them")
    dataset: str = option("", "dataset of files that name none")
    fps: float | None = option(None, "frame rate where the table of videos has none", metavar="HZ")
