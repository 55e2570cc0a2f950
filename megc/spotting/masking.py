"""Masked pretraining: which patches are hidden, what is rebuilt of them, and how a rebuilt clip looks."""

from typing import Literal

import numpy as np
import torch
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from megc.spotting.video_config import VideoConfig

MaskKind = Literal["tube", "part_window"]
_EPS = 1e-6  # of the standard deviation of a patch


def tube_mask(config: VideoConfig, ratio: float, random: np.random.Generator) -> np.ndarray:
    """Hidden patches (N,) bool: the same share `ratio` of positions in all pairs of frames (VideoMAE)."""
    frames, rows, columns = config.grid
    hidden = np.zeros(rows * columns, bool)
    hidden[random.permutation(rows * columns)[: int(ratio * rows * columns)]] = True
    return np.tile(hidden, frames)


def part_window_mask(config: VideoConfig, ratio: float, random: np.random.Generator) -> np.ndarray:
    """Hidden patches (N,) bool: a tube mask for each region by itself, so that equally many stay visible in each.

    MAE-DFER needs it for LGI-Former: int(ratio · h·w) patches of each window of h × w are hidden.
    """
    frames, rows, columns = config.grid
    _, height, width = config.region
    hidden = np.zeros((rows // height, columns // width, height * width), bool)
    for window in hidden.reshape(-1, height * width):
        window[random.permutation(height * width)[: int(ratio * height * width)]] = True
    hidden = hidden.reshape(rows // height, columns // width, height, width).transpose(0, 2, 1, 3)
    return np.tile(hidden.reshape(-1), frames)


def draw_mask(kind: MaskKind, config: VideoConfig, ratio: float, random: np.random.Generator) -> np.ndarray:
    """A mask of that kind. Raises ValueError for a window that does not divide the grid, and where nothing is
    hidden, or everything."""
    if kind == "part_window" and any(size % part for size, part in config.grid_and_region[1:]):
        raise ValueError(f"windows of {config.region[1:]} do not divide the grid {config.grid[1:]} of patches")
    hidden = (part_window_mask if kind == "part_window" else tube_mask)(config, ratio, random)
    if not 0 < hidden.sum() < len(hidden):
        raise ValueError(f"a mask ratio of {ratio} hides {hidden.sum()} of {len(hidden)} patches")
    return hidden


def normalise_frames(frames: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Frames (…, H, W, 3) uint8 → (…, 3, H, W) float32 as the encoders read them: by ImageNet's mean and deviation."""
    return normalise_values(torch.as_tensor(frames).float() / 255)


def normalise_values(frames: torch.Tensor) -> torch.Tensor:
    """`normalise_frames` of colours from 0 to 1, (…, H, W, 3)."""
    mean, deviation = frames.new_tensor(IMAGENET_DEFAULT_MEAN), frames.new_tensor(IMAGENET_DEFAULT_STD)
    return ((frames - mean) / deviation).movedim(-1, -3)


def unnormalise(pixel_values: torch.Tensor) -> torch.Tensor:
    """Pixel values (…, 3, H, W) as the encoders read them → the same shape from 0 to 1."""
    shape = (3, 1, 1)
    mean, deviation = pixel_values.new_tensor(IMAGENET_DEFAULT_MEAN), pixel_values.new_tensor(IMAGENET_DEFAULT_STD)
    return pixel_values * deviation.view(shape) + mean.view(shape)


def cut_patches(frames: torch.Tensor, config: VideoConfig) -> torch.Tensor:
    """Frames (B, T, 3, H, W) → patches (B, N, tubelet · height · width, 3)."""
    _, rows, columns = config.grid
    values = frames.unflatten(4, (columns, config.patch_size)).unflatten(3, (rows, config.patch_size))
    values = values.unflatten(1, (-1, config.tubelet_size))  # (B, t, tubelet, 3, rows, p, columns, p)
    return values.permute(0, 1, 4, 6, 2, 5, 7, 3).flatten(4, 6).flatten(1, 3)


def join_patches(patches: torch.Tensor, config: VideoConfig) -> torch.Tensor:
    """Patches (B, N, tubelet · height · width, 3) → frames (B, T, 3, H, W): the reverse of `cut_patches`."""
    size = config.patch_size
    values = patches.unflatten(2, (config.tubelet_size, size, size)).unflatten(1, config.grid)
    values = values.permute(0, 1, 4, 7, 2, 5, 3, 6)  # (B, t, tubelet, 3, rows, p, columns, p)
    return values.flatten(6, 7).flatten(4, 5).flatten(1, 2)


def reconstruction_targets(pixel_values: torch.Tensor, config: VideoConfig) -> torch.Tensor:
    """What the decoder should predict of each patch (B, N, patch values), colour fastest.

    Pixels of each patch and colour with mean 0 and deviation 1; with `config.differences` the second frame of a pair
    is replaced, after that, by its difference to the first (MAE-DFER).
    """
    patches = cut_patches(unnormalise(pixel_values), config)
    deviation = patches.var(dim=2, unbiased=True, keepdim=True).sqrt()
    patches = (patches - patches.mean(dim=2, keepdim=True)) / (deviation + _EPS)
    if config.differences:
        first, second = patches.chunk(2, dim=2)
        patches = torch.cat([first, second - first], dim=2)
    return patches.flatten(2)


def rebuild_frames(
    pixel_values: torch.Tensor, masked: torch.Tensor, logits: torch.Tensor, config: VideoConfig
) -> torch.Tensor:
    """Frames (B, T, 3, H, W) from 0 to 1 with hidden patches as the decoder rebuilt them, `logits` (B, M, values).

    A patch gets back its true mean and deviation, which the decoder does not predict.
    """
    patches = cut_patches(unnormalise(pixel_values), config)
    mean, deviation = patches.mean(dim=2, keepdim=True), patches.var(dim=2, unbiased=True, keepdim=True).sqrt()
    rebuilt = reconstruction_targets(pixel_values, config)
    rebuilt[masked] = logits.reshape(-1, logits.shape[-1]).to(rebuilt)
    rebuilt = rebuilt.unflatten(2, (-1, 3))
    if config.differences:
        first, second = rebuilt.chunk(2, dim=2)
        rebuilt = torch.cat([first, second + first], dim=2)
    return join_patches(rebuilt * (deviation + _EPS) + mean, config).clamp(0, 1)
