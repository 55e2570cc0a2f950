"""From long videos to `<video id>.npy`, maps of motion, `<video id>.npz`, what goes with them, and `<video id>.json`.

The maps are written one by one and read through a memory map: an hour of video is 1.1 GB of them.
"""

import glob
import io
import zipfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from megc.clips import Video, frames_folder
from megc.files import read_checked, write_bytes, write_json
from megc.motion.crop import FACE_WIDTH
from megc.motion.flow_maps import CHANNELS, SIZE, FlowMaps, measure_maps
from megc.motion.frames import open_frames
from megc.motion.keyframes import clear_leftovers, clip_folder
from megc.motion.region_stream import sample_frames
from megc.motion.settings import ExtractFlowMapsSettings, FlowMapSettings
from megc.motion.video_measurements import (
    MeasuredVideo,
    content_key,
    early_end,
    gap_warnings,
    measure_videos,
    read_on,
    show_reading,
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
    maps_path, arrays_path, record_path = _paths(out, video.id)
    frames = open_frames(frames_folder(video, videos_file), video.id)
    faults, times = early_end(frames, video), frames.seconds(video.fps)
    key = content_key(VERSION, settings, video, frames, times)
    if not overwrite:
        try:
            _, record = read_flow_maps(out, video.id)
        except DataError:
            record = None  # none, or damaged: they are measured again
        if record and record.key == key:
            return MeasuredVideo("kept", (*record.faults, *faults), tuple(record.warnings))
    record_path.unlink(missing_ok=True)
    for path in (maps_path, arrays_path, record_path):
        clear_leftovers(path.parent, glob.escape(path.name))
    # 1. the frames to measure  2. each map to the disk as it comes  3. the arrays, and last the file that vouches
    chosen = sample_frames(times, settings.rate)
    numbers, skipped = np.asarray(frames.numbers)[chosen], []
    images = show_reading(read_on(frames, numbers.tolist(), skipped), video.id, len(numbers), show_frames)
    with write_frame_array(maps_path, len(numbers), _SHAPE, np.float16) as file:
        flow, broken, warnings = measure_maps(
            images, numbers, times[chosen], settings, file.put, frames.source, video.id
        )
        file.end(flow.segments >= 0)
    if skipped:
        broken.append(f"{len(skipped)} frame(s) left out, such as: {skipped[0]}")
    warnings += gap_warnings(frames)
    content = io.BytesIO()
    np.savez_compressed(content, **{name: getattr(flow, name) for name in (*_PER_FRAME, "eyes")})
    write_bytes(arrays_path, content.getvalue())
    record = FlowMapsRecord(
        key=key,
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
    return MeasuredVideo("done", (*broken, *faults), tuple(warnings))


def extract_flow_maps(settings: ExtractFlowMapsSettings, problems: Problems) -> str:
    """Maps of every video of a file, or of sources without annotation; returns a summary (see `measure_videos`)."""
    return measure_videos(partial(map_video, settings=settings.flow_maps), "flow_maps", settings, problems)
