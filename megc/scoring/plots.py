"""Pictures of scores: the runs' means of six side by side, and confusion matrices of the coarse and the fine class."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

from megc.facs import COARSE_EMOTIONS, FINE_EMOTIONS
from megc.files import figure_png, sha256_of, write_bytes
from megc.scoring.runs import Reference, Run
from megc.scoring.vqa_metrics import read_class_labels

CLASSES = {"coarse": COARSE_EMOTIONS, "fine": FINE_EMOTIONS}
OTHER = "none of these"  # a missing answer, or one outside the vocabulary


def count_confusions(
    references: Sequence[Reference], run: Run, kind: str, profile: str = "megc2025"
) -> tuple[np.ndarray, list[str], list[str]]:
    """Count a class kind's confusions, int (true classes, predicted classes), with the names of both.

    True classes come first and in one order in both; classes that are only predicted follow, last what is no class.
    """
    texts = [r.answer for r in references], run.answers, [r.kind for r in references]
    true, predicted, _ = read_class_labels(*texts, kind, profile)
    predicted = [label if label in CLASSES[kind] else OTHER for label in predicted]
    names = [name for name in (*CLASSES[kind], OTHER) if name in true or name in predicted]
    rows = [name for name in names if name in true]
    columns = rows + [name for name in names if name not in rows]
    if not rows:
        return np.zeros((0, 0), int), rows, columns
    return confusion_matrix(true, predicted, labels=columns)[: len(rows)], rows, columns


def draw_confusion(counts: np.ndarray, rows: list[str], columns: list[str], title: str) -> bytes:
    """PNG of a confusion matrix: each cell holds its count and its share of the row, which is also its colour."""
    size = len(columns)
    shares = np.zeros((size, size))
    shares[: len(rows)] = counts / counts.sum(axis=1, keepdims=True)
    figure = Figure(figsize=(1.7 + 0.85 * size, 1.5 + 0.56 * len(rows)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    display = ConfusionMatrixDisplay(shares, display_labels=columns)
    display.plot(
        ax=axes, cmap="Blues", colorbar=False, xticks_rotation=30, im_kw={"vmin": 0, "vmax": 1, "aspect": "auto"}
    )
    for (row, column), text in np.ndenumerate(display.text_):
        if row >= len(rows):
            text.remove()
        else:
            text.set_text(f"{counts[row, column]}\n{shares[row, column]:.0%}")
            text.set_color("white" if shares[row, column] > 0.55 else "black")
    # sklearn draws squares; classes that are predicted but never true have no row
    axes.set(ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)), yticklabels=rows, title=title)
    axes.set(xlabel="answered", ylabel="true")
    for label in axes.get_xticklabels():
        label.set_ha("right")
    return figure_png(figure)


def draw_intervals(rows: Sequence[Mapping], narrow: bool = False) -> bytes:
    """PNG of the mean of six of each run (rows of `metrics.csv`, top to bottom) with its 95 % intervals.

    `narrow`: for a telephone, with the names above the lines.
    """
    return figure_png(interval_figure(rows, narrow))


def interval_figure(rows: Sequence[Mapping], narrow: bool = False) -> Figure:
    """Figure of `draw_intervals`. Lines run from end to end, since a percentile interval need not hold its value."""
    heights = np.arange(len(rows))
    columns = ("avg", "avg_subject_low", "avg_subject_high", "avg_low", "avg_high")
    values, *ends = np.array([[row[name] for name in columns] for row in rows], float).T
    size = (3.5, 0.9 + 0.42 * len(rows)) if narrow else (8, 0.9 + 0.29 * len(rows))
    figure = Figure(figsize=size, dpi=220 if narrow else 110, layout="constrained")
    axes = figure.add_subplot()
    # the narrow line over the wide bar, and the value over both
    axes.hlines(heights, *ends[2:], color="#c3d5ec", linewidth=7, label="by clips")
    axes.hlines(heights, *ends[:2], color="#4c7fbd", linewidth=1.4, label="by subjects")
    axes.plot(values, heights, "o", color="#17539c", markersize=5)
    axes.set(yticks=heights, yticklabels=[row["run"] for row in rows], ylim=(len(rows) - 0.5, -0.5), xlim=(0, 1))
    axes.set_xlabel("mean of the six metrics, 95 % intervals by subjects (line) and by clips (bar)")
    if narrow:
        axes.set(yticks=[], ylim=(len(rows) - 0.4, -0.8), xlabel="mean of the six metrics")
        for height, row in zip(heights, rows, strict=True):
            axes.text(0, height - 0.26, row["run"], fontsize=8, va="center", parse_math=False)
    axes.grid(axis="x", color="#d5d9e0")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    return figure


def file_slug(name: str) -> str:
    """Make a run's name part of a file name; where letters are dropped, with a hash against two names in one."""
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
    return kept if kept == name else f"{kept or 'run'}-{sha256_of(name.encode('utf-8', 'surrogatepass'))[:6]}"


def write_confusions(
    folder: Path | str, references: Sequence[Reference], run: Run, profile: str = "megc2025"
) -> dict[str, Path]:
    """Write `confusion_<run>_<kind>.png` of each class kind that the references have; returns the files by kind."""
    written = {}
    for kind in CLASSES:
        counts, rows, columns = count_confusions(references, run, kind, profile)
        if not rows:
            continue
        path = Path(folder) / f"confusion_{file_slug(run.name)}_{kind}.png"
        write_bytes(path, draw_confusion(counts, rows, columns, f"{run.name}: {kind} class"))
        written[kind] = path
    return written
