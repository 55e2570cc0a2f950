"""Clips as a network reads them: frames drawn from a source, augmented alike in every epoch that is taken again.

What is drawn for a clip depends on seed, epoch and index alone, so that a resumed run, and a run of several
processes, sees the same clips as an undisturbed one in one process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import Dataset

from megc.spotting.masking import MaskKind, draw_mask, normalise_frames
from megc.spotting.video_config import VideoConfig

CROP_SHARES = (1.0, 0.875, 0.75, 0.66)  # of the shorter side: the multi-scale crops of the recipe
_ERASED = (0.02, 1 / 3)  # least and largest share of the picture that is erased
_ASPECT = 0.3  # of an erased rectangle, or its inverse at most


class ClipSource(Protocol):
    """Clips by number. `frames` gives (T, height, width, 3) uint8 of `num_frames` frames; with a generator it may
    choose them anew each time, as other starts in a video."""

    def __len__(self) -> int:
        """Number of clips."""

    def frames(self, index: int, random: np.random.Generator | None) -> np.ndarray:
        """Frames of a clip; without `random`, always the same."""

    def label(self, index: int) -> int:
        """Class of a clip."""


@dataclass(frozen=True)
class Augmentation:
    """What is drawn for a clip: alike for all its frames.

    `smallest_crop`: least share of the shorter side (of CROP_SHARES) that a square crop has; 1 for the centre of the
    picture. `flip`, `erase`: probability of mirroring, and of a rectangle of noise. `mixup`, `cutmix`: parameters of
    the beta distributions of shares of two clips, of which one kind is drawn for a batch where both are there; 0 for
    none (see `ClipCollator`).
    """

    smallest_crop: float = 1.0
    flip: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0


@dataclass(frozen=True)
class MaskSettings:
    """Kind of mask and share of hidden patches."""

    kind: MaskKind = "tube"
    ratio: float = 0.9


def crop_square(
    frames: np.ndarray, size: int, corner: tuple[float, float] = (0.5, 0.5), share: float = 1
) -> np.ndarray:
    """A square of `share` of the shorter side, resized to `size`; `corner`: where it lies, from 0 to 1 down and right.

    Frames (T, H, W, 3) uint8 → (T, size, size, 3).
    """
    height, width = frames.shape[1:3]
    side = max(1, round(min(height, width) * share))
    top, left = round((height - side) * corner[0]), round((width - side) * corner[1])
    square = frames[:, top : top + side, left : left + side]
    if side == size:
        return square
    method = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return np.stack([cv2.resize(frame, (size, size), interpolation=method) for frame in square])


def augment_frames(frames: np.ndarray, size: int, settings: Augmentation, random: np.random.Generator) -> np.ndarray:
    """Crop and perhaps mirror frames (T, H, W, 3) uint8 → (T, size, size, 3)."""
    shares = [share for share in CROP_SHARES if share >= settings.smallest_crop]
    share = shares[random.integers(len(shares))]
    square = crop_square(frames, size, tuple(random.random(2)) if len(shares) > 1 else (0.5, 0.5), share)
    return square[:, :, ::-1].copy() if random.random() < settings.flip else square


def erase_rectangle(clip: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """Pixel values (T, 3, H, W) with noise in one rectangle, the same in all frames (Zhong et al., 1708.04896)."""
    height, width = clip.shape[-2:]
    area = random.uniform(*_ERASED) * height * width
    aspect = np.exp(random.uniform(np.log(_ASPECT), -np.log(_ASPECT)))
    tall = min(height, max(1, round((area * aspect) ** 0.5)))
    wide = min(width, max(1, round((area / aspect) ** 0.5)))
    top, left = random.integers(height - tall + 1), random.integers(width - wide + 1)
    noise = random.standard_normal((*clip.shape[:2], tall, wide), dtype=np.float32)
    erased = clip.clone()
    erased[..., top : top + tall, left : left + wide] = torch.from_numpy(noise)
    return erased


class ClipDataset(Dataset):
    """Items for `VideoClassifier` (`pixel_values`, `labels`), or with `mask` for `MaskedAutoencoder` (`masked`).

    With `augmentation`, each epoch draws anew, and `draw` says for `ClipCollator` which item it is; without, an item
    is always the same.
    """

    def __init__(
        self,
        source: ClipSource,
        config: VideoConfig,
        augmentation: Augmentation | None = None,
        mask: MaskSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.source, self.config, self.augmentation, self.mask, self.seed = source, config, augmentation, mask, seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict:
        random = np.random.default_rng((self.seed, self.epoch, index))
        drawn = random if self.augmentation else None
        frames, size = self.source.frames(index, drawn), self.config.image_size
        square = augment_frames(frames, size, self.augmentation, random) if drawn else crop_square(frames, size)
        clip = normalise_frames(square)
        if self.mask:
            masked = draw_mask(self.mask.kind, self.config, self.mask.ratio, random)
            return {"pixel_values": clip, "masked": torch.from_numpy(masked)}
        if drawn and random.random() < self.augmentation.erase:
            clip = erase_rectangle(clip, random)
        draw = {"draw": (self.seed, self.epoch, index)} if drawn else {}
        return {"pixel_values": clip, "labels": self.source.label(index), **draw}


@dataclass(frozen=True)
class ClipCollator:
    """Batches of items; in training, mixes each clip with another of its batch, and its class with that one's.

    mixup: Zhang et al., 1710.09412; cutmix: Yun et al., 1905.04899. `smoothing`: share of a label that goes to all
    classes alike. Only items with a `draw` are mixed and smoothed.
    """

    num_labels: int
    augmentation: Augmentation
    smoothing: float = 0.0

    def __call__(self, items: Sequence[dict]) -> dict[str, torch.Tensor]:
        clips = torch.stack([item["pixel_values"] for item in items])
        if "masked" in items[0]:
            return {"pixel_values": clips, "masked": torch.stack([item["masked"] for item in items])}
        labels = torch.tensor([item["labels"] for item in items])
        kinds = [kind for kind in ("mixup", "cutmix") if getattr(self.augmentation, kind)]
        if "draw" not in items[0] or not (kinds or self.smoothing):
            return {"pixel_values": clips, "labels": labels}
        shares = functional.one_hot(labels, self.num_labels).float()
        shares = shares * (1 - self.smoothing) + self.smoothing / self.num_labels
        if kinds:
            random = np.random.default_rng([number for item in items for number in item["draw"]])
            kind = kinds[random.integers(len(kinds))]
            parameter = getattr(self.augmentation, kind)
            kept = random.beta(parameter, parameter)
            clips, kept = mix_clips(clips, kept, random if kind == "cutmix" else None)
            shares = kept * shares + (1 - kept) * shares.flip(0)
        return {"pixel_values": clips, "labels": shares}


def mix_clips(clips: torch.Tensor, kept: float, cut: np.random.Generator | None) -> tuple[torch.Tensor, float]:
    """Each clip with the one that stands at its mirrored place in the batch; returns the share that is its own.

    Clips (B, T, 3, H, W) are averaged, or, with a generator `cut`, get a rectangle of the other of about 1 - `kept`
    of the picture.
    """
    if cut is None:
        return kept * clips + (1 - kept) * clips.flip(0), kept
    height, width = clips.shape[-2:]
    tall, wide = round(height * (1 - kept) ** 0.5), round(width * (1 - kept) ** 0.5)
    row, column = cut.integers(height), cut.integers(width)  # the middle; what leads out of the picture is cut off
    rows = slice(max(0, row - tall // 2), min(height, row - tall // 2 + tall))
    columns = slice(max(0, column - wide // 2), min(width, column - wide // 2 + wide))
    mixed = clips.clone()
    mixed[..., rows, columns] = clips.flip(0)[..., rows, columns]
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return mixed, 1 - area / (height * width)
