"""A clip: one annotated micro-expression, its frames on disk, and `clips.jsonl`, which hands clips on."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from megc.facs import COARSE_EMOTIONS, FINE_TO_COARSE, ActionUnit
from megc.files import read_jsonl, resolve_inside, write_jsonl
from megc.problems import DataError
from megc.records import ClosedContract, FrameNumber, check_record

LEFT_OUT = "not in ME-VQA: "  # starts the note why a clip has no coarse class
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".avi", ".mp4", ".mov", ".mkv")


@dataclass(frozen=True)
class Clip:
    """One micro-expression. Frame numbers are the integers in the file names, never positions in a list.

    `id` is `dataset/subject/name`; `frames` is the folder relative to `clips.jsonl` (empty: no frames at hand);
    `fine` is the annotated emotion (`others` too), empty where there is none; `coarse` is empty for clips that ME-VQA
    leaves out; `notes` names each repair, and why ME-VQA leaves the clip out.
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

    @property
    def left_out(self) -> str:
        """Why ME-VQA asks nothing about the clip: as its reader noted, else by its labels; empty where it asks.

        A clip with action units that nobody gave an emotion is asked about these.
        """
        if self.coarse:
            return ""
        noted = next((note.removeprefix(LEFT_OUT) for note in self.notes if note.startswith(LEFT_OUT)), "")
        if noted or self.fine:
            return noted or f"no coarse class for emotion {self.fine!r}"
        return "" if self.action_units else "no labels"


class UnitRow(ClosedContract):
    """An action unit of a clip."""

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

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.id != f"{self.dataset}/{self.subject}/{self.name}":
            raise ValueError(f"the id {self.id!r} is not dataset/subject/name of its own row")
        if not self.onset <= self.apex <= self.offset:
            raise ValueError(f"onset {self.onset}, apex {self.apex} and offset {self.offset} are not in rising order")
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
    """The `clips.jsonl` row of a clip."""
    return asdict(clip)


def clip_from_row(row: dict, file: Path | str, line: int) -> Clip:
    """The clip of a `clips.jsonl` row. Raises DataError that names the file and the line."""
    fix = "write it with data_process/index_clips.py"
    check_record(ClipRow, row, file, line, fix)
    units = tuple(ActionUnit(**unit) for unit in row["action_units"])
    return Clip(**{**row, "action_units": units, "notes": tuple(row["notes"])})


def read_clips(path: Path | str) -> list[Clip]:
    """Clips of a `clips.jsonl`. Raises DataError for a bad line, an id that comes twice, or no clip at all."""
    clips: dict[str, Clip] = {}  # by id, in the order of the file
    for line, row in read_jsonl(path):
        clip = clip_from_row(row, path, line)
        if clip.id in clips:
            raise DataError(path, line, f"duplicate clip {clip.id}", "keep one of the two rows")
        clips[clip.id] = clip
    if not clips:
        raise DataError(path, None, "no clip in the file", "write it with data_process/index_clips.py")
    return list(clips.values())


def write_clips(path: Path | str, clips: Iterable[Clip]) -> int:
    """Write `clips.jsonl`, atomically; returns the number of clips."""
    return write_jsonl(path, (clip_to_row(clip) for clip in clips))


def frames_folder(clip: Clip, clips_file: Path | str) -> Path:
    """Folder of the clip's frames. Raises DataError when the clip has none or the path leaves the data's root."""
    if not clip.frames:
        raise DataError(clips_file, clip.id, "the clip has no frames", "index it with --frames, or use --flow-dir")
    try:
        return resolve_inside(Path(clips_file).parent, clip.frames)
    except ValueError as error:
        fix = "put clips.jsonl above the frames, or link the frames below it"
        raise DataError(clips_file, clip.id, str(error), fix) from error
