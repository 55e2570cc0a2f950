"""The refiner `recogniser`: a small transformer looks at each interval that a spotter has found, drops what is no
expression, moves the ends to where they fit best, and names type and emotion.

Learnt from annotated events and from the false alarms of a base spotter on the training subjects. That one is trained
first, on these subjects alone, in the sub-folder `base`. As for `region`, there are several members, each
trained without one part of the subjects, and the threshold is the best for the intervals of that part.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from megc.clips import Video
from megc.files import read_checked, sha256_of, write_json
from megc.records import ClosedContract
from megc.scoring.interval_files import read_written, write_intervals
from megc.scoring.str_metrics import SpottedInterval, ends_of
from megc.spotting.interval_samples import IntervalSamples
from megc.spotting.interval_scorer import best_threshold
from megc.spotting.kind_settings import RecogniserSettings
from megc.spotting.network_training import load_members, member_settings, seeded_network, train_member
from megc.spotting.recogniser_network import RecogniserNetwork, interval_channels
from megc.spotting.region_network import EMOTIONS, TYPES
from megc.spotting.region_series import RegionSeries, region_series
from megc.spotting.region_spotter import part_subjects
from megc.spotting.spotted_intervals import suppress_overlaps
from megc.spotting.spotters import (
    Spotter,
    SpottingVideo,
    load_spotter,
    read_spotter_settings,
    spotter_module,
    train_spotter,
)

SETTINGS = RecogniserSettings
NEEDS = ("region_flow",)
_THRESHOLD = "threshold.json"
_HELD_OUT = "held_out.csv"
# Ends of the variants of an interval that are looked at, in shares of its length: moves of the onset and the offset.
_MOVES = (-0.3, -0.15, 0.0, 0.15, 0.3)
_VARIANTS = [(onset, offset) for onset in _MOVES for offset in _MOVES]
_BATCH = 512
_AFTER_TRAINING = ("move", "base_weight", "overlap")  # settings that change no network


class ThresholdRecord(ClosedContract):
    """`threshold.json`: number of networks, and the least score of an interval."""

    members: Annotated[int, Field(ge=1)]
    threshold: float


def judge_intervals(
    networks: Sequence[RecogniserNetwork], series: RegionSeries, intervals: np.ndarray
) -> dict[str, np.ndarray]:
    """Means over the networks for intervals (n, 2) in positions of the series: `emotions` (n, 5), `types` (n, 2) and
    `units` (n, 25) as probabilities, `fit` (n,)."""
    arrays = (series.motion, series.blink, series.seen)
    channels = np.stack([interval_channels(*arrays, first, last) for first, last in intervals])
    functions = {
        "emotions": lambda logits: logits.softmax(1),
        "types": lambda logits: logits.softmax(1),
        "units": torch.sigmoid,
        "fit": torch.sigmoid,
    }
    parts: dict[str, list[np.ndarray]] = {name: [] for name in functions}
    for start in range(0, len(channels), _BATCH):
        batch = torch.from_numpy(channels[start : start + _BATCH])
        with torch.inference_mode():
            answers = [network(batch) for network in networks]
        for name, function in functions.items():
            parts[name].append(torch.stack([function(answer[name]) for answer in answers]).mean(0).numpy())
    return {name: np.concatenate(rows) for name, rows in parts.items()}


def refine_intervals(
    networks: Sequence[RecogniserNetwork],
    series: RegionSeries,
    intervals: Sequence[SpottedInterval],
    settings: RecogniserSettings,
) -> list[SpottedInterval]:
    """Each interval moved to the variant that fits best, with score, type and emotion; no threshold is applied.

    The score is the probability of an expression times the fit, and the given score to the power of `base_weight`,
    where there is one. Of intervals that overlap by more than `overlap` the better one stays.
    """
    if not intervals:
        return []
    ends = series.positions(ends_of(intervals))
    variants = _VARIANTS if settings.move else [(0.0, 0.0)]
    moved = np.stack([ends + (ends[:, 1:] - ends[:, :1] + 1) * np.array(pair) for pair in variants], axis=1)
    moved[:, :, 1] = np.maximum(moved[:, :, 1], moved[:, :, 0] + 3)
    answers = judge_intervals(networks, series, moved.reshape(-1, 2))
    quality = ((1 - answers["emotions"][:, -1]) * answers["fit"]).reshape(len(ends), len(variants))
    best = quality.argmax(axis=1)
    rows = np.arange(len(ends)) * len(variants) + best
    ends = moved[np.arange(len(ends)), best]
    given = np.array([1.0 if np.isnan(row.score) else min(max(row.score, 1e-3), 1.0) for row in intervals])
    scores = quality.max(axis=1) * given**settings.base_weight
    emotions = answers["emotions"][rows][:, :-1].argmax(axis=1)
    types = answers["types"][rows].argmax(axis=1)
    kept = sorted(suppress_overlaps(ends, scores, settings.overlap).tolist(), key=lambda row: ends[row, 0])
    frames = series.frames(ends).round()
    return [
        SpottedInterval(
            float(frames[row, 0]),
            float(max(frames[row])),
            TYPES[types[row]],
            float(scores[row]),
            EMOTIONS[emotions[row]],
        )
        for row in kept
    ]


@dataclass(frozen=True)
class Recogniser:
    """Networks, the least score, and the spotter that it was trained with."""

    settings: RecogniserSettings
    networks: tuple[RecogniserNetwork, ...]
    threshold: float
    base: Spotter

    def refine(self, video: SpottingVideo, intervals: Sequence[SpottedInterval]) -> list[SpottedInterval]:
        """What is left of another spotter's intervals, moved and named."""
        return [row for row in self._judge(video, intervals) if row.score >= self.threshold]

    def spot(self, video: SpottingVideo) -> list[SpottedInterval]:
        """The intervals of its base spotter, the weak ones too, refined."""
        return [row for row in self.propose(video) if row.score >= self.threshold]

    def propose(self, video: SpottingVideo) -> list[SpottedInterval]:
        """The same, with those below the threshold."""
        return self._judge(video, self.base.propose(video))

    def _judge(self, video: SpottingVideo, intervals: Sequence[SpottedInterval]) -> list[SpottedInterval]:
        series = region_series(video.region_flow(), self.settings.reference)
        return refine_intervals(self.networks, series, intervals, self.settings)


