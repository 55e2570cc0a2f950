"""Tables of scores: `metrics.csv`, the same for a terminal and for markdown, paired differences."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from megc.csv_tables import write_table
from megc.problems import Problems
from megc.scoring.evaluation import (
    COLUMNS,
    OVERALL,
    PairedDifference,
    find_rare_classes,
    rows_by_dataset,
    score_ceiling,
    score_run,
)
from megc.scoring.runs import Reference, Run, choose_predictions, read_reference_files, read_runs
from megc.scoring.settings import MetricSettings
from megc.scoring.vqa_metrics import METRICS, score_answers
from megc.vqa.submission import analysis_note

SCORE_HEADS = ("coarse UF1 / UAR", "fine UF1 / UAR", "BLEU", "ROUGE-1")
BOTH = "[95 % by subjects] [by clips]"


def ceiling_note(references: Sequence[Reference], profiles: Sequence[str]) -> str:
    """A sentence on what perfect answers get in each profile."""
    tops = {profile: score_ceiling(references, profile) for profile in profiles}
    texts = [f"{format_share(top['avg'])} in {name} (BLEU {format_share(top['bleu'])})" for name, top in tops.items()]
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


def format_share(value: float, digits: int = 3) -> str:
    """Format a share as papers print it: `.335`, `1.000`, `-.012`; a dash where there is none."""
    if math.isnan(value):
        return "–"
    text = f"{value:.{digits}f}"  # "0.335" loses its zero, "1.000" keeps its one
    return text.replace("0.", ".", 1) if abs(value) < 1 and text.lstrip("-").startswith("0.") else text


def format_interval(ends: Sequence[float]) -> str:
    """Format an interval: `[.702, .840]`."""
    return f"[{format_share(ends[0])}, {format_share(ends[1])}]"


def format_both_intervals(row: Mapping, metric: str) -> tuple[str, str]:
    """Format the intervals of a metric in a row of `metrics.csv`: by subjects, by clips."""
    return tuple(format_interval([row[f"{metric}_{by}{end}"] for end in ("low", "high")]) for by in ("subject_", ""))


def format_count(value: float) -> str:
    """Format a count, or the mean of counts over drawn sets of answers."""
    return f"{value:g}"


def text_table(rows: Sequence[dict]) -> str:
    """Scores for a terminal: a line of values and, below it, their intervals by subjects and by clips."""
    heads = ("run", "profile", "dataset", "clips")
    lines = [[*heads, "", *METRICS, "invalid"]]
    for row in rows:
        names = [str(row[head]) for head in heads]
        lines.append([*names, "", *(format_share(row[metric]) for metric in METRICS), format_count(row["invalid"])])
        by_subjects, by_clips = zip(*(format_both_intervals(row, metric) for metric in METRICS), strict=True)
        lines.append([*[""] * len(heads), "by subjects", *by_subjects, ""])
        lines.append([*[""] * len(heads), "by clips", *by_clips, ""])
    return align_columns(lines, left=3)


def agreement_table(rows: Sequence[dict]) -> str:
    """Action units, consistency, invalid and missing answers of each run over all rows, for a terminal."""
    heads = ("AU precision", "AU recall", "AU F1", "AU F1 macro", "consistent", "invalid", "missing")
    lines = [["run", *heads]]
    for row in rows:
        units = [row[name] for name in ("au_precision", "au_recall", "au_f1", "au_f1_macro")]
        shares = [format_share(value) for value in (*units, row["consistent"], row["invalid_share"])]
        lines.append([row["run"], *shares, format_count(row["missing"])])
    return align_columns(lines, left=1)


def metric_table(references: Sequence[Reference], runs: Sequence[Run], metrics: Sequence[str], profile: str) -> str:
    """Some metrics of each run over all rows, for a terminal, with the four digits of the original project."""
    lines = [["run", "profile", *metrics]]
    for run in runs:
        values = score_run(references, run, profile)
        lines.append([run.name, profile, *(format_share(values[metric], 4) for metric in metrics)])
    return align_columns(lines, left=2)


def difference_table(first: str, differences: Mapping[str, Mapping[str, PairedDifference]]) -> str:
    """Paired differences of runs to the first one, for a terminal; `*` where the interval by subjects leaves out zero.

    Below each line its intervals by subjects and by clips.
    """
    lines = [[f"minus {first}", "", *METRICS]]
    for name, by_metric in differences.items():
        stars = {metric: "*" if by_metric[metric].clear else "" for metric in METRICS}
        lines.append([name, "", *(f"{format_share(by_metric[metric].value)}{stars[metric]}" for metric in METRICS)])
        # a PairedDifference is value, two ends by subjects, two ends by clips
        lines.append(["", "by subjects", *(format_interval(by_metric[metric][1:3]) for metric in METRICS)])
        lines.append(["", "by clips", *(format_interval(by_metric[metric][3:5]) for metric in METRICS)])
    return align_columns(lines, left=1)


def format_markdown(lines: Sequence[Sequence[str]]) -> str:
    """Format lines of cells as a markdown table; the first line is the head."""
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def format_score_cells(row: Mapping) -> list[str]:
    """Format the cells below SCORE_HEADS of a row of `metrics.csv`, and the mean of six with both intervals."""
    values = {metric: format_share(row[metric]) for metric in METRICS}
    classes = [f"{values[f'uf1_{kind}']} / {values[f'uar_{kind}']}" for kind in ("coarse", "fine")]
    return [
        *classes,
        values["bleu"],
        values["rouge1"],
        f"**{values['avg']}** {' '.join(format_both_intervals(row, 'avg'))}",
    ]


def markdown_table(rows: Sequence[dict]) -> str:
    """The rows of `metrics.csv` over all rows as the README shows them."""
    lines = [["answers by", *SCORE_HEADS, f"avg {BOTH}"]]
    return format_markdown(lines + [[row["run"], *format_score_cells(row)] for row in main_rows(rows)])


def reference_notes(references: Sequence[Reference], profile: str = "megc2025") -> list[str]:
    """Sentences on what the references let a table say: `measures_note` and `rare_note`, where they say anything."""
    return [note for note in (measures_note(references, profile), rare_note(references, profile)) if note]


def measures_note(references: Sequence[Reference], profile: str = "megc2025") -> str:
    """A sentence that names the measures that `avg` is the mean of, by dataset, where they are not all six."""
    texts = []
    for dataset, rows in rows_by_dataset(references).items():
        kinds, answers = zip(*((references[row].kind, references[row].answer) for row in rows), strict=True)
        values = score_answers(answers, answers, kinds, profile)
        present = [metric for metric in METRICS if metric != "avg" and not math.isnan(values[metric])]
        if len(present) < len(METRICS) - 1:
            texts.append(f"{dataset}: {', '.join(present)}")
    if len({reference.dataset for reference in references}) == 1:
        texts = texts[-1:]  # the one dataset and `overall` are the same rows
    return f"avg is the mean of the measures that the questions allow: {'; '.join(texts)}." if texts else ""


def rare_note(references: Sequence[Reference], profile: str = "megc2025") -> str:
    """A sentence that names the classes of few clips, each of which moves a macro mean; empty for none."""
    rare = find_rare_classes(references, profile)
    if len({reference.dataset for reference in references}) == 1:
        rare = {name: classes for name, classes in rare.items() if name == OVERALL}  # else named twice
    texts = []
    for dataset, classes in rare.items():
        numbers = {
            name: f"{_plural(clips, 'clip')} of {_plural(subjects, 'subject')}"
            for name, (clips, subjects) in classes.items()
        }
        texts.append(f"{dataset}: {', '.join(f'{name} ({text})' for name, text in numbers.items())}")
    return f"Classes with fewer than five clips: {'; '.join(texts)}." if texts else ""


def draws_note(runs: Sequence[Run]) -> str:
    """A sentence that names the runs that draw their answers; empty for none."""
    names = [f"{run.name} ({len(run.draws)})" for run in runs if run.draws]
    if not names:
        return ""
    return f"Means over drawn sets of answers: {', '.join(names)}; single answers are those of the first set."


def analysis_notes(references: Sequence[Reference], runs: Sequence[Run]) -> list[str]:
    """A line on each run with analyses that say next to nothing (see `submission.analysis_note`)."""
    notes = []
    for run in runs:
        answered = zip(references, run.answers, strict=True)
        if note := analysis_note((reference.id, reference.kind, answer) for reference, answer in answered):
            notes.append(f"{run.name}: {note}.")
    return notes


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def align_columns(lines: list[list[str]], left: int) -> str:
    """Pad cells to columns: the first `left` columns to the left, numbers to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    texts = []
    for line in lines:
        cells = zip(line, widths, range(len(widths)), strict=True)
        text = "  ".join(cell.ljust(width) if column < left else cell.rjust(width) for cell, width, column in cells)
        texts.append(text.rstrip())
    return "\n".join(texts)


def score_metrics(settings: MetricSettings, problems: Problems, metrics: Sequence[str]) -> str:
    """Table of some metrics of the settings' prediction files, or of those in result/demo that fit."""
    references = read_reference_files(settings.references, problems)
    paths, left_out = list(settings.predictions), []
    if not paths:
        paths, left_out = choose_predictions("result/demo", references)
    runs = read_runs(paths, None, references, problems)
    table = metric_table(references, runs, metrics, settings.profile)
    return "\n".join([table, *(f"left out: {line}" for line in left_out)])
