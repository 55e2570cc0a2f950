"""Writes a set of long synthetic videos in the layouts of SAMM-LV and CAS(ME)³ part A, with the truth.

In the folder: `SAMM_LV/` and `CASME3/`, sheets and frames as their owners release them (`_FILES`);
`true_videos.jsonl`, all videos with their true events (emotions of macro-expressions too, which the sheets leave out);
`truth.jsonl` (`video_truth`); `demo.json`, the settings.
"""

import os
import shlex
import shutil
from collections.abc import Iterator
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
from tqdm import tqdm

from megc.clips import Event, Video, write_videos
from megc.facs import ActionUnit
from megc.files import lock_folder, write_jsonl
from megc.motion.parallel import process_pool, submit_task, use_one_thread
from megc.synthesis.demo_set import write_demo_record
from megc.synthesis.layout_rows import LabelledRow
from megc.synthesis.layout_set import write_sheets
from megc.synthesis.layouts import load_layouts
from megc.synthesis.settings import MakeDemoSettings
from megc.synthesis.video_rendering import EventSpec, VideoRendering, VideoSpec
from megc.synthesis.video_scenes import plan_videos

_WRITTEN = ("SAMM_LV", "CASME3", "truth.jsonl", "true_videos.jsonl", ".partial")
_WORDS = {"casme3": {"happiness": "happy", "sadness": "sad"}, "samm_lv": {"others": "Other"}}


@dataclass(frozen=True)
class _Files:
    """How a dataset lies in the set: folder of frames and file of a frame, sheet of its events, and of emotions."""

    root: str
    folder: str
    file: str
    events: str
    emotions: str


_FILES = {
    "samm_lv": _Files("SAMM_LV", "SAMM_longvideos/{video}", "{video}_{number:04d}.jpg", "samm_lv", "samm"),
    "casme3": _Files("CASME3", "part_A/{subject}/{video}/color", "{number}.jpg", "casme3-long", "casme3"),
}


def video_folder(root: Path, spec: VideoSpec) -> Path:
    """Where the frames of a video lie below the set's root."""
    dataset, subject, name = spec.id.split("/")
    files = _FILES[dataset]
    return root / files.root / files.folder.format(subject=subject, video=name)


def _annotation(spec: VideoSpec, event: EventSpec, first: int = 0) -> LabelledRow:
    """The row of an event in a sheet whose frames are counted from `first` + 1."""
    dataset, subject, name = spec.id.split("/")
    emotion = _WORDS[dataset].get(event.emotion, event.emotion)
    points = {point: str(first + getattr(event, point)) for point in ("onset", "apex", "offset")}
    units = "+".join((unit.side or "")[:1].upper() + str(unit.number) for unit in event.units)
    return LabelledRow(
        subject=int(subject.removeprefix("spNO.")),
        name=name if dataset == "casme3" else event.name,
        kind=event.type,
        cells=points | {"units": units, "emotion": emotion.capitalize() if dataset == "samm_lv" else emotion},
        onset=event.onset,
        apex=event.apex,
        offset=event.offset,
        units=tuple((unit.number, unit.side) for unit in event.units),
        emotion=event.emotion,
    )


def _blink_rows(spec: VideoSpec) -> Iterator[LabelledRow]:
    """Rows of a video's blinks, which CAS(ME)³ lists in a sheet of their own."""
    for middle, seconds in spec.blinks:
        onset = max(1, round((middle - seconds / 2) * spec.fps) + 1)
        offset = min(spec.length, round((middle + seconds / 2) * spec.fps) + 1)
        yield _annotation(spec, EventSpec("", "blink", onset, onset, offset, (), ""))


def _write_annotations(root: Path, specs: list[VideoSpec]) -> None:
    """Sheets of events and of emotions of both datasets."""
    for dataset, files in _FILES.items():
        videos = [spec for spec in specs if spec.id.startswith(f"{dataset}/")]
        events = [_annotation(spec, event) for spec in videos for event in spec.events]
        events += [row for spec in videos if dataset == "casme3" for row in _blink_rows(spec)]
        emotions = [
            # SAMM counts the frames of its clips another way than those of its long videos
            _annotation(spec, event, spec.seed % 9000 if dataset == "samm_lv" else 0)
            for spec in videos
            for event in spec.events
            if event.type == "micro"
        ]
        for name, rows in ((files.events, events), (files.emotions, emotions)):
            write_sheets(root / files.root, load_layouts()[name][0], rows)


def true_video(spec: VideoSpec) -> Video:
    """The video with all that is true of its events, its frames relative to the set's root."""
    dataset, subject, name = spec.id.split("/")
    events = tuple(
        Event(
            onset=event.onset,
            apex=event.apex,
            offset=event.offset,
            type=event.type,
            emotion=event.emotion,
            action_units=tuple(ActionUnit(unit.number, unit.side) for unit in event.units),
            name=event.name,
        )
        for event in spec.events
    )
    frames = video_folder(Path(), spec).as_posix()
    return Video(spec.id, dataset, subject, name, spec.fps, frames, spec.length, events)


