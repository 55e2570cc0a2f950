"""The spotter `region`: networks on region flow, cross-fitted over the training subjects, and their curves' intervals.

Each member is trained without one part of the subjects, and spots in the videos of that part: the thresholds are the
best for these intervals, of subjects whom their member has not seen (`held_out.csv`). In another video the curves of
the members are averaged.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from megc.clips import Video
from megc.files import read_checked, sha256_of, write_json
from megc.records import ClosedContract
from megc.scoring.interval_files import write_intervals
from megc.scoring.str_metrics import SpottedInterval
from megc.splits import make_folds, person_key
from megc.spotting.interval_scorer import TypeThresholds, type_threshold
from megc.spotting.kind_settings import RegionSettings
from megc.spotting.network_training import load_members, member_settings, seeded_network, train_member
from megc.spotting.region_network import EMOTIONS, TYPES, RegionNetwork
from megc.spotting.region_series import RATE, RegionSeries, region_series, window_channels
from megc.spotting.region_windows import RegionWindows
from megc.spotting.spotted_intervals import prior_intervals, share_intervals, smooth_curve, suppress_overlaps
from megc.spotting.spotters import SpottingVideo, read_spotter_settings

SETTINGS = RegionSettings
NEEDS = ("region_flow",)
_DECODING = "decoding.json"
_LEAST = 0.1  # height of the lowest peak that is looked at
_DISTANCE = {"micro": 0.3, "macro": 0.6}  # seconds between peaks
_HALF = {"micro": 0.18, "macro": 0.65}  # half of an expression in seconds, for prior-guided growth
# Settings that change no network: a run with others of these trains none again.
_AFTER_TRAINING = ("decoding", "smoothing", "share", "overlap", "drop_neutral")
_CHUNK, _OVERLAP = 1024, 256  # frames that a network reads at once, and those beside them that it sees too


class DecodingRecord(ClosedContract):
    """`decoding.json`: number of networks, and the least score of an interval by type."""

    members: Annotated[int, Field(ge=1)]
    thresholds: TypeThresholds


@dataclass(frozen=True)
class RegionCurves:
    """Probabilities a frame of a series: `spots` (2, T) by TYPES, `emotions` (5, T) by EMOTIONS, `units` (25, T)."""

    spots: np.ndarray
    emotions: np.ndarray
    units: np.ndarray


def network_curves(networks: Sequence[RegionNetwork], series: RegionSeries) -> RegionCurves:
    """The mean of the networks' answers; the series is read in pieces that overlap, so that memory is bounded."""
    channels = torch.from_numpy(window_channels(series.motion, series.blink, series.seen))
    pieces: list[list[np.ndarray]] = []
    for start in range(0, channels.shape[1], _CHUNK):
        low, high = max(0, start - _OVERLAP), min(channels.shape[1], start + _CHUNK + _OVERLAP)
        with torch.inference_mode():
            answers = [network(channels[None, :, low:high]) for network in networks]
        inside = slice(start - low, min(start + _CHUNK, channels.shape[1]) - low)
        functions = {"spots": torch.sigmoid, "emotions": lambda logits: logits.softmax(1), "units": torch.sigmoid}
        pieces.append(
            [
                torch.stack([function(answer[name][0:1])[0] for answer in answers]).mean(0)[:, inside].numpy()
                for name, function in functions.items()
            ]
        )
    return RegionCurves(*(np.concatenate(parts, axis=1) for parts in zip(*pieces, strict=True)))


def decode_curves(curves: RegionCurves, series: RegionSeries, settings: RegionSettings) -> list[SpottedInterval]:
    """All intervals of the curves, also those of a low score, in frame numbers of the video, in order of onset.

    Of those that overlap, of either type, the better one stays.
    """
    rows: list[tuple[np.ndarray, float, str]] = []
    for kind, curve in zip(TYPES, curves.spots, strict=True):
        smooth = smooth_curve(curve, settings.smoothing, RATE)
        if settings.decoding == "prior_growth":
            ends, heights = prior_intervals(smooth, _HALF[kind] * RATE)
        else:
            ends, heights = share_intervals(smooth, RATE, _LEAST, settings.share, _DISTANCE[kind])
        rows += [(pair, float(height), kind) for pair, height in zip(ends, heights, strict=True)]
    if not rows:
        return []
    ends, scores = np.stack([row[0] for row in rows]), np.array([row[1] for row in rows])
    spotted = []
    for index in sorted(suppress_overlaps(ends, scores, settings.overlap), key=lambda index: ends[index, 0]):
        first, last = ends[index].astype(int)
        emotions = curves.emotions[:, first : last + 1].mean(axis=1)
        if settings.drop_neutral and EMOTIONS[int(emotions.argmax())] == "neutral":
            continue
        emotion = EMOTIONS[int(emotions[:-1].argmax())]
        onset, offset = series.frames(np.array([first - 0.5, last + 0.5])).round()
        onset, offset = (float(value) for value in (onset, max(onset, offset)))
        spotted.append(SpottedInterval(onset, offset, rows[index][2], float(scores[index]), emotion))
    return spotted


