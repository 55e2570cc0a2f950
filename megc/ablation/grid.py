"""A whole grid: plan, run, score, tables and report. The work of ablation/run_grid.py and cross_validate.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from megc.ablation.arm_tables import (
    POOLED_COLUMNS,
    arm_row,
    markdown_table,
    pool,
    pooled_rows,
    read_scored,
    write_pooled_answers,
)
from megc.ablation.arms import Chain, chains
from megc.ablation.flags import check_keys
from megc.ablation.scheduler import Outcome, in_order, look, run_steps
from megc.ablation.spec import Grid
from megc.csv_tables import write_table
from megc.files import write_bytes, write_text
from megc.problems import Problem, Problems
from megc.scoring.evaluation import OVERALL
from megc.scoring.plots import draw_intervals
from megc.scoring.report import score_runs
from megc.scoring.settings import RESAMPLES
from megc.scoring.tables import draws_note, rare_note


@dataclass(frozen=True)
class Places:
    """`work` holds the steps, pooled answers and the report; `table` and `pooled` are the two CSV files, the pooled
    one with a picture beside it."""

    work: Path
    table: Path
    pooled: Path


def _planned(grid: Grid, only: Sequence[str]) -> list[Chain]:
    check_keys(grid.file, "--only", only, grid.arms)
    return chains(grid, tuple(only))


def show_grid(grid: Grid, places: Places, only: Sequence[str] = ()) -> str:
    """What is done and what is missing, a line a step; nothing is started."""
    planned = _planned(grid, only)
    outcome = look([chain.answers for chain in planned], places.work)
    lines = []
    for step in in_order([chain.answers for chain in planned]):
        result = outcome.results.get(step)
        lines.append(f"done     {step.title}  {result.folder}" if result else f"missing  {step.title}")
    lines += [
        f"{len(outcome.results)} of {len(lines)} steps are done; one behind another that is not may turn out to be",
        f"{len(planned)} rows in the table",
    ]
    return "\n".join(lines)


def run_grid(
    grid: Grid,
    places: Places,
    problems: Problems,
    jobs: int = 1,
    only: Sequence[str] = (),
    redo: Sequence[str] = (),
    resamples: int = RESAMPLES,
) -> str:
    """Do what is missing, write both tables and the report; returns the pooled table as markdown.

    A failed step becomes a problem, and the arms that do not need it are scored all the same.
    """
    planned = _planned(grid, only)
    outcome = run_steps([chain.answers for chain in planned], places.work, jobs, redo)
    for step, why in outcome.failed.items():
        fix = "read its log, mend what it says and start again: what is finished is kept"
        problems.add(Problem(str(places.work), step.title, why, fix))
    return _write(grid, planned, outcome, places, problems, resamples)


def _write(
    grid: Grid, planned: list[Chain], outcome: Outcome, places: Places, problems: Problems, resamples: int
) -> str:
    scored = read_scored(planned, outcome, problems)
    if not scored:
        return "no arm is finished"
    commits = {result.commit for result in outcome.results.values()}
    write_table(places.table, [arm_row(grid, one, outcome) for one in scored], commits=commits)
    references, runs = pool(scored)
    if not runs:
        return f"no arm has all its folds and seeds; written: {places.table}"
    rows = pooled_rows(grid, references, runs, places.work.name, resamples)
    write_table(places.pooled, rows, POOLED_COLUMNS, commits)
    shown = [{**row, "run": row["arm"]} for row in rows if row["dataset"] == OVERALL]
    write_bytes(places.pooled.with_suffix(".png"), draw_intervals(shown))
    write_pooled_answers(places.work / "answers", scored, outcome)
    notes = [note for note in (rare_note(references), draws_note(list(runs.values()))) if note]
    table = "\n\n".join([markdown_table(rows, grid.full), *notes])
    write_text(places.work / "table.md", table + "\n")
    first, first_runs = pool([one for one in scored if one.chain.seed == grid.seeds[0]])
    compared = [first_runs[arm] for arm in sorted(runs, key=lambda arm: arm != grid.full)]
    score_runs(places.work, first, compared, resamples=resamples)
    left = len({one.chain.arm for one in scored}) - len(runs)
    lines = [table, "", f"written: {places.table}, {places.pooled}, {places.work / 'report.html'}"]
    if left:
        lines.append(f"{left} arm(s) are not in the pooled table, for want of folds or seeds")
    return "\n".join(lines)
