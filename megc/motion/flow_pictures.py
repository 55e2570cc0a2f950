"""Stored flow pictures drawn again: centred, mirrored, roughened, and mixed with others of their class."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from megc.files import png_bytes, read_picture, write_bytes
from megc.motion.colour import GREY, centre_picture
from megc.problems import DataError

_TURN, _GROWTH, _SHIFT = 5.0, 0.08, 0.05  # degrees; logarithm of the factor; share of the picture's side
_GAIN, _NOISE = 0.15, 5.0  # logarithm of the factor; grey levels


def mirror_picture(picture: np.ndarray) -> np.ndarray:
    """Picture (uint8 RGB of a `SIGNED` encoding) of the mirrored motion: left and right change places."""
    flipped = picture[:, ::-1].copy()
    flipped[..., 0] = np.clip(2 * GREY - flipped[..., 0].astype(int), 0, 255)
    return flipped


def roughen_picture(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Picture (uint8 RGB of a `SIGNED` encoding) of the same motion on a face with another position and strength.

    A small turn (of places and directions), growth and shift, a factor of the motion, and smooth noise.
    """
    height, width = picture.shape[:2]
    turn, growth = rng.normal(0, _TURN), np.exp(rng.normal(0, _GROWTH))
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, growth)
    matrix[:, 2] += rng.normal(0, _SHIFT, 2) * (width, height)
    channels = picture.astype(np.float32)
    channels[..., :2] -= GREY
    channels = cv2.warpAffine(channels, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    # the picture was turned; the vectors in it turn too, but do not grow
    channels[..., :2] = channels[..., :2] @ (matrix[:, :2] / growth).T.astype(np.float32)
    channels *= np.float32(np.exp(rng.normal(0, _GAIN)))
    noise = cv2.GaussianBlur(rng.standard_normal(channels.shape).astype(np.float32), (0, 0), 0.04 * width)
    channels[..., :2] += noise[..., :2] / noise.std() * np.float32(rng.uniform(0, _NOISE))
    channels[..., :2] += GREY
    return np.rint(np.clip(channels, 0, 255)).astype(np.uint8)


def mix_pictures(pictures: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Weighted mean (uint8 RGB) of pictures of one `SIGNED` encoding, each mirrored or not, about as strong as one.

    The idea of mixup (Zhang et al. 2018) within a class, for which the mean's label is the class itself.
    """
    weights = rng.dirichlet(np.full(len(pictures), 2.0))
    turned = [mirror_picture(picture) if rng.random() < 0.5 else picture for picture in pictures]
    mixed = sum(weight * picture.astype(np.float32) for weight, picture in zip(weights, turned, strict=True))
    # the mean of independent motions is weaker by the root of the sum of squared weights
    mixed[..., :2] = GREY + (mixed[..., :2] - GREY) / max(float(np.sqrt((weights**2).sum())), 0.7)
    return np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)


def centre_folder(source: Path, out: Path) -> int:
    """Write `colour.centre_picture` of each `*.png` in `source` (uv-strain-minmax, RGB) to `out`.

    Returns the number of pictures. Raises DataError for a folder without one and for a file that is no picture.
    """
    files = sorted(source.glob("*.png"))
    if not files:
        raise DataError(source, None, "no .png flow pictures in the folder", "check --flow-dir")
    for file in tqdm(files, desc="centring", unit="picture", disable=None):
        picture = np.asarray(read_picture(file, file, None, "get the file again"))
        write_bytes(out / file.name, png_bytes(centre_picture(picture)))
    return len(files)
