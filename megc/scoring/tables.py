"""Scores of runs as tables: `metrics.csv`, the same for a terminal and for markdown, paired differences."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from megc.csv_tables import write_table
from megc.problems import Problems
from megc.scoring.evaluation import COLUMNS, OVERALL, PairedDifference, ceiling, rare_classes, score_run
from megc.scoring.runs import Reference, Run, choose_predictions, read_references, read_runs
from megc.scoring.settings import MetricSettings
from megc.scoring.vqa_metrics import METRICS

SCORE_HEADS = ("coarse UF1 / UAR", "fine UF1 / UAR", "BLEU", "ROUGE-1")
BOTH = "[95 % by subjects] [by clips]"


def ceiling_note(references: Sequence[Reference], profiles: Sequence[str]) -> str:
    """A sentence on what perfect answers get in each profile."""
    tops = {profile: ceiling(references, profile) for profile in profiles}
    texts = [f"{share(top['avg'])} in {name} (BLEU {share(top['bleu'])})" for name, top in tops.items()]
    return f"Perfect answers get a mean of six of {', '.join(texts)}."


def write_metrics(path: Path | str, rows: Sequence[dict], commits: Iterable[str] = ()) -> None:
    """Write `metrics.csv` (COLUMNS), atomically; a metric that no row asks for is left empty. `commits` are those of
    the code that made the answers."""
    write_table(path, rows, COLUMNS, commits)


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


def brackets(ends: Sequence[float]) -> str:
    """An interval: `[.702, .840]`."""
    return f"[{share(ends[0])}, {share(ends[1])}]"


def both_intervals(row: Mapping, metric: str) -> tuple[str, str]:
    """The intervals of a metric in a row of `metrics.csv`: by subjects, by clips."""
    return tuple(brackets([row[f"{metric}_{by}{end}"] for end in ("low", "high")]) for by in ("subject_", ""))


def number(value: float) -> str:
    """A count, or the mean of counts over drawn sets of answers."""
    return f"{value:g}"


def text_table(rows: Sequence[dict]) -> str:
    """Scores for a terminal: a line of values and, below it, their intervals by subjects and by clips."""
    heads = ("run", "profile", "dataset", "clips")
    lines = [[*heads, "", *METRICS, "invalid"]]
    for row in rows:
        names = [str(row[head]) for head in heads]
        lines.append([*names, "", *(share(row[metric]) for metric in METRICS), number(row["invalid"])])
        by_subjects, by_clips = zip(*(both_intervals(row, metric) for metric in METRICS), strict=True)
        lines.append([*[""] * len(heads), "by subjects", *by_subjects, ""])
        lines.append([*[""] * len(heads), "by clips", *by_clips, ""])
    return _align(lines, left=3)


def agreement_table(rows: Sequence[dict]) -> str:
    """What else is known of each run's answers to all rows, for a terminal."""
    heads = ("AU precision", "AU recall", "AU F1", "AU F1 macro", "consistent", "invalid", "missing")
    lines = [["run", *heads]]
    for row in rows:
        units = [row[name] for name in ("au_precision", "au_recall", "au_f1", "au_f1_macro")]
        shares = [share(value) for value in (*units, row["consistent"], row["invalid_share"])]
        lines.append([row["run"], *shares, number(row["missing"])])
    return _align(lines, left=1)


def metric_table(references: Sequence[Reference], runs: Sequence[Run], metrics: Sequence[str], profile: str) -> str:
    """Some metrics of each run over all rows, for a terminal, with the four digits of the original project."""
    lines = [["run", "profile", *metrics]]
    for run in runs:
        values = score_run(references, run, profile)
        lines.append([run.name, profile, *(share(values[metric], 4) for metric in metrics)])
    return _align(lines, left=2)


def difference_table(first: str, differences: Mapping[str, Mapping[str, PairedDifference]]) -> str:
    """Paired differences of runs to the first one, for a terminal; `*` where the interval by subjects leaves out zero.

    Below each line its intervals by subjects and by clips.
    """
    lines = [[f"minus {first}", "", *METRICS]]
    for name, found in differences.items():
        lines.append([name, "", *(f"{share(found[m].value)}{'*' * found[m].clear}" for m in METRICS)])
        lines.append(["", "by subjects", *(brackets(found[m][1:3]) for m in METRICS)])
        lines.append(["", "by clips", *(brackets(found[m][3:5]) for m in METRICS)])
    return _align(lines, left=1)


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as a markdown table; the first line is the head."""
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def score_cells(row: Mapping) -> list[str]:
    """The cells below SCORE_HEADS of a row of `metrics.csv`, and the mean of six with both intervals."""
    values = {metric: share(row[metric]) for metric in METRICS}
    classes = [f"{values[f'uf1_{kind}']} / {values[f'uar_{kind}']}" for kind in ("coarse", "fine")]
    return [*classes, values["bleu"], values["rouge1"], f"**{values['avg']}** {' '.join(both_intervals(row, 'avg'))}"]


def markdown_table(rows: Sequence[dict]) -> str:
    """The rows of `metrics.csv` over all rows as the README shows them."""
    lines = [["answers by", *SCORE_HEADS, f"avg {BOTH}"]]
    return markdown(lines + [[row["run"], *score_cells(row)] for row in main_rows(rows)])


def rare_note(references: Sequence[Reference], profile: str = "megc2025") -> str:
    """A sentence that names the classes of few clips, whose share in a macro mean hangs on these; empty for none."""
    rare = rare_classes(references, profile)
    if len({reference.dataset for reference in references}) == 1:
        rare = {name: classes for name, classes in rare.items() if name == OVERALL}
    texts = []
    for dataset, classes in rare.items():
        numbers = {name: f"{_many(few, 'clip')} of {_many(who, 'subject')}" for name, (few, who) in classes.items()}
        texts.append(f"{dataset}: {', '.join(f'{name} ({text})' for name, text in numbers.items())}")
    return f"Classes with fewer than five clips: {'; '.join(texts)}." if texts else ""


def draws_note(runs: Sequence[Run]) -> str:
    """A sentence that names the runs that draw their answers; empty for none."""
    names = [f"{run.name} ({len(run.draws)})" for run in runs if run.draws]
    shown = "; single answers are those of the first set."
    return f"Means over drawn sets of answers: {', '.join(names)}{shown}" if names else ""


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _align(lines: list[list[str]], left: int) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    texts = []
    for line in lines:
        cells = zip(line, widths, range(len(widths)), strict=True)
        text = "  ".join(cell.ljust(width) if at < left else cell.rjust(width) for cell, width, at in cells)
        texts.append(text.rstrip())
    return "\n".join(texts)


def score_metrics(settings: MetricSettings, problems: Problems, metrics: Sequence[str]) -> str:
    """Table of some metrics of the settings' prediction files, or of those in result/demo that fit."""
    references = read_references(settings.references, problems)
    paths, left_out = list(settings.predictions), []
    if not paths:
        paths, left_out = choose_predictions("result/demo", references)
    runs = read_runs(paths, None, references, problems)
    table = metric_table(references, runs, metrics, settings.profile)
    return "\n".join([table, *(f"left out: {line}" for line in left_out)])
