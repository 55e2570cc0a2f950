"""Spotters side by side: the rows of `spotting.csv`, with intervals, and paired differences to the first of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from megc.clips import Video
from megc.csv_tables import write_table
from megc.problems import Problems
from megc.scoring.bootstrap import Sampling, draw_groups, percentile_interval, sum_by_group
from megc.scoring.interval_files import SpottingRun, VideoIndex, read_run, read_truth
from megc.scoring.random_spotter import random_runs
from megc.scoring.settings import RESAMPLES, SpottingScoreSettings
from megc.scoring.str_metrics import (
    ANALYSED,
    ANALYSIS_METRICS,
    COUNTS,
    PROFILES,
    SPOTTING_METRICS,
    StrProfile,
    VideoCounts,
    count_videos,
    explain_undefined,
    score_analysis,
    score_spotting,
)
from megc.scoring.tables import align_columns, format_interval, format_share

OVERALL = "overall"
RESAMPLED = ("f1", "strs")
_ENDS = ("low", "high", "subject_low", "subject_high")  # by videos, by subjects
_ANALYSIS = ("analysed", "tp_analysis", "fp_analysis", "fn_analysis")
COLUMNS = (
    *("run", "profile", "dataset", "type", "videos", "subjects"),
    *COUNTS,
    *SPOTTING_METRICS,
    *(f"f1_{end}" for end in _ENDS),
    *_ANALYSIS,
    *ANALYSIS_METRICS,
    *(f"strs_{end}" for end in _ENDS),
    *(f"paired_{metric}{end}" for metric in RESAMPLED for end in ("", *(f"_{end}" for end in _ENDS))),
    "note",
)


def score_sums(counts: VideoCounts, sums: np.ndarray, profile: StrProfile, emotions: bool) -> dict[str, np.ndarray]:
    """All scores, each (sets,), of sums (sets, columns) of rows of a table of counts."""
    values = dict(zip(COUNTS, sums[:, : len(COUNTS)].T, strict=True)) | score_spotting(sums)
    return values | (score_analysis(counts, sums, profile) if emotions else {})


def make_samplings(videos: Sequence[Video]) -> dict[str, Sampling]:
    """Sampling of the bootstrap by videos and by subjects, each within its dataset."""
    datasets = [video.dataset for video in videos]
    return {
        "": Sampling([video.id for video in videos], datasets),
        "subject_": Sampling([f"{video.dataset}/{video.subject}" for video in videos], datasets),
    }


def _resample(
    counts: VideoCounts, videos: Sequence[Video], profile: StrProfile, emotions: bool, resamples: int, seed: int
) -> dict[str, dict[str, np.ndarray]]:
    """Scores of the resamples by videos and by subjects; the same resamples for every run over these videos."""
    scores = {}
    for unit, sampling in make_samplings(videos).items():
        times = draw_groups(sampling, resamples, seed)
        scores[unit] = score_sums(counts, times @ sum_by_group(counts.table, sampling.groups), profile, emotions)
    return scores


def evaluate_runs(
    videos: Sequence[Video],
    runs: Sequence[SpottingRun],
    profile: StrProfile,
    emotions: Sequence[str] = ANALYSED,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[dict]:
    """Rows of `spotting.csv`: for each run each dataset that it has intervals in, and all of them, by type.

    A run is compared with the first one where both have the same datasets. A run without any interval counts on all.
    No `resamples`: no intervals.
    """
    names = sorted({video.dataset for video in videos})
    rows, first = [], {}
    for run in runs:
        datasets = [name for name in names if name in run.datasets] or names
        groups = {name: [video for video in videos if video.dataset == name] for name in datasets}
        if len(groups) > 1:
            groups[OVERALL] = [video for video in videos if video.dataset in datasets]
        for dataset, chosen in groups.items():
            for kind in profile.types:
                counts = count_videos(chosen, run.predictions, profile, kind, emotions)
                with_emotions = run.has_emotions
                values = score_sums(counts, counts.table.sum(axis=0, keepdims=True), profile, with_emotions)
                line = {name: float(value[0]) for name, value in values.items()}
                scores = _resample(counts, chosen, profile, with_emotions, resamples, seed) if resamples else {}
                key = (tuple(datasets) if dataset == OVERALL else dataset, kind)
                before = first.setdefault(key, (line, scores))
                rows.append(
                    {"run": run.name, "profile": profile.name, "dataset": dataset, "type": kind}
                    | {"videos": len(chosen), "subjects": len({(video.dataset, video.subject) for video in chosen})}
                    | {name: int(value) if name in (*COUNTS, *_ANALYSIS) else value for name, value in line.items()}
                    | _intervals(scores)
                    | (_paired(before, (line, scores)) if run is not runs[0] and before[0] is not line else {})
                    | {"note": explain_undefined(line, profile) if with_emotions else ""}
                )
    return rows


def mean_rows(
    videos: Sequence[Video],
    draws: Sequence[SpottingRun],
    profile: StrProfile = PROFILES["strict"],
    emotions: Sequence[str] = ANALYSED,
) -> list[dict]:
    """Rows of `spotting.csv` of a spotter that draws its intervals: means over the draws, without intervals.

    The note has the standard deviation of F1 over the draws.
    """
    by_draw = [evaluate_runs(videos, [draw], profile, emotions, resamples=0) for draw in draws]
    rows = []
    for versions in zip(*by_draw, strict=True):
        row = dict(versions[0])
        for name in (*COUNTS[1:], *SPOTTING_METRICS, *_ANALYSIS, *ANALYSIS_METRICS):
            if name in row:
                row[name] = float(np.mean([version[name] for version in versions]))
        row["note"] = f"standard deviation of f1 over draws {np.std([version['f1'] for version in versions]):.4f}"
        rows.append(row)
    return rows


def _intervals(scores: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, float]:
    """Intervals of RESAMPLED, by videos and by subjects."""
    columns = {}
    for unit, values in scores.items():
        for metric in RESAMPLED:
            if metric in values:
                ends = percentile_interval(values[metric])
                columns |= {f"{metric}_{unit}{end}": value for end, value in zip(("low", "high"), ends, strict=True)}
    return columns


def _paired(first: tuple[dict, dict], second: tuple[dict, dict]) -> dict[str, float]:
    """Differences second - first of RESAMPLED, with their intervals."""
    columns = {}
    for metric in RESAMPLED:
        if metric in first[0] and metric in second[0]:
            columns[f"paired_{metric}"] = second[0][metric] - first[0][metric]
    differences = {
        unit: {name: values[name] - first[1][unit][name] for name in RESAMPLED if f"paired_{name}" in columns}
        for unit, values in second[1].items()
    }
    return columns | {f"paired_{name}": value for name, value in _intervals(differences).items()}


def text_table(rows: Sequence[Mapping]) -> str:
    """Scores for a terminal, a line a row; intervals by subjects, `*` where the paired one leaves out zero."""
    heads = ["run", "profile", "dataset", "type", "events", "predicted", "hits", "precision", "recall", "F1", "[95 %]"]
    heads += ["minus first", "analysed", "F1 analysis", "UF1", "UAR", "STRS"]
    lines = [heads]
    for row in rows:
        values = [format_share(row.get(name, np.nan)) for name in (*SPOTTING_METRICS, *ANALYSIS_METRICS)]
        lines.append(
            [
                *(row[name] for name in ("run", "profile", "dataset", "type")),
                *(f"{row[name]:g}" for name in ("events", "predicted", "tp")),
                *values[:3],
                _ends_of(row),
                format_difference(row),
                f"{row['analysed']:g}" if "analysed" in row else "–",
                *values[3:],
            ]
        )
    used = [column for column, cells in enumerate(zip(*lines[1:], strict=True)) if set(cells) - {"–", ""}]
    return align_columns([[line[column] for column in used] for line in lines], left=4)


def _ends_of(row: Mapping) -> str:
    """The interval of F1 by subjects; empty for a row without."""
    return format_interval([row["f1_subject_low"], row["f1_subject_high"]]) if "f1_subject_low" in row else ""


def format_difference(row: Mapping, metric: str = "f1") -> str:
    """The paired difference of a row to the first run, with its interval by subjects; empty where there is none."""
    value, low, high = (row.get(f"paired_{metric}{end}", np.nan) for end in ("", "_subject_low", "_subject_high"))
    if np.isnan(value):
        return ""
    return f"{value:+.3f}".replace("0.", ".", 1) + "*" * (low > 0 or high < 0) + " " + format_interval([low, high])


def score_spotting_files(settings: SpottingScoreSettings, problems: Problems) -> str:
    """Score files of spotted intervals; write `spotting.csv` and return the table for the terminal."""
    if settings.names and len(settings.names) != len(settings.predictions):
        raise ValueError(f"{len(settings.names)} --names for {len(settings.predictions)} --predictions: give one each")
    videos = read_truth(settings.events, settings.videos, settings.dataset, settings.fps)
    index = VideoIndex(videos)
    names = settings.names or _distinct_names(settings.predictions)
    runs = [
        read_run(path, index, problems, settings.dataset, name)
        for path, name in zip(settings.predictions, names, strict=True)
    ]
    profiles = list(PROFILES) if "all" in settings.profiles else list(dict.fromkeys(settings.profiles))
    scored = [video for video in videos if any(video.dataset in run.datasets for run in runs)] or videos
    without_random = ""
    try:
        draws = random_runs(scored, settings.draws, settings.seed, any(run.has_emotions for run in runs))
    except ValueError as error:
        without_random = f"no row of random intervals: {error}"
    rows = []
    for name in profiles:
        rows += evaluate_runs(videos, runs, PROFILES[name], settings.emotions, settings.resamples, settings.seed)
        if settings.draws and not without_random:
            rows += mean_rows(scored, draws, PROFILES[name], settings.emotions)
    write_table(settings.out / "spotting.csv", rows, COLUMNS)
    known_datasets = {video.dataset for video in videos}
    notes = [
        f"{run.name}: no interval in {', '.join(sorted(known_datasets - run.datasets))}, so not scored there"
        for run in runs
        if run.datasets and known_datasets - run.datasets
    ]
    undefined = [row for row in rows if row["note"] and row["run"] in names]
    notes += sorted({f"{row['run']}, {row['profile']}, {row['type']}: {row['note']}" for row in undefined})
    return "\n".join(
        [text_table(rows), *notes, *filter(None, [without_random]), f"wrote {settings.out / 'spotting.csv'}"]
    )


def _distinct_names(paths: Sequence[Path]) -> list[str]:
    """The names of the files, with their folders where two are the same."""
    stems = [path.stem for path in paths]
    return [f"{path.parent.name}/{path.stem}" if stems.count(path.stem) > 1 else path.stem for path in paths]
