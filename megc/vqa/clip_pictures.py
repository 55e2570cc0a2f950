"""Where the pictures of a question's clip lie, and the clip's motion in words."""

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from megc.files import read_picture, resolve_inside
from megc.motion.flow_files import read_flow
from megc.motion.keyframes import check_align
from megc.motion.motion_words import describe_field, describe_picture
from megc.problems import DataError
from megc.vqa.instructions import PictureSource, row_clip


def clip_picture(frames: Path, flow: Path) -> Callable[[dict, str], Path]:
    """Pictures of the pipeline's own layout: `frames/<clip id>/apex.png`, `flow/<clip id>.png`."""

    def find(row: dict, name: str) -> Path:
        clip = row_clip(row)["clip"]
        return resolve_inside(flow, f"{clip}.png") if name == "flow" else resolve_inside(frames, f"{clip}/{name}.png")

    return find


def flat_picture(folder: Path) -> Callable[[dict, str], Path]:
    """Flow pictures of other projects, one folder of `<image_id>.png`."""

    def find(row: dict, name: str) -> Path:
        if name != "flow":
            raise ValueError(f"{folder} holds flow pictures only: ask with --images flow")
        picture = str(row["image_id"] if "image_id" in row else row["video"])
        resolve_inside(folder, picture)
        return resolve_inside(folder, f"{picture}.png")

    return find


def link_into(root: Path, folder: Path, name: str) -> Path:
    """`folder` itself when it lies below `root`, else a link `root/name` to it.

    Picture paths stay inside the JSONL's folder while licensed data stays where it is. Raises DataError when
    something else has that name.
    """
    # abspath, not resolve: a folder that is itself a link must keep the path that the records name
    if Path(os.path.abspath(folder)).is_relative_to(os.path.abspath(root)):
        return folder
    link = root / name
    if link.is_symlink():
        link.unlink()
    if link.exists():
        raise DataError(link, None, "stands where a link to the pictures should go", "move it away")
    root.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.abspath(folder), target_is_directory=True)
    return link


def clip_source(frames: Path, flow: Path) -> PictureSource:
    """Clips in the pipeline's own layout; their motion is that of the field `flow/<clip id>.npy`, on the face of
    `frames/<clip id>/align.json`, their video all equally spaced frames there."""

    @lru_cache(maxsize=1)  # the questions of a clip are adjacent
    def describe(clip: str) -> str:
        return _describe_stored(resolve_inside(flow, f"{clip}.npy"), resolve_inside(frames, clip), clip)

    def find_video(row: dict, count: int) -> list[Path]:
        clip = row_clip(row)["clip"]
        folder = resolve_inside(frames, clip)
        samples = (check_align(folder, clip).get("settings") or {}).get("samples", 0)
        if samples != count:  # the first 8 of 16 samples would be half of the movement
            fix = f"run data_process/extract_frames.py --samples {count}, or ask with --video-frames {samples}"
            what = f"has {samples} equally spaced frames, the video is to have {count}"
            raise DataError(folder, clip, what, fix)
        return [folder / f"sample{number}.png" for number in range(1, count + 1)]

    return PictureSource(clip_picture(frames, flow), lambda row: describe(row_clip(row)["clip"]), find_video)


def _describe_stored(field: Path, frames: Path, clip: str) -> str:
    landmarks = np.array(check_align(frames, clip)["landmarks"], np.float32)
    return describe_field(read_flow(field, clip), landmarks)


def flat_source(folder: Path, encoding: str, scale: float) -> PictureSource:
    """Flow pictures of other projects in a flat `folder`, whose motion is read off the pictures alone.

    `motion` raises ValueError for an encoding without words (see `motion_words.describe_picture`).
    """
    find = flat_picture(folder)

    def refuse_video(row: dict, count: int) -> list[Path]:
        raise ValueError(f"{folder} holds flow pictures only: ask with --images flow")

    @lru_cache(maxsize=1)
    def describe(path: Path) -> str:
        picture = read_picture(path, path, None, "get the file again")
        return describe_picture(np.asarray(picture), encoding, scale)

    return PictureSource(find, lambda row: describe(find(row, "flow")), refuse_video)


def picture_motion(picture: Path, clip: str, encoding: str, scale: float) -> str:
    """Motion in words of the flow picture of a clip: that of the field beside it where field and key frames lie in the
    pipeline's own layout, else that of the picture alone.

    Raises DataError and ValueError as the motion of `clip_source` and `flat_source` does.
    """
    root, layout, _ = os.path.abspath(picture).rpartition(f"/flow/{clip}.png")
    frames = Path(root) / "frames" / clip
    if layout and picture.with_suffix(".npy").is_file() and (frames / "align.json").is_file():
        return _describe_stored(picture.with_suffix(".npy"), frames, clip)
    pixels = read_picture(picture, picture, clip, "make the picture again with data_process/, or drop the clip")
    return describe_picture(np.asarray(pixels), encoding, scale)
