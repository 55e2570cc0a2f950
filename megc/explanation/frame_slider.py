"""Frames of a video to drag through, beside a plot of its motion: what a page's slider moves and shows."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from megc.files import figure_png
from megc.motion.crop import CROP_HEIGHT, CROP_WIDTH
from megc.motion.frames import open_frames
from megc.problems import DataError
from megc.scoring.answer_cards import data_uri
from megc.spotting.spotters import SpottingVideo
from megc.spotting.timeline import TimelineContent, draw_timeline, read_faces, time_position

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STILL_WIDTH = 176  # pixels of a frame
MOST_FACES = 90  # of a long video
FACE_STEP = 0.5  # seconds between these, or more
_COLUMNS = 6
_QUALITY = 66  # of WebP


@dataclass(frozen=True)
class SliderFrame:
    """A frame of a slider: what it is, and where the plot's cursor stands, in % of the plot's width and height."""

    label: str
    left: float = 0.0
    top: float = 0.0
    height: float = 0.0


@dataclass(frozen=True)
class FrameSlider:
    """Aligned crops to drag through.

    `sheets`: by caption, all frames as one picture (data URI), row by row, `columns` a row; `plot`: a picture of the
    motion over the same time, empty where there is none; `start`: the frame that is seen first.
    """

    sheets: Mapping[str, str]
    frames: tuple[SliderFrame, ...]
    plot: str = ""
    start: int = 0
    columns: int = _COLUMNS
    ratio = f"{CROP_WIDTH} / {CROP_HEIGHT}"  # of a frame

    @property
    def rows(self) -> int:
        """Rows of a sheet."""
        return ceil(len(self.frames) / self.columns)

    @property
    def places(self) -> str:
        """Labels and places of the frames as JSON, for the page's script."""
        return json.dumps([[frame.label, frame.left, frame.top, frame.height] for frame in self.frames])


def clip_slider(
    sheets: Mapping[str, Sequence[np.ndarray]], numbers: Sequence[int], fps: float, apex: int, axes: "Axes | None"
) -> FrameSlider:
    """Slider of a clip: pictures (uint8 RGB) of its frames by caption, and the plot with `axes` of frame numbers.

    It starts at the frame nearest to `apex`.
    """
    plot = data_uri(figure_png(axes.figure), "png") if axes else ""  # saving it lays it out: places are known then
    frames = []
    for number in numbers:
        label = f"frame {number}" + (f", {(number - numbers[0]) / fps:.2f} s" if fps > 0 else "")
        left, top, height = 0.0, 0.0, 0.0
        if axes:
            box = axes.get_position()
            left = axes.transData.transform((number, 0))[0] / axes.figure.bbox.width
            top, height = 1 - box.y1, box.height
        frames.append(SliderFrame(label, *(round(100 * value, 2) for value in (left, top, height))))
    start = int(np.abs(np.array(numbers) - apex).argmin())
    return FrameSlider(
        {caption: sheet_uri(pictures) for caption, pictures in sheets.items()}, tuple(frames), plot, start
    )


def timeline_slider(item: SpottingVideo, content: TimelineContent) -> FrameSlider:
    """Slider of a long video: its face twice a second or less often, and its timeline, at the likeliest apex first."""
    plot = data_uri(draw_timeline(content), "png")
    numbers = open_frames(item.frames, item.video.id).numbers
    step = max(FACE_STEP, len(numbers) / item.video.fps / MOST_FACES)
    chosen = numbers[:: max(1, round(step * item.video.fps))]
    faces = read_faces(item, chosen)
    if not faces:
        raise DataError(item.video.name, None, "no face in any frame", "give a video of a face")
    frames = []
    for number in faces:
        second = content.second(number)
        places = (round(100 * value, 2) for value in time_position(content, second))
        frames.append(SliderFrame(f"{second:.1f} s", *places))
    start = 0
    if content.apexes:
        best = max(range(len(content.apexes)), key=lambda index: content.intervals[index].score)
        start = int(np.abs(np.array(list(faces)) - content.apexes[best]).argmin())
    return FrameSlider({"the face": sheet_uri(list(faces.values()))}, tuple(frames), plot, start)


def sheet_uri(pictures: Sequence[np.ndarray]) -> str:
    """Pictures (uint8 RGB) of one size as one WebP picture, row by row, each STILL_WIDTH wide at most."""
    height, width = pictures[0].shape[:2]
    if width > STILL_WIDTH:
        width, height = STILL_WIDTH, round(height * STILL_WIDTH / width)
    rows = ceil(len(pictures) / _COLUMNS)
    sheet = np.zeros((rows * height, _COLUMNS * width, 3), np.uint8)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, _COLUMNS)
        small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = small
    out = io.BytesIO()
    Image.fromarray(sheet).save(out, "WEBP", quality=_QUALITY, method=0)
    return data_uri(out.getvalue(), "webp")
