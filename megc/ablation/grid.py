"""A whole grid: plan, run, score, tables and report. The work of ablation/run_grid.py and cross_validate.py."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from megc.ablation.arm_tables import (
    POOLED_COLUMNS,
    arm_rows,
    markdown_table,
    pool,
    pooled_rows,
    read_scored,
    write_pooled_answers,
)
from megc.ablation.arms import Chain, chains
from megc.ablation.flags import check_keys
from megc.ablation.settings import HERE, NO_ARM, CrossValidateSettings, Execution, RunGridSettings
from megc.ablation.spec import Grid, read_grid
from megc.ablation.steps import KINDS, Step, command_line, step_folder, steps_in_order
from megc.ablation.workflow import Outcome, find_finished, run_steps
from megc.csv_tables import write_table
from megc.datasets.index import DatasetSource, index_clips
from megc.files import write_bytes, write_text
from megc.problems import DataError, Problem, Problems
from megc.scoring.evaluation import OVERALL
from megc.scoring.plots import draw_intervals
from megc.scoring.report import score_runs
from megc.scoring.settings import RESAMPLES
from megc.scoring.tables import draws_note, reference_notes


@dataclass(frozen=True)
class GridOutputs:
    """`work` holds the steps, pooled answers and the report; `table` and `pooled` are the two CSV files, the pooled
    one with a picture beside it."""

    work: Path
    table: Path
    pooled: Path


def _plan_chains(grid: Grid, only: Sequence[str], execution: Execution) -> list[Chain]:
    check_keys(grid.file, "--only", [name for name in only if name != NO_ARM], grid.arms)
    check_keys(grid.file, "--redo", execution.redo, KINDS)
    check_keys(grid.file, "--keep", execution.keep, KINDS)
    return chains(grid, tuple(only))


def show_grid(grid: Grid, outputs: GridOutputs, only: Sequence[str] = (), execution: Execution = HERE) -> str:
    """What is done and what is missing, a line a step, with the commands of what is missing; nothing is started.

    `<data flow>` stands for the folder of a step that is not known yet, since it hashes what others will have made.
    """
    planned = _plan_chains(grid, only, execution)
    answers = [chain.answers for chain in planned]
    outcome, missing = find_finished(answers, outputs.work, execution)
    folders: dict[Step, Path | str] = {step: result.folder for step, result in outcome.results.items()}
    lines = []
    for step in steps_in_order(answers):
        if result := outcome.results.get(step):
            lines.append(f"done     {step.title}  {result.folder}" + (f"  by {result.commit}" if result.kept else ""))
        elif step in outcome.failed:
            lines.append(f"missing  {step.title}: {outcome.failed[step]}")
        else:
            is_known = step in missing and all(needed in outcome.results for needed in step.needs())
            folders[step] = step_folder(step, outcome.results, outputs.work) if is_known else f"<{step.title}>"
            lines.append(f"missing  {step.title}")
        if step not in outcome.results:
            here = folders.setdefault(step, f"<{step.title}>")
            lines += [f"         $ {shlex.join(command_line(command, here, folders))}" for command in step.commands]
    total = len(steps_in_order(answers))
    lines += [
        f"{len(outcome.results)} of {total} steps are done; one behind another that is not may turn out to be",
        f"{len(planned)} rows in the table",
    ]
    return "\n".join(lines)


def run_grid(
    grid: Grid,
    outputs: GridOutputs,
    problems: Problems,
    execution: Execution = HERE,
    only: Sequence[str] = (),
    resamples: int = RESAMPLES,
) -> str:
    """Do what is missing, write both tables and the report; returns the pooled table as markdown.

    A failed step becomes a problem, and the arms that do not need it are scored all the same.
    """
    planned = _plan_chains(grid, only, execution)
    outcome = run_steps([chain.answers for chain in planned], outputs.work, execution)
    for step, why in outcome.failed.items():
        fix = "read its log, mend what it says and start again: what is finished is kept"
        problems.add(Problem(str(outputs.work), step.title, why, fix))
    return _write(grid, planned, outcome, outputs, problems, resamples)


def _write(
    grid: Grid, planned: list[Chain], outcome: Outcome, outputs: GridOutputs, problems: Problems, resamples: int
) -> str:
    scored = read_scored(planned, outcome, problems)
    failures = _failure_note(planned, outcome)
    if not scored:
        return "\n\n".join(["no arm is finished", *failures])
    commits = {result.commit for result in outcome.results.values()}
    write_table(outputs.table, arm_rows(grid, scored, outcome), commits=commits)
    references, runs = pool(scored)
    if not runs:
        return "\n\n".join([f"no arm has all its folds and seeds; written: {outputs.table}", *failures])
    rows = pooled_rows(grid, references, runs, outputs.work.name, resamples)
    write_table(outputs.pooled, rows, POOLED_COLUMNS, commits)
    overall = [{**row, "run": row["arm"]} for row in rows if row["dataset"] == OVERALL]
    write_bytes(outputs.pooled.with_suffix(".png"), draw_intervals(overall))
    write_pooled_answers(outputs.work / "answers", scored, outcome)
    notes = [note for note in (*reference_notes(references), draws_note(list(runs.values())), *failures) if note]
    table = "\n\n".join([markdown_table(rows, grid.full), *notes])
    write_text(outputs.work / "table.md", table + "\n")
    first, first_runs = pool([answered for answered in scored if answered.chain.seed == grid.seeds[0]])
    compared = [first_runs[arm] for arm in sorted(runs, key=lambda arm: arm != grid.full)]
    score_runs(outputs.work, first, compared, resamples=resamples)
    left = len({answered.chain.arm for answered in scored}) - len(runs)
    lines = [table, "", f"written: {outputs.table}, {outputs.pooled}, {outputs.work / 'report.html'}"]
    if left:
        lines.append(f"{left} arm(s) are not in the pooled table, for want of folds or seeds")
    return "\n".join(lines)


def _failure_note(planned: Sequence[Chain], outcome: Outcome) -> list[str]:
    """A line that names the arms without an answer and the step that failed for each; none where all is well."""
    causes: dict[str, str] = {}
    for chain in planned:
        failed = [step.title for step in steps_in_order([chain.answers]) if step in outcome.failed]
        if failed:
            causes.setdefault(chain.arm, failed[0])
    listed = "; ".join(f"{arm} ({step} failed)" for arm, step in causes.items())
    return [f"Not complete: {listed}."] if causes else []


def data_changes(
    work: Path,
    problems: Problems,
    rows: Sequence[Path] = (),
    annotations: Path | None = None,
    clips: Path | None = None,
    flow_dir: Sequence[Path] = (),
    dataset: str = "casme2",
) -> list[str]:
    """Changes for `read_grid` that put one of rows, annotations and clips in the place of the grid's own data; none
    where none is given. The annotations of a coding sheet are indexed into `work/clips.jsonl` first.

    Raises DataError for rows or annotations without `flow_dir`, and for a sheet that cannot be read.
    """
    if not (rows or annotations or clips):
        return []
    if (rows or annotations) and not flow_dir:
        fix = "name the folder of <image_id>.png with --flow-dir, or give --clips with key frames and flow beside it"
        raise DataError(annotations or rows[0], None, "pictures are missing", fix)
    inputs: dict[str, Path | Sequence[Path] | None] = dict.fromkeys(("rows", "clips", "frames", "flow", "flow-dir"))
    if rows:
        inputs |= {"rows": rows, "flow-dir": flow_dir}
    elif annotations:
        clips = work / "clips.jsonl"
        work.mkdir(parents=True, exist_ok=True)
        index_clips([DatasetSource(dataset, annotations, None)], clips, problems)
        inputs |= {"clips": clips, "flow-dir": flow_dir}
    elif clips:  # compute_flow.py recorded how its pictures are drawn, and the field lies beside them
        inputs |= {"clips": clips, "frames": clips.parent / "frames", "flow": clips.parent / "flow"}
        inputs |= {"encoding": None, "centre": None}
    changes = [f"data.{key}={_yaml_value(path)}" for key, path in inputs.items()]
    return [*changes, f"baselines.features={'picture' if flow_dir else 'flow'}"]


def _yaml_value(path: Path | Sequence[Path] | None) -> str:
    """A path, or paths, as `read_grid` reads a change."""
    return json.dumps(path if path is None else [*map(str, path)] if isinstance(path, tuple | list) else str(path))


def run_grid_file(settings: RunGridSettings, problems: Problems) -> str:
    """The arms of a grid file, trained, answered and scored; with `dry_run`, what is missing."""
    pooled = settings.table.with_name(f"{settings.table.stem}_pooled.csv")
    grid = read_grid(settings.grid, settings.changes)
    return _run_or_show(settings, grid, GridOutputs(settings.work, settings.table, pooled), problems)


def cross_validate(settings: CrossValidateSettings, problems: Problems) -> str:
    """The arms of a grid file on the user's data, its clips or its rows; with `dry_run`, what is missing."""
    sources = (settings.rows, settings.annotations, settings.clips, settings.flow_dir)
    changes = data_changes(settings.work, problems, *sources, settings.dataset)
    changes += [f"data.kinds={json.dumps(settings.kinds)}"] if settings.kinds else []
    changes += [
        f"{key}={value}" for key in ("protocol", "folds", "share") if (value := getattr(settings, key)) is not None
    ]
    grid = read_grid(settings.grid, [*changes, *settings.changes])
    folds = settings.table.with_name(f"{settings.table.stem}_folds.csv")
    return _run_or_show(settings, grid, GridOutputs(settings.work, folds, settings.table), problems)


def _run_or_show(
    settings: RunGridSettings | CrossValidateSettings, grid: Grid, outputs: GridOutputs, problems: Problems
) -> str:
    if settings.dry_run:
        return show_grid(grid, outputs, settings.only, settings.execution)
    return run_grid(grid, outputs, problems, settings.execution, settings.only)
