"""From long videos to `<video id>.npz`, the motion of their regions, and `<video id>.json`, how it was measured."""

from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from megc.clips import Video
from megc.files import read_checked, write_json
from megc.motion.crop import FACE_WIDTH, mean_face
from megc.motion.keyframes import clip_folder
from megc.motion.region_stream import RegionFlow, measure_video
from megc.motion.regions import SPOTTING_EYES, SPOTTING_REGIONS
from megc.motion.settings import ExtractRegionFlowSettings, RegionFlowSettings
from megc.motion.video_measurements import (
    MeasuredVideo,
    MeasurementRecord,
    VideoMeasuring,
    measure_videos,
    read_frame_arrays,
    write_arrays,
)
from megc.problems import DataError, Problems

VERSION = 1  # of what is written; a change makes every video be done again
_AGAIN = "run data_process/extract_region_flow.py again"
_ARRAYS = tuple(field.name for field in fields(RegionFlow))
_KINDS = {"frame_numbers": "iu", "times": "f", "blink": "b", "segments": "i", "references": "i"}


class RegionFlowRecord(MeasurementRecord):
    """The `.json` beside a series. `face_width`: pixels that motion refers to; `spotter_scale`: factor to the pixels
    of the optical-flow spotter's thresholds."""

    face_width: Annotated[float, Field(gt=0)]
    spotter_scale: Annotated[float, Field(gt=0)]
    regions: list[str]
    settings: dict[str, Any]


def _paths(out: Path, video_id: str) -> tuple[Path, Path]:
    return clip_folder(out, f"{video_id}.npz"), clip_folder(out, f"{video_id}.json")


def read_region_flow(out: Path, video_id: str) -> tuple[RegionFlow, RegionFlowRecord]:
    """The series of a video below the folder `out`, and how it was measured.

    Raises DataError where one is missing, damaged, or of another shape than the other says.
    """
    arrays_path, record_path = _paths(out, video_id)
    record = RegionFlowRecord(**read_checked(RegionFlowRecord, record_path, fix=_AGAIN))
    if record.regions != list(SPOTTING_REGIONS):
        raise DataError(record_path, video_id, "regions are not those that are measured now", _AGAIN)
    shapes = {name: ((record.frames,), kinds) for name, kinds in _KINDS.items()}
    shapes["flow"] = ((record.frames, len(SPOTTING_REGIONS), 2), "f")
    flow = RegionFlow(**read_frame_arrays(arrays_path, shapes, record, video_id, _AGAIN))
    if not np.isfinite(flow.flow[flow.segments >= 0]).all():
        raise DataError(arrays_path, video_id, "flow has frames with a face and without motion", _AGAIN)
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
    paths = arrays_path, record_path = _paths(out, video.id)
    measuring = VideoMeasuring(video, videos_file, settings, VERSION)
    if kept := measuring.find_kept(lambda: read_region_flow(out, video.id), paths, overwrite):
        return kept
    # 1. the motion of the frames, one by one  2. the arrays, and last the file that vouches for them
    images, source = measuring.images(show_frames), measuring.frames.source
    flow, broken, warnings = measure_video(images, measuring.numbers, measuring.times, settings, source, video.id)
    outcome = measuring.end(broken, warnings)
    write_arrays(arrays_path, {name: getattr(flow, name) for name in _ARRAYS})
    write_json(record_path, _record_of(flow, video, settings, measuring.key, broken, warnings).model_dump())
    return outcome


def extract_region_flow(settings: ExtractRegionFlowSettings, problems: Problems) -> str:
    """Series of every video of a file, or of sources without annotation; returns a summary (see `measure_videos`)."""
    return measure_videos(partial(extract_video, settings=settings.region_flow), "region_flow", settings, problems)
