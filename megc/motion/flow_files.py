"""From key frames to onset→apex motion: `<clip id>.npy`, the picture `<clip id>.png`, and `flow.json` for them all."""

import glob
import io
import json
import struct
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tokenize import TokenError
from typing import Annotated

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError
from pydantic import Field

from megc.files import lock_folder, png_bytes, sha256_of, write_bytes, write_json
from megc.motion.colour import ABSOLUTE, draw_flow, legend_text, neutral_picture
from megc.motion.crop import FACE_WIDTH
from megc.motion.flow import compensate, optical_flow
from megc.motion.frames import read_image
from megc.motion.keyframes import check_align, clear_leftovers, clip_folder
from megc.motion.parallel import Finished, count_outcomes, format_counts, run_on_clips
from megc.motion.plausibility import check_motion
from megc.motion.regions import face_mask
from megc.motion.settings import SCALE, ComputeFlowSettings, FlowSettings, in_shard, lock_name
from megc.parsing import parse_json
from megc.problems import DataError, Problems
from megc.records import Contract

VERSION = 5  # of what is written; a change makes every clip be done again


class FlowRecord(Contract):
    """`flow.json`: how the pictures beside it are drawn, as far as prompts tell it."""

    encoding: str
    scale: Annotated[float, Field(gt=0, le=1e4)]


def finished_clips(frames: Path) -> list[str]:
    """Ids of the clips with an `align.json` below `frames`, sorted. Raises DataError where there is none."""
    ids = sorted(path.parent.relative_to(frames).as_posix() for path in frames.rglob("align.json"))
    if not ids:
        raise DataError(frames, None, "no key frames here", "run data_process/extract_frames.py first")
    return ids


def read_flow(path: Path | str, row: str | int | None = None) -> np.ndarray:
    """float32 (H, W, 2) of a stored field. Raises DataError for a missing or damaged file and for another shape."""
    fix = "run data_process/compute_flow.py --overwrite"
    try:
        with Path(path).open("rb") as content:
            field = np.load(content, allow_pickle=False)
            if content.read(1):
                raise ValueError("bytes behind its end")
    except FileNotFoundError as error:
        raise DataError(path, row, "the motion field does not exist", fix) from error
    except (OSError, ValueError, EOFError, SyntaxError, TokenError, MemoryError, struct.error) as error:
        raise DataError(path, row, f"the motion field cannot be read ({error})", fix) from error
    if not isinstance(field, np.ndarray) or field.ndim != 3 or field.shape[2] != 2:
        raise DataError(path, row, "not a motion field of the shape (H, W, 2)", fix)
    if field.dtype.kind != "f" or not np.isfinite(field).all():
        raise DataError(path, row, "the motion field holds something that is no finite number", fix)
    return field.astype(np.float32)


def picture_metadata(path: Path | str) -> dict[str, str]:
    """Text metadata of a flow picture; empty where there is no such picture or it is damaged."""
    try:
        with Image.open(path) as image:
            image.load()
            return dict(image.text)
    except (FileNotFoundError, UnidentifiedImageError, OSError, SyntaxError, AttributeError):
        return {}


def drawn_with(path: Path | str) -> dict:
    """Settings in the metadata of a flow picture; empty where it has none."""
    try:
        settings = parse_json(picture_metadata(path).get("settings", "{}"))
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}


def read_warnings(metadata: dict[str, str]) -> tuple[str, ...]:
    """Warnings in the metadata of a flow picture; none where it has none."""
    try:
        warnings = parse_json(metadata.get("warnings", "[]"))
    except ValueError:
        return ()
    return tuple(str(text) for text in warnings) if isinstance(warnings, list) else ()


def _npy_bytes(field: np.ndarray) -> bytes:
    """The field as .npy in float16: steps of 1/1024 px at 1 to 2 px, far below the flow's own error."""
    out = io.BytesIO()
    np.save(out, field.astype(np.float16), allow_pickle=False)
    return out.getvalue()


def draw_face(field: np.ndarray, landmarks: np.ndarray, onset: np.ndarray, settings: FlowSettings) -> np.ndarray:
    """Picture (uint8 RGB) of a field by the settings, still outside the face where they mask it.

    Absolute encodings are drawn whole and then masked, so that the mask's edge makes no strain; those that stretch
    each picture to its range are masked first, so that the background does not set the range.
    """
    if settings.mask == "none":
        return draw_flow(field, settings.encoding, settings.scale, onset)
    inside = face_mask(landmarks, field.shape[:2])
    if settings.encoding not in ABSOLUTE:
        return draw_flow(field * inside[..., None], settings.encoding, settings.scale, onset)
    still = neutral_picture((field.shape[1], field.shape[0]), settings.encoding)
    return cv2.copyTo(draw_flow(field, settings.encoding, settings.scale, onset), inside.view(np.uint8), still)


