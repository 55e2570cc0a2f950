"""`report.html` of spotters side by side: their table, and a timeline of each video with hits, misses, false alarms.

All is inlined, so that the page opens without a network; texts are escaped by the template.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from megc.files import write_text
from megc.scoring.answer_cards import data_uri
from megc.scoring.interval_files import SpottingRun
from megc.scoring.report import html_environment
from megc.scoring.str_evaluation import OVERALL, format_difference
from megc.scoring.tables import format_interval, format_share
from megc.spotting.spotters import SpottingVideo
from megc.spotting.timeline import draw_timeline, match_intervals, timeline_content

_COLOURS = 96  # of a timeline in the page: a third of the size, and no eye tells


def table_lines(rows: Sequence[Mapping], dataset: str) -> list[dict]:
    """Cells of the runs on one dataset, or on all: counts, F1 by type, of analysis, and STRS, with differences."""
    by_run: dict[str, dict[str, Mapping]] = {}
    for row in rows:
        if row["dataset"] == dataset:
            by_run.setdefault(row["run"], {})[row["type"]] = row
    lines = []
    for name, by_type in by_run.items():
        pooled = by_type["all"]
        line = {"run": name} | {
            f"{kind}_f1": format_share(by_type[kind]["f1"]) for kind in ("micro", "macro", "typed")
        }
        line |= {column: f"{pooled[column]:.0f}" for column in ("events", "predicted", "tp")}
        for metric in ("f1", "strs"):
            ends = [pooled.get(f"{metric}_subject_{end}", np.nan) for end in ("low", "high")]
            line[metric] = format_share(pooled.get(metric, np.nan))
            line[f"{metric}_ends"] = "" if np.isnan(ends).any() else format_interval(ends)
            line[f"{metric}_difference"] = format_difference(pooled, metric)
        line["analysed"] = f"{pooled['analysed']:.0f}" if "analysed" in pooled else "–"
        line["f1_analysis"] = format_share(pooled.get("f1_analysis", np.nan))
        lines.append(line)
    return lines


def count_hits(item: SpottingVideo, run: SpottingRun) -> dict:
    """Hits, misses and false alarms of a run in a video, whatever the types."""
    intervals, events = run.predictions.get(item.video.id, []), item.video.events
    hits = len(match_intervals(intervals, events))
    return {"run": run.name, "hits": hits, "missed": len(events) - hits, "false_alarms": len(intervals) - hits}


def _inline_png(png: bytes) -> str:
    """A picture as a data URI, with few colours."""
    out = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(
        out, "png", optimize=True
    )
    return data_uri(out.getvalue(), "png")


def make_cards(items: Sequence[SpottingVideo], runs: Sequence[SpottingRun]) -> list[dict]:
    """A card for each video: its timeline, with the faces of the first run and the bars of all, and their counts."""
    first, *others = runs
    cards = []
    for item in tqdm(items, desc="timelines", unit="video", mininterval=0.5):
        name = item.video.id
        more = {run.name: run.predictions.get(name, []) for run in others}
        content = timeline_content(item, first.predictions.get(name, []), first.name, more)
        counts = [count_hits(item, run) for run in runs]
        subject = f"{item.video.dataset}/{item.video.subject}"
        picture = _inline_png(draw_timeline(content))
        about = {"video": name, "dataset": item.video.dataset, "subject": subject, "events": len(item.video.events)}
        cards.append(about | {"picture": picture, "counts": counts})
    return cards


def write_spotting_report(
    path: Path, rows: Sequence[Mapping], items: Sequence[SpottingVideo], runs: Sequence[SpottingRun], about: str
) -> None:
    """Write the page, atomically. `rows` are those of `spotting.csv`, `runs` those whose intervals are drawn."""
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    pooled = OVERALL if OVERALL in datasets else datasets[0]
    environment = html_environment(Path(__file__).parent)
    page = environment.get_template("spotting_report.html").render(
        runs=[run.name for run in runs],
        first=rows[0]["run"],
        pooled=table_lines(rows, pooled),
        by_dataset={name: table_lines(rows, name) for name in datasets if name != pooled},
        about=about,
        cards=make_cards(items, runs),
    )
    write_text(path, page)
