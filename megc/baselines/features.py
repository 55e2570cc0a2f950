"""What the flow probe reads of a clip: its flow, pooled to a coarse grid."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from megc.baselines.settings import SOURCES
from megc.files import read_picture, resolve_inside
from megc.motion.flow_files import read_flow
from megc.problems import DataError
from megc.vqa.instructions import is_motion_picture

FLOW_GRID, PICTURE_GRID = 8, 7


def pool(picture: np.ndarray, grid: int) -> np.ndarray:
    """Means of the cells of a grid x grid raster over an array (H, W, C): a vector of grid x grid x C."""
    rows = np.array_split(np.arange(picture.shape[0]), grid)
    columns = np.array_split(np.arange(picture.shape[1]), grid)
    cells = [[picture[np.ix_(row, column)].mean(axis=(0, 1)) for column in columns] for row in rows]
    return np.concatenate([np.concatenate(line) for line in cells]).astype(np.float64)


def read_features(records: Sequence[dict], root: Path, source: str = "flow") -> dict[str, np.ndarray]:
    """Pooled flow of each clip: from the `.npy` beside its flow picture (`flow`, pixels, 8 x 8) or from the picture
    itself (`picture`, 7 x 7).

    `picture-centred` takes the median of each channel away first: where pictures are stretched clip by clip, still
    skin has another colour in each, and most of the skin is still. Raises DataError for a clip without its file,
    ValueError for another source.
    """
    if source not in SOURCES:
        raise ValueError(f"no features from {source!r}: choose from {', '.join(SOURCES)}")
    found: dict[str, np.ndarray] = {}
    for record in records:
        if record["clip"] in found:
            continue
        image = next((image for image in record["images"] if is_motion_picture(image)), None)
        if image is None:
            fix = "build the instructions with --images flow"
            raise DataError(root, record["id"], "the record has no flow picture", fix)
        try:
            path = resolve_inside(root, image)
        except ValueError as error:
            raise DataError(root, record["id"], f"picture {error}", "build the instructions again") from error
        if source == "flow":
            found[record["clip"]] = pool(read_flow(path.with_suffix(".npy"), record["id"]), FLOW_GRID)
        else:
            read = read_picture(path, path, record["id"], "run compute_flow.py")
            picture = np.asarray(read, np.float32) / 255
            if source == "picture-centred":
                picture = picture - np.median(picture, axis=(0, 1))
            found[record["clip"]] = pool(picture, PICTURE_GRID)
    return found
