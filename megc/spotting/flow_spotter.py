"""The optical-flow spotter: intervals from the motion of face regions, without a network.

Two methods read the series of `region_flow`:

`thresholds`  He et al. (OF-FD, MEGC2021): `motion_decoder` on each of 16 regions in windows; what overlaps is one
              interval. It has no weights: the factor on the published thresholds, the least length and how much
              overlap unites are those of the best F1 on the training videos.
`trees`       candidates at all durations (`flow_candidates`), judged by trees learnt from the training videos
              (`flow_scorer`).

Thresholds are absolute: pixels of a face 236 wide, or scores.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from tqdm import tqdm

from megc.files import read_checked, write_bytes, write_json
from megc.motion.regions import SPOTTING_REGIONS
from megc.problems import DataError
from megc.records import ClosedContract
from megc.scoring.str_metrics import SpottedInterval, ends_of
from megc.spotting.flow_candidates import fit_whitening
from megc.spotting.flow_scorer import FlowScorer, read_candidates, train_scorer
from megc.spotting.interval_scorer import as_spotted, pooled_f1
from megc.spotting.kind_settings import FlowSpotterSettings
from megc.spotting.motion_decoder import DecoderSettings, decode_motion, unite_intervals
from megc.spotting.region_segments import RegionSegment, split_segments, subtract_median
from megc.spotting.region_series import RATE
from megc.spotting.spotters import SpottingVideo
from megc.spotting.tree_files import array_bytes, read_arrays

SETTINGS = FlowSpotterSettings
NEEDS = ("region_flow",)
WINDOW, STEP = 200, 100  # frames at RATE
# `flow_gap` on CAS(ME)² (shengjianda/micro-expression-spot): brows, mouth, nose; brows' for the regions below the eyes
FLOW_GAPS = {"right brow": 1.8, "left brow": 1.8, "mouth": 1.85, "nose": 2.1, "below": 1.8}
SPOTTER_SCALE = 0.9467  # pixels of the decoder's crop in a pixel of a face 236 wide (RegionFlowRecord.spotter_scale)
_MODEL_NAME, _SCORER_NAME = "flow_spotter.json", "flow_scorer.safetensors"
_FIX = "train it again with train/train_spotter.py --overwrite"
_BELOW_EYES = tuple(i for i, name in enumerate(SPOTTING_REGIONS) if name.startswith("below"))
_GAPS = tuple(next(gap for word, gap in FLOW_GAPS.items() if name.startswith(word)) for name in SPOTTING_REGIONS)
_PROPOSED = 0.6  # of the thresholds, in `propose`
_FACTORS = (0.8, 1.0, 1.3, 1.7)
_SHORTEST, _OVERLAPS = (0.13, 0.2, 0.3, 0.4), (0.1, 0.34, 0.6)


class FlowModel(ClosedContract):
    """`flow_spotter.json`: the method; and of `thresholds` their factor, seconds, the overlap that unites."""

    method: Literal["thresholds", "trees"]
    factor: Annotated[float, Field(gt=0, le=10**6)]
    shortest: Annotated[float, Field(ge=0, le=3600)]
    longest: Annotated[float, Field(gt=0, le=3600)]
    overlap: Annotated[float, Field(ge=0, le=1)]
    bridge_blinks: bool
    below_eyes: bool
    reference: Annotated[float, Field(ge=0, le=3600)]


def decode_segment(segment: RegionSegment, model: FlowModel) -> np.ndarray:
    """Intervals (n, 2) of all regions and windows, in positions of a segment, not united yet."""
    motion = _referred(segment, model)
    regions = [i for i in range(len(SPOTTING_REGIONS)) if model.below_eyes or i not in _BELOW_EYES]
    intervals = [np.empty((0, 2), int)]
    for start in range(0, max(1, len(motion) - STEP), STEP):
        window = motion[start : start + WINDOW]
        lengths = np.linalg.norm(window if model.reference else window - window[0], axis=2)  # (T, regions)
        for region in regions:
            intervals.append(decode_motion(lengths[:, region], decoder_settings(region, model.factor), start))
    return np.concatenate(intervals)


def _referred(segment: RegionSegment, model: FlowModel) -> np.ndarray:
    """Motion (T, 18, 2) in the decoder's pixels, from the running median where the model has one."""
    motion = segment.motion * SPOTTER_SCALE
    return subtract_median(motion, model.reference) if model.reference else motion


