"""Spotting measured on real data without faces: curves of motion, and published spotters' proposals.

The MEGC2020 baseline's files hold the motion curve of each video of CAS(ME)² and SAMM Long Videos (in 100 steps, at
two scales). The track `signal` makes intervals of them, the track `proposals` filters and joins those of published
spotters. Everything is learnt leaving one subject out. Nothing of the data is kept.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from megc.clips import Video
from megc.csv_tables import write_table
from megc.files import read_json, write_text
from megc.problems import DataError, Problems
from megc.scoring.interval_files import SpottingRun, VideoIndex, read_run, read_truth, write_intervals
from megc.scoring.random_spotter import random_runs
from megc.scoring.str_evaluation import COLUMNS, evaluate_runs, format_difference, mean_rows
from megc.scoring.str_metrics import PROFILES
from megc.scoring.tables import format_interval, format_markdown, format_share
from megc.spotting.baseline_decoders import (
    decode_peaks,
    megc2020_intervals,
    threshold_left_out,
)
from megc.spotting.candidates import Candidates, MotionCurve, peak_candidates, proposal_candidates, proposals_of
from megc.spotting.interval_scorer import spot_left_out
from megc.spotting.settings import TrackSettings

SCALES = ("micro", "macro")
PUBLISHED = {"of_fd_he2024": -np.inf, "tsmsnet_2021": -np.inf, "lgsnet_2023_epoch23_scored": 0.2}  # least score
_PEAKS = {"least": 0.45, "distance": 0.35, "half": 0.65}  # pixels, seconds, seconds
_FIX = "give the folder of the real spotting data (its README names the files)"


def read_levels(data: Path, videos: Sequence[Video]) -> dict[str, dict[str, np.ndarray]]:
    """The levels 0 to 99 of each video at both scales, a value a frame. Raises DataError where one is missing."""
    path = data / "mdmd_levels.npz"
    if not path.is_file():
        raise DataError(path, None, "the file does not exist", _FIX)
    levels: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path) as arrays:
        for video in videos:
            keys = {scale: f"{video.dataset}/{scale}/{video.name}" for scale in SCALES}
            if missing := [key for key in keys.values() if key not in arrays]:
                raise DataError(path, missing[0], "there is no such array", _FIX)
            levels[video.id] = {scale: arrays[key] for scale, key in keys.items()}
    return levels


def read_curves(data: Path, levels: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, MotionCurve]]:
    """The curves in pixels: level L is mean + .01·L·(maximum - mean) to the next; level 0, below that, is the mean."""
    about = read_json(data / "mdmd_meta.json", fix=_FIX)
    curves: dict[str, dict[str, MotionCurve]] = {}
    for video_id, by_scale in levels.items():
        dataset, _, name = video_id.split("/")
        curves[video_id] = {}
        for scale, level in by_scale.items():
            meta = about[f"{dataset}/{scale}/{name}"]
            steps = np.where(level > 0, level + 0.5, 0.0)
            values = meta["mean"] + 0.01 * steps * (meta["max"] - meta["mean"])
            curves[video_id][scale] = MotionCurve(values, meta["k"])
    return curves


def _bar(text: str) -> object:
    """A progress bar over what `spot_left_out` and the decoders go through."""
    return lambda items: tqdm(items, desc=text, leave=False)


def _run_of(name: str, dataset: str, predictions: Mapping) -> SpottingRun:
    return SpottingRun(name, dict(predictions), {dataset})


def signal_runs(
    videos: Mapping[str, list[Video]], dataset: str, levels: Mapping, curves: Mapping, settings: TrackSettings
) -> list[SpottingRun]:
    """Runs of the track `signal` on one dataset; the first one is what the others are compared with."""
    chosen = videos[dataset]
    peaks = {
        name: [peak_candidates(video, curves[video.id], **_PEAKS) for video in of_dataset]
        for name, of_dataset in videos.items()
    }
    others = [candidates for name, items in peaks.items() if name != dataset for candidates in items]
    learnt = spot_left_out(peaks[dataset], others, seed=settings.seed, progress=_bar(f"{dataset}: learnt peaks"))
    official = {video.id: megc2020_intervals(video, levels[video.id]) for video in chosen}
    predictions = {
        "peaks, threshold in pixels": decode_peaks(chosen, curves, False, _bar(f"{dataset}: peaks, pixels")),
        "peaks, threshold relative to the video": decode_peaks(
            chosen, curves, True, _bar(f"{dataset}: peaks, relative")
        ),
        "MEGC2020 baseline": official,
        "peaks, learnt": learnt,
    }
    return [_run_of(name, dataset, rows) for name, rows in predictions.items()]


def proposal_runs(
    videos: Mapping[str, list[Video]], dataset: str, curves: Mapping, settings: TrackSettings, problems: Problems
) -> list[SpottingRun]:
    """Runs of the track `proposals` on one dataset; the first one is the best published spotter there."""
    chosen, every = videos[dataset], VideoIndex(video for of_dataset in videos.values() for video in of_dataset)
    published = {}
    for name in PUBLISHED:
        run = read_run(settings.data / "predictions" / f"{name}.csv", every, problems)
        published[name] = {video.id: rows for video in chosen if (rows := run.predictions.get(video.id))}
    published = {name: predictions for name, predictions in published.items() if predictions}
    runs = []
    for name, predictions in published.items():
        scored = not np.isnan(next(iter(predictions.values()))[0].score)
        rows = threshold_left_out(chosen, predictions) if scored else predictions
        runs.append(_run_of(f"{name}{', threshold of other subjects' * scored}", dataset, rows))
    least = [PUBLISHED[name] for name in published]
    candidates: list[Candidates] = []
    for video in chosen:
        proposals = proposals_of(video, list(published.values()), least)
        candidates.append(proposal_candidates(video, curves[video.id], proposals))
    progress = _bar(f"{dataset}: joined proposals")
    joined = spot_left_out(candidates, overlap=0.3, seed=settings.seed, progress=progress)
    f1 = [_f1(chosen, run) for run in runs]
    runs.insert(0, runs.pop(int(np.argmax(f1))))  # compared with the best of them, which makes it harder
    return [*runs, _run_of("joined, learnt", dataset, joined)]


def _f1(videos: Sequence[Video], run: SpottingRun) -> float:
    return evaluate_runs(videos, [run], PROFILES["strict"], resamples=1)[-1]["f1"]


def run_tracks(settings: TrackSettings, problems: Problems) -> str:
    """Run the tracks on real data, write `tracks.csv`, `tracks.md` and each run's intervals, and return the table."""
    truth = read_truth(settings.data / "events_megc2020.csv", settings.data / "videos.csv")
    videos = {name: [video for video in truth if video.dataset == name] for name in ("casme_sq", "samm_lv")}
    levels = read_levels(settings.data, truth)
    curves = read_curves(settings.data, levels)
    rows = []
    for dataset in dict.fromkeys(settings.datasets):
        for track in dict.fromkeys(settings.tracks):
            if track == "signal":
                runs = signal_runs(videos, dataset, levels, curves, settings)
            else:
                runs = proposal_runs(videos, dataset, curves, settings, problems)
            for run in runs:
                name = f"{dataset}_{track}_{run.name}".replace(",", "").replace(" ", "-")
                write_intervals(settings.out / f"{name}.csv", videos[dataset], run.predictions)
            lines = evaluate_runs(videos[dataset], runs, PROFILES["strict"], resamples=settings.resamples)
            if track == "signal":
                official = [run for run in runs if run.name == "MEGC2020 baseline"]
                lines += evaluate_runs(videos[dataset], official, PROFILES["megc2020"], resamples=settings.resamples)
                lines += mean_rows(videos[dataset], random_runs(videos[dataset], settings.draws, settings.seed))
            rows += [{"track": track, **line} for line in lines]
            write_table(settings.out / "tracks.csv", rows, ("track", *COLUMNS))
    table = markdown_table(rows)
    write_text(settings.out / "tracks.md", table + "\n")
    return f"{table}\nwrote {settings.out / 'tracks.csv'}"


