"""From long videos to `<video id>.npy`, maps of motion, `<video id>.npz`, what goes with them, and `<video id>.json`.

The maps are written one by one and read through a memory map: an hour of video is 1.1 GB of them.
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from megc.clips import Video
from megc.files import read_checked, write_json
from megc.motion.crop import FACE_WIDTH
from megc.motion.flow_maps import CHANNELS, SIZE, FlowMaps, measure_maps
from megc.motion.keyframes import clip_folder
from megc.motion.settings import ExtractFlowMapsSettings, FlowMapSettings
from megc.motion.video_measurements import (
    MeasuredVideo,
    MeasurementRecord,
    VideoMeasuring,
    measure_videos,
    open_frame_array,
    read_frame_arrays,
    write_arrays,
    write_frame_array,
)
from megc.problems import DataError, Problems
from megc.records import FrameCount

VERSION = 1  # of what is written; a change makes every video be done again
_AGAIN = "run data_process/extract_flow_maps.py again"
_SHAPE = (SIZE, SIZE, len(CHANNELS))
# Of each array the shape of a frame, and the kinds of its type.
_PER_FRAME = {
    "frame_numbers": ((), "iu"),
    "times": ((), "f"),
    "segments": ((), "i"),
    "nose": ((3,), "f"),
    "ranges": ((2, 3, 2), "f"),
    "placements": ((), "i"),
}


class FlowMapsRecord(MeasurementRecord):
    """The `.json` beside the maps. `face_width`: pixels that u and v refer to; a frame is measured that has a map."""

    face_width: Annotated[float, Field(gt=0)]
    channels: list[str]
    placements: FrameCount
    settings: dict[str, Any]


def _paths(out: Path, video_id: str) -> tuple[Path, Path, Path]:
    """The maps, what goes with them, and the record."""
    return tuple(clip_folder(out, f"{video_id}{suffix}") for suffix in (".npy", ".npz", ".json"))


def read_flow_maps(out: Path, video_id: str) -> tuple[FlowMaps, FlowMapsRecord]:
    """Maps of a video below the folder `out`, a memory map, and how they were measured.

    Raises DataError where one is missing, damaged, or of another shape than the other says.
    """
    maps_path, arrays_path, record_path = _paths(out, video_id)
    record = FlowMapsRecord(**read_checked(FlowMapsRecord, record_path, fix=_AGAIN))
    if record.channels != list(CHANNELS):
        raise DataError(record_path, video_id, "channels are not those that are measured now", _AGAIN)
    shapes = {name: ((record.frames, *shape), kinds) for name, (shape, kinds) in _PER_FRAME.items()}
    shapes["eyes"] = ((record.placements, SIZE, SIZE), "b")
    values = read_frame_arrays(arrays_path, shapes, record, video_id, _AGAIN)
    for name in ("nose", "ranges"):
        if not np.isfinite(values[name]).all():
            raise DataError(arrays_path, video_id, f"{name} holds something that is no finite number", _AGAIN)
    if values["placements"].min() < 0 or values["placements"].max() >= record.placements:
        raise DataError(arrays_path, video_id, "placements name masks that are not there", _AGAIN)
    maps = open_frame_array(maps_path, (record.frames, *_SHAPE), "f", video_id, _AGAIN)
    return FlowMaps(maps, **values), record


def map_video(
    video: Video,
    videos_file: Path,
    out: Path,
    settings: FlowMapSettings,
    overwrite: bool = False,
    show_frames: bool = False,
) -> MeasuredVideo:
    """Write the maps of one video, or keep those that are there already, measured the same way.

    The `.json` is written last: maps that have one are whole. Raises DataError for a video without frames or faces.
    """
    paths = maps_path, arrays_path, record_path = _paths(out, video.id)
    measuring = VideoMeasuring(video, videos_file, settings, VERSION)
    if kept := measuring.find_kept(lambda: read_flow_maps(out, video.id), paths, overwrite):
        return kept
    # 1. each map to the disk as it comes  2. the arrays, and last the file that vouches for them
    images, source, count = measuring.images(show_frames), measuring.frames.source, len(measuring.numbers)
    with write_frame_array(maps_path, count, _SHAPE, np.float16) as file:
        flow, broken, warnings = measure_maps(
            images, measuring.numbers, measuring.times, settings, file.put, source, video.id
        )
        file.end(flow.segments >= 0)
    outcome = measuring.end(broken, warnings)
    write_arrays(arrays_path, {name: getattr(flow, name) for name in (*_PER_FRAME, "eyes")})
    record = FlowMapsRecord(
        key=measuring.key,
        video=video.id,
        fps=video.fps,
        face_width=float(FACE_WIDTH),
        channels=list(CHANNELS),
        frames=len(flow.times),
        measured=int((flow.segments >= 0).sum()),
        segments=int(flow.segments.max()) + 1,
        placements=len(flow.eyes),
        settings=asdict(settings),
        faults=broken,
        warnings=warnings,
    )
    write_json(record_path, record.model_dump())
    return outcome


def extract_flow_maps(settings: ExtractFlowMapsSettings, problems: Problems) -> str:
    """Maps of every video of a file, or of sources without annotation; returns a summary (see `measure_videos`)."""
    return measure_videos(partial(map_video, settings=settings.flow_maps), "flow_maps", settings, problems)
