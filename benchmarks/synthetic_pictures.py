"""How far synthetic flow pictures (`data_process/make_flow_set.py`) are from real ones, without any label.

    python benchmarks/synthetic_pictures.py --real ../shared/real/flow_smic      # seconds

`--real` is a folder of public pictures (uv-strain-minmax), which are centred as they are for training. A row a set:

    spread     mean standard deviation of the horizontal and the vertical channel, grey levels
    saturated  share of their values at either end
    strain     mean and standard deviation of that channel
    k1 … k12   shares of the two motion channels' energy by wave number, cycles a picture, without the mean
    concentration  share of the motion in the tenth of a picture that moves most

and the mean share of each of 7 × 7 cells in a picture's motion, 1 being its part of the area.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from megc.command import run_command
from megc.files import read_picture
from megc.motion.colour import GREY, centre_picture
from megc.problems import DataError
from megc.synthesis.flow_set import draw_field, draw_units, sample_field

WAVES, CELLS = 12, 7


def read_real(folder: Path, size: int) -> np.ndarray:
    """Centred pictures (N, size, size, 3) of a folder. Raises DataError for one without pictures."""
    files = sorted(folder.glob("*.png"))
    if not files:
        raise DataError(folder, None, "no .png flow pictures in the folder", "check --real")
    pictures = [np.asarray(read_picture(file, file, None, "get the file again")) for file in files]
    return np.stack([cv2.resize(centre_picture(picture), (size, size)) for picture in pictures])


def draw_synthetic(count: int, size: int, seed: int) -> np.ndarray:
    """Pictures (count, size, size, 3) as the flow set draws them."""
    generators = [np.random.default_rng([seed, number]) for number in range(count)]
    return np.stack([draw_field(sample_field(draw_units(r), size, r), "uv-strain-centred", r) for r in generators])


def measure(pictures: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
    """The numbers of a set of pictures (N, H, W, 3), and the shares of its cells (7, 7)."""
    motion, strain = pictures[..., :2].astype(float) - GREY, pictures[..., 2].astype(float)
    size = motion.shape[1]
    energy = np.abs(np.fft.fft2(motion, axes=(1, 2))) ** 2
    frequencies = np.fft.fftfreq(size) * size
    waves = np.hypot(*np.meshgrid(frequencies, frequencies)).astype(int)
    bands = np.array([energy[:, waves == wave].sum((1, 2)) for wave in range(1, WAVES + 1)])  # (waves, N)
    amount = np.hypot(*np.moveaxis(motion, -1, 0))  # (N, H, W)
    amount /= amount.sum((1, 2), keepdims=True)
    most = np.sort(amount.reshape(len(amount), -1))[:, -(size**2 // 10) :].sum(1)
    places = np.array_split(np.arange(size), CELLS)
    cells = np.array([[amount[:, row][:, :, column].sum((1, 2)).mean() for column in places] for row in places])
    numbers = {
        "spread": motion.std((1, 2)).mean(),
        "saturated": (np.abs(motion) > 125).mean(),
        "strain_mean": strain.mean(),
        "strain_sd": strain.std((1, 2)).mean(),
        **{f"k{wave}": share for wave, share in enumerate((bands / bands.sum(0)).mean(1), start=1)},
        "concentration": most.mean(),
    }
    return numbers, cells * CELLS**2


def main() -> int:
    """Measure both sets and print a row and a raster for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, help="folder of public flow pictures")
    parser.add_argument("--count", type=int, default=1500, help="synthetic pictures (default: %(default)s)")
    parser.add_argument("--size", type=int, default=28, help="pixels a side (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic pictures (default: %(default)s)")
    args = parser.parse_args()
    sets = {"real": read_real(args.real, args.size), "synthetic": draw_synthetic(args.count, args.size, args.seed)}
    lines = []
    for name, pictures in sets.items():
        numbers, cells = measure(pictures)
        lines.append(f"{name}: {len(pictures)} pictures, " + " ".join(f"{key}={v:.3f}" for key, v in numbers.items()))
        lines += [" ".join(f"{share:5.2f}" for share in row) for row in cells]
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
