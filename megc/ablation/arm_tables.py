"""Tables of a grid: a row for each arm, fold and seed, and the pooled table with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from megc.ablation.arms import ANSWERS, PROBE, Chain
from megc.ablation.spec import Grid, answers_name
from megc.ablation.steps import steps_in_order
from megc.ablation.workflow import Outcome
from megc.files import read_checked, read_jsonl, resolve_inside, sha256_of, write_jsonl
from megc.problems import Problems
from megc.records import RunRecord
from megc.scoring.evaluation import COLUMNS, ENDS, OVERALL, compare_runs, evaluate_run, score_run
from megc.scoring.runs import Reference, Run, read_references, read_run
from megc.scoring.settings import RESAMPLES
from megc.scoring.tables import BOTH, SCORE_HEADS, format_count, format_interval, format_markdown, format_score_cells
from megc.scoring.vqa_metrics import METRICS
from megc.vqa.instructions import read_split

PROFILE = "megc2025"


@dataclass(frozen=True)
class Scored:
    """A finished chain with the references of its fold and its answers to them."""

    chain: Chain
    references: list[Reference]
    run: Run


def read_scored(chains: Sequence[Chain], outcome: Outcome, problems: Problems) -> list[Scored]:
    """The finished chains with their answers, joined to the references of the fold.

    All arms of a fold answer the same rows; the references are those of the flow probe, whose pictures show most. An
    arm whose answers are to other questions is left out and told to `problems`.
    """
    references: dict[int, list[Reference]] = {}
    scored = []
    for chain in sorted(chains, key=lambda chain: chain.arm != PROBE):
        if chain.answers not in outcome.results or chain.data not in outcome.results:
            continue
        if chain.fold not in references:
            file = outcome.results[chain.data].folder / "test.jsonl"
            references[chain.fold] = read_references(file, problems)
        folder = outcome.results[chain.answers].folder
        settings = read_checked(RunRecord, folder / "run.json", missing={})
        with problems.collect():
            run = read_run(folder / ANSWERS, chain.arm, references[chain.fold], problems, settings)
            scored.append(Scored(chain, references[chain.fold], run))
    order = {id(chain): number for number, chain in enumerate(chains)}
    return sorted(scored, key=lambda item: order[id(item.chain)])


def arm_rows(grid: Grid, scored: Sequence[Scored], outcome: Outcome) -> list[dict]:
    """Rows of `ablation.csv`. Where steps were kept although their code has changed, `kept` names them with the commit
    that made each; without such steps there is no such column."""
    rows = [_arm_row(grid, item, outcome) for item in scored]
    kept = [_kept_steps(item.chain, outcome) for item in scored]
    return [row | {"kept": names} for row, names in zip(rows, kept, strict=True)] if any(kept) else rows


def _kept_steps(chain: Chain, outcome: Outcome) -> str:
    results = [(step, outcome.results[step]) for step in steps_in_order([chain.answers]) if step in outcome.results]
    return "; ".join(f"{step.title} by {result.commit}" for step, result in results if result.kept)


def _arm_row(grid: Grid, scored: Scored, outcome: Outcome) -> dict:
    """What was compared, what made it, its scores and its time."""
    chain, references = scored.chain, scored.references
    answers = outcome.results[chain.answers]
    data, train = outcome.results[chain.data], outcome.results.get(chain.train) if chain.train else None
    model_answers = outcome.results.get(chain.model_answers) if chain.model_answers else None
    values = score_run(references, scored.run, PROFILE)
    records = next(iter(read_jsonl(data.folder / "test.jsonl")))[1]
    return {
        "arm": chain.arm,
        "fold": chain.fold,
        "seed": chain.seed,
        "protocol": grid.protocol,
        "commit": answers.commit,
        "config_hash": chain.settings,
        "prompt_hash": records["prompt"],
        "split_hash": read_split(data.folder / "test.jsonl").get("hash", ""),
        "data_hash": sha256_of(data.outputs["train.jsonl"], data.outputs["test.jsonl"]),
        "checkpoint_hash": train.outputs["checkpoint"] if train else "",
        "profile": PROFILE,
        "clips": len({r.clip for r in references}),
        **{metric: values[metric] for metric in METRICS},
        "invalid": values["invalid"],
        "train_seconds": train.seconds if train else 0,
        "answer_seconds": (model_answers or answers).seconds,
    }


def pool(scored: Sequence[Scored]) -> tuple[list[Reference], dict[str, Run]]:
    """References and runs over all folds and seeds: each row once a seed, a clip's rows in one group.

    An arm of which folds or seeds are missing is left out, for its scores would be those of other clips.
    """
    references: dict[tuple[int, int], list[Reference]] = {}
    answers: dict[str, dict[tuple[int, int], Run]] = {}
    for item in scored:
        key = (item.chain.seed, item.chain.fold)
        references[key] = item.references
        answers.setdefault(item.chain.arm, {})[key] = item.run
    places = sorted(references)
    pooled = [
        replace(reference, id=f"{reference.id}@{seed}")
        for seed, fold in places
        for reference in references[seed, fold]
    ]
    runs = {}
    for arm, parts in answers.items():
        if set(parts) == set(places):
            arm_runs = [parts[key] for key in places]
            sets = [sum(answers, ()) for answers in zip(*(run.answer_sets for run in arm_runs), strict=True)]
            details = tuple(details for run in arm_runs for details in run.details)
            runs[arm] = Run(arm, sets[0], details, arm_runs[0].settings, tuple(sets) if arm_runs[0].draws else ())
    return pooled, runs


def pooled_rows(
    grid: Grid, references: list[Reference], runs: dict[str, Run], name: str, resamples: int = RESAMPLES
) -> list[dict]:
    """Rows of the pooled table: those of `metrics.csv`, and the paired intervals of `avg` against the full method
    and against the flow probe over the same clips."""
    rows = []
    for arm, run in runs.items():
        paired = {}
        for against, column in ((grid.full, "paired_full"), (PROBE, "paired_avg")):
            if against in runs and arm != against:
                difference = compare_runs(references, runs[against], run, PROFILE, resamples=resamples)["avg"]
                paired |= dict(zip((column, *(f"{column}_{end}" for end in ENDS)), difference, strict=True))
        for row in evaluate_run(references, run, PROFILE, resamples=resamples):
            more = paired if row["dataset"] == OVERALL else {}
            rows.append({**row, "run": name, "arm": arm, "protocol": grid.protocol, "seeds": len(grid.seeds), **more})
    return rows


PAIRED = ("paired_full", "paired_avg")  # `avg` minus that of the full method, and of the flow probe
POOLED_COLUMNS = (
    *("arm", "protocol", "seeds"),
    *COLUMNS,
    *(f"{column}{end}" for column in PAIRED for end in ("", *(f"_{end}" for end in ENDS))),
)


def write_pooled_answers(folder: Path, scored: Sequence[Scored], outcome: Outcome) -> None:
    """`<arm>.jsonl`: an arm's prediction rows of all folds, for each seed, for further programs."""
    rows: dict[str, list[dict]] = {}
    for item in scored:
        file = outcome.results[item.chain.answers].folder / ANSWERS
        name = item.chain.arm + (f" seed {item.chain.seed}" if len({s.chain.seed for s in scored}) > 1 else "")
        rows.setdefault(name, []).extend(row for _, row in read_jsonl(file))
    for name, prediction_rows in rows.items():
        write_jsonl(resolve_inside(folder, answers_name(name)), prediction_rows)


def markdown_table(rows: Sequence[dict], full: str) -> str:
    """The pooled rows as the README shows them."""
    heads = ["arm", *SCORE_HEADS, f"avg {BOTH}"]
    lines = [[*heads, f"avg − {full} {BOTH}", f"avg − {PROBE} {BOTH}", "outside the allowed answers"]]
    for row in rows:
        if row["dataset"] != OVERALL:
            continue
        cells = [row["arm"], *format_score_cells(row)]
        for column in PAIRED:
            ends = [row.get(f"{column}_{end}") for end in ENDS]
            cells.append("" if ends[0] is None else f"{format_interval(ends[:2])} {format_interval(ends[2:])}")
        lines.append([*cells, format_count(row["invalid"])])
    return format_markdown(lines)
