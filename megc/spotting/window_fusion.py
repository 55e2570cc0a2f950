"""The refiner `window_fusion`: the optical-flow spotter's intervals, judged and completed by windows of face crops.

The winner of MEGC2023 fused a video encoder's windows with optical flow, which gave the boundaries and took out
windows without facial motion; how is not public, so this is ours. An interval of the spotter before stays where a
window that overlaps it scores at least `keep`. An interval of the windows is added where it overlaps none of these,
scores at least `add`, and some region moves by more than `gap` pixels in it; its ends are then those of that motion.
The three numbers are the best for the training subjects, with what spotters say of them that have not seen them.
"""

import itertools
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from tqdm import tqdm

from megc.files import read_checked, write_json
from megc.motion.region_stream import RegionFlow
from megc.problems import DataError
from megc.records import ClosedContract
from megc.scoring.interval_files import type_by_duration
from megc.scoring.interval_matching import interval_ious, match_best_first
from megc.scoring.str_metrics import SpottedInterval, ends_of
from megc.spotting.flow_spotter import RATE, split_segments, subtract_median
from megc.spotting.interval_scorer import NEVER
from megc.spotting.kind_settings import WindowFusionSettings
from megc.spotting.region_spotter import part_subjects
from megc.spotting.spotted_intervals import share_intervals
from megc.spotting.spotters import (
    RECORD_NAME,
    SpottingVideo,
    check_settings,
    load_spotter,
    read_spotter_record,
    read_spotter_settings,
    train_spotter,
)
from megc.spotting.window_spotter import WindowSpotter, held_out_spotters

SETTINGS = WindowFusionSettings
NEEDS = ("face_crops", "region_flow")
_MODEL_NAME = "window_fusion.json"
_WINDOWS, _BASE = "windows", "base"  # folders of the spotters that are trained here
_FIX = "train it again with train/train_spotter.py"
_PARTS = 3  # of the training subjects, each left out once
_AGREES = 0.4  # IoU from which a window is on an interval
_GAPS = (0.7, 1.0, 1.4, 2.0)  # pixels that are tried
_TRIED = 12  # quantiles of scores that are tried
_SHARE = 0.33  # of the peak of the motion at which an added interval ends
_MOST_CHANGE = 2.0  # factor on its length by which the motion may move the ends of an added interval


class FusionModel(ClosedContract):
    """`window_fusion.json`: least scores to keep an interval and to add one, and least motion of one that is added."""

    keep: Annotated[float, Field(ge=0)]
    add: Annotated[float, Field(ge=0)]
    gap: Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class FusionEvidence:
    """Intervals of the spotter before, with the best score (n,) of the windows on each; intervals of the windows, with
    the motion (m,) in each, in pixels of a face 236 wide, and their ends (m, 2) by that motion."""

    proposals: Sequence[SpottedInterval]
    support: np.ndarray
    windows: Sequence[SpottedInterval]
    motion: np.ndarray
    moved: np.ndarray


def motion_in(flow: RegionFlow, intervals: np.ndarray, reference: float) -> tuple[np.ndarray, np.ndarray]:
    """Largest range of a region's motion (m,) in intervals (m, 2) of frame numbers, and the ends (m, 2) of the motion
    of the region that moves most: where it has come down to a third of its peak.

    Motion is measured from its running median over `reference` seconds. The ends stay those of the interval where
    those of the motion make it more than twice as long or less than half; no motion is 0.
    """
    motion, moved = np.zeros(len(intervals)), np.array(intervals, float).reshape(-1, 2)
    for curves in split_segments(flow, bridge_blinks=True):
        lengths = np.linalg.norm(subtract_median(curves.motion, reference), axis=2)  # (T, regions)
        for row, (onset, offset) in enumerate(intervals):
            inside = np.flatnonzero((curves.frame_numbers >= onset) & (curves.frame_numbers <= offset))
            if len(inside) < 2:
                continue
            ranges = np.ptp(lengths[inside], axis=0)
            if ranges.max() <= motion[row]:
                continue
            motion[row] = ranges.max()
            curve = lengths[:, int(ranges.argmax())]
            peak = inside[0] + int(curve[inside].argmax())
            ends, _ = share_intervals(curve, RATE, float(curve[peak]) * 0.999, _SHARE, 1 / RATE)
            around = ends[(ends[:, 0] <= peak) & (ends[:, 1] >= peak)]
            if len(around):
                change = (around[0, 1] - around[0, 0] + 1) / len(inside)
                if 1 / _MOST_CHANGE <= change <= _MOST_CHANGE:
                    moved[row] = curves.frame_numbers[around[0].astype(int)]
    return motion, moved


def gather_evidence(
    video: SpottingVideo, proposals: Sequence[SpottedInterval], spotter: WindowSpotter, reference: float
) -> FusionEvidence:
    """What is known of the intervals of a video. Raises DataError for crops of another recipe."""
    scored, windows = spotter.scores(video)
    support = np.zeros(len(proposals))
    if len(proposals) and len(scored.ends):
        on = interval_ious(ends_of(proposals), scored.ends) >= _AGREES
        support = (on * scored.scores).max(axis=1)
    motion, moved = motion_in(video.region_flow(), ends_of(windows), reference)
    return FusionEvidence(proposals, support, windows, motion, moved)


