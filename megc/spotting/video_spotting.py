"""Spot expressions in long videos: measure what a spotter needs, spot, refine, and write intervals and timelines."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from megc.clips import Video, read_videos
from megc.files import lock_folder, resolve_inside, write_bytes
from megc.motion.keyframes import clips_of_sources
from megc.motion.parallel import run_on_clips
from megc.motion.settings import FaceCropSettings, FlowMapSettings, RegionFlowSettings
from megc.motion.video_measurements import MeasuredVideo
from megc.problems import DataError, Problem, Problems
from megc.scoring.interval_files import write_intervals
from megc.scoring.str_metrics import SpottedInterval
from megc.spotting.settings import SpotExpressionsSettings
from megc.spotting.spotters import (
    RECORD_NAME,
    Refiner,
    Spotter,
    SpottingVideo,
    check_settings,
    load_spotter,
    needs_of,
    read_spotter_record,
    read_spotter_settings,
    train_spotter,
)
from megc.spotting.timeline import draw_timeline, timeline_content

# What spotters need of a video (their NEEDS): module and function that measure it, and the settings it takes.
MEASUREMENTS: dict[str, tuple[str, str, Any]] = {
    "region_flow": ("region_flow_files", "extract_video", RegionFlowSettings()),
    "face_crops": ("face_crops", "crop_video", FaceCropSettings(size=64)),  # as train/windows.yaml reads them
    "flow_maps": ("flow_map_files", "map_video", FlowMapSettings()),
}
DRAWN = "region_flow"  # the timeline shows it
UNTRAINED = {"flow": {"fit": False}}  # the default spotter: published settings, nothing learnt
_FIX = "what is there was measured and spotted on; copy the video again, or use --skip-bad"
_FIX_TABLE = "mend the videos named above, or leave them out of the file"


@dataclass(frozen=True)
class SpotterChain:
    """A spotter and the refiners that its intervals go through, in order; `needs` are the measurements of all."""

    name: str
    spotter: Spotter
    refiners: tuple[Refiner, ...]
    needs: tuple[str, ...]

    def spot(self, video: SpottingVideo) -> list[SpottedInterval]:
        """Intervals of a video, in order of onset. Raises DataError where a measurement is missing."""
        intervals = self.spotter.spot(video)
        for refiner in self.refiners:
            intervals = refiner.refine(video, intervals)
        return sorted(intervals, key=lambda interval: (interval.onset, interval.offset))


def load_chain(folders: Sequence[Path]) -> SpotterChain:
    """The chain of a spotter's folder and its refiners'.

    Raises DataError for a folder that is not whole, for a refiner that comes first, and for a second spotter.
    """
    parts = [load_spotter(folder) for folder in folders]
    records = [read_spotter_record(folder) for folder in folders]
    kinds = [record.kind for record in records]
    for number, (part, folder, kind) in enumerate(zip(parts, folders, kinds, strict=True)):
        if number == 0 and not hasattr(part, "spot"):
            raise DataError(
                folder / RECORD_NAME, None, f"{kind} refines intervals, it finds none", "name a spotter first"
            )
        if number > 0 and not hasattr(part, "refine"):
            fix = "give one spotter, and refiners behind it"
            raise DataError(folder / RECORD_NAME, None, f"{kind} is a spotter, and refines nothing", fix)
    settings = [read_spotter_settings(folder) for folder in folders]
    needs = dict.fromkeys(
        need for kind, values in zip(kinds, settings, strict=True) for need in needs_of(kind, values)
    )
    return SpotterChain(" + ".join(kinds), parts[0], tuple(parts[1:]), tuple(needs))


def untrained_spotter(out: Path) -> Path:
    """Folder below `out` of the default spotter, which is written where it is missing."""
    (kind, values), *_ = UNTRAINED.items()
    folder = out / f"{kind}_spotter"
    if not (folder / RECORD_NAME).is_file():
        train_spotter(kind, check_settings(kind, values, folder), [], folder)
    return folder


def measure_video(need: str, item: SpottingVideo) -> MeasuredVideo:
    """Measure one of MEASUREMENTS of a video, unless it is there already, or its frames are not at hand any more."""
    if not item.video.frames:
        return MeasuredVideo("kept")
    module, function, settings = MEASUREMENTS[need]
    measure = getattr(importlib.import_module(f"megc.motion.{module}"), function)
    return measure(item.video, item.videos_file, item.inputs / need, settings)


def measure_inputs(
    videos: Sequence[SpottingVideo], needs: Sequence[str], workers: int, problems: Problems
) -> list[SpottingVideo]:
    """Measure what is `needed` of each video and not measured yet; returns the videos that have all of it.

    Videos that fail or end early go to `problems`; of those that end early, what was measured counts.
    """
    left = list(videos)
    for need in needs:
        if need not in MEASUREMENTS:
            raise ValueError(f"no program measures {need!r}, which the spotter needs")
        names = [item.video.id for item in left]
        results = run_on_clips(partial(measure_video, need), left, names, problems, workers, need)
        for name, result in zip(names, results, strict=True):
            for fault in result.faults if result else ():
                problems.add(Problem(need, name, fault, _FIX))
        left = [item for item, result in zip(left, results, strict=True) if result]
    return left


def measure_missing(videos: Sequence[SpottingVideo], needs: Sequence[str], workers: int, problems: Problems) -> None:
    """`measure_inputs` of those videos that lack one of the `needs`; what is there stays as it is.

    Raises DataError for a video of which something cannot be measured: a table needs all of them.
    """
    for need in needs:
        missing = [
            item for item in videos if not resolve_inside(item.inputs / need, f"{item.video.id}.json").is_file()
        ]
        if missing and len(measure_inputs(missing, (need,), workers, problems)) < len(missing):
            raise DataError(missing[0].videos_file, None, f"{need} of some videos could not be measured", _FIX_TABLE)


def spot_videos(
    videos: Sequence[SpottingVideo], chain: SpotterChain, problems: Problems
) -> dict[str, list[SpottedInterval]]:
    """Intervals by the id of the video, with a progress bar; videos that cannot be spotted in go to `problems`."""
    spotted = {}
    for item in tqdm(videos, desc=f"spotting, {chain.name}", unit="video", mininterval=0.5):
        with problems.collect():
            spotted[item.video.id] = chain.spot(item)
    return spotted


def _videos_to_spot(settings: SpotExpressionsSettings, problems: Problems) -> dict[str, SpottingVideo]:
    """The videos by the name of their folder below --out: the id of an annotated one, else the name of the file."""
    inputs = settings.inputs or settings.out / "inputs"
    if not settings.source:
        items = [SpottingVideo(video, settings.videos, inputs) for video in read_videos(settings.videos)]
        return {item.video.id: item for item in items}
    clips, videos_file = clips_of_sources(list(settings.source), settings.fps, problems)
    names = [Video(c.id, c.dataset, c.subject, c.name, c.fps, c.frames, length=c.offset) for c in clips]
    return {video.name: SpottingVideo(video, videos_file, inputs) for video in names}


def write_spotted(
    name: str, item: SpottingVideo, intervals: Sequence[SpottedInterval], out: Path, spotter: str, timeline: bool
) -> None:
    """Write `<out>/<name>/spotted.csv` of a video and, where wanted, its `timeline.png`."""
    folder = resolve_inside(out, name)
    write_intervals(folder / "spotted.csv", [item.video], {item.video.id: intervals})
    if timeline:
        write_bytes(folder / "timeline.png", draw_timeline(timeline_content(item, intervals, spotter)))


def spot_expressions(settings: SpotExpressionsSettings, problems: Problems) -> str:
    """Spot in videos and write `spotted.csv` of each and of all, with timelines; returns a summary."""
    items = _videos_to_spot(settings, problems)
    chain = load_chain(settings.spotter or (untrained_spotter(settings.out),))
    needs = dict.fromkeys((*chain.needs, DRAWN)) if settings.timeline else chain.needs
    with lock_folder(settings.out, "spotting"):
        measured = measure_inputs(list(items.values()), tuple(needs), settings.workers, problems)
        spotted = spot_videos(measured, chain, problems)
        done = {name: item for name, item in items.items() if item.video.id in spotted}
        for name, item in tqdm(done.items(), desc="timelines", unit="video", disable=not settings.timeline):
            with problems.collect():
                write_spotted(name, item, spotted[item.video.id], settings.out, chain.name, settings.timeline)
        write_intervals(settings.out / "spotted.csv", [item.video for item in done.values()], spotted)
    lines = []
    for name, item in done.items():
        kinds = [interval.type for interval in spotted[item.video.id]]
        lines.append(f"{name}: {kinds.count('micro')} micro, {kinds.count('macro')} macro")
    lines = lines if len(lines) <= 20 else [*lines[:20], f"… and {len(lines) - 20} more"]
    count = len(settings.source) or len(items)
    lines.append(f"{len(done)} of {count} videos, by {chain.name}; in {settings.out / 'spotted.csv'}")
    return "\n".join(lines)
