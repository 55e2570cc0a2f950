"""Scores of runs as tables: `metrics.csv`, the same for a terminal, paired differences, profiles side by side."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from megc.files import write_text
from megc.scoring.bootstrap import RESAMPLES, intervals, paired
from megc.scoring.consistency import consistency
from megc.scoring.metrics import METRICS, row_counts, score
from megc.scoring.pairs import Reference, Run
from megc.scoring.units import UNIT_METRICS, score_units

OVERALL = "overall"
COLUMNS = (
    *("run", "profile", "dataset", "clips", "subjects"),
    *METRICS,
    *(f"{metric}_{end}" for metric in METRICS for end in ("low", "high")),
    *("invalid", "invalid_share", "missing"),
    *UNIT_METRICS,
    *("consistent", "bleu_ceiling", "avg_ceiling", "avg_subject_low", "avg_subject_high"),
)
GROUPS = ("clip", "subject")


def parts(references: Sequence[Reference]) -> dict[str, list[int]]:
    """Row numbers of each dataset, in order of name, and of all rows together under `overall`."""
    datasets = sorted({reference.dataset for reference in references})
    rows = {name: [i for i, found in enumerate(references) if found.dataset == name] for name in datasets}
    return {**rows, OVERALL: list(range(len(references)))}


def group_names(references: Sequence[Reference], by: str = "clip") -> list[str]:
    """The bootstrap's group of each row: its clip, or its subject within the dataset."""
    if by not in GROUPS:
        raise ValueError(f"cannot resample by {by!r}: choose from {', '.join(GROUPS)}")
    return [r.clip if by == "clip" else f"{r.dataset}/{r.subject}" for r in references]


