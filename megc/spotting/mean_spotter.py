"""The spotter `mean`: MEAN's networks on flow maps, a network for each type, and two ways from a curve to intervals.

Published (genbing99/MEAN_Spot-then-recognize @9009b5c, training_utils.py): a moving average, a threshold relative to
the video's maximum, the same interval around each peak. Ours: a threshold on the score itself and ends where the curve
has fallen, both learnt on the training subjects. As a map's label looks half an expression ahead, the curve rises that
much before the onset; ours takes it off again.

The published network spots micro-expressions alone; another for macro-expressions is SOFTNet's way. Videos without an
expression are kept, in training too. Half the mean duration is that of the training videos, not of all.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from scipy.special import softmax

from megc.clips import Video
from megc.files import read_checked, resolve_inside, sha256_of, write_json
from megc.motion.flow_maps import ScaledMaps
from megc.problems import DataError
from megc.records import ClosedContract
from megc.scoring.interval_matching import match_best_first
from megc.scoring.str_metrics import SpottedInterval, ends_of
from megc.spotting.interval_scorer import best_threshold
from megc.spotting.kind_settings import MeanSettings
from megc.spotting.mean_network import MeanNetwork, Stage
from megc.spotting.mean_rows import (
    MapRows,
    MapVideo,
    balanced_weights,
    emotions_of,
    gather_rows,
    half_duration,
    label_emotions,
    label_spots,
    thin_rows,
)
from megc.spotting.network_training import NetworkSchedule, load_network, seeded_network, train_network
from megc.spotting.spotted_intervals import (
    moving_average,
    peak_intervals,
    relative_threshold,
    share_intervals,
    smooth_curve,
    suppress_overlaps,
)
from megc.spotting.spotters import SpottingVideo, read_spotter_settings

SETTINGS = MeanSettings
NEEDS = ("flow_maps",)
_MODEL_NAME = "mean.json"
_CHUNK = 256  # maps that a network reads at once
_SMOOTHINGS, _SHARES = (0.3, 0.6, 1.0), (0.3, 0.5, 0.7)  # that are tried; of half an expression, of a peak
_CANDIDATES = 4  # peaks an event that a threshold is chosen among
_OVERLAP = 0.2  # most IoU of two intervals, in our decoding


class MeanDecoding(ClosedContract):
    """How a network's curve becomes intervals in our decoding: the standard deviation of its filter in halves of an
    expression, the share of the peak at which an interval ends, and the least height of a peak."""

    smoothing: Annotated[float, Field(gt=0, le=3600)]
    share: Annotated[float, Field(ge=0, le=1)]
    threshold: float


class MeanPart(ClosedContract):
    """A network: its folder, its stage, half a duration in seconds, the emotions that it names, and our decoding."""

    folder: str
    stage: Stage
    half: Annotated[float, Field(gt=0, le=3600)]
    emotions: list[str]
    decoding: MeanDecoding | None


class MeanModel(ClosedContract):
    """`mean.json`: the network of each type."""

    parts: Annotated[dict[Literal["micro", "macro"], MeanPart], Field(min_length=1)]


@dataclass(frozen=True)
class MeanCurve:
    """A network's answers at even times, `step` seconds apart: `scores` (T,), `emotions` (T, classes) and `numbers`
    (T,), the video's frame numbers, in fractions."""

    scores: np.ndarray
    emotions: np.ndarray
    numbers: np.ndarray
    step: float


