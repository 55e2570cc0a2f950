"""What the measurements of long videos share: which videos, frames past faults, what is kept, and one run over all.

A measurement writes files named by the video below a folder, and last `<video id>.json`, whose `key` is a hash of all
that decides their bytes: what has one is whole, and kept by the next run with the same key.
"""

import glob
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tokenize import TokenError
from typing import Annotated, Any, BinaryIO

import cv2
import numpy as np
from pydantic import Field
from tqdm import tqdm

from megc.clips import Video, frames_folder, read_videos
from megc.files import lock_folder, sha256_of, write_bytes
from megc.motion.frames import Frames, open_frames
from megc.motion.keyframes import clear_leftovers, clips_of_sources
from megc.motion.parallel import format_counts, run_on_clips
from megc.motion.region_stream import sample_frames
from megc.motion.settings import LongVideoSettings, in_shard, lock_name
from megc.problems import DataError, Problem, Problems, excerpt
from megc.records import Contract, FrameCount

_UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, TypeError, RuntimeError, MemoryError, SyntaxError, TokenError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)
_KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float"}


@dataclass(frozen=True)
class MeasuredVideo:
    """Outcome of a video: `done`, or `kept` from before; why it ends early, and what a person should know."""

    state: str
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_on(frames: Frames, numbers: list[int], skipped: list[str]) -> Iterator[tuple[int, np.ndarray | None]]:
    """(number, image) of the frames; None for one that a folder holds and that cannot be read, named in `skipped`.

    A video that breaks off raises DataError: what is behind it cannot be had.
    """
    if frames.source.is_file():
        yield from frames.read_many(numbers)
        return
    for number in numbers:
        try:
            image = frames.read(number)
        except DataError as error:
            skipped.append(f"{error.problem.what} ({frames.name(number)})")
            image = None
        yield number, image
        del image


def early_end(frames: Frames, video: Video) -> list[str]:
    """Faults of a source that holds less than was promised, by its header or by the annotation."""
    faults, last = list(frames.faults), frames.numbers[-1]
    if video.length and last + 1 < video.length:  # frames may be numbered from 0
        faults.append(f"it ends at frame {last} of {video.length}")
    late = [event for event in video.events if event.offset > last]
    if late:
        faults.append(f"{len(late)} event(s) end behind its last frame, {last}")
    return faults


def gap_warnings(frames: Frames) -> list[str]:
    """A warning where numbers of frames are missing between the first and the last."""
    missing = frames.numbers[-1] - frames.numbers[0] + 1 - len(frames.numbers)
    return [f"{missing} frame(s) are missing between the first and the last: gaps in its times"] if missing else []


def content_key(version: int, settings: Any, video: Video, frames: Frames, times: np.ndarray) -> str:
    """Hash of all that decides the bytes: events do not, so that a corrected sheet costs no measuring."""
    size = frames.source.stat().st_size if frames.source.is_file() else 0
    return sha256_of(
        *(str(version), cv2.__version__, json.dumps(asdict(settings)), video.id, str(video.fps), str(size)),
        np.asarray(frames.numbers, np.int64).tobytes(),
        times.tobytes(),
    )