def video_truth(spec: VideoSpec) -> dict:
    """The line of `truth.jsonl` of a video: its events with the amplitudes of their units (px on a face 236 px wide),
    and what is no expression: `blinks`, `talks` and `turns` of the head, in seconds and radians.
    """
    _, subject, name = spec.id.split("/")
    nuisances = {"blinks": spec.blinks, "talks": spec.talks, "turns": [asdict(turn) for turn in spec.turns]}
    video = {"id": spec.id, "subject": subject, "name": name, "fps": spec.fps, "length": spec.length}
    return video | {"events": [asdict(event) for event in spec.events]} | nuisances


def write_video(root: Path, spec: VideoSpec) -> int:
    """Draw the frames of a video, one at a time; the folder appears, by a rename, when all of it is written.

    Returns the number of frames.
    """
    dataset, _, name = spec.id.split("/")
    folder, partial_folder = video_folder(root, spec), root / ".partial" / spec.id.replace("/", "_")
    shutil.rmtree(partial_folder, ignore_errors=True)
    partial_folder.mkdir(parents=True)
    rendering = VideoRendering(spec)
    quality = [cv2.IMWRITE_JPEG_QUALITY, rendering.jpeg_quality]
    for number in range(1, spec.length + 1):
        _, data = cv2.imencode(".jpg", rendering.image(number), quality)
        (partial_folder / _FILES[dataset].file.format(video=name, number=number)).write_bytes(data.tobytes())
    folder.parent.mkdir(parents=True, exist_ok=True)
    os.replace(partial_folder, folder)
    return spec.length


def _draw_videos(root: Path, specs: list[VideoSpec], workers: int) -> None:
    """The frames of all videos that are not there yet."""
    missing = [spec for spec in specs if not video_folder(root, spec).is_dir()]
    # the longest first, so that no process waits long for the last one
    missing.sort(key=lambda spec: -spec.length)
    frames = sum(spec.length for spec in missing)
    with tqdm(total=frames, desc="long videos", unit="frame", disable=not missing) as bar:
        if workers <= 1:
            use_one_thread()
            for spec in missing:
                bar.update(write_video(root, spec))
        else:
            with process_pool(workers) as pool:
                for task in as_completed([submit_task(pool, partial(write_video, root, spec)) for spec in missing]):
                    bar.update(task.result())
    shutil.rmtree(root / ".partial", ignore_errors=True)


def write_long_set(
    root: Path | str, settings: MakeDemoSettings, workers: int = 1, overwrite: bool = False
) -> list[VideoSpec]:
    """Write a set of long videos; those that an earlier run with the same settings finished are kept.

    The bytes depend on the settings of the videos, the seed, `others` and the difficulty alone, not on `workers`.
    Returns the videos. Raises DataError where the folder holds another set and `overwrite` is not given, or data that
    is no demo set at all, where another run writes there, and for videos too short for their expressions; ValueError
    for settings that no set can have.
    """
    root, demo = Path(root), settings.demo
    specs = plan_videos(settings.long_videos, demo.seed, demo.difficulty, demo.others)
    if not specs:
        raise ValueError("no video to draw: ask for one subject and one video at least")
    values = asdict(settings.long_videos) | {
        "seed": demo.seed,
        "others": demo.others,
        "difficulty": asdict(demo.difficulty),
    }
    with lock_folder(root, "demo"):
        write_demo_record(root, values, overwrite, _WRITTEN)
        _write_annotations(root, specs)
        write_videos(root / "true_videos.jsonl", map(true_video, specs))
        write_jsonl(root / "truth.jsonl", map(video_truth, specs))
        _draw_videos(root, specs, workers)
    return specs


def make_long_set(settings: MakeDemoSettings) -> str:
    """`write_long_set` into `<out>/long`; returns a summary, and how to read the sheets."""
    root = settings.out / "long"
    specs = write_long_set(root, settings, settings.workers, settings.overwrite)
    kinds = [event.type for spec in specs for event in spec.events]
    lines = [
        f"{root}: {len(specs)} videos of {len({spec.id.rsplit('/', 1)[0] for spec in specs})} synthetic subjects, "
        f"{sum(spec.length for spec in specs)} frames, {kinds.count('micro')} micro- and {kinds.count('macro')} "
        f"macro-expressions; true_videos.jsonl has the truth. Read the sheets with"
    ]
    command = ["python", "data_process/index_clips.py"]
    for dataset, files in _FILES.items():
        events, emotions = (load_layouts()[name][0].sheets[0].path for name in (files.events, files.emotions))
        folder = root / files.root
        command += ["--dataset", dataset, "--annotations", str(folder / events), "--emotions", str(folder / emotions)]
        command += ["--frames", str(folder)]
    command += ["--out", str(root / "clips.jsonl")]
    return "\n".join([*lines, f"  {shlex.join(command)}"])
