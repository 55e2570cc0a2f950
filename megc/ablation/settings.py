"""Settings of the commands that run a grid; nothing heavy is imported here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from megc.command import option
from megc.datasets.readers import READERS
from megc.problems import did_you_mean
from megc.reasoning.settings import OPTIONS
from megc.scoring.settings import RESAMPLES, ProfileName
from megc.splits import PROTOCOLS
from megc.vqa.settings import CLIP_KINDS

LOCAL = "local"
NO_ARM = "none"
_ONLY = f"these arms and the baselines; `{NO_ARM}`: the baselines alone"
# without `analysis`, which no answered test set has yet
_COMPARED = tuple(name for name in OPTIONS if name != "analysis")
REASONING_ARMS = (*((name,) for name in _COMPARED), ("joint", "compose"), _COMPARED)


@dataclass(frozen=True)
class Execution:
    """Where and how many steps run: `jobs` at a time, by an executor of Snakemake with a profile, by default
    `ablation/profiles/<executor>`. Steps of the kinds `redo` are done again; finished ones of the kinds `keep` are
    taken though their code has changed."""

    jobs: int | None = option(None, "steps at the same time (default: one a core; elsewhere as the profile says)")
    executor: str = option(LOCAL, "where steps run: local, slurm, or another executor of Snakemake")
    profile: Path | None = option(
        None, "folder of Snakemake's config.yaml: resources of jobs (default: ablation/profiles/EXECUTOR)"
    )
    redo: tuple[str, ...] = option((), "do steps of a kind again: data, train, answer, …", metavar="KIND")
    keep: tuple[str, ...] = option(
        (),
        "take finished steps of a kind, such as train, though code has changed since; the table names the commit",
        metavar="KIND",
    )


HERE = Execution()


@dataclass(frozen=True)
class RunGridSettings:
    """ablation/run_grid.py: the grid, what of it, and where its steps and tables go."""

    grid: Path = option(Path("ablation/grid.yaml"), "arms, protocol and seeds")
    only: tuple[str, ...] = option((), _ONLY, metavar="ARM")
    changes: tuple[str, ...] = option(
        (), "replace a default, as train.max_steps=50", flag="set", metavar="KEY=VALUE", repeat=True
    )
    execution: Execution = field(default_factory=Execution)
    dry_run: bool = option(False, "say what is done and what is missing, with its commands, and stop")
    table: Path = option(Path("result/ablation.csv"), "table to write")
    work: Path = option(Path("result/ablation"), "folder of steps, answers and report")


@dataclass(frozen=True)
class CrossValidateSettings:
    """ablation/cross_validate.py: the data, the grid, and where its steps and tables go."""

    rows: tuple[Path, ...] = option((), "answered ME-VQA rows, files of one or several datasets, with --flow-dir")
    annotations: Path | None = option(None, "a coding sheet (.xlsx), with --flow-dir")
    clips: Path | None = option(None, "clips.jsonl, with frames/ and flow/ beside it")
    dataset: Literal[tuple(READERS)] = option("casme2", "whose sheet --annotations is")
    flow_dir: tuple[Path, ...] = option(
        (), "folders of <image_id>.png flow pictures: one, or one for each file of --rows, in their order"
    )
    kinds: tuple[Literal[CLIP_KINDS], ...] = option(
        (), "kinds of questions to ask, as `coarse` where the datasets share no other (default: all)"
    )
    grid: Path = option(Path("ablation/real_casme2.yaml"), "arms, seeds and how they are trained")
    protocol: Literal[PROTOCOLS] | None = option(None, "how subjects are split (default: as the grid file says)")
    folds: int | None = option(None, "number of folds of kfold (default: as the grid file says)")
    share: float | None = option(None, "share of each fold's training subjects to learn from, for learning curves")
    changes: tuple[str, ...] = option(
        (), "replace a default, as train.max_steps=50", flag="set", metavar="KEY=VALUE", repeat=True
    )
    only: tuple[str, ...] = option((), _ONLY, metavar="ARM")
    execution: Execution = field(default_factory=Execution)
    dry_run: bool = option(False, "say what is done and what is missing, with its commands, and stop")
    table: Path = option(Path("result/real_casme2.csv"), "the pooled table")
    work: Path = option(Path("result/real_casme2"), "folder of steps, answers and report")

    def __post_init__(self) -> None:
        given = [name for name in ("rows", "annotations", "clips") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"give one of --rows, --annotations and --clips, not --{' and --'.join(given)}")
        if len(self.flow_dir) not in (0, 1, len(self.rows)):
            raise ValueError("--flow-dir: give one folder, or one for each file of --rows, in their order")


@dataclass(frozen=True)
class CompareReasoningSettings:
    """ablation/compare_reasoning.py: stored answers, options of reasoning, and the table to write.

    Several prediction files are the folds of one cross-validation, each with its own training side.
    """

    predictions: tuple[Path, ...] = option((Path("result/demo/tiny/predictions.jsonl"),), "rows with answers")
    references: tuple[Path, ...] = option((Path("dataset/test_dataset.jsonl"),), "answered rows")
    train: tuple[Path, ...] = option(
        (Path("dataset/train_dataset.jsonl"),),
        "answered rows of the training subjects, one file, or one for each prediction file",
    )
    reason: tuple[str, ...] = option(
        tuple("+".join(arm) for arm in REASONING_ARMS),
        f"options joined by +, of {', '.join(OPTIONS)} (default: each alone, joint+compose, all)",
        metavar="OPTIONS",
    )
    profile: ProfileName = option("megc2025", "how to score")
    resamples: int = option(RESAMPLES, "bootstrap resamples")
    seed: int = option(0, "of the bootstrap")
    table: Path = option(Path("result/demo/reasoning.csv"), "to write, with a page of the same name (.md)")

    def __post_init__(self) -> None:
        for name in (name for arm in self.arms for name in arm):
            if name not in OPTIONS:
                raise ValueError(f"--reason: there is no option {name}; {did_you_mean(name, OPTIONS)}")
        if len(self.train) not in (0, 1, len(self.predictions)):
            raise ValueError("--train: give one training file, or one for each prediction file")

    @property
    def arms(self) -> tuple[tuple[str, ...], ...]:
        """The options of each arm."""
        return tuple(tuple(arm.split("+")) for arm in self.reason)


@dataclass(frozen=True)
class CrossSpotSettings:
    """ablation/cross_spot.py: long videos, the spotters to compare, and the folder of the table."""

    arms: Path = option(Path("ablation/spotting.yaml"), "yaml file of arms: spotters and their refiners")
    only: tuple[str, ...] = option((), "these arms; the first one is what the others are compared with", metavar="ARM")
    videos: Path = option(Path("dataset/demo/long/videos.jsonl"), "long videos with their events")
    inputs: Path = option(Path("dataset/demo/long"), "folder above region_flow and what else was measured on them")
    out: Path = option(Path("result/demo/long"), "folder of spotting.csv, spotting.md and the spotted intervals")
    work: Path | None = option(None, "folder of trained spotters (default: `folds` below --out)")
    protocol: Literal["kfold", "loso"] = option("kfold", "folds of about equally many videos, or one a subject")
    folds: int = option(4, "number of folds of kfold")
    jobs: int = option(1, "trainings at the same time")
    report: bool = option(True, "write report.html, with a timeline of each video")
    keep: bool = option(False, "take finished trainings and intervals although code has changed since")
    draws: int = option(20, "draws of the row of random intervals")
    resamples: int = option(RESAMPLES, "bootstrap resamples")
    seed: int = option(0, "seed of folds, draws and bootstrap")
