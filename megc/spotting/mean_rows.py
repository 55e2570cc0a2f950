"""What MEAN learns from: rows of flow maps with their labels, read from the disk when they are needed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import Dataset

from megc.clips import Event, Video
from megc.motion.flow_maps import FlowMaps, ScaledMaps
from megc.scoring.str_metrics import ANALYSED, emotion_class
from megc.spotting.mean_network import IGNORED


@dataclass(frozen=True)
class MapVideo:
    """A video and its maps as the network reads them."""

    video: Video
    maps: ScaledMaps

    @property
    def flow(self) -> FlowMaps:
        """What was measured."""
        return self.maps.flow


def half_duration(videos: Sequence[Video], kind: str) -> float:
    """Half of the mean duration of the events of a type, in seconds: MEAN's k_p. Raises ValueError without events.

    The original takes the mean over all samples, the test subject's too (load_label.py:134-143).
    """
    seconds = [(event.offset - event.onset + 1) / v.fps for v in videos for event in v.events if event.type == kind]
    if not seconds:
        raise ValueError(f"no {kind}-expression in the videos")
    return float(np.mean(seconds)) / 2


def label_spots(item: MapVideo, kind: str, half: float) -> np.ndarray:
    """Float (frames,): 1 where the window of `half` seconds from a map's frame on meets an event of the type, else 0.

    The pseudo-label of MEAN (prepare_training.py:4-29): any overlap counts.
    """
    first = item.flow.frame_numbers
    last = first + max(1, round(half * item.video.fps)) - 1
    labels = np.zeros(len(first), np.float32)
    for event in item.video.events:
        if event.type == kind:
            labels[(first <= event.offset) & (last >= event.onset)] = 1
    return labels


def rise_of(event: Event) -> tuple[float, float]:
    """Onset and apex of an event, its middle where no apex is annotated."""
    return event.onset, (event.onset + event.offset) / 2 if event.apex is None else event.apex


def label_emotions(item: MapVideo, kind: str, classes: Sequence[str], joint: bool = False) -> np.ndarray:
    """Class (frames,) of each map from onset to apex of an event of the type with an emotion of `classes`; others have
    IGNORED.

    `joint`: SFAMNet's labels, `classes` + 1 classes: from halfway between onset and apex to the apex; a map outside
    all events has the class of none.
    """
    numbers = item.flow.frame_numbers
    labels = np.full(len(numbers), len(classes) if joint else IGNORED, np.int64)
    for event in item.video.events:
        if joint:
            labels[(numbers >= event.onset) & (numbers <= event.offset)] = IGNORED
    for event in item.video.events:
        emotion = emotion_class(event.emotion, ANALYSED)
        if event.type == kind and emotion in classes:
            onset, apex = rise_of(event)
            first = (onset + apex) / 2 if joint else onset
            rising = (numbers >= first) & (numbers < max(apex, first + 1))
            labels[rising] = list(classes).index(emotion)
    return labels


def emotions_of(videos: Sequence[Video], kind: str) -> tuple[str, ...]:
    """The analysed emotions that events of the type have, in the order of ANALYSED."""
    present = {emotion_class(event.emotion, ANALYSED) for v in videos for event in v.events if event.type == kind}
    return tuple(name for name in ANALYSED if name in present)


@dataclass(frozen=True)
class MapRows(Dataset):
    """Rows of maps of several videos with targets: the samples are dictionaries of the network's keys.

    `videos` (rows,) and `rows` (rows,) index `items` and their maps; `spots` (rows,), `emotions` (rows,).
    """

    items: Sequence[MapVideo]
    videos: np.ndarray
    rows: np.ndarray
    spots: np.ndarray
    emotions: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        maps = self.items[self.videos[index]].maps[self.rows[index : index + 1]]
        return {
            "maps": torch.from_numpy(maps[0]),
            "spots": torch.tensor(self.spots[index]),
            "emotions": torch.tensor(self.emotions[index]),
        }

    def select(self, chosen: np.ndarray) -> "MapRows":
        """These rows alone."""
        names = ("videos", "rows", "spots", "emotions")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})


def gather_rows(items: Sequence[MapVideo], spots: Sequence[np.ndarray], emotions: Sequence[np.ndarray]) -> MapRows:
    """All measured rows of the videos, with their labels (frames,) each."""
    measured = [np.flatnonzero(item.flow.segments >= 0) for item in items]
    return MapRows(
        tuple(items),
        np.repeat(np.arange(len(items)), [len(rows) for rows in measured]),
        np.concatenate(measured),
        np.concatenate([labels[rows] for labels, rows in zip(spots, measured, strict=True)]),
        np.concatenate([labels[rows] for labels, rows in zip(emotions, measured, strict=True)]),
    )


def thin_rows(data: MapRows, most: int, ratio: float, seed: int) -> MapRows:
    """At most `most` positives (0: all) and `ratio` times as many negatives or all there are, drawn by the seed.

    The ratio is MEAN's (prepare_training.py:75-87). The frames of a macro-expression are many and much alike.
    """
    rng, positive = np.random.default_rng(seed), data.spots > 0
    inside, outside = np.flatnonzero(positive), np.flatnonzero(~positive)
    if most and len(inside) > most:
        inside = rng.choice(inside, most, replace=False)
    count = min(len(outside), round(ratio * len(inside)))
    return data.select(np.sort(np.concatenate([inside, rng.choice(outside, count, replace=False)])))


def balanced_weights(emotions: np.ndarray, classes: int) -> list[float]:
    """Weight of each class in the joint loss: inverse to its rows, mean 1 over these; none for no expression."""
    counts = np.bincount(emotions[(emotions >= 0) & (emotions < classes)], minlength=classes)
    weights = counts.sum() / np.maximum(counts, 1) / max(classes, 1)
    return [*weights.tolist(), 0.0]