def base_proposals(videos: Sequence[SpottingVideo], base: Path) -> Mapping[str, list[SpottedInterval]]:
    """The base spotter's intervals in the videos that it was trained on, by id.

    Those of members that have not seen the video, where the spotter has kept them (`held_out.csv`): what it was
    trained on gives no false alarms to learn from.
    """
    if (base / _HELD_OUT).is_file():
        return read_written(base / _HELD_OUT, [item.video for item in videos])
    spotter = load_spotter(base)
    return {item.video.id: spotter.propose(item) for item in videos}


def train(videos: Sequence[SpottingVideo], settings: RecogniserSettings, out: Path) -> None:
    """Train the base spotter and the members, and choose the threshold by the videos that each has not seen."""
    base, kind = out / "base", settings.base
    train_spotter(kind, spotter_module(kind, out).SETTINGS(), videos, base)
    proposals = base_proposals(videos, base)
    annotated = [item.video for item in videos]
    series = {item.video.id: region_series(item.region_flow(), settings.reference) for item in videos}
    parts = part_subjects(annotated, settings.members, settings.seed)
    held_out: dict[str, list[SpottedInterval]] = {}
    for number, part in enumerate(parts):
        inside = [video for video in annotated if video.id not in part]
        network = _train_member(inside, series, proposals, settings, number, out)
        for video in annotated:
            if video.id in part or len(parts) == 1:
                rows = refine_intervals([network], series[video.id], proposals.get(video.id, ()), settings)
                held_out[video.id] = rows
    write_intervals(out / _HELD_OUT, annotated, held_out)
    spotted = [held_out[video.id] for video in annotated]
    pairs = [(ends_of(rows), np.array([row.score for row in rows])) for rows in spotted]
    threshold = min(best_threshold(annotated, pairs), 1.0)  # infinite without any interval
    write_json(out / _THRESHOLD, {"members": len(parts), "threshold": threshold})


def _train_member(
    videos: Sequence[Video],
    series: Mapping[str, RegionSeries],
    proposals: Mapping[str, list[SpottedInterval]],
    settings: RecogniserSettings,
    number: int,
    out: Path,
) -> RecogniserNetwork:
    of_member = member_settings(settings, number)
    given = [series[video.id] for video in videos]
    ends = [series[video.id].positions(ends_of(proposals.get(video.id, ()))) for video in videos]
    data = IntervalSamples(given, [video.events for video in videos], ends, of_member)
    content = sha256_of(
        json.dumps({key: value for key, value in asdict(of_member).items() if key not in _AFTER_TRAINING}),
        *(repr((video.id, video.events)) for video in videos),
        *(item.motion.tobytes() for item in given),
        *(rows.tobytes() for rows in ends),
    )
    network, subjects = _new_network(of_member, of_member.seed), sorted({f"{v.dataset}/{v.subject}" for v in videos})
    return train_member(network, data, of_member, out / f"member{number}", subjects, content)


def _new_network(settings: RecogniserSettings, seed: int) -> RecogniserNetwork:
    shape = {name: getattr(settings, name) for name in ("width", "depth", "dropout")}
    return seeded_network(RecogniserNetwork, seed, **shape)


def load(folder: Path) -> Recogniser:
    """The recogniser of a folder. Raises DataError for one that is not whole."""
    settings = read_spotter_settings(folder)
    record = ThresholdRecord(**read_checked(ThresholdRecord, folder / _THRESHOLD, fix="train the spotter again"))
    networks = load_members(lambda: _new_network(settings, 0), folder, record.members, folder / _THRESHOLD)
    return Recogniser(settings, networks, record.threshold, load_spotter(folder / "base"))
