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
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from megc.files import read_checked, sha256_of, write_json
from megc.motion.face_crops import CropRecipe
from megc.records import ClosedContract
from megc.scoring.interval_files import type_by_duration, write_intervals
from megc.scoring.str_metrics import SpottedInterval
from megc.spotting.interval_scorer import TypeThresholds, type_threshold
from megc.spotting.kind_settings import WindowSettings
from megc.spotting.masking import normalise_frames
from megc.spotting.network_training import (
    NetworkSchedule,
    load_members,
    member_settings,
    seeded_network,
    train_member,
    train_network,
)
from megc.spotting.region_spotter import part_subjects
from megc.spotting.spotters import SpottingVideo, read_spotter_settings
from megc.spotting.video_config import write_video_config
from megc.spotting.video_encoders import MaskedAutoencoder, VideoClassifier, check_crop, start_from
from megc.spotting.window_dataset import MaskedWindows, WindowDataset, WindowVideo, encoder_config, open_video
from megc.spotting.windows import (
    EXPRESSION,
    WindowGrid,
    WindowPictures,
    grid_windows,
    merge_windows,
)

SETTINGS = WindowSettings
NEEDS = ("face_crops",)
TYPES = ("micro", "macro")
_MODEL_NAME, _PRETRAINED = "windows.json", "pretrained"
_CHUNK = 64  # windows that a network reads at once


class WindowModel(ClosedContract):
    """`windows.json`: number of networks, least score of an interval by type, and the recipe of the crops."""

    members: Annotated[int, Field(ge=1)]
    thresholds: TypeThresholds
    crop: CropRecipe


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
        item, _ = open_video(video, self.settings, self.model.crop.model_dump())
        return spot_windows(self.networks, item, self.settings)

    def spot(self, video: SpottingVideo) -> list[SpottedInterval]:
        """Intervals with type and score, in order of onset. Raises DataError for crops of another recipe."""
        return self.model.thresholds.select(self.propose(video))

    def propose(self, video: SpottingVideo) -> list[SpottedInterval]:
        """The same, with those below the thresholds."""
        return self.scores(video)[1]


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
    if settings.pretrain_epochs:
        _pretrain(items, settings, crop or {}, out / _PRETRAINED)
        settings = replace(settings, pretrained=str(out / _PRETRAINED))
    held_out: dict[str, list[SpottedInterval]] = {}
    for number, part in enumerate(parts):
        inside = [item for item in items if item.video.id not in part]
        network = _train_member(inside, settings, number, crop or {}, out)
        for item in items:
            if item.video.id in part or len(parts) == 1:
                _, held_out[item.video.id] = spot_windows([network], item, settings)
    annotated = [item.video for item in items]
    write_intervals(out / "held_out.csv", annotated, held_out)
    thresholds = {kind: type_threshold(annotated, held_out, kind) for kind in TYPES}
    write_json(out / _MODEL_NAME, {"members": len(parts), "thresholds": thresholds, "crop": crop})


def _pretrain(items: Sequence[WindowVideo], settings: WindowSettings, crop: dict, folder: Path) -> None:
    """Masked pretraining on the windows of all training subjects: it sees no event and no label."""
    config = encoder_config(settings, crop["size"])
    schedule = NetworkSchedule(
        settings.pretrain_epochs, settings.batch, settings.rate, settings.weight_decay, settings.seed
    )
    data = MaskedWindows(items, settings, config)
    model = seeded_network(MaskedAutoencoder, settings.seed, config=config)
    train_network(model, data, folder, schedule, _subjects(items), _content(items, settings, crop))
    write_video_config(folder, config)


def _subjects(items: Sequence[WindowVideo]) -> list[str]:
    return sorted({f"{item.video.dataset}/{item.video.subject}" for item in items})


def _content(items: Sequence[WindowVideo], settings: WindowSettings, crop: dict) -> str:
    """Hash of all that decides what is learnt."""
    return sha256_of(
        json.dumps([asdict(replace(settings, pretrained=Path(settings.pretrained).name)), crop]),
        *(repr((item.video.id, item.video.events, len(item.crops.times))) for item in items),
        *(np.ascontiguousarray(item.crops.pixels[::100]).tobytes() for item in items),
    )


def _new_network(settings: WindowSettings, size: int, seed: int) -> VideoClassifier:
    return seeded_network(VideoClassifier, seed, config=encoder_config(settings, size))


def _train_member(
    items: Sequence[WindowVideo], settings: WindowSettings, number: int, crop: dict, out: Path
) -> VideoClassifier:
    of_member = member_settings(settings, number)
    network = _new_network(of_member, crop["size"], of_member.seed)
    if of_member.pretrained:
        check_crop(Path(of_member.pretrained), crop, any_crop=of_member.allow_mismatch)
        start_from(network, Path(of_member.pretrained))
    folder, content = out / f"member{number}", _content(items, of_member, crop)
    return train_member(network, WindowDataset(items, of_member), of_member, folder, _subjects(items), content)


def load(folder: Path) -> WindowSpotter:
    """The spotter of a folder. Raises DataError for one that is not whole."""
    settings = read_spotter_settings(folder)
    model = WindowModel(**read_checked(WindowModel, folder / _MODEL_NAME, fix="train the spotter again"))
    size = model.crop.size
    networks = load_members(lambda: _new_network(settings, size, 0), folder, model.members, folder / _MODEL_NAME)
    return WindowSpotter(settings, networks, model)