def markdown_table(rows: Sequence[Mapping]) -> str:
    """F1 of each run by type, with intervals by subjects and the paired difference to the track's first run."""
    groups: dict[tuple, dict[str, Mapping]] = {}
    for row in rows:
        groups.setdefault((row["track"], row["dataset"], row["run"], row["profile"]), {})[row["type"]] = row
    heads = ["track", "dataset", "intervals by", "predicted", "hits", "micro", "macro", "typed", "all [by subjects]"]
    lines = [[*heads, "minus the first [by subjects]"]]
    for (track, dataset, run, profile), by_type in groups.items():
        pooled = by_type["all"]
        name = run if profile == "strict" else f"{run}, counted as {profile}"
        ends = [pooled.get(f"f1_subject_{end}", np.nan) for end in ("low", "high")]
        interval = "" if np.isnan(ends).any() else f" {format_interval(ends)}"
        shares = [
            format_share(by_type[kind]["f1"]) if kind in by_type else "–" for kind in ("micro", "macro", "typed")
        ]
        counts = [f"{pooled[name]:.0f}" for name in ("predicted", "tp")]
        f1 = f"**{format_share(pooled['f1'])}**{interval}"
        lines.append([track, dataset, name, *counts, *shares, f1, format_difference(pooled)])
    return format_markdown(lines)