class VideoMeasuring:
    """What each measurement of a video does before and after its own part.

    `numbers` (frames,) and `times` (frames,) in seconds are those of the frames to measure, `settings.rate` a second;
    `key` is `content_key`; `faults` say why the source holds less than was promised.
    """

    def __init__(self, video: Video, videos_file: Path, settings: Any, version: int) -> None:
        self.video, self.frames = video, open_frames(frames_folder(video, videos_file), video.id)
        self.faults, times = early_end(self.frames, video), self.frames.seconds(video.fps)
        self.key = content_key(version, settings, video, self.frames, times)
        chosen = sample_frames(times, settings.rate)
        self.numbers, self.times = np.asarray(self.frames.numbers)[chosen], times[chosen]
        self._skipped: list[str] = []

    def find_kept(self, read: Callable[[], tuple[Any, Any]], paths: Iterable[Path], overwrite: bool) -> Any:
        """The outcome of an earlier run with the same key, else None, with its record and leftovers removed.

        `read` returns the measurement and its record, or raises DataError; the last of `paths` is the record's.
        """
        *_, record_path = paths = tuple(paths)
        if not overwrite:
            try:
                _, record = read()
            except DataError:
                record = None  # none, or damaged: it is measured again
            if record and record.key == self.key:
                return MeasuredVideo("kept", (*record.faults, *self.faults), tuple(record.warnings))
        record_path.unlink(missing_ok=True)
        for path in paths:
            clear_leftovers(path.parent, glob.escape(path.name))
        return None

    def images(self, show: bool) -> Iterator[tuple[int, np.ndarray | None]]:
        """(number, image) of the frames to measure (see `read_on`), with a bar where `show` is set."""
        images = read_on(self.frames, self.numbers.tolist(), self._skipped)
        name, count = self.video.id, len(self.numbers)
        return tqdm(images, desc=name, total=count, unit="frame", leave=False, mininterval=0.5, disable=not show)

    def end(self, broken: list[str], warnings: list[str]) -> MeasuredVideo:
        """Add frames left out to `broken` and gaps to `warnings`, for the record; returns the outcome."""
        if self._skipped:
            broken.append(f"{len(self._skipped)} frame(s) left out, such as: {self._skipped[0]}")
        warnings += gap_warnings(self.frames)
        return MeasuredVideo("done", (*broken, *self.faults), tuple(warnings))


class MeasurementRecord(Contract):
    """What the `.json` beside every measurement holds: `measured` of the `frames` have a face, in `segments` stretches
    without a break; `faults`: why they end early."""

    key: str
    video: str
    fps: Annotated[float, Field(gt=0)]
    frames: FrameCount
    measured: FrameCount
    segments: FrameCount
    faults: list[str]
    warnings: list[str]


Shapes = Mapping[str, tuple[tuple[int, ...], str]]  # of arrays by name, with the kinds of numpy's types, such as `iu`


def read_frame_arrays(
    path: Path, shapes: Shapes, record: MeasurementRecord, video_id: str, fix: str
) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name, `frame_numbers`, `times` and `segments` among them.

    Raises DataError, with the remedy `fix`, for a file that is missing or damaged, an array of another shape or type,
    and for frames and segments that are in no order or are not as many as the record says.
    """
    with reading_arrays(path, video_id, fix), np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in shapes}
    for name, (shape, kinds) in shapes.items():
        check_array(name, arrays[name], shape, kinds, path, video_id, fix)
    if record.video != video_id:
        raise DataError(path.with_suffix(".json"), video_id, f"the record is that of the video {record.video!r}", fix)
    if fault := _frames_fault(arrays, record):
        raise DataError(path, video_id, fault, fix)
    return arrays


def open_frame_array(
    path: Path, shape: tuple[int, ...], kinds: str, video_id: str, fix: str, name: str = "the array"
) -> np.ndarray:
    """The array of a .npy, as a memory map; messages call it `name`. Raises DataError as `read_frame_arrays` does."""
    with reading_arrays(path, video_id, fix):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("an archive, not one array")
    check_array(name, array, shape, kinds, path, video_id, fix)
    return array


@contextmanager
def reading_arrays(path: Path, row: str | None, fix: str) -> Iterator[None]:
    """Make a DataError of whatever NumPy, zip and zlib say of a file that is missing, damaged or foreign."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(path, row, "the file does not exist", fix) from error
    except _UNREADABLE as error:
        raise DataError(path, row, f"the arrays cannot be read ({excerpt(str(error))})", fix) from error


def check_array(
    name: str, array: np.ndarray, shape: tuple[int, ...], kinds: str, path: Path, row: str | None, fix: str
) -> None:
    """Raise DataError for an array of another shape, or of a type that is none of `kinds`."""
    if array.shape != shape or array.dtype.kind not in kinds:
        what = f"{name} is {array.dtype} {array.shape}, not {' or '.join(map(_KINDS.get, kinds))} {shape}"
        raise DataError(path, row, what, fix)