def join_regions(segment: RegionSegment, intervals: np.ndarray, model: FlowModel) -> tuple[np.ndarray, np.ndarray]:
    """Intervals (m, 2) of regions united where they overlap, of the model's lengths, and their highest motion (m,) in
    multiples of the threshold of the region that moves most."""
    united = unite_intervals(intervals, model.overlap, passes=2)
    seconds = (united[:, 1] - united[:, 0] + 1) / RATE
    united = united[(seconds >= model.shortest) & (seconds <= model.longest)]
    ratios = np.linalg.norm(_referred(segment, model), axis=2) / (np.array(_GAPS) * model.factor)
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
    """A Spotter (`megc.spotting.spotters`). The score of an interval is the probability of a hit, by trees; else
    ratio / (1 + ratio) of its motion to the threshold."""

    def __init__(self, model: FlowModel, scorer: FlowScorer | None = None) -> None:
        self.model, self.scorer = model, scorer

    def spot(self, video: SpottingVideo) -> list[SpottedInterval]:
        """Intervals within the segments of a video, in order of onset, micro up to half a second."""
        segments = split_segments(video.region_flow(), self.model.bridge_blinks)
        if self.scorer is not None:
            return as_spotted(video.video, *self.scorer.spot(video.video, segments))
        return self.join(video, segments, [decode_segment(segment, self.model) for segment in segments])

    def propose(self, video: SpottingVideo) -> list[SpottedInterval]:
        """Intervals by lower thresholds: more events, and many false alarms."""
        lower = {"factor": _PROPOSED * self.model.factor, "shortest": min(_SHORTEST)}
        scorer = self.scorer
        if scorer is not None:
            least = {kind: _PROPOSED * value for kind, value in scorer.thresholds.items()}
            scorer = replace(scorer, thresholds=least)
        return FlowSpotter(self.model.model_copy(update=lower), scorer).spot(video)

    def join(
        self, video: SpottingVideo, segments: Sequence[RegionSegment], decoded: Sequence[np.ndarray]
    ) -> list[SpottedInterval]:
        """Intervals of a video by those of its regions, a `decode_segment` for each segment."""
        intervals, scores = [np.empty((0, 2))], [np.empty(0)]
        for segment, rows in zip(segments, decoded, strict=True):
            united, ratios = join_regions(segment, rows, self.model)
            intervals.append(segment.frames(united))
            scores.append(ratios / (1 + ratios))
        return as_spotted(video.video, np.concatenate(intervals), np.concatenate(scores))


def train(videos: Sequence[SpottingVideo], settings: FlowSpotterSettings, out: Path) -> None:
    """Write the model, and the scorer of the method `trees`, learnt from these videos alone.

    A folder without an old scorer means what its model says. Raises DataError for a video without region flow.
    """
    names = ("bridge_blinks", "below_eyes", "reference")
    given = {"method": settings.method if settings.fit else "thresholds"}
    given |= {name: getattr(settings, name) for name in names}
    model = FlowModel(factor=1.0, shortest=0.4, longest=WINDOW / RATE, overlap=0.1, **given)
    (out / _SCORER_NAME).unlink(missing_ok=True)
    segments = [split_segments(video.region_flow(), model.bridge_blinks) for video in videos]
    if model.method == "trees":
        write_bytes(out / _SCORER_NAME, array_bytes(_fit_scorer(videos, segments, settings, out).arrays()))
    elif settings.fit:
        model = _best_model(videos, segments, model)
    write_json(out / _MODEL_NAME, model.model_dump())


def _fit_scorer(
    videos: Sequence[SpottingVideo],
    segments: Sequence[Sequence[RegionSegment]],
    settings: FlowSpotterSettings,
    out: Path,
) -> FlowScorer:
    """The scorer of these videos. Raises DataError where nothing in them could be measured."""
    motions = [segment.motion for of_video in segments for segment in of_video]
    if not motions:
        what, fix = "no video has a stretch with a face to learn from", "look at what extract_region_flow.py warned of"
        raise DataError(out, None, what, fix)
    whitening = fit_whitening(motions)
    pairs = [(video.video, parts) for video, parts in zip(videos, segments, strict=True) if parts]
    plain, mirrored = (
        [read_candidates(video, parts, whitening, mirror) for video, parts in pairs] for mirror in (False, True)
    )
    if not any(len(item.intervals) for item in plain):
        raise DataError(out, None, "nothing moves in these videos", "train on videos with expressions")
    return train_scorer(plain, mirrored, whitening, settings)


def _best_model(
    videos: Sequence[SpottingVideo], segments: Sequence[Sequence[RegionSegment]], model: FlowModel
) -> FlowModel:
    """The model of the best F1 of all types together, among factors, shortest lengths and overlaps."""
    truths = [ends_of(video.video.events) for video in videos]
    best, best_f1 = model, -1.0
    for factor in tqdm(_FACTORS, desc="flow spotter", unit="factor", leave=False):
        model = model.model_copy(update={"factor": factor})
        decoded = [[decode_segment(segment, model) for segment in of_video] for of_video in segments]
        for shortest, overlap in itertools.product(_SHORTEST, _OVERLAPS):
            model = model.model_copy(update={"shortest": shortest, "overlap": overlap})
            spotter = FlowSpotter(model)
            spotted = [ends_of(spotter.join(*parts)) for parts in zip(videos, segments, decoded, strict=True)]
            if (f1 := pooled_f1(truths, spotted)) > best_f1:
                best, best_f1 = model, f1
    return best


def load(folder: Path) -> FlowSpotter:
    """The spotter of a folder that `train` filled. Raises DataError where the model is missing or damaged."""
    model = FlowModel(**read_checked(FlowModel, folder / _MODEL_NAME, fix=_FIX))
    if model.method == "thresholds":
        return FlowSpotter(model)
    return FlowSpotter(model, read_arrays(folder / _SCORER_NAME, FlowScorer.of_arrays, _FIX))
