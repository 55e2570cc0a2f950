"""Clips and long videos: what is annotated, frames on disk, and `clips.jsonl` and `videos.jsonl`, which hand them on.

A clip is one micro-expression. A long video holds any number of micro- and macro-expressions: its events.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, model_validator

from megc.facs import COARSE_EMOTIONS, FINE_TO_COARSE, ActionUnit, coarse_of
from megc.files import read_jsonl, resolve_inside, write_jsonl
from megc.problems import DataError
from megc.records import ClosedContract, FrameNumber, check_record

REPAIRED = "repaired: "  # starts the note on a cell of the sheet that is known to be wrong
LEFT_OUT = "not in ME-VQA: "  # starts the note why a clip has no coarse class
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".avi", ".mp4", ".mov", ".mkv")


_WRITE_AGAIN = "write it with data_process/index_clips.py"
EventType = Literal["micro", "macro"]
IntervalType = Literal["", "micro", "macro", "none"]
Item = TypeVar("Item", "Clip", "Video")


@dataclass(frozen=True)
class Clip:
    """One micro-expression. Frame numbers are the integers in the file names, never positions in a list.

    `id` is `dataset/subject/name`; `frames` is the folder relative to `clips.jsonl` (empty: no frames at hand);
    `fine` is the annotated emotion (`others` too), empty where there is none; `coarse` is empty for clips that ME-VQA
    leaves out; `notes` names each repair, and why ME-VQA leaves the clip out. `type` is for intervals that are cut out
    of long videos: whether they hold a micro-, a macro- or no expression; empty for other clips.
    """

    id: str
    dataset: str
    subject: str
    name: str
    fps: float
    frames: str
    onset: int
    apex: int
    offset: int
    apex_estimated: bool = False
    action_units: tuple[ActionUnit, ...] = ()
    fine: str = ""
    coarse: str = ""
    notes: tuple[str, ...] = ()
    type: IntervalType = ""

    @property
    def left_out(self) -> str:
        """Why ME-VQA asks nothing about the clip: as its reader noted, else by its labels; empty where it asks.

        A clip with action units that nobody gave an emotion is asked about these, an interval of a long video about
        what it holds.
        """
        if self.coarse or self.type:
            return ""
        noted = next((note.removeprefix(LEFT_OUT) for note in self.notes if note.startswith(LEFT_OUT)), "")
        if noted or self.fine:
            return noted or f"no coarse class for emotion {self.fine!r}"
        return "" if self.action_units else "no labels"


@dataclass(frozen=True)
class Event:
    """A micro- or macro-expression in a long video, in frame numbers; the offset is its last frame.

    `apex` is None where it is not annotated, or not between onset and offset. `emotion` is the annotated word in the
    field's spelling (`facs.normalise_emotion`), empty where there is none: some sheets write fine emotions, others
    coarse classes. `name` is the annotators' name of the event, such as `006_1_2`; `notes` names each repair.
    """

    onset: int
    apex: int | None
    offset: int
    type: EventType
    emotion: str = ""
    action_units: tuple[ActionUnit, ...] = ()
    name: str = ""
    notes: tuple[str, ...] = ()

    @property
    def coarse(self) -> str:
        """Coarse class of the emotion, be it written fine or coarse; empty for `others` and none."""
        return self.emotion if self.emotion in COARSE_EMOTIONS else coarse_of(self.emotion) or ""


@dataclass(frozen=True)
class Video:
    """A long video and its events, in order of onset.

    `id` is `dataset/subject/name`; `frames` is the folder relative to `videos.jsonl` (empty: not at hand); `length` is
    how many frames the video has, None where that is unknown.
    """

    id: str
    dataset: str
    subject: str
    name: str
    fps: float
    frames: str = ""
    length: int | None = None
    events: tuple[Event, ...] = ()
    notes: tuple[str, ...] = ()


class UnitRow(ClosedContract):
    """An action unit of a clip or an event."""

    number: Annotated[int, Field(ge=1, le=99)]
    side: Literal["left", "right"] | None


class ClipRow(ClosedContract):
    """A row of `clips.jsonl`: the fields of `Clip`."""

    id: str
    dataset: str
    subject: str
    name: str
    fps: Annotated[float, Field(ge=0, le=1e5)]
    frames: str
    onset: FrameNumber
    apex: FrameNumber
    offset: FrameNumber
    apex_estimated: bool
    action_units: list[UnitRow]
    fine: Literal["", *FINE_TO_COARSE, "others"]
    coarse: Literal["", *COARSE_EMOTIONS]
    notes: list[str]
    type: IntervalType = ""

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.id != f"{self.dataset}/{self.subject}/{self.name}":
            raise ValueError(f"the id {self.id!r} is not dataset/subject/name of its own row")
        if not self.onset <= self.apex <= self.offset:
            raise ValueError(f"onset {self.onset}, apex {self.apex} and offset {self.offset} are not in rising order")
        return self


class EventRow(ClosedContract):
    """An event of a row of `videos.jsonl`: the fields of `Event`."""

    onset: FrameNumber
    apex: FrameNumber | None
    offset: FrameNumber
    type: EventType
    emotion: str
    action_units: list[UnitRow]
    name: str
    notes: list[str]

    @model_validator(mode="after")
    def _in_rising_order(self) -> Self:
        if not self.onset <= (self.onset if self.apex is None else self.apex) <= self.offset:
            raise ValueError(f"onset {self.onset}, apex {self.apex} and offset {self.offset} are not in rising order")
        return self


class VideoRow(ClosedContract):
    """A row of `videos.jsonl`: the fields of `Video`."""

    id: str
    dataset: str
    subject: str
    name: str
    fps: Annotated[float, Field(gt=0, le=1e5)]
    frames: str
    length: Annotated[int, Field(ge=1, le=10**9)] | None
    events: list[EventRow]
    notes: list[str]

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.id != f"{self.dataset}/{self.subject}/{self.name}":
            raise ValueError(f"the id {self.id!r} is not dataset/subject/name of its own row")
        onsets = [event.onset for event in self.events]
        if onsets != sorted(onsets):
            raise ValueError("the events are not in order of their onsets")
        return self


def frame_number(path: Path | str) -> int:
    """The last integer of a file's stem: 46 of `img46.jpg`, 5562 of `006_05562.jpg`.

    Raises ValueError where the stem has none.
    """
    numbers = re.findall(r"\d+", Path(path).stem)
    if not numbers:
        raise ValueError(f"no frame number in the file name {Path(path).name!r}")
    return int(numbers[-1])


def list_frames(folder: Path | str) -> dict[int, Path]:
    """Frames of a folder by number, in rising order: the one place that sorts frames.

    Files that are no images (`readme.pdf`, `Desktop.lnk`) and images without a number are passed over.
    Raises DataError when the folder is missing, holds no frame, or has two frames of one number.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(folder, None, "the folder does not exist", "check where the dataset was unpacked")
    paths: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        # what unpacking leaves beside frames has another suffix, or no number
        if path.suffix.lower() not in IMAGE_SUFFIXES or not re.search(r"\d", path.stem):
            continue
        number = frame_number(path)
        if number in paths:
            raise DataError(path, None, f"same frame number as {paths[number].name}", "keep one of the two")
        paths[number] = path
    if not paths:
        raise DataError(folder, None, "no image with a frame number in its name", "unpack the frames here")
    return dict(sorted(paths.items()))  # by number: img9 before img10, which names would not give


