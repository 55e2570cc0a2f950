"""Windows of region flow to train a network on: targets a frame, and augmentation by mirroring, gain, and pasting.

Events are few, so they are also cut out and pasted, faster or slower, weaker or stronger, where nothing happens:
motion of skin adds up, and a macro-expression that is played fast and small is close to a micro-expression.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from megc.clips import Event
from megc.scoring.str_metrics import ANALYSED, emotion_class
from megc.spotting.kind_settings import RegionSettings
from megc.spotting.region_network import EMOTIONS, IGNORED, TYPES, UNITS
from megc.spotting.region_series import (
    RATE,
    RegionSeries,
    cut_event,
    free_start,
    mirror_motion,
    stretch_motion,
    window_channels,
)

_SECONDS = {"micro": (0.2, 0.5), "macro": (0.55, 3.0)}  # of pasted events, by type
_AS_MICRO = (0.2, 0.45)  # gain of a macro-expression that is pasted as a micro-expression
_REST = round(0.2 * RATE)  # frames around a pasted event in which nothing else happens


@dataclass(frozen=True)
class EventLabels:
    """What is to be said of an event: type, index of its emotion in EMOTIONS or IGNORED, and its units (25,), -1 each
    where they are not annotated."""

    type: str
    emotion: int
    units: np.ndarray


Span = tuple[int, int, EventLabels]  # first and last frame of a series


def event_labels(event: Event) -> EventLabels:
    """The labels of an annotated event. An emotion that is none of EMOTIONS counts as not annotated."""
    word = emotion_class(event.emotion, ANALYSED) if event.emotion else ""
    emotion = EMOTIONS.index(word) if word in EMOTIONS[:-1] else IGNORED
    numbers = {unit.number for unit in event.action_units}
    units = np.array([float(number in numbers) for number in UNITS] if numbers else [-1.0] * len(UNITS), np.float32)
    return EventLabels(event.type, emotion, units)


@dataclass(frozen=True)
class EventPart:
    """An event cut out of its video: motion (n, 18, 2) from rest to rest."""

    motion: np.ndarray
    labels: EventLabels


def labelled_spans(series: RegionSeries, events: Sequence[Event]) -> list[Span]:
    """First and last position in the series of each event, with its labels."""
    return [(*series.event_positions(event), event_labels(event)) for event in events]


def event_parts(series: Sequence[RegionSeries], spans: Sequence[Sequence[Span]]) -> list[EventPart]:
    """The events of all series, cut out; those of less than four frames are left out."""
    return [
        EventPart(cut_event(item.motion, first, last), labels)
        for item, rows in zip(series, spans, strict=True)
        for first, last, labels in rows
        if last > first + 2
    ]


def paste_events(
    motion: np.ndarray,
    parts: Sequence[EventPart],
    taken: Sequence[tuple[int, int]],
    count: int,
    rng: np.random.Generator,
) -> list[Span]:
    """Add up to `count` events to `motion` (T, 18, 2), _REST away from what is `taken`; returns their spans."""
    taken = [(first - _REST, last + _REST) for first, last in taken]
    pasted: list[Span] = []
    for _ in range(count if parts else 0):
        part = parts[int(rng.integers(len(parts)))]
        kind = TYPES[int(rng.integers(2))]
        if part.labels.type == "micro" and kind == "macro":
            kind = "micro"  # there is too little of it to be played slowly
        length = round(rng.uniform(*_SECONDS[kind]) * RATE)
        if part.labels.type == kind:  # not far from its length: an expression has a speed of its own
            length = round(np.clip(len(part.motion) * rng.uniform(0.7, 1.4), *(RATE * s for s in _SECONDS[kind])))
            gain = rng.uniform(0.7, 1.4)
        else:
            gain = rng.uniform(*_AS_MICRO)
        start = free_start(taken, length, len(motion), rng)
        if start is None:
            continue
        motion[start : start + length] += gain * stretch_motion(part.motion, length)
        taken.append((start - _REST, start + length - 1 + _REST))
        pasted.append((start, start + length - 1, EventLabels(kind, part.labels.emotion, part.labels.units)))
    return pasted


class RegionWindows(Dataset):
    """Windows of the videos' series as tensors for `RegionNetwork`, drawn anew each `epoch`.

    As many windows an epoch as it takes to see each frame once, a video by its length.
    """

    def __init__(self, series: Sequence[RegionSeries], events: Sequence[Sequence[Event]], settings: RegionSettings):
        self.settings, self.epoch = settings, 0
        self.length = round(settings.window * RATE)
        self.series = [_pad(item, self.length) for item in series]
        self.spans = [labelled_spans(item, rows) for item, rows in zip(series, events, strict=True)]
        self.parts = event_parts(series, self.spans)
        self.of_video = np.repeat(
            np.arange(len(series)), [max(1, round(len(item.numbers) / self.length)) for item in series]
        )

    def __len__(self) -> int:
        return len(self.of_video)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([self.settings.seed, self.epoch, index])
        video = self.of_video[index]
        item = self.series[video]
        start = int(rng.integers(len(item.motion) - self.length + 1))
        window = slice(start, start + self.length)
        motion = item.motion[window].copy()
        spans = [
            (first - start, last - start, labels)
            for first, last, labels in self.spans[video]
            if last >= start and first < start + self.length
        ]
        count = int(rng.poisson(self.settings.paste))
        spans += paste_events(motion, self.parts, [(first, last) for first, last, _ in spans], count, rng)
        if self.settings.mirror and rng.random() < 0.5:
            motion = mirror_motion(motion)
        motion *= np.exp(self.settings.gain * rng.standard_normal())
        motion += self.settings.noise * rng.standard_normal(motion.shape)
        channels = window_channels(motion, item.blink[window], item.seen[window])
        return {"channels": torch.from_numpy(channels), **self._targets(spans, item.seen[window])}

    def _targets(self, spans: list, seen: np.ndarray) -> dict[str, torch.Tensor]:
        length = self.length
        spots = np.zeros((len(TYPES), length), np.float32)
        weights = np.ones((len(TYPES), length), np.float32)
        emotions = np.full(length, EMOTIONS.index("neutral"), np.int64)
        units = np.full((len(UNITS), length), -1, np.float32)
        for first, last, labels in spans:
            inside = slice(max(0, first), min(length, last + 1))
            row = TYPES.index(labels.type)
            spots[row, inside] = 1
            weights[row, inside] = self.settings.micro_weight if labels.type == "micro" else 1.0
            emotions[inside] = labels.emotion
            units[:, inside] = labels.units[:, None]
        weights *= seen
        targets = {"spot_targets": spots, "spot_weights": weights, "emotion_targets": emotions, "unit_targets": units}
        return {name: torch.from_numpy(values) for name, values in targets.items()}


def _pad(series: RegionSeries, length: int) -> RegionSeries:
    """The series with at least `length` frames: its last one again, without a face."""
    more = max(0, length - len(series.motion))
    return RegionSeries(
        np.pad(series.motion, ((0, more), (0, 0), (0, 0)), mode="edge"),
        np.pad(series.blink, (0, more)),
        np.pad(series.seen, (0, more)),
        np.pad(series.numbers, (0, more), mode="edge"),
    )
