"""Features of the flow probe: a clip's flow, pooled to a coarse grid."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from megc.baselines.settings import SOURCES, TRUE_UNITS
from megc.files import read_picture, resolve_inside
from megc.motion.colour import SIGNED
from megc.motion.flow_files import read_flow
from megc.motion.flow_pictures import mirror_picture
from megc.problems import DataError
from megc.vqa.instructions import picture_names, read_prompt
from megc.vqa.labels import record_labels

FLOW_GRID, PICTURE_GRID = 8, 7


def pool_cells(picture: np.ndarray, grid: int) -> np.ndarray:
    """Means of the cells of a grid x grid raster over an array (H, W, C): a vector of grid x grid x C."""
    rows = np.array_split(np.arange(picture.shape[0]), grid)
    columns = np.array_split(np.arange(picture.shape[1]), grid)
    cells = [[picture[np.ix_(row, column)].mean(axis=(0, 1)) for column in columns] for row in rows]
    return np.concatenate([np.concatenate(line) for line in cells]).astype(np.float64)


def read_features(
    records: Sequence[dict], file: Path | str, source: str = "flow", mirrored: bool = False
) -> dict[str, np.ndarray]:
    """Pooled flow of each clip of an instruction file's `records`: a vector a clip, by clip id.

    `source` is the `.npy` field beside the clip's flow picture (`flow`, in pixels, 8 x 8 cells of x and y) or the
    picture itself (`picture`, 0 to 1, 7 x 7 cells of three channels). `picture-centred` takes the median of each
    channel away first: where pictures are stretched clip by clip, still skin has another colour in each, and most of
    the skin is still. With `mirrored` two vectors (2, features): of the motion as it is and of its mirror image.
    `true-units` reads no picture but the true action units, a 1 for each that the clip shows: how well emotions are
    told from these says how far the sheet's labels agree with each other.

    Raises DataError for a clip without its file or its true units, and for mirrored pictures whose colours have no
    sign; ValueError for another source.
    """
    if source not in SOURCES:
        raise ValueError(f"no features from {source!r}: choose from {', '.join(SOURCES)}")
    if source == TRUE_UNITS:
        return _true_units(records, file, 2 if mirrored else 1)
    prompt = read_prompt(file)
    if mirrored and source != "flow" and prompt.get("encoding") not in SIGNED:
        fix = f"build the instructions with --encoding {' or '.join(SIGNED)} (--centre), or leave the mirror out"
        raise DataError(file, None, f"flow drawn as {prompt.get('encoding')} cannot be mirrored", fix)
    features: dict[str, np.ndarray] = {}
    for record in records:
        if record["clip"] not in features:  # all questions of a clip share its pictures
            path = _flow_path(record, prompt, file)
            features[record["clip"]] = _pooled_flow(path, record["id"], source, mirrored)
    return features


def _true_units(records: Sequence[dict], file: Path | str, views: int) -> dict[str, np.ndarray]:
    """Action units of each clip by FACS number, (100,), or (views, 100): the mirror image shows the same ones."""
    features = {record["clip"]: np.zeros(100) for record in records}
    for labels in record_labels(records):
        features[labels.clip][list(labels.units)] = 1
    if unlabelled := [clip for clip, units in features.items() if not units.any()]:
        fix = "true-units takes answered questions with a list of action units for each clip"
        raise DataError(file, unlabelled[0], f"{len(unlabelled)} clip(s) without true action units", fix)
    return {clip: np.tile(units, (views, 1)) if views > 1 else units for clip, units in features.items()}


def _flow_path(record: dict, prompt: Mapping, file: Path | str) -> Path:
    """The flow picture of a record of `file`, whose prompt says which of its pictures that is."""
    pictures = dict(zip(picture_names(record, prompt), record["images"], strict=True))
    if "flow" not in pictures:
        fix = "build the instructions with --images flow"
        raise DataError(file, record["id"], "the record has no flow picture", fix)
    try:
        return resolve_inside(Path(file).parent, pictures["flow"])
    except ValueError as error:
        raise DataError(file, record["id"], f"picture {error}", "build the instructions again") from error


def _pooled_flow(path: Path, row: str, source: str, mirrored: bool) -> np.ndarray:
    if source == "flow":
        flow = read_flow(path.with_suffix(".npy"), row)
        views = [flow, flow[:, ::-1] * np.array([-1, 1], flow.dtype)] if mirrored else [flow]
        pooled = [pool_cells(view, FLOW_GRID) for view in views]  # (128,)
    else:
        picture = np.asarray(read_picture(path, path, row, "run compute_flow.py"))
        views = [picture, mirror_picture(picture)] if mirrored else [picture]
        pooled = [_pool_picture(view, source) for view in views]
    return np.stack(pooled) if mirrored else pooled[0]


def _pool_picture(picture: np.ndarray, source: str) -> np.ndarray:
    shares = picture.astype(np.float32) / 255
    if source == "picture-centred":
        shares = shares - np.median(shares, axis=(0, 1))
    return pool_cells(shares, PICTURE_GRID)  # (147,)
