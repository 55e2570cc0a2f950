"""Windows of face crops as samples: with labels for the classifier, with masks for pretraining.

What a sample is depends on seed, epoch and index alone, so that a resumed run sees the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from megc.clips import Video
from megc.motion.face_crops import FaceCrops
from megc.problems import DataError, excerpt
from megc.records import check_record
from megc.spotting.kind_settings import WindowSettings
from megc.spotting.masking import draw_mask, normalise_frames
from megc.spotting.spotters import SpottingVideo
from megc.spotting.video_config import VideoConfig
from megc.spotting.windows import (
    EXPRESSION,
    IGNORED,
    NONE,
    STRIDES,
    WindowGrid,
    WindowPictures,
    event_seconds,
    grid_windows,
    inner_size,
    label_windows,
)

_PHASES = 4  # shifts of the windows in time that training draws from


@dataclass(frozen=True)
class WindowVideo:
    """A video with its crops and the pictures that the encoder sees."""

    video: Video
    crops: FaceCrops
    pictures: WindowPictures


def open_video(item: SpottingVideo, settings: WindowSettings, crop: dict | None = None) -> tuple[WindowVideo, dict]:
    """The crops of a video and their recipe. Raises DataError where the recipe is not `crop`, if that is given."""
    crops, record = item.face_crops()
    recipe = record.recipe.model_dump()
    if crop and recipe != crop and not settings.allow_mismatch:
        names = sorted(name for name in {*crop, *recipe} if crop.get(name) != recipe.get(name))
        pairs = [f"{name} is {excerpt(recipe.get(name))} for {excerpt(crop.get(name))}" for name in names]
        what = f"its crops differ from those the spotter was trained on: {', '.join(pairs)}"
        fix = "run data_process/extract_face_crops.py with the settings of training, or train with allow_mismatch"
        raise DataError(item.inputs / "face_crops", item.video.id, what, fix)
    pictures = WindowPictures(crops, settings.inputs == "differences", settings.inner)
    return WindowVideo(item.video, crops, pictures), recipe


def encoder_config(settings: WindowSettings, size: int) -> VideoConfig:
    """Shape of the encoder for crops of `size` pixels. Raises DataError where a patch does not divide the picture."""
    values = dict(
        architecture=settings.architecture,
        image_size=inner_size(size) if settings.inner else size,
        num_frames=settings.frames,
        patch_size=settings.patch_size,
        dim=settings.dim,
        depth=settings.depth,
        heads=settings.heads,
        region=settings.region,
        drop_path=settings.drop_path,
        decoder_dim=settings.dim // 2 // settings.heads * settings.heads,
        decoder_depth=1,
        decoder_heads=settings.heads,
    )
    fix = f"change one of the sizes: crops have {size} pixels"
    return check_record(VideoConfig, values, "settings of windows", None, fix)


@dataclass(frozen=True)
class _Row:
    """A training window: its video, grid and position there, and its label."""

    video: int
    grid: WindowGrid
    first: int
    label: int


class WindowDataset(Dataset):
    """Windows of videos as samples: `pixel_values` (T, 3, size, size) and `labels`. Each epoch draws others.

    An epoch has of each length as many EXPRESSION windows as there are without a shift in time, of all shifts, and
    `negatives` times as many others: else the share of expressions differs by length, and long windows score high
    whatever they show. What item `index` of an epoch is depends on seed, epoch and index alone. Raises DataError where
    no window has an event.
    """

    def __init__(self, videos: Sequence[WindowVideo], settings: WindowSettings) -> None:
        self.videos, self.settings, self.epoch = videos, settings, 0
        self.rows = {(label, length): [] for length in dict.fromkeys(settings.lengths) for label in (EXPRESSION, NONE)}
        for number, item in enumerate(videos):
            for length in settings.lengths:
                for phase in range(_PHASES):
                    self._add(number, item, length, phase * settings.frames / STRIDES / _PHASES)
        self.counts = {}
        for length in dict.fromkeys(settings.lengths):
            count = -(-len(self.rows[EXPRESSION, length]) // _PHASES)
            others = min(round(settings.negatives * count), len(self.rows[NONE, length]))
            self.counts |= {(EXPRESSION, length): count, (NONE, length): others}
        if not any(self.counts.values()):
            what = f"no window of {settings.lengths} seconds has an expression in these {len(videos)} video(s)"
            names = ", ".join(item.video.id for item in videos[:3])
            raise DataError(names, "events", what, "give annotated videos of several subjects, or other lengths")
        self._drawn: tuple[int, list[_Row]] | None = None

    def _add(self, number: int, item: WindowVideo, length: float, phase: float) -> None:
        grid = grid_windows(item.crops.times, item.crops.segments, length, self.settings.frames, phase)
        events = event_seconds(item.video.events, item.crops, item.video.fps)
        labels = label_windows(grid.intervals(), events, self.settings.least_iou, self.settings.negative_iou)
        for first, label in zip(grid.firsts, labels, strict=True):
            if label != IGNORED:
                self.rows[int(label), length].append(_Row(number, grid, int(first), int(label)))

    def __len__(self) -> int:
        return sum(self.counts.values())

    def _rows_now(self) -> list[_Row]:
        if self._drawn is None or self._drawn[0] != self.epoch:
            random = np.random.default_rng((self.settings.seed, self.epoch))
            chosen = []
            for key, count in self.counts.items():
                rows = self.rows[key]
                chosen += [rows[index] for index in random.choice(len(rows), count, replace=False)] if rows else []
            self._drawn = (self.epoch, chosen)
        return self._drawn[1]

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self._rows_now()[index]
        frames = self.videos[row.video].pictures.read(row.grid, row.first, self.settings.frames)
        random = np.random.default_rng((self.settings.seed, self.epoch, index))
        if self.settings.mirror and random.random() < 0.5:
            frames = frames[:, :, ::-1].copy()
        return {"pixel_values": normalise_frames(frames), "labels": torch.tensor(row.label)}


class MaskedWindows(Dataset):
    """All windows of videos, with and without events, for masked pretraining: `pixel_values` and `masked` (N,).

    An epoch has a quarter of them, of one shift in time each.
    """

    def __init__(self, videos: Sequence[WindowVideo], settings: WindowSettings, config: VideoConfig) -> None:
        self.videos, self.settings, self.config, self.epoch = videos, settings, config, 0
        self.grids = [
            (number, grid_windows(item.crops.times, item.crops.segments, length, settings.frames))
            for number, item in enumerate(videos)
            for length in settings.lengths
        ]
        counts = [len(grid.firsts) for _, grid in self.grids]
        self.starts = np.concatenate([[0], np.cumsum(counts)])

    def __len__(self) -> int:
        return int(self.starts[-1]) // _PHASES

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = index * _PHASES + self.epoch % _PHASES
        part = int(np.searchsorted(self.starts, row, side="right")) - 1
        number, grid = self.grids[part]
        first = int(grid.firsts[row - self.starts[part]])
        random = np.random.default_rng((self.settings.seed, self.epoch, index))
        masked = draw_mask(
            "part_window" if self.config.architecture == "lgi_former" else "tube",
            self.config,
            self.settings.mask_ratio,
            random,
        )
        frames = self.videos[number].pictures.read(grid, first, self.settings.frames)
        return {"pixel_values": normalise_frames(frames), "masked": torch.from_numpy(masked)}