def evaluate(
    references: Sequence[Reference],
    run: Run,
    profile: str = "megc2025",
    by: str = "clip",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[dict]:
    """Rows of `metrics.csv` for one run: each dataset, then all rows pooled, with 95 % bootstrap intervals.

    The intervals resample clips or, with `by`, subjects; that of `avg` over subjects is always there too.
    """
    table = []
    for dataset, rows in parts(references).items():
        chosen = [references[row] for row in rows]
        texts = [r.answer for r in chosen], [run.answers[row] for row in rows], [r.kind for r in chosen]
        values = score(*texts, profile, [r.dataset for r in chosen])
        counts = row_counts(*texts, profile)
        ends = intervals(counts, group_names(chosen, by), resamples, seed)
        line = {"run": run.name, "profile": profile, "dataset": dataset}
        line["clips"] = len({r.clip for r in chosen})
        line["subjects"] = len({(r.dataset, r.subject) for r in chosen})
        line |= {metric: values[metric] for metric in METRICS}
        for metric in METRICS:
            line[f"{metric}_low"], line[f"{metric}_high"] = ends[metric]
        line |= {"invalid": values["invalid"], "invalid_share": values["invalid"] / len(chosen)}
        line |= {"missing": values["missing"], **score_units(*texts)}
        line["consistent"] = consistent_share(chosen, texts[1], profile)
        line |= {f"{metric}_ceiling": top for metric, top in ceiling(chosen, profile).items()}
        over_subjects = intervals(counts, group_names(chosen, "subject"), resamples, seed)["avg"]
        line["avg_subject_low"], line["avg_subject_high"] = over_subjects
        table.append(line)
    return table


def consistent_share(references: Sequence[Reference], answers: Sequence[str | None], profile: str) -> float:
    """Share of the clips whose answers agree with each other; NaN where no clip can be checked."""
    found = consistency([r.clip for r in references], [r.question for r in references], answers, profile)
    held, clips = found.get("all", (0, 0))
    return held / clips if clips else float("nan")


def compare(
    references: Sequence[Reference],
    first: Run,
    second: Run,
    profile: str = "megc2025",
    by: str = "clip",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, tuple[float, float, float]]:
    """Paired difference second - first over all rows: (difference, low, high) of each metric."""
    kinds, wanted = [r.kind for r in references], [r.answer for r in references]
    counts = [row_counts(wanted, run.answers, kinds, profile) for run in (first, second)]
    return paired(*counts, group_names(references, by), resamples, seed)


def ceiling(references: Sequence[Reference], profile: str) -> dict[str, float]:
    """`bleu` and `avg` that the references themselves get: smoothed sentence BLEU gives a right word .178."""
    texts = [r.answer for r in references]
    values = score(texts, texts, [r.kind for r in references], profile)
    return {metric: values[metric] for metric in ("bleu", "avg")}


def ceiling_note(references: Sequence[Reference], profiles: Sequence[str]) -> str:
    """A sentence on what perfect answers get in each profile."""
    tops = {profile: ceiling(references, profile) for profile in profiles}
    texts = [f"{share(top['avg'])} in {name} (BLEU {share(top['bleu'])})" for name, top in tops.items()]
    return f"Perfect answers get a mean of six of {', '.join(texts)}."


def write_metrics(path: Path | str, rows: Sequence[dict]) -> None:
    """Write `metrics.csv` (COLUMNS), atomically; a metric that no row asks for is left empty."""
    frame = pd.DataFrame(list(rows), columns=list(COLUMNS))
    write_text(path, frame.to_csv(index=False, float_format="%.6f", lineterminator="\n"))


def pooled_only(rows: Sequence[dict]) -> list[dict]:
    """Rows to show: without those of the one dataset where there is only one, which repeat the overall ones."""
    several = len({row["dataset"] for row in rows}) > 2
    return [row for row in rows if several or row["dataset"] == OVERALL]


def main_rows(rows: Sequence[dict]) -> list[dict]:
    """The rows of each run over all rows, by the first profile."""
    return [row for row in rows if row["dataset"] == OVERALL and row["profile"] == rows[0]["profile"]]


def share(value: float, digits: int = 3) -> str:
    """A share as papers print it: `.335`, `1.000`, `-.012`; a dash where there is none."""
    if math.isnan(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 and text.lstrip("-").startswith("0.") else text


def text_table(rows: Sequence[dict]) -> str:
    """Scores for a terminal: a line of values and, below it, their intervals."""
    heads = ("run", "profile", "dataset", "clips")
    lines = [[*heads, *METRICS, "invalid"]]
    for row in rows:
        lines.append([*(str(row[head]) for head in heads), *(share(row[m]) for m in METRICS), str(row["invalid"])])
        ends = [f"[{share(row[f'{m}_low'])}, {share(row[f'{m}_high'])}]" for m in METRICS]
        lines.append([""] * len(heads) + ends + [""])
    return _align(lines, left=3)


def agreement_table(rows: Sequence[dict]) -> str:
    """What else is known of each run's answers to all rows, for a terminal."""
    heads = (
        "AU precision",
        "AU recall",
        "AU F1",
        "AU F1 macro",
        "consistent",
        "invalid",
        "missing",
        "avg by subjects",
    )
    lines = [["run", *heads]]
    for row in rows:
        units = [row[name] for name in ("au_precision", "au_recall", "au_f1", "au_f1_macro")]
        shares = [share(value) for value in (*units, row["consistent"], row["invalid_share"])]
        ends = f"[{share(row['avg_subject_low'])}, {share(row['avg_subject_high'])}]"
        lines.append([row["run"], *shares, str(row["missing"]), ends])
    return _align(lines, left=1)


def metric_table(references: Sequence[Reference], runs: Sequence[Run], metrics: Sequence[str], profile: str) -> str:
    """Some metrics of each run over all rows, for a terminal, with the four digits of the original project."""
    lines = [["run", "profile", *metrics]]
    for run in runs:
        values = score([r.answer for r in references], run.answers, [r.kind for r in references], profile)
        lines.append([run.name, profile, *(share(values[metric], 4) for metric in metrics)])
    return _align(lines, left=2)


def difference_table(first: str, differences: dict[str, dict[str, tuple[float, float, float]]]) -> str:
    """Paired differences of runs to the first one, for a terminal; `*` where the interval leaves out zero."""
    lines = [[f"minus {first}", *METRICS]]
    for name, found in differences.items():
        marks = {m: "*" if low > 0 or high < 0 else "" for m, (_, low, high) in found.items()}
        lines.append([name, *(f"{share(found[m][0])}{marks[m]}" for m in METRICS)])
        lines.append(["", *(f"[{share(found[m][1])}, {share(found[m][2])}]" for m in METRICS)])
    return _align(lines, left=1)


def _align(lines: list[list[str]], left: int) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    texts = []
    for line in lines:
        cells = zip(line, widths, range(len(widths)), strict=True)
        text = "  ".join(cell.ljust(width) if at < left else cell.rjust(width) for cell, width, at in cells)
        texts.append(text.rstrip())
    return "\n".join(texts)