def compute_clip(clip_id: str, frames: Path, out: Path, settings: FlowSettings, overwrite: bool = False) -> Finished:
    """Write field and picture of one clip, or keep those that are there already, made the same way.

    The field runs from onset to apex in the pixels of the crop. The picture is drawn from the stored float16 field
    and written last, with the settings, the scale, the head's motion and warnings in its text metadata.
    """
    folder = clip_folder(frames, clip_id)
    npy, png = clip_folder(out, f"{clip_id}.npy"), clip_folder(out, f"{clip_id}.png")
    align = check_align(folder, clip_id)
    onset, apex = (read_image(folder / f"{moment}.png", clip_id) for moment in ("onset", "apex"))
    # all that decides the bytes: OpenCV's version too, whose flow differs in the last digits
    key = sha256_of(
        str(VERSION), cv2.__version__, json.dumps(asdict(settings)), align["key"], onset.tobytes(), apex.tobytes()
    )
    metadata = picture_metadata(png)
    if not overwrite and npy.is_file() and metadata.get("key") == key:
        return Finished("kept", read_warnings(metadata))
    png.unlink(missing_ok=True)  # first, so that a kill leaves no picture beside a field of other settings
    for path in (npy, png):
        clear_leftovers(path.parent, glob.escape(path.name))
    # 1. motion without the head's  2. float16 for the disk  3. the picture, of what is on the disk  4. warnings
    landmarks = np.array(align["landmarks"], np.float32)
    field, head = compensate(optical_flow(onset, apex, settings.method), landmarks, settings.compensate)
    stored = _npy_bytes(field)
    picture = draw_face(np.load(io.BytesIO(stored)), landmarks, onset, settings)
    # pictures that stretch to their own range have no limit of their own
    limit = settings.scale if settings.encoding in ABSOLUTE else SCALE
    warnings = tuple(check_motion(field, landmarks, head, limit)) if settings.compensate != "none" else ()
    metadata = {
        "clip": clip_id,
        "key": key,
        "settings": json.dumps(asdict(settings)),
        "scale": f"{settings.scale:g} px at full colour, face {FACE_WIDTH} px wide",
        "legend": legend_text(settings.encoding, settings.scale),
        "head_motion": json.dumps(head.summary()),
        "warnings": json.dumps(warnings, ensure_ascii=False),
    }
    write_bytes(npy, stored)  # before the picture: a picture with the right key vouches for both
    write_bytes(png, png_bytes(picture, metadata, encoder="opencv-rle"))
    return Finished("done", warnings)


def compute_clips(
    frames: Path,
    out: Path,
    settings: FlowSettings,
    problems: Problems,
    workers: int = 1,
    overwrite: bool = False,
    shard: str = "",
) -> dict[str, int]:
    """`compute_clip` of every finished clip below `frames`, then `flow.json`; failures and warnings go to `problems`.

    With a `shard` such as `2/8` only of its clips, without `flow.json`, which a run without shard writes in the end.
    Returns how many were `done`, `kept` and `failed`. Raises DataError where there is no finished clip.
    """
    ids = [clip_id for clip_id in finished_clips(frames) if in_shard(clip_id, shard)]
    work = partial(compute_clip, frames=frames, out=out, settings=settings, overwrite=overwrite)
    with lock_folder(out, lock_name("flow", shard)):
        results = run_on_clips(work, ids, ids, problems, workers, "flow")
        if shard:
            return count_outcomes(results, ids, str(out), problems)
        good = [clip_id for clip_id, result in zip(ids, results, strict=True) if result]
        record = {
            **asdict(settings),
            "face_width": FACE_WIDTH,
            "legend": legend_text(settings.encoding, settings.scale),
            "opencv": cv2.__version__,
            "clips": good,
            "warnings": {
                name: result.warnings for name, result in zip(ids, results, strict=True) if result and result.warnings
            },
        }
        clear_leftovers(out, "flow.json")
        write_json(out / "flow.json", record)
    return count_outcomes(results, ids, str(out), problems)


def compute_flow(settings: ComputeFlowSettings, problems: Problems) -> str:
    """Fields and pictures of every finished clip below `settings.frames`; returns a summary."""
    counts = compute_clips(
        settings.frames, settings.out, settings.flow, problems, settings.workers, settings.overwrite, settings.shard
    )
    counts["with warnings"] = len(problems.warnings)
    return f"{format_counts(counts)} in {settings.out}"