def network_curve(network: MeanNetwork, item: MapVideo) -> MeanCurve:
    """The answers of a network over a video; where nothing was measured, the least score."""
    flow = item.flow
    rows = np.flatnonzero(flow.segments >= 0)
    scores, emotions = [], []
    with torch.inference_mode():
        for start in range(0, len(rows), _CHUNK):
            answers = network(torch.from_numpy(item.maps[rows[start : start + _CHUNK]]))
            scores.append(answers["spots"].numpy())
            emotions.append(answers["emotions"].numpy())
    last = rows[-1] + 1
    whole = np.full(last, np.concatenate(scores).min(), np.float64)
    whole[rows] = np.concatenate(scores)
    logits = np.zeros((last, emotions[0].shape[1]))
    logits[rows] = np.concatenate(emotions)
    times = flow.times[:last]
    step = float(np.median(np.diff(times))) if last > 1 else 1 / item.video.fps
    grid = np.arange(times[0], times[-1] + step / 2, step)
    nearest = np.interp(grid, times, np.arange(last)).round().astype(int)
    return MeanCurve(
        np.interp(grid, times, whole), logits[nearest], np.interp(grid, times, flow.frame_numbers[:last]), step
    )


@dataclass(frozen=True)
class _Decoded:
    """Intervals (n, 2) of a curve in its positions, peaks (n,) and scores (n,)."""

    ends: np.ndarray
    peaks: np.ndarray
    scores: np.ndarray


def decode_as_published(curve: MeanCurve, half: float, share: float) -> _Decoded:
    """Half an expression to both sides of each peak of the moving average above mean + share · (maximum - mean).

    The original writes an interval [0, 0] in a video without a peak; here there is none.
    """
    frames = max(1, int(half / curve.step))
    smooth = moving_average(curve.scores, 2 * frames)
    least, reach = relative_threshold(smooth, share), frames * curve.step
    peaks, heights = peak_intervals(smooth, 1 / curve.step, least, reach, 0, 0)
    ends = np.clip(peaks + np.array([-frames, frames]), 0, len(smooth) - 1)
    return _Decoded(ends, peaks[:, 0].astype(int), heights)


def decode_absolute(curve: MeanCurve, half: float, decoding: MeanDecoding) -> _Decoded:
    """Intervals around the peaks above a threshold on the score, out to where the curve is below a share of the peak.

    Shares are counted from the curve's median, its foot. The onset is half an expression behind the rise of the curve,
    as the labels are.
    """
    frames = half / curve.step
    smooth = smooth_curve(curve.scores, decoding.smoothing * half, 1 / curve.step)
    foot = float(np.median(smooth))
    ends, heights = share_intervals(smooth - foot, 1 / curve.step, decoding.threshold - foot, decoding.share, half)
    # the highest value inside: a second peak of the same expression may be higher
    peaks = np.array([first + smooth[first : last + 1].argmax() for first, last in ends.astype(int)], int)
    ends[:, 0] = np.minimum(ends[:, 0] + frames, np.maximum(ends[:, 1] - max(1.0, frames / 2), 0))
    kept = suppress_overlaps(ends, heights, _OVERLAP)
    return _Decoded(ends[kept], peaks[kept], heights[kept] + foot)


def name_emotion(logits: np.ndarray, emotions: Sequence[str], vote: bool) -> str:
    """The emotion of maps by their logits (maps, classes); empty where the network names none.

    `vote`: that of most maps, as published; else the one of the highest mean probability.
    """
    if not emotions:
        return ""
    logits = logits[:, : len(emotions)]
    if vote:
        return emotions[int(np.bincount(logits.argmax(axis=1), minlength=len(emotions)).argmax())]
    return emotions[int(softmax(logits, axis=1).mean(axis=0).argmax())]