def _frames_fault(arrays: Mapping[str, np.ndarray], record: MeasurementRecord) -> str:
    """What is wrong with the frames and segments of a measurement; empty where nothing is."""
    numbers, times, segments = (arrays[name] for name in ("frame_numbers", "times", "segments"))
    if numbers[0] < 0 or (np.diff(numbers.astype(np.int64)) <= 0).any():
        return "frame_numbers do not rise"
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        return "times do not rise"
    seen = segments[segments >= 0].astype(np.int64)
    steps = np.diff(seen, prepend=-1)
    if segments.min() < -1 or not np.isin(steps, (0, 1)).all() or not len(seen) or seen[0]:
        return "segments do not follow each other"
    counts = (len(seen), int(seen[-1]) + 1)
    if counts != (record.measured, record.segments):
        return f"measured and segments are {counts}, and {(record.measured, record.segments)} in the record"
    return ""


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a compressed .npz of named arrays."""
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_bytes(path, content.getvalue())


def measure_videos(
    measure: Callable[..., MeasuredVideo], work: str, settings: LongVideoSettings, problems: Problems
) -> str:
    """`measure` of every video of a file, or of sources without annotation; returns a summary.

    It is called with the video, and by name with `videos_file`, `out`, `overwrite` and `show_frames`. Videos that
    failed or end early go to `problems`, what else is unusual to its warnings. `work` names the lock on the folder.
    """
    videos_file = settings.videos
    if settings.source:
        clips, videos_file = clips_of_sources(list(settings.source), settings.fps, problems)
        videos = [Video(clip.id, clip.dataset, clip.subject, clip.name, clip.fps, clip.frames) for clip in clips]
    else:
        videos = read_videos(videos_file)
    videos = [video for video in videos if in_shard(video.id, settings.shard)]
    names = [video.id for video in videos]
    task = partial(
        measure,
        videos_file=videos_file,
        out=settings.out,
        overwrite=settings.overwrite,
        show_frames=settings.workers == 1,
    )
    with lock_folder(settings.out, lock_name(work, settings.shard)):
        results = run_on_clips(task, videos, names, problems, settings.workers, "videos")
    for name, result in zip(names, results, strict=True):
        for fault in result.faults if result else ():
            fix = "what is there was measured; copy or unpack the video again, or use --skip-bad"
            problems.add(Problem(str(settings.out), name, fault, fix))
        if result and result.warnings:
            fix = "look at the video, and count motion around such frames with care"
            problems.warn(Problem(str(settings.out), name, "; ".join(result.warnings), fix))
    states = [result.state if result else "failed" for result in results]
    counts = {state: states.count(state) for state in ("done", "kept", "failed")}
    counts["with faults"] = sum(bool(result and result.faults) for result in results)
    return f"{format_counts(counts)} of {len(videos)} videos; in {settings.out}"


class FrameArray:
    """A .npy file (frames, *shape) that is written frame by frame; what is not written is 0."""

    def __init__(self, file: BinaryIO, count: int, shape: tuple[int, ...], kind: np.dtype) -> None:
        self.file, self.shape, self.kind = file, shape, np.dtype(kind)
        self._write_header(count)
        self.start = file.tell()

    def _write_header(self, count: int) -> None:
        # numpy pads a header for the longest number of frames, so that a shorter array's fits in its stead
        about = {"descr": self.kind.str, "fortran_order": False, "shape": (count, *self.shape)}
        self.file.seek(0)
        np.lib.format.write_array_header_1_0(self.file, about)

    def put(self, index: int, values: np.ndarray) -> None:
        """Write the values (*shape) of a frame."""
        self.file.seek(self.start + index * values.nbytes)
        self.file.write(np.ascontiguousarray(values, self.kind).tobytes())

    def end(self, measured: np.ndarray) -> None:
        """Cut the file to the frames of `measured` (frames,), and set those to 0 that have no value after all."""
        for index in np.flatnonzero(~measured):
            self.put(int(index), np.zeros(self.shape, self.kind))
        self._write_header(len(measured))
        self.file.truncate(self.start + len(measured) * int(np.prod(self.shape)) * self.kind.itemsize)


@contextmanager
def write_frame_array(path: Path, count: int, shape: tuple[int, ...], kind: type) -> Iterator[FrameArray]:
    """The file to fill within; a kill, or an error within, leaves no half file. OSErrors name the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            yield FrameArray(file, count, shape, kind)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None  # write() and close() name no file
        raise
