"""The optical-flow spotter: intervals from the motion of face regions by thresholds, without a network.

The method of He et al. (OF-FD, MEGC2021), whose decoder is `motion_decoder`, on the series of `region_flow`. Each of
16 regions is decoded in windows; what overlaps is one interval. Thresholds are absolute. With `fit`, the factor on the
published thresholds, the least length, and how much overlap unites are those of the best F1 on the training videos.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from scipy.ndimage import median_filter
from tqdm import tqdm

from megc.files import read_checked, write_json
from megc.motion.region_stream import RegionFlow
from megc.motion.regions import SPOTTING_REGIONS
from megc.records import ClosedContract
from megc.scoring.interval_files import type_by_duration
from megc.scoring.interval_matching import match_best_first
from megc.scoring.str_metrics import SpottedInterval, ends_of
from megc.spotting.motion_decoder import DecoderSettings, decode_motion, unite_intervals
from megc.spotting.settings import FlowSpotterSettings
from megc.spotting.spotters import SpottingVideo

SETTINGS = FlowSpotterSettings
NEEDS = ("region_flow",)
RATE = 30.0  # values a second that the decoder's settings are for
WINDOW, STEP = 200, 100  # values
# `flow_gap` on CAS(ME)² (shengjianda/micro-expression-spot): brows, mouth, nose; brows' for the regions below the eyes
FLOW_GAPS = {"right brow": 1.8, "left brow": 1.8, "mouth": 1.85, "nose": 2.1, "below": 1.8}
SPOTTER_SCALE = 0.9467  # pixels of the decoder's crop in a pixel of a face 236 wide (RegionFlowRecord.spotter_scale)
_MODEL_NAME = "flow_spotter.json"
_FIX = "train it again with train/train_spotter.py --overwrite"
_NEAR_EYES = tuple(i for i, name in enumerate(SPOTTING_REGIONS) if "brow" in name or "eye" in name)
_BELOW_EYES = tuple(i for i, name in enumerate(SPOTTING_REGIONS) if name.startswith("below"))
_GAPS = tuple(next(gap for word, gap in FLOW_GAPS.items() if name.startswith(word)) for name in SPOTTING_REGIONS)
_PROPOSED = 0.6  # of the thresholds, in `propose`
_FACTORS = (0.8, 1.0, 1.3, 1.7)
_SHORTEST, _OVERLAPS = (0.13, 0.2, 0.3, 0.4), (0.1, 0.34, 0.6)


@dataclass(frozen=True)
class RegionCurves:
    """The motion of a segment at RATE: `motion` (T, 18, 2) in pixels of a face 236 wide, `times` (T,) in seconds,
    `frame_numbers` (T,) of the video (fractional between measured frames), `blink` (T,)."""

    motion: np.ndarray
    times: np.ndarray
    frame_numbers: np.ndarray
    blink: np.ndarray


class FlowModel(ClosedContract):
    """`flow_spotter.json`: the factor on the thresholds, lengths in seconds, and the overlap that unites."""

    factor: Annotated[float, Field(gt=0)]
    shortest: Annotated[float, Field(ge=0)]
    longest: Annotated[float, Field(gt=0)]
    overlap: Annotated[float, Field(ge=0, le=1)]
    bridge_blinks: bool
    below_eyes: bool
    reference: Annotated[float, Field(ge=0)]


def split_segments(flow: RegionFlow, bridge_blinks: bool) -> list[RegionCurves]:
    """The motion of each segment at RATE, whatever the frame rate, even or not. Segments of a few frames are left out.

    With `bridge_blinks`, regions near the eyes move during a blink from where they were before it to where they are
    after it: motion of the lids is none of the brows.
    """
    segments = []
    for segment in range(flow.segments.max(initial=-1) + 1):
        rows = np.flatnonzero(flow.segments == segment)
        if len(rows) < 5 or flow.times[rows[-1]] - flow.times[rows[0]] < 5 / RATE:
            continue
        times = flow.times[rows]
        grid = np.arange(times[0], times[-1] + 0.5 / RATE, 1 / RATE)
        awake = ~flow.blink[rows] if bridge_blinks else np.ones(len(rows), bool)
        motion = np.empty((len(grid), len(SPOTTING_REGIONS), 2))
        for region in range(len(SPOTTING_REGIONS)):
            kept = awake if region in _NEAR_EYES and awake.any() else slice(None)
            for axis in range(2):
                motion[:, region, axis] = np.interp(grid, times[kept], flow.flow[rows[kept], region, axis])
        numbers = np.interp(grid, times, flow.frame_numbers[rows])
        blink = np.interp(grid, times, flow.blink[rows].astype(float)) >= 0.5
        segments.append(RegionCurves(motion, grid, numbers, blink))
    return segments


def subtract_median(motion: np.ndarray, seconds: float, rate: float = RATE) -> np.ndarray:
    """Motion (T, …) from its running median over `seconds`: a reference that follows what moves slowly."""
    width = min(round(seconds * rate), len(motion)) | 1
    return motion - median_filter(motion, (width, *(1,) * (motion.ndim - 1)), mode="nearest")


def decode_segment(curves: RegionCurves, model: FlowModel) -> np.ndarray:
    """Intervals (n, 2) of all regions and windows, in positions of a segment, not united yet."""
    motion = _referred(curves, model)
    regions = [i for i in range(len(SPOTTING_REGIONS)) if model.below_eyes or i not in _BELOW_EYES]
    intervals = [np.empty((0, 2), int)]
    for start in range(0, max(1, len(motion) - STEP), STEP):
        window = motion[start : start + WINDOW]
        lengths = np.linalg.norm(window if model.reference else window - window[0], axis=2)  # (T, regions)
        for region in regions:
            intervals.append(decode_motion(lengths[:, region], decoder_settings(region, model.factor), start))
    return np.concatenate(intervals)


def _referred(curves: RegionCurves, model: FlowModel) -> np.ndarray:
    """Motion (T, 18, 2) in the decoder's pixels, from the running median where the model has one."""
    motion = curves.motion * SPOTTER_SCALE
    return subtract_median(motion, model.reference) if model.reference else motion


