"""What the measurements of long videos share: which videos, frames past faults, what is kept, and one run over all.

A measurement writes files named by the video below a folder, and last `<video id>.json`, whose `key` is a hash of all
that decides their bytes: what has one is whole, and kept by the next run with the same key.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from tqdm import tqdm

from megc.clips import Video, read_videos
from megc.files import lock_folder, sha256_of
from megc.motion.frames import Frames
from megc.motion.keyframes import clips_of_sources
from megc.motion.parallel import format_counts, run_on_clips
from megc.motion.settings import LongVideoSettings, in_shard, lock_name
from megc.problems import DataError, Problem, Problems


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


def show_reading(
    images: Iterator[tuple[int, np.ndarray | None]], name: str, count: int, show: bool
) -> Iterator[tuple[int, np.ndarray | None]]:
    """The frames as they come, with a bar of their own where `show` is set."""
    return tqdm(images, desc=name, total=count, unit="frame", leave=False, mininterval=0.5, disable=not show)


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
