"""From long videos to `<video id>.npz`, the motion of their regions, and `<video id>.json`, how it was measured."""

import glob
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from pydantic import Field
from tqdm import tqdm

from megc.clips import Video, frames_folder, read_videos
from megc.files import lock_folder, read_checked, sha256_of, write_bytes, write_json
from megc.motion.crop import FACE_WIDTH, mean_face
from megc.motion.frames import Frames, open_frames
from megc.motion.keyframes import clear_leftovers, clip_folder, clips_of_sources
from megc.motion.parallel import format_counts, run_on_clips
from megc.motion.region_stream import RegionFlow, measure_video, sample_frames
from megc.motion.regions import SPOTTING_EYES, SPOTTING_REGIONS
from megc.motion.settings import ExtractRegionFlowSettings, RegionFlowSettings, in_shard, lock_name
from megc.problems import DataError, Problem, Problems
from megc.records import Contract

VERSION = 1  # of what is written; a change makes every video be done again
_AGAIN = "run data_process/extract_region_flow.py again"
_ARRAYS = tuple(field.name for field in fields(RegionFlow))


class RegionFlowRecord(Contract):
    """The `.json` beside a series. `face_width`: pixels that motion refers to; `spotter_scale`: factor to the pixels
    of the optical-flow spotter's thresholds; `faults`: why the series ends early."""

    key: str
    video: str
    fps: Annotated[float, Field(gt=0)]
    face_width: Annotated[float, Field(gt=0)]
    spotter_scale: Annotated[float, Field(gt=0)]
    regions: list[str]
    frames: Annotated[int, Field(ge=1)]
    measured: Annotated[int, Field(ge=1)]
    segments: Annotated[int, Field(ge=1)]
    settings: dict[str, Any]
    faults: list[str]
    warnings: list[str]


@dataclass(frozen=True)
class MeasuredVideo:
    """Outcome of a video: `done`, or `kept` from before; why it ends early, and what a person should know."""

    state: str
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def _paths(out: Path, video_id: str) -> tuple[Path, Path]:
    return clip_folder(out, f"{video_id}.npz"), clip_folder(out, f"{video_id}.json")


def read_region_flow(out: Path, video_id: str) -> tuple[RegionFlow, RegionFlowRecord]:
    """The series of a video below the folder `out`, and how it was measured.

    Raises DataError where one is missing, damaged, or of another shape than the other says.
    """
    arrays_path, record_path = _paths(out, video_id)
    record = RegionFlowRecord(**read_checked(RegionFlowRecord, record_path, fix=_AGAIN))
    try:
        with np.load(arrays_path, allow_pickle=False) as arrays:
            flow = RegionFlow(**{name: arrays[name] for name in _ARRAYS})
    except FileNotFoundError as error:
        raise DataError(arrays_path, video_id, "the region flow does not exist", _AGAIN) from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(arrays_path, video_id, f"the region flow cannot be read ({error})", _AGAIN) from error
    shapes = {name: getattr(flow, name).shape for name in _ARRAYS}
    expected = dict.fromkeys(_ARRAYS, (record.frames,)) | {"flow": (record.frames, len(SPOTTING_REGIONS), 2)}
    if shapes != expected:
        wrong = next(name for name in _ARRAYS if shapes[name] != expected[name])
        raise DataError(arrays_path, video_id, f"{wrong} is {shapes[wrong]}, not {expected[wrong]}", _AGAIN)
    return flow, record


def _read_on(frames: Frames, numbers: list[int], skipped: list[str]) -> Iterator[tuple[int, np.ndarray | None]]:
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


def _early_end(frames: Frames, video: Video) -> list[str]:
    """Faults of a source that holds less than was promised, by its header or by the annotation."""
    faults, last = list(frames.faults), frames.numbers[-1]
    if video.length and last + 1 < video.length:  # frames may be numbered from 0
        faults.append(f"it ends at frame {last} of {video.length}")
    late = [event for event in video.events if event.offset > last]
    if late:
        faults.append(f"{len(late)} event(s) end behind its last frame, {last}")
    return faults


def _key(video: Video, frames: Frames, times: np.ndarray, settings: RegionFlowSettings) -> str:
    """Hash of all that decides the bytes: events do not, so that a corrected sheet costs no measuring."""
    size = frames.source.stat().st_size if frames.source.is_file() else 0
    return sha256_of(
        *(str(VERSION), cv2.__version__, json.dumps(asdict(settings)), video.id, str(video.fps), str(size)),
        np.asarray(frames.numbers, np.int64).tobytes(),
        times.tobytes(),
    )


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
    arrays_path, record_path = _paths(out, video.id)
    frames = open_frames(frames_folder(video, videos_file), video.id)
    faults, times = _early_end(frames, video), frames.seconds(video.fps)
    key = _key(video, frames, times, settings)
    if not overwrite:
        try:
            _, record = read_region_flow(out, video.id)
        except DataError:
            record = None  # none, or damaged: it is measured again
        if record and record.key == key:
            return MeasuredVideo("kept", (*record.faults, *faults), tuple(record.warnings))
    record_path.unlink(missing_ok=True)
    for path in (arrays_path, record_path):
        clear_leftovers(path.parent, glob.escape(path.name))
    # 1. the frames to measure  2. their motion, one by one  3. the arrays, and last the file that vouches for them
    chosen = sample_frames(times, settings.rate)
    numbers, skipped = np.asarray(frames.numbers)[chosen], []
    images = tqdm(
        _read_on(frames, numbers.tolist(), skipped),
        desc=video.id,
        total=len(numbers),
        unit="frame",
        leave=False,
        mininterval=0.5,
        disable=not show_frames,
    )
    flow, broken, warnings = measure_video(images, numbers, times[chosen], settings, frames.source, video.id)
    if skipped:
        broken.append(f"{len(skipped)} frame(s) left out, such as: {skipped[0]}")
    if missing := frames.numbers[-1] - frames.numbers[0] + 1 - len(frames.numbers):
        warnings.append(f"{missing} frame(s) are missing between the first and the last: gaps in its times")
    content = io.BytesIO()
    np.savez_compressed(content, **{name: getattr(flow, name) for name in _ARRAYS})
    write_bytes(arrays_path, content.getvalue())
    write_json(record_path, _record_of(flow, video, settings, key, broken, warnings).model_dump())
    return MeasuredVideo("done", (*broken, *faults), tuple(warnings))


def extract_region_flow(settings: ExtractRegionFlowSettings, problems: Problems) -> str:
    """Series of every video of a file, or of sources without annotation; returns a summary.

    Videos that failed or end early go to `problems`, what else is unusual to its warnings.
    """
    videos_file = settings.videos
    if settings.source:
        clips, videos_file = clips_of_sources(list(settings.source), settings.fps, problems)
        videos = [Video(clip.id, clip.dataset, clip.subject, clip.name, clip.fps, clip.frames) for clip in clips]
    else:
        videos = read_videos(videos_file)
    videos = [video for video in videos if in_shard(video.id, settings.shard)]
    names = [video.id for video in videos]
    work = partial(
        extract_video,
        videos_file=videos_file,
        out=settings.out,
        settings=settings.region_flow,
        overwrite=settings.overwrite,
        show_frames=settings.workers == 1,
    )
    with lock_folder(settings.out, lock_name("region_flow", settings.shard)):
        results = run_on_clips(work, videos, names, problems, settings.workers, "videos")
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