def nearest_frame(frames: dict[int, Path], number: int) -> int:
    """The number in `frames` nearest to `number`, the earlier one of two equally near."""
    return min(frames, key=lambda candidate: (abs(candidate - number), candidate))


def clip_to_row(clip: Clip) -> dict:
    """The `clips.jsonl` row of a clip; `type` stands in those of intervals only."""
    row = asdict(clip)
    return row if clip.type else {name: value for name, value in row.items() if name != "type"}


def clip_from_row(row: dict, file: Path | str, line: int) -> Clip:
    """The clip of a `clips.jsonl` row. Raises DataError that names the file and the line."""
    check_record(ClipRow, row, file, line, _WRITE_AGAIN)
    return Clip(**{**row, "action_units": _units_of(row), "notes": tuple(row["notes"])})


def video_from_row(row: dict, file: Path | str, line: int) -> Video:
    """The video of a `videos.jsonl` row. Raises DataError that names the file and the line."""
    check_record(VideoRow, row, file, line, _WRITE_AGAIN)
    events = tuple(
        Event(**{**event, "action_units": _units_of(event), "notes": tuple(event["notes"])}) for event in row["events"]
    )
    return Video(**{**row, "events": events, "notes": tuple(row["notes"])})


def _units_of(row: dict) -> tuple[ActionUnit, ...]:
    return tuple(ActionUnit(**unit) for unit in row["action_units"])


def _read_by_id(path: Path | str, noun: str, from_row: Callable[[dict, Path | str, int], Item]) -> list[Item]:
    """The items of a JSONL, in its order. Raises DataError for a bad line, an id that comes twice, or no item."""
    items: dict[str, Item] = {}
    for line, row in read_jsonl(path):
        item = from_row(row, path, line)
        if item.id in items:
            raise DataError(path, line, f"duplicate {noun} {item.id}", "keep one of the two rows")
        items[item.id] = item
    if not items:
        raise DataError(path, None, f"no {noun} in the file", _WRITE_AGAIN)
    return list(items.values())


def read_clips(path: Path | str) -> list[Clip]:
    """Clips of a `clips.jsonl`. Raises DataError for a bad line, an id that comes twice, or no clip at all."""
    return _read_by_id(path, "clip", clip_from_row)


def read_videos(path: Path | str) -> list[Video]:
    """Videos of a `videos.jsonl`. Raises DataError for a bad line, an id that comes twice, or no video at all."""
    return _read_by_id(path, "video", video_from_row)


def write_clips(path: Path | str, clips: Iterable[Clip]) -> int:
    """Write `clips.jsonl`, atomically; returns the number of clips."""
    return write_jsonl(path, (clip_to_row(clip) for clip in clips))


def write_videos(path: Path | str, videos: Iterable[Video]) -> int:
    """Write `videos.jsonl`, atomically; returns the number of videos."""
    return write_jsonl(path, (asdict(video) for video in videos))


def frames_folder(clip: Clip | Video, clips_file: Path | str) -> Path:
    """Folder of the frames of a clip or video of `clips_file`.

    Raises DataError when there are none, or the path leaves the data's root.
    """
    if not clip.frames:
        kind = "video" if isinstance(clip, Video) else "clip"
        fix = "index it with --frames" if kind == "video" else "index it with --frames, or use --flow-dir"
        raise DataError(clips_file, clip.id, f"the {kind} has no frames", fix)
    try:
        return resolve_inside(Path(clips_file).parent, clip.frames)
    except ValueError as error:
        fix = f"put {Path(clips_file).name} above the frames, or link the frames below it"
        raise DataError(clips_file, clip.id, str(error), fix) from error
