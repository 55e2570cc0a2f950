"""From long videos to `<video id>.npz`, the motion of their regions, and `<video id>.json`, how it was measured."""

import glob
import io
import zipfile
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from megc.clips import Video, frames_folder
from megc.files import read_checked, write_bytes, write_json
from megc.motion.crop import FACE_WIDTH, mean_face
from megc.motion.frames import open_frames
from megc.motion.keyframes import clear_leftovers, clip_folder
from megc.motion.region_stream import RegionFlow, measure_video, sample_frames
from megc.motion.regions import SPOTTING_EYES, SPOTTING_REGIONS
from megc.motion.settings import ExtractRegionFlowSettings, RegionFlowSettings
from megc.motion.video_measurements import (
    MeasuredVideo,
    content_key,
    early_end,
    gap_warnings,
    measure_videos,
    read_on,
    show_reading,
)
from megc.problems import DataError, Problems
from megc.records import Contract

VERSION = 1  # of what is written; a change makes every video be done again
_AGAIN = "run data_process/extract_region_flow.py again"
_ARRAYS = tuple(field.name for field in fields(RegionFlow))


class RegionFlowRecord(Contract):
    """The `.json` beside a series. `face_width`: pixels that motion refers to; `spotter_scale`: factor to the pixels
    of the optical-flow spotter's thresholds; `faults`: why the series ends early."""

    key: str
    video: str
    fps: Annotated[float, Field(gt=0)]
    face_width: Annotated[float, Field(gt=0)]
    spotter_scale: Annotated[float, Field(gt=0)]
    regions: list[str]
    frames: Annotated[int, Field(ge=1)]
    measured: Annotated[int, Field(ge=1)]
    segments: Annotated[int, Field(ge=1)]
    settings: dict[str, Any]
    faults: list[str]
    warnings: list[str]


def _paths(out: Path, video_id: str) -> tuple[Path, Path]:
    return clip_folder(out, f"{video_id}.npz"), clip_folder(out, f"{video_id}.json")


def read_region_flow(out: Path, video_id: str) -> tuple[RegionFlow, RegionFlowRecord]:
    """The series of a video below the folder `out`, and how it was measured.

    Raises DataError where one is missing, damaged, or of another shape than the other says.
    """
    arrays_path, record_path = _paths(out, video_id)
    record = RegionFlowRecord(**read_checked(RegionFlowRecord, record_path, fix=_AGAIN))
    try:
        with np.load(arrays_path, allow_pickle=False) as arrays:
            flow = RegionFlow(**{name: arrays[name] for name in _ARRAYS})
    except FileNotFoundError as error:
        raise DataError(arrays_path, video_id, "the region flow does not exist", _AGAIN) from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(arrays_path, video_id, f"the region flow cannot be read ({error})", _AGAIN) from error
    shapes = {name: getattr(flow, name).shape for name in _ARRAYS}
    expected = dict.fromkeys(_ARRAYS, (record.frames,)) | {"flow": (record.frames, len(SPOTTING_REGIONS), 2)}
    if shapes != expected:
        wrong = next(name for name in _ARRAYS if shapes[name] != expected[name])
        raise DataError(arrays_path, video_id, f"{wrong} is {shapes[wrong]}, not {expected[wrong]}", _AGAIN)
    return flow, record


def _record_of(
    flow: RegionFlow, video: Video, settings: RegionFlowSettings, key: str, faults: list[str], warnings: list[str]
) -> RegionFlowRecord:
    """How a series was measured, to be written beside it."""
    points = mean_face()
    return RegionFlowRecord(
        key=key,
        video=video.id,
        fps=video.fps,
        face_width=float(FACE_WIDTH),
        spotter_scale=round(SPOTTING_EYES / float(np.linalg.norm(points[42] - points[39])), 4),
        regions=list(SPOTTING_REGIONS),
        frames=len(flow.times),
        measured=int((flow.segments >= 0).sum()),
        segments=int(flow.segments.max()) + 1,
        settings=asdict(settings),
        faults=faults,
        warnings=warnings,
    )


def extract_video(
    video: Video,
    videos_file: Path,
    out: Path,
    settings: RegionFlowSettings,
    overwrite: bool = False,
    show_frames: bool = False,
) -> MeasuredVideo:
    """Write the series of one video, or keep that which is there already, measured the same way.

    The `.json` is written last: a series that has one is whole. Raises DataError for a video without frames or faces.
    """
    arrays_path, record_path = _paths(out, video.id)
    frames = open_frames(frames_folder(video, videos_file), video.id)
    faults, times = early_end(frames, video), frames.seconds(video.fps)
    key = content_key(VERSION, settings, video, frames, times)
    if not overwrite:
        try:
            _, record = read_region_flow(out, video.id)
        except DataError:
            record = None  # none, or damaged: it is measured again
        if record and record.key == key:
            return MeasuredVideo("kept", (*record.faults, *faults), tuple(record.warnings))
    record_path.unlink(missing_ok=True)
    for path in (arrays_path, record_path):
        clear_leftovers(path.parent, glob.escape(path.name))
    # 1. the frames to measure  2. their motion, one by one  3. the arrays, and last the file that vouches for them
    chosen = sample_frames(times, settings.rate)
    numbers, skipped = np.asarray(frames.numbers)[chosen], []
    images = show_reading(read_on(frames, numbers.tolist(), skipped), video.id, len(numbers), show_frames)
    flow, broken, warnings = measure_video(images, numbers, times[chosen], settings, frames.source, video.id)
    if skipped:
        broken.append(f"{len(skipped)} frame(s) left out, such as: {skipped[0]}")
    warnings += gap_warnings(frames)
    content = io.BytesIO()
    np.savez_compressed(content, **{name: getattr(flow, name) for name in _ARRAYS})
    write_bytes(arrays_path, content.getvalue())
    write_json(record_path, _record_of(flow, video, settings, key, broken, warnings).model_dump())
    return MeasuredVideo("done", (*broken, *faults), tuple(warnings))


def extract_region_flow(settings: ExtractRegionFlowSettings, problems: Problems) -> str:
    """Series of every video of a file, or of sources without annotation; returns a summary (see `measure_videos`)."""
    return measure_videos(partial(extract_video, settings=settings.region_flow), "region_flow", settings, problems)
