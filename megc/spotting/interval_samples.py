"""Intervals to train the recogniser on: jittered events, pasted events, a spotter's false alarms, and nothing."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from megc.clips import Event
from megc.scoring.interval_matching import interval_ious
from megc.spotting.kind_settings import RecogniserSettings
from megc.spotting.recogniser_network import interval_channels
from megc.spotting.region_network import EMOTIONS, IGNORED, TYPES, UNITS
from megc.spotting.region_series import RATE, RegionSeries, mirror_motion
from megc.spotting.region_windows import Span, event_parts, labelled_spans, paste_events

_KINDS = ("event", "pasted", "false alarm", "background")
_SHARES = (0.35, 0.3, 0.25, 0.1)  # of samples by kind; without false alarms theirs are of the background
_AROUND = round(4 * RATE)  # frames cut out to either side of a sample
_LEAST_FIT, _BEST_FIT = 0.3, 0.7  # IoU with an event from which an interval begins to fit, and fits wholly
_EXPRESSION = 0.4  # IoU from which a sample is an expression
_SECONDS = (0.2, 3.0)  # of an interval of the background


class IntervalSamples(Dataset):
    """Intervals as tensors for `RecogniserNetwork`, drawn anew each `epoch`.

    `proposals` of each series are intervals (n, 2) in its positions that a spotter has found.
    """

    def __init__(
        self,
        series: Sequence[RegionSeries],
        events: Sequence[Sequence[Event]],
        proposals: Sequence[np.ndarray],
        settings: RecogniserSettings,
    ) -> None:
        self.settings, self.epoch, self.series = settings, 0, series
        self.spans = [labelled_spans(item, rows) for item, rows in zip(series, events, strict=True)]
        self.parts = event_parts(series, self.spans)
        self.proposals = proposals
        self.event_list = [(video, row) for video, spans in enumerate(self.spans) for row in range(len(spans))]
        self.alarm_list = [
            (video, row)
            for video, rows in enumerate(proposals)
            for row in range(len(rows))
            if _best_overlap(rows[row], self.spans[video])[0] < _LEAST_FIT
        ]
        self.lengths = np.array([len(item.motion) for item in series], float)

    def __len__(self) -> int:
        return self.settings.samples

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([self.settings.seed, self.epoch, index])
        kind = _KINDS[int(rng.choice(len(_KINDS), p=_SHARES))]
        if kind == "event" and self.event_list:
            video, row = self.event_list[int(rng.integers(len(self.event_list)))]
            interval = self.spans[video][row][:2]
        elif kind == "false alarm" and self.alarm_list:
            video, row = self.alarm_list[int(rng.integers(len(self.alarm_list)))]
            interval = tuple(self.proposals[video][row])
        else:
            video = int(rng.choice(len(self.series), p=self.lengths / self.lengths.sum()))
            length = np.exp(rng.uniform(*np.log(_SECONDS))) * RATE
            first = rng.uniform(0, max(1.0, self.lengths[video] - length))
            interval = (first, first + length - 1)
        # 1. the part of the series around  2. perhaps an event pasted into it  3. jitter, mirror, gain, noise
        item = self.series[video]
        low = max(0, int(interval[0]) - _AROUND)
        window = slice(low, min(len(item.motion), int(interval[1]) + _AROUND + 1))
        motion = item.motion[window].copy()
        spans = [(first - low, last - low, labels) for first, last, labels in self.spans[video]]
        interval = (interval[0] - low, interval[1] - low)
        if kind == "pasted":
            pasted = paste_events(motion, self.parts, [span[:2] for span in spans], 1, rng)
            spans += pasted
            interval = pasted[0][:2] if pasted else interval
        interval = _jitter(interval, self.settings.jitter, rng)
        if rng.random() < 0.5:
            motion = mirror_motion(motion)
        motion *= np.exp(self.settings.gain * rng.standard_normal())
        motion += (self.settings.noise * rng.standard_normal(motion.shape)).astype(np.float32)
        channels = interval_channels(motion, item.blink[window], item.seen[window], *interval)
        return {"channels": torch.from_numpy(channels), **interval_targets(interval, spans)}


def _jitter(interval: tuple[float, float], spread: float, rng: np.random.Generator) -> tuple[float, float]:
    """The interval with both ends moved by normal steps of `spread` of its length; it keeps four frames at least."""
    first, last = interval
    length = last - first + 1
    first, last = (np.array([first, last]) + spread * length * rng.standard_normal(2)).tolist()
    if last - first < 3:
        first, last = (first + last) / 2 - 1.5, (first + last) / 2 + 1.5
    return first, last


def _best_overlap(interval: Sequence[float], spans: Sequence[Span]) -> tuple[float, int]:
    """Largest IoU of an interval with a span, and which; 0 and -1 without spans."""
    if not spans:
        return 0.0, -1
    ious = interval_ious(np.array([interval], float), np.array([span[:2] for span in spans], float))[0]
    return float(ious.max()), int(ious.argmax())


def interval_targets(interval: tuple[float, float], spans: Sequence[Span]) -> dict[str, torch.Tensor]:
    """The targets of an interval: of the event that it overlaps most, or of no expression."""
    overlap, row = _best_overlap(interval, spans)
    emotion, kind, units = EMOTIONS.index("neutral"), IGNORED, np.full(len(UNITS), -1, np.float32)
    if overlap >= _EXPRESSION:
        labels = spans[row][2]
        emotion, kind, units = labels.emotion, TYPES.index(labels.type), labels.units
    fit = np.clip((overlap - _LEAST_FIT) / (_BEST_FIT - _LEAST_FIT), 0, 1)
    return {
        "emotion_targets": torch.tensor(emotion),
        "type_targets": torch.tensor(kind),
        "unit_targets": torch.from_numpy(units),
        "fit_targets": torch.tensor(fit, dtype=torch.float32),
    }
