"""From long videos to `<video id>.npy`, maps of motion, `<video id>.npz`, what goes with them, and `<video id>.json`.

The maps are written one by one and read through a memory map: an hour of video is 1.1 GB of them.
"""

import zipfile
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
    VideoMeasuring,
    measure_videos,
    write_arrays,
    write_frame_array,
)
from megc.problems import DataError, Problems
from megc.records import Contract

VERSION = 1  # of what is written; a change makes every video be done again
_AGAIN = "run data_process/extract_flow_maps.py again"
_SHAPE = (SIZE, SIZE, len(CHANNELS))
_PER_FRAME = {"frame_numbers": (), "times": (), "segments": (), "nose": (3,), "ranges": (2, 3, 2), "placements": ()}


class FlowMapsRecord(Contract):
    """The `.json` beside the maps. `face_width`: pixels that u and v refer to; `measured` of the `frames` have a map;
    `faults`: why they end early."""

    key: str
    video: str
    fps: Annotated[float, Field(gt=0)]
    face_width: Annotated[float, Field(gt=0)]
    channels: list[str]
    frames: Annotated[int, Field(ge=1)]
    measured: Annotated[int, Field(ge=1)]
    segments: Annotated[int, Field(ge=1)]
    placements: Annotated[int, Field(ge=1)]
    settings: dict[str, Any]
    faults: list[str]
    warnings: list[str]


def _paths(out: Path, video_id: str) -> tuple[Path, Path, Path]:
    """The maps, what goes with them, and the record."""
    return tuple(clip_folder(out, f"{video_id}{suffix}") for suffix in (".npy", ".npz", ".json"))


def read_flow_maps(out: Path, video_id: str) -> tuple[FlowMaps, FlowMapsRecord]:
    """Maps of a video below the folder `out`, a memory map, and how they were measured.

    Raises DataError where one is missing, damaged, or of another shape than the other says.
    """
    maps_path, arrays_path, record_path = _paths(out, video_id)
    record = FlowMapsRecord(**read_checked(FlowMapsRecord, record_path, fix=_AGAIN))
    try:
        with np.load(arrays_path, allow_pickle=False) as arrays:
            values = {name: arrays[name] for name in (*_PER_FRAME, "eyes")}
        maps = np.load(maps_path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(error.filename, video_id, "the flow maps do not exist", _AGAIN) from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(arrays_path, video_id, f"the flow maps cannot be read ({error})", _AGAIN) from error
    shapes = {name: (record.frames, *shape) for name, shape in _PER_FRAME.items()}
    shapes |= {"maps": (record.frames, *_SHAPE), "eyes": (record.placements, SIZE, SIZE)}
    for name, array in (("maps", maps), *values.items()):
        if array.shape != shapes[name]:
            raise DataError(arrays_path, video_id, f"{name} is {array.shape}, not {shapes[name]}", _AGAIN)
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
