"""Small face crops over a video of any length, for models that look at pictures: aligned, and following the head.

The face is followed as in `region_stream`: landmarks of a frame every two seconds, and between them the head's shift,
rotation and scale by optical flow, so that the landmarks' jitter (about a pixel, as much as a micro-expression moves)
is not in the crops. Where a new frame's landmarks take over, the crop passes to them over a window, without a jump.

A video has `<video id>.npy`, uint8 (frames, size, size), of RGB (frames, size, size, 3), read through a memory map;
`<video id>.npz` with the frames' numbers and times; and `<video id>.json` with the recipe, written last.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from megc.clips import Video
from megc.files import read_checked, write_json
from megc.motion.crop import CROP_HEIGHT, CROP_WIDTH, crop_frame
from megc.motion.faces import Face
from megc.motion.flow import to_grey
from megc.motion.keyframes import clip_folder
from megc.motion.region_stream import RegionTracker, measure_video
from megc.motion.settings import ExtractFaceCropsSettings, FaceCropSettings, RegionFlowSettings
from megc.motion.video_measurements import (
    FrameArray,
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
from megc.records import ClosedContract

VERSION = 1  # of what is written; a change makes every video be done again
_AGAIN = "run data_process/extract_face_crops.py again"
_KINDS = {"frame_numbers": "iu", "times": "f", "segments": "i"}
# The square of the aligned crop: its whole width, the mean face's landmarks in the middle of its height.
_TOP = CROP_HEIGHT - CROP_WIDTH


@dataclass(frozen=True)
class FaceCrops:
    """Crops of a video, `pixels` uint8 (frames, size, size[, 3]), a memory map.

    `frame_numbers` rise; `times` in seconds from the first frame of the video; `segments` (frames,) count the
    stretches in which the face was followed without a break, -1 where there is none: its pixels are 0.
    """

    pixels: np.ndarray
    frame_numbers: np.ndarray
    times: np.ndarray
    segments: np.ndarray


class CropRecipe(ClosedContract):
    """All that decides what a crop shows, to be kept with what learns from them."""

    version: int
    size: Annotated[int, Field(ge=1, le=4096)]
    colour: bool
    alignment: str


class FaceCropsRecord(MeasurementRecord):
    """The `.json` beside the crops."""

    recipe: CropRecipe


class CropTracker(RegionTracker):
    """A RegionTracker that hands the crop of each frame with a face to `out` as it comes.

    The flow is `dis-fast`: what is needed is the head's motion, which it shows to .08 pixels (see `region_stream`).
    """

    def __init__(
        self, count: int, settings: FaceCropSettings, out: FrameArray, source: Path | str, row: str | None = None
    ) -> None:
        followed = RegionFlowSettings(method="dis-fast", window=settings.window, rate=settings.rate)
        super().__init__(count, followed, source, row)
        self.crop_settings, self.out = settings, out
        self._passage: np.ndarray | None = None  # from the reference's crop to that which the last one came to

    def add(self, index: int, number: int, time: float, image: np.ndarray) -> None:
        super().add(index, number, time, image)
        size, colour = self.crop_settings.size, self.crop_settings.colour
        if self.segments[index] < 0:
            return
        square = self._smooth_transform(time) * (size / CROP_WIDTH)
        square[1, 2] -= _TOP * size / CROP_WIDTH
        # pixels are squares: the middle of the first is at half a pixel, in both pictures
        square[:, 2] += 0.5 * (size / CROP_WIDTH - 1)
        self.out.put(index, crop_frame(image if colour else to_grey(image), square, (size, size)))

    def _refer(self, number: int, time: float, image: np.ndarray, face: Face, start: np.ndarray) -> None:
        before = None if self._reference is None else self._smooth_transform(time)
        super()._refer(number, time, image, face, start)
        self._passage = None if before is None else _after(before, _inverse(self._reference.still_transform()))

    def _smooth_transform(self, time: float) -> np.ndarray:
        """The transform of the frame just measured: within a window it goes over from the last reference's."""
        still = self._reference.still_transform()
        if self._passage is None:
            return still
        share = min(1.0, (time - self._reference.time) / self.settings.window)
        return (1 - share) * _after(self._passage, still) + share * still


