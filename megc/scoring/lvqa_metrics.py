"""Metrics of ME-LVQA answers: counts, distinct action units and types of events of long videos.

The organisers' scorer is not public. The choice of measures is second-hand: Aurora-cc99/MEWM-Agent quotes it from the
rules of MEGC 2026 (mean absolute and root mean squared error of each count; F1 and Jaccard index of the sets of action
units; UF1 and UAR of micro- against macro-expressions). Ours: sets are compared video by video and averaged, two empty
sets agree; an answer that cannot be read stays in the denominator, as no event, no right unit and no type.

Counts of rows add up, so a resample of the bootstrap is a sum of rows of a table (see `count_long_rows`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from megc.commits import commits_of
from megc.csv_tables import write_table
from megc.scoring.bootstrap import Sampling, draw_groups, percentile_interval, sum_by_group
from megc.scoring.evaluation import ENDS, rows_by_dataset, select_rows
from megc.scoring.runs import Reference, Run
from megc.scoring.settings import RESAMPLES
from megc.scoring.tables import align_columns, format_count, format_interval, format_share, pooled_only
from megc.vqa.questions import COUNT_KINDS, LONG_KINDS, NO_UNITS, normalise_answer, read_count, split_units

EVENT_TYPES = ("micro", "macro")
LVQA_METRICS = (
    *(f"{error}_{kind.removeprefix('count_')}" for kind in COUNT_KINDS for error in ("mae", "rmse")),
    *("au_set_f1", "au_set_jaccard", "uf1_type", "uar_type"),
)
COLUMNS = (
    *("run", "dataset", "videos", "subjects"),
    *(column for metric in LVQA_METRICS for column in (metric, *(f"{metric}_{end}" for end in ENDS))),
    *("invalid", "missing"),
    *(f"paired_{metric}{end}" for metric in LVQA_METRICS for end in ("", *(f"_{end}" for end in ENDS))),
)
_COUNTS = 3 * len(COUNT_KINDS)  # columns of the counts; behind them three of the sets, then six of the types


def read_unit_set(answer: str) -> set[int]:
    """FACS numbers that a list names; 0 stands for names that are no action unit. Empty for `none`."""
    return set() if normalise_answer(answer) == NO_UNITS else {unit or 0 for unit in split_units(answer)}


def read_event_type(answer: str) -> str:
    """`micro` or `macro`, whichever an answer names; empty where it names both or neither."""
    types = set(re.findall(r"\b(micro|macro)(?=\b|expression)", answer.lower()))
    return types.pop() if len(types) == 1 else ""


def is_unreadable(answer: str, kind: str) -> bool:
    """Whether an answer to a question on a long video says nothing that can be scored, or names no action unit."""
    if kind in COUNT_KINDS:
        return read_count(answer) is None
    if kind == "event_type":
        return not read_event_type(answer)
    return 0 in read_unit_set(answer)


def count_long_rows(references: Sequence[str], answers: Sequence[str | None], kinds: Sequence[str]) -> np.ndarray:
    """What each row adds to the scores, float64 (rows, 18); answers that are missing or unreadable too.

    Columns: for each of COUNT_KINDS whether it is asked, the absolute and the squared error (an answer without a
    number counts as 0); whether action units are asked, F1 and Jaccard index of the set; hits, references and answers
    of each of EVENT_TYPES.
    """
    table = np.zeros((len(kinds), _COUNTS + 9))
    for row, reference, answer, kind in zip(table, references, answers, kinds, strict=True):
        answer = answer or ""
        if kind in COUNT_KINDS:
            column = 3 * COUNT_KINDS.index(kind)
            error = abs((read_count(answer) or 0) - int(reference))
            row[column : column + 3] = 1, error, error**2
        elif kind == "distinct_units":
            true, predicted = read_unit_set(reference), read_unit_set(answer)
            both, size = len(true & predicted), len(true) + len(predicted)
            # no answer is no empty set: only `none` says that there is no unit
            agree = not size and bool(answer.strip())
            row[_COUNTS : _COUNTS + 3] = 1, 2 * both / size if size else agree, both / (size - both) if size else agree
        elif kind == "event_type":
            true, predicted = read_event_type(reference), read_event_type(answer)
            for index, name in enumerate(EVENT_TYPES):
                row[_COUNTS + 3 + index :: 2] = true == predicted == name, true == name, predicted == name
    return table


def score_long_sums(sums: np.ndarray, table: np.ndarray) -> dict[str, np.ndarray]:
    """LVQA_METRICS, each (sets,), of sums (sets, columns) of rows of `table`; NaN where no row asks.

    UF1 and UAR run over the types that occur in the references of the whole `table`.
    """
    scores = {}
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 of 0: not asked, NaN
        for index, kind in enumerate(COUNT_KINDS):
            questions, absolute, squared = sums[:, 3 * index : 3 * index + 3].T
            name = kind.removeprefix("count_")
            scores |= {f"mae_{name}": absolute / questions, f"rmse_{name}": np.sqrt(squared / questions)}
        lists, f1, jaccard = sums[:, _COUNTS : _COUNTS + 3].T
        scores |= {"au_set_f1": f1 / lists, "au_set_jaccard": jaccard / lists}
        present = table[:, _COUNTS + 5 : _COUNTS + 7].any(axis=0)
        hits, true, predicted = (
            sums[:, _COUNTS + start : _COUNTS + start + 2][:, present] for start in (3, 5, 7)
        )  # each (sets, types)
        by_type = {"uf1_type": 2 * hits / (true + predicted), "uar_type": hits / true}
    for name, values in by_type.items():
        scores[name] = values.mean(axis=1) if present.any() else np.full(len(sums), np.nan)
    return scores


def _score_sets(tables: Sequence[np.ndarray], times: np.ndarray, groups: Sequence[str]) -> dict[str, np.ndarray]:
    """Scores of resamples, each (resamples,): the mean over the sets of answers of a run."""
    scores = [score_long_sums(times @ sum_by_group(table, groups), table) for table in tables]
    return {name: np.mean([score[name] for score in scores], axis=0) for name in LVQA_METRICS}


def _score_and_resample(
    references: Sequence[Reference], run: Run, resamples: int, seed: int
) -> tuple[dict[str, float], list[dict[str, np.ndarray]]]:
    """Scores of a run, and those of its resamples by subjects and by videos: the same resamples for every run.

    Videos (or subjects) are drawn within their dataset; a resample without one of the references' types of events is
    drawn again.
    """
    true, kinds = [r.answer for r in references], [r.kind for r in references]
    tables = [count_long_rows(true, answers, kinds) for answers in run.answer_sets]
    subjects, datasets = [f"{r.dataset}/{r.subject}" for r in references], [r.dataset for r in references]
    once = np.ones((1, len(set(subjects))), int)
    values = {name: float(value[0]) for name, value in _score_sets(tables, once, subjects).items()}
    resampled = []
    for groups in (subjects, [r.clip for r in references]):
        holds = sum_by_group(tables[0], groups)[:, _COUNTS + 5 : _COUNTS + 7] > 0  # of the references alone
        times = draw_groups(Sampling(groups, datasets), resamples, seed, holds[:, holds.any(axis=0)])
        resampled.append(_score_sets(tables, times, groups))
    return values, resampled


def _with_ends(prefix: str, values: Mapping[str, float], resampled: Sequence[Mapping[str, np.ndarray]]) -> dict:
    """Columns of scores (or of differences) and of their 95 % intervals by subjects and by videos."""
    columns = {f"{prefix}{name}": value for name, value in values.items()}
    for ends, scores in zip((ENDS[:2], ENDS[2:]), resampled, strict=True):
        for name, drawn in scores.items():
            interval = percentile_interval(drawn)
            columns |= {f"{prefix}{name}_{end}": value for end, value in zip(ends, interval, strict=True)}
    return columns


def _count_faults(run: Run, kinds: Sequence[str]) -> dict[str, float]:
    """How many answers are unreadable and how many missing, the mean over the sets of answers of a run."""
    texts = [[answer or "" for answer in answers] for answers in run.answer_sets]
    unreadable = [
        sum(bool(text.strip()) and is_unreadable(text, kind) for text, kind in zip(answers, kinds, strict=True))
        for answers in texts
    ]
    missing = [sum(not text.strip() for text in answers) for answers in texts]
    return {"invalid": float(np.mean(unreadable)), "missing": float(np.mean(missing))}


def evaluate_long_runs(
    references: Sequence[Reference], runs: Sequence[Run], resamples: int = RESAMPLES, seed: int = 0
) -> list[dict]:
    """Rows of `lvqa.csv`: of each run each dataset, then all videos pooled, with intervals; of all runs but the first
    also paired differences to it."""
    lines, first = [], {}
    for run in runs:
        for dataset, rows in rows_by_dataset(references).items():
            chosen, answered = [references[row] for row in rows], select_rows(run, rows)
            values, resampled = _score_and_resample(chosen, answered, resamples, seed)
            line = {"run": run.name, "dataset": dataset, "videos": len({r.clip for r in chosen})}
            line |= {"subjects": len({(r.dataset, r.subject) for r in chosen})}
            line |= _with_ends("", values, resampled) | _count_faults(answered, [r.kind for r in chosen])
            start, start_resampled = first.setdefault(dataset, (values, resampled))
            if run is not runs[0]:
                differences = {name: value - start[name] for name, value in values.items()}
                drawn = [
                    {name: scores[name] - before[name] for name in LVQA_METRICS}
                    for scores, before in zip(resampled, start_resampled, strict=True)
                ]
                line |= _with_ends("paired_", differences, drawn)
            lines.append(line)
    return lines


def is_long(reference: Reference) -> bool:
    """Whether a question is one on a long video."""
    return reference.kind in LONG_KINDS


def long_table(rows: Sequence[Mapping]) -> str:
    """Rows of `lvqa.csv` for a terminal; below each the intervals by subjects and by videos."""
    lines = [["run", "dataset", "videos", "", *LVQA_METRICS, "invalid", "missing"]]
    for row in rows:
        counts = [format_count(row[name]) for name in ("invalid", "missing")]
        lines.append([row["run"], row["dataset"], str(row["videos"]), "", *_format_values("", row), *counts])
        lines += [["", "", "", *cells, "", ""] for cells in _format_intervals("", row)]
    for row in rows:
        if f"paired_{LVQA_METRICS[0]}" in row:
            name = f"{row['run']} minus {rows[0]['run']}"
            lines.append([name, row["dataset"], str(row["videos"]), "", *_format_values("paired_", row), "", ""])
            lines += [["", "", "", *cells, "", ""] for cells in _format_intervals("paired_", row)]
    return align_columns(lines, left=2)


def _format_values(prefix: str, row: Mapping) -> list[str]:
    """Errors are numbers of events, the others shares."""
    return [
        f"{row[prefix + name]:.2f}" if name.startswith(("mae", "rmse")) else format_share(row[prefix + name])
        for name in LVQA_METRICS
    ]


def _format_intervals(prefix: str, row: Mapping) -> list[list[str]]:
    """Two lines of cells: intervals by subjects and by videos."""
    return [
        [unit, *(format_interval([row[f"{prefix}{name}_{end}"] for end in ends]) for name in LVQA_METRICS)]
        for unit, ends in (("by subjects", ENDS[:2]), ("by videos", ENDS[2:]))
    ]


def score_long_runs(
    out: Path | str, references: Sequence[Reference], runs: Iterable[Run], resamples: int = RESAMPLES, seed: int = 0
) -> str:
    """Score runs over questions on long videos and write `lvqa.csv` to `out`; returns the table for a terminal."""
    runs = list(runs)
    rows = evaluate_long_runs(references, runs, resamples, seed)
    path = Path(out) / "lvqa.csv"
    write_table(path, rows, COLUMNS, set().union(*(commits_of(run.settings) for run in runs)))
    notes = [
        f"Intervals: {resamples} resamples of subjects, and of videos, seed {seed}.",
        "The organisers' definition is known second-hand only: see result/README.md.",
    ]
    return "\n".join([long_table(pooled_only(rows)), "", *notes, f"written: {path}"])
