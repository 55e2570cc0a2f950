"""What a user gives, be it a video, a folder, a clip's id or two pictures, as clips to cut key frames from."""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from megc.clips import Clip, read_clips
from megc.explanation.frame_slider import FrameSlider
from megc.explanation.settings import LONGEST_CLIP, AskSettings
from megc.files import read_picture, write_bytes
from megc.motion.keyframes import clips_of_sources, write_source_clips
from megc.problems import DataError, Problems, did_you_mean
from megc.scoring.str_metrics import SpottedInterval

_LONGEST_SLUG = 60


@dataclass(frozen=True)
class SpottedEvent:
    """An interval that was spotted in a long video, and its number in the timeline."""

    number: int
    interval: SpottedInterval


@dataclass(frozen=True)
class ClipSource:
    """Clips of one video, the file that their paths are relative to, and the title that a reader sees.

    `whole` is the video as one clip; of a long one the `clips` are what was spotted in it, with their `events` by
    the clip's id, all `intervals` in order, the timeline as a `slider`, the `spotter` that they are by, and `notes`
    for the reader.
    """

    title: str
    clips: tuple[Clip, ...]
    clips_file: Path
    whole: Clip
    is_long: bool = False
    events: Mapping[str, SpottedEvent] = field(default_factory=dict)
    intervals: tuple[SpottedInterval, ...] = ()
    slider: FrameSlider | None = None
    spotter: str = ""
    notes: tuple[str, ...] = ()


def folder_name(title: str) -> str:
    """A name that every system can store, made of a title; `clip` where nothing is left of it."""
    name = re.sub(r"[^\w-]+", "_", title).strip("_")[:_LONGEST_SLUG].strip("_")
    return f"clip_{name}" if name.startswith("-") else name or "clip"


def source_title(settings: AskSettings) -> str:
    """What the settings call their video: its file's name, or the clip's id."""
    if settings.onset_image:
        return settings.name or settings.onset_image.stem
    path = Path(settings.video)
    return path.name if path.exists() else settings.video


def read_source(settings: AskSettings, folder: Path, problems: Problems) -> ClipSource:
    """The clip of the settings' video; links to it, and `clips.jsonl`, go to `folder`.

    It `is_long` where it is longer than LONGEST_CLIP and no frame numbers are given. Raises DataError for what is
    neither a video, nor a folder of frames, nor a clip's id; for a video that cannot be read; and for frame numbers
    that it does not have.
    """
    title = source_title(settings)
    if settings.onset_image:
        return _source_of_pictures(title, [settings.onset_image, settings.apex_image], folder)
    if not Path(settings.video).exists():
        clip = _with_moments(_find_clip(settings), settings)
        return ClipSource(title, (clip,), settings.clips, clip)
    source = link_source(Path(settings.video), folder)
    faults = Problems()
    clips, file = clips_of_sources([source], settings.fps, faults)
    if not clips:  # its one problem is the reason
        problem = next(iter(faults))
        raise DataError(settings.video, None, problem.what, problem.fix)
    problems.extend(faults)
    (clip,), file = write_source_clips([_with_moments(clips[0], settings)], file, folder)
    seconds = (clip.offset - clip.onset) / clip.fps if clip.fps > 0 else 0.0
    is_long = seconds > LONGEST_CLIP and settings.onset is None and settings.offset is None
    return ClipSource(title, (clip,), file, clip, is_long)


def link_source(video: Path, folder: Path) -> Path:
    """A link to a video, or to a folder of frames, below `folder`, under a name that every system can store."""
    suffix = video.suffix.lower() if video.is_file() else ""
    link = folder / "sources" / f"{folder_name(video.stem if suffix else video.name)}{suffix}"
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink() or link.is_file():
        link.unlink()
    elif link.is_dir():
        shutil.rmtree(link)  # the copy of two pictures, of an earlier call
    link.symlink_to(os.path.abspath(video), target_is_directory=video.is_dir())
    return link


def _source_of_pictures(title: str, pictures: list[Path], folder: Path) -> ClipSource:
    """A clip of two pictures: onset is frame 1, apex and offset are frame 2."""
    name = folder_name(title)
    frames = folder / "sources" / name
    if frames.is_symlink():
        frames.unlink()
    for number, path in enumerate(pictures, start=1):
        read_picture(path, path, None, "give another picture")  # names what is wrong with it
        write_bytes(frames / f"{number}{path.suffix.lower()}", path.read_bytes())
    clip = Clip(f"unknown/{name}/{name}", "unknown", name, name, 30.0, f"sources/{name}", 1, 2, 2)
    (clip,), file = write_source_clips([clip], folder / "clips.jsonl", folder)
    return ClipSource(title, (clip,), file, clip)


def _find_clip(settings: AskSettings) -> Clip:
    """The clip with the id that was given."""
    fix = "give a video, a folder of frames, or a clip's id"
    if not settings.clips.is_file():
        what = f"neither a file or folder, nor a clip: there is no {settings.clips}"
        raise DataError(settings.video, None, what, f"{fix} with --clips, or make the demo set: bash demo.sh")
    clips = {clip.id: clip for clip in read_clips(settings.clips)}
    if settings.video not in clips:
        what = f"neither a file or folder, nor a clip of {settings.clips}"
        raise DataError(settings.video, None, what, did_you_mean(settings.video, clips, fix))
    return clips[settings.video]


def _with_moments(clip: Clip, settings: AskSettings) -> Clip:
    """The clip with the given onset, apex and offset. Raises DataError for numbers out of order."""
    onset = clip.onset if settings.onset is None else settings.onset
    offset = clip.offset if settings.offset is None else settings.offset
    estimated = settings.apex is None and clip.apex_estimated
    apex = clip.apex if settings.apex is None else settings.apex
    if estimated:
        apex = min(max(apex, onset), offset)
    if onset == offset:
        what = "only one frame, and motion needs two"
        raise DataError(settings.video, None, what, f"the frames are {clip.onset} to {clip.offset}: give more")
    if not 0 <= onset <= apex <= offset:
        what = f"onset {onset}, apex {apex} and offset {offset} are not in rising order"
        raise DataError(settings.video, None, what, f"the frames are {clip.onset} to {clip.offset}: give others")
    return replace(clip, onset=onset, apex=apex, offset=offset, apex_estimated=estimated)