@dataclass(frozen=True)
class MeanSpotter:
    """The networks by type, with how each is read."""

    settings: MeanSettings
    parts: dict[str, MeanPart]
    networks: dict[str, MeanNetwork]

    def spot(self, video: SpottingVideo) -> list[SpottedInterval]:
        """Intervals with type, score and emotion, in order of onset.

        The score is the height of the peak; in our decoding ratio / (1 + ratio) of it to the threshold.
        """
        item = _open_maps(video, self.settings)
        rows = []
        for kind, part in self.parts.items():
            curve = network_curve(self.networks[kind], item)
            rows += self._decode(kind, part, curve)
        if self.settings.decoding == "ours" and rows:  # of either type, the one that is farther above its threshold
            kept = suppress_overlaps(ends_of(rows), np.array([row.score for row in rows]), _OVERLAP)
            rows = [rows[index] for index in kept]
        return sorted(rows)

    def _decode(self, kind: str, part: MeanPart, curve: MeanCurve) -> list[SpottedInterval]:
        published = part.decoding is None
        if published:
            decoded = decode_as_published(curve, part.half, self.settings.share)
        else:
            decoded = decode_absolute(curve, part.half, part.decoding)
            ratios = decoded.scores / max(part.decoding.threshold, 1e-6)
            decoded = replace(decoded, scores=ratios / (1 + ratios))
        numbers = np.round(np.interp(decoded.ends, np.arange(len(curve.numbers)), curve.numbers))
        reach, rows = max(1, int(part.half / curve.step)), []
        for (onset, offset), (first, last), peak, score in zip(
            numbers, decoded.ends.astype(int), decoded.peaks, decoded.scores, strict=True
        ):
            # half an expression before the peak, as published, or the first half of the interval: the face moves away
            # from rest there
            rising = slice(max(0, peak - reach), max(peak, 1)) if published else slice(first, (first + last) // 2 + 1)
            emotion = name_emotion(curve.emotions[rising], part.emotions, vote=published)
            rows.append(SpottedInterval(float(onset), float(offset), kind, float(score), emotion))
        return rows


def _open_maps(video: SpottingVideo, settings: MeanSettings) -> MapVideo:
    names = ("scale", "nose_subtract", "eye_mask")
    maps = ScaledMaps(video.flow_maps(), **{name: getattr(settings, name) for name in names})
    return MapVideo(video.video, maps)


def train(videos: Sequence[SpottingVideo], settings: MeanSettings, out: Path) -> None:
    """Train a network for each type that the videos have events of.

    Raises DataError where they have none, or where no flow map lies in an event.
    """
    items = [_open_maps(video, settings) for video in videos]
    present = {event.type for item in items for event in item.video.events}
    parts = {kind: _train_part(items, kind, settings, out) for kind in settings.expressions if kind in present}
    if not parts:
        what = f"no {' or '.join(settings.expressions)}-expression in the training videos"
        raise DataError(out, None, what, "give videos with events, or other expressions")
    write_json(out / _MODEL_NAME, MeanModel(parts=parts).model_dump())


def _train_part(items: Sequence[MapVideo], kind: str, settings: MeanSettings, out: Path) -> MeanPart:
    """Train the network of a type below `out` and learn how to read its curve."""
    videos = [item.video for item in items]
    half, emotions = half_duration(videos, kind), emotions_of(videos, kind)
    data = gather_rows(
        items,
        [label_spots(item, kind, half) for item in items],
        [label_emotions(item, kind, emotions, settings.joint) for item in items],
    )
    if not data.spots.any():
        what = f"none of the flow maps lies in a {kind}-expression"
        raise DataError(out, kind, what, "measure the training videos whole, or leave this type out of expressions")
    named = data.select(np.flatnonzero((data.emotions >= 0) & (data.emotions < len(emotions))))
    if len(np.unique(named.emotions)) < 2:  # nothing to tell apart
        emotions = ()
    thin = thin_rows(data, settings.most, settings.negatives, settings.seed)
    stage: Stage = "joint" if settings.joint and emotions else "spotting"
    network = _train_stage(thin, kind, stage, emotions, settings, out)
    if emotions and stage == "spotting":
        stage = "recognition"
        network = _train_stage(named, kind, stage, emotions, settings, out, network)
    part = MeanPart(folder=f"{kind}/{stage}", stage=stage, half=half, emotions=list(emotions), decoding=None)
    if settings.decoding == "published":
        return part
    decoding = learn_decoding([network_curve(network, item) for item in items], videos, kind, half)
    return part.model_copy(update={"decoding": decoding})


def _train_stage(
    data: MapRows,
    kind: str,
    stage: Stage,
    emotions: Sequence[str],
    settings: MeanSettings,
    out: Path,
    before: MeanNetwork | None = None,
) -> MeanNetwork:
    """Train a stage of the network in a folder of its own, from the weights of the stage before."""
    weights = balanced_weights(data.emotions, len(emotions)) if stage == "joint" else None
    network = _new_network(stage, len(emotions), settings, weights)
    if before is not None:
        network.load_state_dict(before.state_dict())
    epochs = settings.recognition_epochs if stage == "recognition" else settings.epochs
    schedule = NetworkSchedule(epochs, settings.batch, settings.rate, 0.0, settings.seed, constant=True)
    videos = [item.video for item in data.items]
    content = sha256_of(
        json.dumps([kind, stage, asdict(settings)]),
        *(repr((video.id, video.fps, video.events)) for video in videos),
        *(array.tobytes() for array in (data.videos, data.rows, data.spots, data.emotions)),
        *(item.flow.ranges.tobytes() for item in data.items),
    )
    subjects = sorted({f"{video.dataset}/{video.subject}" for video in videos})
    train_network(network, data, out / kind / stage, schedule, subjects, content)
    return load_network(network, out / kind / stage)


def _new_network(
    stage: Stage, emotions: int, settings: MeanSettings, weights: list[float] | None = None
) -> MeanNetwork:
    classes, penalty = max(emotions + (stage == "joint"), 1), settings.penalty
    shape = {"classes": classes, "stage": stage, "class_weights": weights, "penalty": penalty}
    return seeded_network(MeanNetwork, settings.seed, **shape)


def learn_decoding(curves: Sequence[MeanCurve], videos: Sequence[Video], kind: str, half: float) -> MeanDecoding:
    """The decoding of the best F1 with the events of a type in these videos."""
    typed = [replace(video, events=tuple(event for event in video.events if event.type == kind)) for video in videos]
    best, best_f1 = None, -1.0
    for smoothing, share in itertools.product(_SMOOTHINGS, _SHARES):
        open_decoding = MeanDecoding(smoothing=smoothing, share=share, threshold=-1e9)
        spotted = []
        for curve in curves:
            decoded = decode_absolute(curve, half, open_decoding)
            frames = np.round(np.interp(decoded.ends, np.arange(len(curve.numbers)), curve.numbers))
            spotted.append((frames, decoded.scores))
        threshold, f1 = _best_threshold(typed, spotted)
        if f1 > best_f1:
            best, best_f1 = open_decoding.model_copy(update={"threshold": threshold}), f1
    return best


def _best_threshold(videos: Sequence[Video], spotted: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """The threshold on the heights of peaks with the best F1, and that F1; the lowest of many peaks are left out."""
    events = [ends_of(video.events) for video in videos]
    heights = np.sort(np.concatenate([scores for _, scores in spotted]))[::-1]
    least = heights[min(len(heights), _CANDIDATES * sum(map(len, events))) - 1]
    threshold = best_threshold(videos, [(ends[scores >= least], scores[scores >= least]) for ends, scores in spotted])
    chosen = [ends[scores >= threshold] for ends, scores in spotted]
    hits = sum(len(match_best_first(rows, truth).hits) for rows, truth in zip(chosen, events, strict=True))
    return threshold, 2 * hits / max(sum(map(len, chosen)) + sum(map(len, events)), 1)


def load(folder: Path) -> MeanSpotter:
    """The spotter of a folder. Raises DataError for one that is not whole."""
    settings = read_spotter_settings(folder)
    fix = "train it again with train/train_spotter.py --overwrite"
    parts = MeanModel(**read_checked(MeanModel, folder / _MODEL_NAME, fix=fix)).parts
    networks = {}
    for kind, part in parts.items():
        try:
            of_part = resolve_inside(folder, part.folder)
        except ValueError as error:
            raise DataError(folder / _MODEL_NAME, f"parts.{kind}.folder", str(error), fix) from error
        if not of_part.is_dir():
            raise DataError(folder / _MODEL_NAME, f"parts.{kind}.folder", f"there is no folder {part.folder!r}", fix)
        networks[kind] = load_network(_new_network(part.stage, len(part.emotions), settings), of_part)
    return MeanSpotter(settings, parts, networks)