def fuse(evidence: FusionEvidence, model: FusionModel, fps: float) -> list[SpottedInterval]:
    """The proposals that windows support, and intervals of windows where something moves, in order of onset.

    A proposal's score becomes the mean of its own and that of the windows.
    """
    rows = []
    for proposal, support in zip(evidence.proposals, evidence.support, strict=True):
        if support >= model.keep:
            score = support if np.isnan(proposal.score) else (proposal.score + support) / 2
            rows.append(proposal._replace(score=float(score)))
    order = sorted(range(len(evidence.windows)), key=lambda index: -evidence.windows[index].score)
    for index in order:
        window = evidence.windows[index]
        if window.score < model.add or evidence.motion[index] < model.gap:
            continue
        onset, offset = (float(round(end)) for end in evidence.moved[index])
        if rows and interval_ious(np.array([[onset, offset]]), ends_of(rows)).max() > 0:
            continue
        rows.append(SpottedInterval(onset, offset, type_by_duration(onset, offset, fps), window.score))
    return sorted(rows)


def choose_model(videos: Sequence[SpottingVideo], evidence: Sequence[FusionEvidence]) -> FusionModel:
    """The thresholds with the best F1 over the videos, all types pooled; of equals, those that change least."""
    truths = [ends_of(item.video.events) for item in videos]
    events = sum(map(len, truths))
    keeps = [0.0, *_quantiles(np.concatenate([item.support for item in evidence]))]
    adds = [NEVER, *_quantiles(np.array([row.score for item in evidence for row in item.windows]))[::-1]]
    best, chosen = -1.0, FusionModel(keep=0.0, add=NEVER, gap=_GAPS[-1])
    for keep, add, gap in itertools.product(keeps, adds, _GAPS[::-1]):
        model = FusionModel(keep=keep, add=add, gap=gap)
        hits = predicted = 0
        for item, of_video, truth in zip(videos, evidence, truths, strict=True):
            ends = ends_of(fuse(of_video, model, item.video.fps))
            hits += len(match_best_first(ends, truth).hits)
            predicted += len(ends)
        f1 = 2 * hits / max(predicted + events, 1)
        if f1 > best + 1e-9:
            best, chosen = f1, model
    return chosen


def _quantiles(scores: np.ndarray) -> list[float]:
    return np.unique(np.quantile(scores, np.linspace(0.02, 0.98, _TRIED))).tolist() if len(scores) else []


class WindowFusion:
    """A Refiner: `fuse` with the thresholds that were learnt."""

    def __init__(self, spotter: WindowSpotter, model: FusionModel, reference: float) -> None:
        self.spotter, self.model, self.reference = spotter, model, reference

    def refine(self, video: SpottingVideo, intervals: Sequence[SpottedInterval]) -> list[SpottedInterval]:
        """The intervals that windows support, and those that windows add, in order of onset."""
        evidence = gather_evidence(video, intervals, self.spotter, self.reference)
        return fuse(evidence, self.model, video.video.fps)


def train(videos: Sequence[SpottingVideo], settings: WindowFusionSettings, out: Path) -> None:
    """Train the spotters `windows` and `base` on these videos, and choose the thresholds.

    Raises DataError for a `trained` spotter that has seen other subjects, which may be those to test on.
    """
    windows = out / _WINDOWS
    if settings.trained:
        _check_subjects(Path(settings.trained), videos)
        shutil.copytree(settings.trained, windows, dirs_exist_ok=True)
    elif not (windows / RECORD_NAME).is_file():
        train_spotter("windows", check_settings("windows", dict(settings.windows or {}), out), videos, windows)
    if not (out / _BASE / RECORD_NAME).is_file():
        train_spotter(settings.base, check_settings(settings.base, {}, out), videos, out / _BASE)
    if not hasattr(load_spotter(out / _BASE), "spot"):
        raise DataError(out, "base", f"{settings.base} does not propose intervals", "give base: flow")
    proposals, unseen = _unseen_proposals(videos, settings, out), held_out_spotters(windows, videos)
    evidence = [
        gather_evidence(item, proposals[item.video.id], unseen[item.video.id], settings.reference)
        for item in tqdm(videos, desc="windows on intervals", unit="video", leave=False)
    ]
    write_json(out / _MODEL_NAME, choose_model(videos, evidence).model_dump())


def _unseen_proposals(
    videos: Sequence[SpottingVideo], settings: WindowFusionSettings, out: Path
) -> dict[str, list[SpottedInterval]]:
    """Intervals of the base spotter in each video, trained without its subject: in videos that it has learnt from, it
    is right too often for windows to help. One subject alone is not left out."""
    proposals: dict[str, list[SpottedInterval]] = {}
    for number, part in enumerate(part_subjects([item.video for item in videos], _PARTS, 0)):
        folder = out / f"{_BASE}{number}"
        if not (folder / RECORD_NAME).is_file():
            inside = [item for item in videos if item.video.id not in part]
            train_spotter(settings.base, check_settings(settings.base, {}, out), inside, folder)
        spotter = load_spotter(folder)
        proposals |= {item.video.id: spotter.spot(item) for item in videos if item.video.id in part or not part}
    return proposals


def _check_subjects(folder: Path, videos: Sequence[SpottingVideo]) -> None:
    record = read_spotter_record(folder)
    subjects = {f"{item.video.dataset}/{item.video.subject}" for item in videos}
    if record.kind != "windows" or set(record.subjects) != subjects:
        what = f"is no spotter `windows` of these {len(subjects)} subjects: {record.kind} of {len(record.subjects)}"
        raise DataError(folder, None, what, "train it with the same --leave_out")


def load(folder: Path) -> WindowFusion:
    """The refiner of a folder. Raises DataError for one that is not whole."""
    settings = read_spotter_settings(folder)
    model = FusionModel(**read_checked(FusionModel, folder / _MODEL_NAME, fix=_FIX))
    return WindowFusion(load_spotter(folder / _WINDOWS), model, settings.reference)
