"""Published flow pictures without their head motion: a folder of min-max pictures, drawn again centred."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from megc.files import png_bytes, read_picture, write_bytes
from megc.motion.colour import centre
from megc.problems import DataError


def centre_folder(source: Path, out: Path) -> int:
    """Write `colour.centre` of each `*.png` in `source` (uv-strain-minmax, RGB) to `out`; returns their number.

    Raises DataError for a folder without pictures and for a file that is no picture.
    """
    files = sorted(source.glob("*.png"))
    if not files:
        raise DataError(source, None, "no .png flow pictures in the folder", "check --flow-dir")
    for file in tqdm(files, desc="centring", unit="picture", disable=None):
        picture = np.asarray(read_picture(file, file, None, "get the file again"))
        write_bytes(out / file.name, png_bytes(centre(picture)))
    return len(files)
