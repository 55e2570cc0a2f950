"""The spotter `windows`: a video encoder (VideoMAE or LGI-Former) scores windows of face crops of several lengths.

One network serves all lengths: whether an expression fills the window looks alike at any length, and there are few
events to learn from. So a window is an expression or none; micro or macro follows from the length of the interval.
Members are trained each without one part of the subjects, and the thresholds are the best for what each spots in the
videos of that part; in another video the members' scores are averaged.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch.utils.data import Dataset

from megc.clips import Video
from megc.files import read_checked, sha256_of, write_json
from megc.motion.face_crops import FaceCrops
from megc.problems import DataError
from megc.records import ClosedContract
from megc.scoring.interval_files import type_by_duration, write_intervals
from megc.scoring.str_metrics import SpottedInterval, ends_of
from megc.spotting.interval_scorer import best_threshold
from megc.spotting.masking import normalise_frames
from megc.spotting.network_training import NetworkSchedule, load_network, seeded_network, train_network
from megc.spotting.region_spotter import part_subjects
from megc.spotting.settings import WindowSettings
from megc.spotting.spotters import SpottingVideo, read_spotter_record
from megc.spotting.video_config import VideoConfig
from megc.spotting.video_encoders import VideoClassifier, check_crop, start_from
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
    merge_windows,
)

SETTINGS = WindowSettings
NEEDS = ("face_crops",)
TYPES = ("micro", "macro")
_MODEL_NAME = "windows.json"
NEVER = 2.0  # threshold that no score reaches
_PHASES = 4  # shifts of the windows in time that training draws from
_CHUNK = 64  # windows that a network reads at once


class WindowModel(ClosedContract):
    """`windows.json`: number of networks, least score of an interval by type, and the recipe of the crops."""

    members: Annotated[int, Field(ge=1)]
    thresholds: dict[str, float]
    crop: dict[str, Any]


@dataclass(frozen=True)
class WindowVideo:
    """A video with its crops and the pictures that the encoder sees."""

    video: Video
    crops: FaceCrops
    pictures: WindowPictures


def open_video(item: SpottingVideo, settings: WindowSettings, crop: dict | None = None) -> tuple[WindowVideo, dict]:
    """The crops of a video and their recipe. Raises DataError where the recipe is not `crop`, if that is given."""
    crops, record = item.face_crops()
    if crop and record.recipe != crop and not settings.allow_mismatch:
        names = sorted(name for name in {*crop, *record.recipe} if crop.get(name) != record.recipe.get(name))
        what = f"its crops differ from those the spotter was trained on ({', '.join(names)}): {record.recipe}"
        fix = f"run data_process/extract_face_crops.py so that they are {crop}, or train with allow_mismatch"
        raise DataError(item.inputs / "face_crops", item.video.id, what, fix)
    pictures = WindowPictures(crops, settings.inputs == "differences", settings.inner)
    return WindowVideo(item.video, crops, pictures), record.recipe


def encoder_config(settings: WindowSettings, size: int) -> VideoConfig:
    """Shape of the encoder for crops of `size` pixels. Raises ValueError where a patch does not divide the picture."""
    return VideoConfig(
        architecture=settings.architecture,
        image_size=inner_size(size) if settings.inner else size,
        num_frames=settings.frames,
        patch_size=settings.patch_size,
        dim=settings.dim,
        depth=settings.depth,
        heads=settings.heads,
        region=settings.region,
        drop_path=settings.drop_path,
    )


@dataclass(frozen=True)
class _Row:
    """A training window: its video, grid and position there, and its label."""

    video: int
    grid: WindowGrid
    first: int
    label: int


class WindowDataset(Dataset):
    """Windows of videos as samples: `pixel_values` (T, 3, size, size) and `labels`. Each epoch draws others.

    An epoch has as many EXPRESSION windows as there are without a shift in time, of all shifts, and `negatives` times
    as many others. What item `index` of an epoch is depends on seed, epoch and index alone.
    """

    def __init__(self, videos: Sequence[WindowVideo], settings: WindowSettings) -> None:
        self.videos, self.settings, self.epoch = videos, settings, 0
        self.rows: dict[int, list[_Row]] = {NONE: [], EXPRESSION: []}
        for number, item in enumerate(videos):
            for length in settings.lengths:
                for phase in range(_PHASES):
                    self._add(number, item, length, phase * settings.frames / STRIDES / _PHASES)
        count = -(-len(self.rows[EXPRESSION]) // _PHASES)
        self.counts = {EXPRESSION: count, NONE: min(round(settings.negatives * count), len(self.rows[NONE]))}
        self._drawn: tuple[int, list[_Row]] | None = None

    def _add(self, number: int, item: WindowVideo, length: float, phase: float) -> None:
        grid = grid_windows(item.crops.times, item.crops.segments, length, self.settings.frames, phase)
        events = event_seconds(item.video.events, item.crops, item.video.fps)
        labels = label_windows(grid.intervals(), events, self.settings.least_iou, self.settings.negative_iou)
        for first, label in zip(grid.firsts, labels, strict=True):
            if label != IGNORED:
                self.rows[int(label)].append(_Row(number, grid, int(first), int(label)))

    def __len__(self) -> int:
        return sum(self.counts.values())

    def _rows_now(self) -> list[_Row]:
        if self._drawn is None or self._drawn[0] != self.epoch:
            random = np.random.default_rng((self.settings.seed, self.epoch))
            chosen = []
            for label, count in self.counts.items():
                rows = self.rows[label]
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


def score_windows(
    networks: Sequence[VideoClassifier], pictures: WindowPictures, grid: WindowGrid, share_tokens: bool = True
) -> np.ndarray:
    """Probability of an expression (n,) of each window of a grid: the mean of the networks.

    Windows begin a quarter of their length apart, which is whole pairs of frames, so that the tokens of a pair are
    those of all windows that it is in: with `share_tokens` each is computed once. Memory is that of _CHUNK windows.
    """
    scores = np.zeros((len(networks), len(grid.firsts)))
    for start in range(0, len(grid.firsts), _CHUNK):
        firsts = grid.firsts[start : start + _CHUNK]
        begin, end = int(firsts[0]), int(firsts[-1]) + grid.frames
        with torch.inference_mode():
            if share_tokens and end - begin <= len(firsts) * grid.frames:
                logits = _shared_logits(
                    networks, normalise_frames(pictures.read(grid, begin, end - begin)), grid, firsts
                )
            else:
                clips = np.stack([pictures.read(grid, int(first), grid.frames) for first in firsts])
                logits = [network(normalise_frames(clips))["logits"] for network in networks]
        for number, values in enumerate(logits):
            scores[number, start : start + _CHUNK] = torch.softmax(values, 1)[:, EXPRESSION].numpy()
    return scores.mean(axis=0)


def _shared_logits(
    networks: Sequence[VideoClassifier], frames: torch.Tensor, grid: WindowGrid, firsts: np.ndarray
) -> list[torch.Tensor]:
    """Logits of the windows that begin at `firsts`, of the frames (K, 3, H, W) from the first of them on."""
    logits = []
    for network in networks:
        config = network.video_config
        patches = config.grid[1] * config.grid[2]
        tokens = network.patch_tokens(frames[None])[0].unflatten(0, (-1, patches))  # (pairs, patches, d)
        pairs = torch.from_numpy((firsts - firsts[0]) // config.tubelet_size)[:, None] + torch.arange(config.grid[0])
        logits.append(network.classify_tokens(tokens[pairs].flatten(1, 2))["logits"])
    return logits


@dataclass(frozen=True)
class ScoredWindows:
    """Windows of all lengths in frame numbers of the video, first and last (n, 2), in fractions, and scores (n,)."""

    ends: np.ndarray
    scores: np.ndarray


def spot_windows(
    networks: Sequence[VideoClassifier], item: WindowVideo, settings: WindowSettings
) -> tuple[ScoredWindows, list[SpottedInterval]]:
    """The windows of a video, and all intervals that come of them, also those of a low score, in order of onset."""
    crops, scored = item.crops, []
    for length in settings.lengths:
        grid = grid_windows(crops.times, crops.segments, length, settings.frames)
        if len(grid.firsts):
            scored.append((length, grid.intervals(), score_windows(networks, item.pictures, grid)))
    ends, scores = merge_windows(scored, float(crops.times[-1]), settings.share, settings.sigma)
    rows = [
        SpottedInterval(float(on), float(off), type_by_duration(on, off, item.video.fps), float(score))
        for (on, off), score in zip(_frame_numbers(ends, item).round(), scores, strict=True)
    ]
    windows = np.concatenate([np.empty((0, 2)), *(seconds for _, seconds, _ in scored)])
    values = np.concatenate([np.empty(0), *(values for _, _, values in scored)])
    return ScoredWindows(_frame_numbers(windows, item), values), sorted(rows)


def _frame_numbers(seconds: np.ndarray, item: WindowVideo) -> np.ndarray:
    """First and last frame numbers (n, 2) inside intervals in seconds, whose ends are borders of frames."""
    inside = seconds + np.array([0.5, -0.5]) / item.video.fps
    return np.interp(inside, item.crops.times, item.crops.frame_numbers)


@dataclass(frozen=True)
class WindowSpotter:
    """Networks whose mean scores give the intervals of at least the threshold of their type."""

    settings: WindowSettings
    networks: tuple[VideoClassifier, ...]
    model: WindowModel

    def scores(self, video: SpottingVideo) -> tuple[ScoredWindows, list[SpottedInterval]]:
        """Windows and intervals as `spot_windows` gives them. Raises DataError for crops of another recipe."""
        item, _ = open_video(video, self.settings, self.model.crop)
        return spot_windows(self.networks, item, self.settings)

    def spot(self, video: SpottingVideo) -> list[SpottedInterval]:
        """Intervals with type and score, in order of onset. Raises DataError for crops of another recipe."""
        return [row for row in self.scores(video)[1] if row.score >= self.model.thresholds[row.type]]


def held_out_spotters(folder: Path, videos: Sequence[SpottingVideo]) -> dict[str, WindowSpotter]:
    """By id of a video that a spotter was trained on: the spotter of the members that have not seen it."""
    spotter = load(folder)
    parts = part_subjects([item.video for item in videos], spotter.settings.members, spotter.settings.seed)
    if len(parts) == 1:
        return {item.video.id: spotter for item in videos}
    return {
        name: replace(spotter, networks=spotter.networks[number : number + 1])
        for number, part in enumerate(parts)
        for name in part
    }


def train(videos: Sequence[SpottingVideo], settings: WindowSettings, out: Path) -> None:
    """Train the members, spot with each in the videos that it has not seen, and choose the thresholds by these.

    With one subject there is one member, and its own videos choose. Raises DataError for crops of several recipes, and
    for a pretrained encoder of other crops or sizes.
    """
    items, crop = [], None
    for video in videos:
        item, recipe = open_video(video, settings, crop)
        crop = crop or recipe
        items.append(item)
    parts = part_subjects([item.video for item in items], settings.members, settings.seed)
    held_out: dict[str, list[SpottedInterval]] = {}
    for number, part in enumerate(parts):
        inside = [item for item in items if item.video.id not in part]
        network = _train_member(inside, settings, number, crop or {}, out)
        for item in items:
            if item.video.id in part or len(parts) == 1:
                _, held_out[item.video.id] = spot_windows([network], item, settings)
    annotated = [item.video for item in items]
    write_intervals(out / "held_out.csv", annotated, held_out)
    # no interval at all gives an infinite threshold, which JSON does not hold; a score is 1 at most
    thresholds = {kind: min(type_threshold(annotated, held_out, kind), NEVER) for kind in TYPES}
    write_json(out / _MODEL_NAME, {"members": len(parts), "thresholds": thresholds, "crop": crop})


def _new_network(settings: WindowSettings, size: int, seed: int) -> VideoClassifier:
    return seeded_network(VideoClassifier, seed, config=encoder_config(settings, size))


def _train_member(
    items: Sequence[WindowVideo], settings: WindowSettings, number: int, crop: dict, out: Path
) -> VideoClassifier:
    of_member = replace(settings, seed=settings.seed * 1000 + number)
    network = _new_network(of_member, crop["size"], of_member.seed)
    if of_member.pretrained:
        check_crop(Path(of_member.pretrained), crop, any_crop=of_member.allow_mismatch)
        start_from(network, Path(of_member.pretrained))
    schedule = NetworkSchedule(
        of_member.epochs, of_member.batch, of_member.rate, of_member.weight_decay, of_member.seed
    )
    content = sha256_of(
        json.dumps([asdict(of_member), crop]),
        *(repr((item.video.id, item.video.events, len(item.crops.times))) for item in items),
        *(np.ascontiguousarray(item.crops.pixels[::100]).tobytes() for item in items),
    )
    folder = out / f"member{number}"
    subjects = sorted({f"{item.video.dataset}/{item.video.subject}" for item in items})
    train_network(network, WindowDataset(items, of_member), folder, schedule, subjects, content)
    return load_network(network, folder)


def type_threshold(videos: Sequence[Video], spotted: dict[str, list[SpottedInterval]], kind: str) -> float:
    """The score from which intervals of a type have the best F1 with events of that type."""
    of_kind = [replace(video, events=tuple(event for event in video.events if event.type == kind)) for video in videos]
    rows = [[row for row in spotted[video.id] if row.type == kind] for video in videos]
    return best_threshold(of_kind, [(ends_of(part), np.array([row.score for row in part])) for part in rows])


def load(folder: Path) -> WindowSpotter:
    """The spotter of a folder. Raises DataError for one that is not whole."""
    settings = WindowSettings(**read_spotter_record(folder).settings)
    model = WindowModel(**read_checked(WindowModel, folder / _MODEL_NAME, fix="train the spotter again"))
    networks = [
        load_network(_new_network(settings, model.crop["size"], 0), folder / f"member{n}")
        for n in range(model.members)
    ]
    return WindowSpotter(settings, tuple(networks), model)
