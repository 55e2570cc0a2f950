"""Settings of the commands that run grids of arms; nothing heavy is imported here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from megc.command import option
from megc.datasets.readers import READERS
from megc.reasoning.settings import OPTIONS
from megc.splits import PROTOCOLS

LOCAL = "local"
REASONING_ARMS = (*((name,) for name in OPTIONS), ("joint", "compose"), tuple(OPTIONS))


@dataclass(frozen=True)
class Execution:
    """Where and how many steps run."""

    jobs: int | None = option(
        None, "steps at the same time (default: one a core; elsewhere than local as the profile says)"
    )
    executor: str = option(LOCAL, "where steps run: local, slurm, or another executor of Snakemake")
    profile: Path | None = option(
        None, "folder of Snakemake's profile: resources of jobs (default: ablation/profiles/EXECUTOR)"
    )
    redo: tuple[str, ...] = option((), "do steps of a kind again: data, train, answer, …", metavar="KIND [KIND ...]")
    keep: tuple[str, ...] = option(
        (),
        "take finished steps of a kind, such as train, though code has changed since; the table names the commit",
        metavar="KIND [KIND ...]",
    )


@dataclass(frozen=True)
class GridSettings:
    """ablation/run_grid.py: the grid file, what of it is done, and where tables and steps go."""

    grid: Path = option(Path("ablation/grid.yaml"), "arms, protocol and seeds")
    only: tuple[str, ...] = option((), "these arms and the baselines", metavar="ARM [ARM ...]")
    changes: tuple[str, ...] = option(
        (),
        "replace a default, as train.max_steps=50; may be given again",
        flag="set",
        metavar="KEY=VALUE",
        repeat=True,
    )
    execution: Execution = field(default_factory=Execution)
    dry_run: bool = option(False, "print what is done and what is missing, with its commands, and stop")
    table: Path = option(Path("result/ablation.csv"), "table to write")
    work: Path = option(Path("result/ablation"), "folder of steps, answers and report")


@dataclass(frozen=True)
class CrossValidationSettings(GridSettings):
    """ablation/cross_validate.py: a grid on other data. Raises ValueError for two kinds of data at once."""

    rows: Path | None = option(None, "answered ME-VQA rows, with --flow-dir")
    annotations: Path | None = option(None, "a coding sheet (.xlsx), with --flow-dir")
    clips: Path | None = option(None, "clips.jsonl, with frames/ and flow/ beside it")
    dataset: Literal[tuple(READERS)] = option("casme2", "whose sheet --annotations is")
    flow_dir: Path | None = option(None, "folder of <image_id>.png flow pictures")
    protocol: Literal[PROTOCOLS] | None = option(None, "how subjects are split (default: as the grid file says)")
    folds: int | None = option(None, "number of folds of kfold (default: as the grid file says)")
    grid: Path = option(Path("ablation/real_casme2.yaml"), "arms, seeds and how they are trained")
    table: Path = option(Path("result/real_casme2.csv"), "the pooled table")
    work: Path = option(Path("result/real_casme2"), "folder of steps, answers and report")

    def __post_init__(self) -> None:
        if sum(path is not None for path in (self.rows, self.annotations, self.clips)) > 1:
            raise ValueError("give one of --rows, --annotations and --clips")