def join_regions(curves: RegionCurves, intervals: np.ndarray, model: FlowModel) -> tuple[np.ndarray, np.ndarray]:
    """Intervals (m, 2) of regions united where they overlap, of the model's lengths, and their highest motion (m,) in
    multiples of the threshold of the region that moves most."""
    united = unite_intervals(intervals, model.overlap, passes=2)
    seconds = (united[:, 1] - united[:, 0] + 1) / RATE
    united = united[(seconds >= model.shortest) & (seconds <= model.longest)]
    ratios = np.linalg.norm(_referred(curves, model), axis=2) / (np.array(_GAPS) * model.factor)
    if not model.below_eyes:
        ratios[:, list(_BELOW_EYES)] = 0
    return united, np.array([np.ptp(ratios[first : last + 1], axis=0).max() for first, last in united])


def decoder_settings(region: int, factor: float) -> DecoderSettings:
    """The published settings for a region (its index in SPOTTING_REGIONS), with all thresholds times `factor`."""
    default = DecoderSettings()
    names = ("least", "trendless_gap", "valley_gap", "split_gap")
    return DecoderSettings(
        flow_gap=_GAPS[region] * factor, **{name: getattr(default, name) * factor for name in names}
    )


class FlowSpotter:
    """A Spotter (`megc.spotting.spotters`); the score of an interval is ratio / (1 + ratio) of motion to threshold."""

    def __init__(self, model: FlowModel) -> None:
        self.model = model

    def spot(self, video: SpottingVideo) -> list[SpottedInterval]:
        """Intervals within the segments of a video, in order of onset, micro up to half a second."""
        segments = split_segments(video.region_flow(), self.model.bridge_blinks)
        return self.join(video, segments, [decode_segment(curves, self.model) for curves in segments])

    def propose(self, video: SpottingVideo) -> list[SpottedInterval]:
        """Intervals by lower thresholds, and short ones: more events, and many false alarms."""
        lower = {"factor": _PROPOSED * self.model.factor, "shortest": min(_SHORTEST)}
        return FlowSpotter(self.model.model_copy(update=lower)).spot(video)

    def join(
        self, video: SpottingVideo, segments: Sequence[RegionCurves], decoded: Sequence[np.ndarray]
    ) -> list[SpottedInterval]:
        """Intervals of a video by those of its regions, a `decode_segment` for each segment."""
        rows = []
        for curves, intervals in zip(segments, decoded, strict=True):
            united, ratios = join_regions(curves, intervals, self.model)
            for (first, last), ratio in zip(united, ratios, strict=True):
                onset, offset = np.round(curves.frame_numbers[[first, last]]).tolist()
                kind = type_by_duration(onset, offset, video.video.fps)
                rows.append(SpottedInterval(onset, offset, kind, float(ratio / (1 + ratio))))
        return sorted(rows)


def train(videos: Sequence[SpottingVideo], settings: FlowSpotterSettings, out: Path) -> None:
    """Write the model; with `fit`, that of the best F1 of all types on these videos."""
    fixed = {name: getattr(settings, name) for name in ("bridge_blinks", "below_eyes", "reference")}
    model = FlowModel(factor=1.0, shortest=0.4, longest=WINDOW / RATE, overlap=0.1, **fixed)
    if settings.fit:
        model = _best_model(videos, model)
    write_json(out / _MODEL_NAME, model.model_dump())


def _best_model(videos: Sequence[SpottingVideo], model: FlowModel) -> FlowModel:
    """The model of the best F1 of all types together, among factors, shortest lengths and overlaps."""
    segments = [split_segments(video.region_flow(), model.bridge_blinks) for video in videos]
    best, best_f1 = model, -1.0
    for factor in tqdm(_FACTORS, desc="flow spotter", unit="factor", leave=False):
        model = model.model_copy(update={"factor": factor})
        decoded = [[decode_segment(curves, model) for curves in of_video] for of_video in segments]
        for shortest, overlap in itertools.product(_SHORTEST, _OVERLAPS):
            model = model.model_copy(update={"shortest": shortest, "overlap": overlap})
            spotter, hits, both = FlowSpotter(model), 0, 0
            for parts in zip(videos, segments, decoded, strict=True):
                spotted, events = spotter.join(*parts), parts[0].video.events
                hits += len(match_best_first(ends_of(spotted), ends_of(events)).hits)
                both += len(spotted) + len(events)
            if (f1 := 2 * hits / max(both, 1)) > best_f1:
                best, best_f1 = model, f1
    return best


def load(folder: Path) -> FlowSpotter:
    """The spotter of a folder that `train` filled. Raises DataError where the model is missing or damaged."""
    return FlowSpotter(FlowModel(**read_checked(FlowModel, folder / _MODEL_NAME, fix=_FIX)))