def _after(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The 2×3 transform that does `first`, then `second`."""
    both = second[:, :2] @ first
    both[:, 2] += second[:, 2]
    return both


def _inverse(transform: np.ndarray) -> np.ndarray:
    turn = np.linalg.inv(transform[:, :2])
    return np.concatenate([turn, -(turn @ transform[:, 2:])], axis=1)


def _paths(out: Path, video_id: str) -> tuple[Path, Path, Path]:
    """The crops, their arrays, and the record."""
    return tuple(clip_folder(out, f"{video_id}{suffix}") for suffix in (".npy", ".npz", ".json"))


def crop_recipe(settings: FaceCropSettings) -> CropRecipe:
    """All that decides what a crop shows. Rates and windows do not: models resample in time."""
    return CropRecipe(version=VERSION, size=settings.size, colour=settings.colour, alignment="following")


def read_crops_record(out: Path, video_id: str) -> FaceCropsRecord:
    """How the crops of a video were cut. Raises DataError where the record is missing or damaged."""
    return FaceCropsRecord(**read_checked(FaceCropsRecord, _paths(out, video_id)[2], fix=_AGAIN))


def read_face_crops(out: Path, video_id: str) -> tuple[FaceCrops, FaceCropsRecord]:
    """Crops of a video below the folder `out`, a memory map, and how they were cut.

    Raises DataError where one is missing, damaged, or of another shape than the other says.
    """
    pixels_path, arrays_path, _ = _paths(out, video_id)
    record = read_crops_record(out, video_id)
    shapes = {name: ((record.frames,), kinds) for name, kinds in _KINDS.items()}
    values = read_frame_arrays(arrays_path, shapes, record, video_id, _AGAIN)
    size = record.recipe.size
    shape = (record.frames, size, size, 3) if record.recipe.colour else (record.frames, size, size)
    name = "the array (its shape by frames, recipe.size and recipe.colour of the record)"
    pixels = open_frame_array(pixels_path, shape, "u", video_id, _AGAIN, name)
    if pixels.dtype != np.uint8:
        raise DataError(pixels_path, video_id, f"the crops are {pixels.dtype}, not uint8", _AGAIN)
    return FaceCrops(pixels, **values), record


def crop_video(
    video: Video,
    videos_file: Path,
    out: Path,
    settings: FaceCropSettings,
    overwrite: bool = False,
    show_frames: bool = False,
) -> MeasuredVideo:
    """Write the crops of one video, or keep those that are there already, cut the same way.

    One frame is in memory at a time. The `.json` is written last: crops that have one are whole. Raises DataError for
    a video without frames or faces.
    """
    paths = pixels_path, arrays_path, record_path = _paths(out, video.id)
    measuring = VideoMeasuring(video, videos_file, settings, VERSION)
    if kept := measuring.find_kept(lambda: read_face_crops(out, video.id), paths, overwrite):
        return kept
    # 1. each crop to the disk as it comes  2. the arrays, and last the file that vouches for them
    images, source, count = measuring.images(show_frames), measuring.frames.source, len(measuring.numbers)

    shape = (settings.size, settings.size) + (3,) * settings.colour
    with write_frame_array(pixels_path, count, shape, np.uint8) as crops:
        tracker = CropTracker(count, settings, crops, source, video.id)
        flow, broken, warnings = measure_video(
            images, measuring.numbers, measuring.times, tracker.settings, source, video.id, tracker=tracker
        )
        crops.end(flow.segments >= 0)
    outcome = measuring.end(broken, warnings)
    write_arrays(arrays_path, {name: getattr(flow, name) for name in _KINDS})
    record = FaceCropsRecord(
        key=measuring.key,
        video=video.id,
        fps=video.fps,
        recipe=crop_recipe(settings),
        frames=len(flow.times),
        measured=int((flow.segments >= 0).sum()),
        segments=int(flow.segments.max()) + 1,
        faults=broken,
        warnings=warnings,
    )
    write_json(record_path, record.model_dump())
    return outcome


def extract_face_crops(settings: ExtractFaceCropsSettings, problems: Problems) -> str:
    """Crops of every video of a file, or of sources without annotation; returns a summary (see `measure_videos`)."""
    return measure_videos(partial(crop_video, settings=settings.face_crops), "face_crops", settings, problems)