@dataclass(frozen=True)
class RegionSpotter:
    """Networks whose mean curve gives the intervals of at least the threshold of their type."""

    settings: RegionSettings
    networks: tuple[RegionNetwork, ...]
    thresholds: TypeThresholds

    def spot(self, video: SpottingVideo) -> list[SpottedInterval]:
        """Intervals with type, score and emotion, in order of onset."""
        return self.thresholds.select(self.propose(video))

    def propose(self, video: SpottingVideo) -> list[SpottedInterval]:
        """The same, with those below the thresholds."""
        series = region_series(video.region_flow(), self.settings.reference)
        return decode_curves(network_curves(self.networks, series), series, self.settings)


def _new_network(settings: RegionSettings, seed: int) -> RegionNetwork:
    names = ("width", "depth", "dropout", "temporal", "frequency_gate", "pyramid", "emotion_weight", "unit_weight")
    return seeded_network(RegionNetwork, seed, **{name: getattr(settings, name) for name in names})


def part_subjects(videos: Sequence[Video], parts: int, seed: int) -> list[set[str]]:
    """People in `parts` parts, or as many as there are people, each by its ids of videos."""
    rows = [{"dataset": video.dataset, "subject": video.subject} for video in videos]
    count = min(parts, len({person_key(f"{row['dataset']}/{row['subject']}") for row in rows}))
    if count < 2:
        return [set()]
    folds = make_folds(rows, "kfold", folds=count, seed=seed)
    return [{video.id for video in videos if f"{video.dataset}/{video.subject}" in fold.test} for fold in folds]


def train(videos: Sequence[SpottingVideo], settings: RegionSettings, out: Path) -> None:
    """Train the members, spot with each in the videos that it has not seen, and choose the thresholds by these.

    With one subject there is one member, and its own videos choose.
    """
    annotated = [item.video for item in videos]
    series = {item.video.id: region_series(item.region_flow(), settings.reference) for item in videos}
    parts = part_subjects(annotated, settings.members, settings.seed)
    held_out: dict[str, list[SpottedInterval]] = {}
    for number, part in enumerate(parts):
        inside = [video for video in annotated if video.id not in part]
        network = _train_member(inside, series, settings, number, out)
        for video in annotated:
            if video.id in part or len(parts) == 1:
                curves = network_curves([network], series[video.id])
                held_out[video.id] = decode_curves(curves, series[video.id], settings)
    write_intervals(out / "held_out.csv", annotated, held_out)
    thresholds = {kind: type_threshold(annotated, held_out, kind) for kind in TYPES}
    write_json(out / _DECODING, {"members": len(parts), "thresholds": thresholds})


def _train_member(
    videos: Sequence[Video], series: dict[str, RegionSeries], settings: RegionSettings, number: int, out: Path
) -> RegionNetwork:
    of_member = member_settings(settings, number)
    data = RegionWindows([series[video.id] for video in videos], [video.events for video in videos], of_member)
    content = sha256_of(
        json.dumps({key: value for key, value in asdict(of_member).items() if key not in _AFTER_TRAINING}),
        *(repr((video.id, video.events)) for video in videos),
        *(series[video.id].motion.tobytes() for video in videos),
    )
    network, subjects = _new_network(of_member, of_member.seed), sorted({f"{v.dataset}/{v.subject}" for v in videos})
    return train_member(network, data, of_member, out / f"member{number}", subjects, content)


def load(folder: Path) -> RegionSpotter:
    """The spotter of a folder. Raises DataError for one that is not whole."""
    settings = read_spotter_settings(folder)
    record = DecodingRecord(**read_checked(DecodingRecord, folder / _DECODING, fix="train the spotter again"))
    networks = load_members(lambda: _new_network(settings, 0), folder, record.members, folder / _DECODING)
    return RegionSpotter(settings, networks, record.thresholds)
