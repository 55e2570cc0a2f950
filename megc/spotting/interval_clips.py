"""Intervals of long videos as clips, so that key frames, flow pictures and questions are made of them as of any clip.

An interval is labelled by the event that it overlaps most: with an IoU of .5 or more it is that event, below
`FALSE_ALARM` it is no expression. What is between is neither, and nothing is learnt from it.
"""

import os
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from megc.clips import Clip, Event, IntervalType, write_clips
from megc.facs import FINE_TO_COARSE
from megc.motion.apex import LEAST_CALM, STRONGEST
from megc.motion.region_stream import RegionFlow
from megc.problems import DataError, Problems
from megc.scoring.interval_files import VideoIndex, read_run
from megc.scoring.interval_matching import LEAST_IOU, interval_ious
from megc.scoring.str_metrics import SpottedInterval, ends_of
from megc.spotting.settings import IndexIntervalsSettings
from megc.spotting.spotters import SpottingVideo, read_spotting_videos
from megc.vqa.clip_pictures import link_into

FALSE_ALARM = 0.2  # IoU with every event below which an interval is no expression
FARTHEST = 0.3  # of an event's length: how far a jittered end lies from the annotated one
LINK = "videos"  # beside clips.jsonl, to the folder of the videos
_TRIES = 50  # draws of a jittered interval


def peak_frame(flow: RegionFlow, onset: int, offset: int) -> int | None:
    """The measured frame behind `onset`, up to `offset`, in which the face has moved most since the onset.

    As in `apex.expression_strength`: less the straight line from the first to the last frame, the mean of the regions
    that move most over the interval, blinks apart. None where fewer than two frames with a face were measured.
    """
    seen = np.isfinite(flow.flow).all(axis=(1, 2))
    inside = np.flatnonzero((flow.frame_numbers >= onset) & (flow.frame_numbers <= offset) & seen)
    if len(inside) < 2:
        return None
    motion = flow.flow[inside] - flow.flow[inside[0]]  # (frames, regions, 2), pixels
    motion = motion - np.linspace(0, 1, len(inside))[:, None, None] * motion[-1]
    length = np.linalg.norm(motion, axis=2)
    calm = ~flow.blink[inside]
    if calm.mean() < LEAST_CALM:
        calm[:] = True
    regions = np.argsort((length[calm] ** 2).mean(axis=0))[-STRONGEST:]
    return int(flow.frame_numbers[inside[1:]][length[1:, regions].mean(axis=1).argmax()])


def clip_of_interval(
    item: SpottingVideo, interval: SpottedInterval, kind: IntervalType, event: Event | None, peak: int | None
) -> Clip:
    """The clip `dataset/subject/video_onset_offset` of an interval, with the labels of its event.

    `kind` is what the interval holds, as far as that is known. Without a `peak` the apex is to be spotted when the key
    frames are cut. The path of the frames is relative to the file of videos (see `place_clips`).
    """
    video = item.video
    onset = max(1, round(interval.onset))
    offset = max(onset + 1, round(interval.offset))
    if video.length:
        offset = min(offset, video.length)
    name = f"{video.name}_{onset}_{offset}"
    emotion = event.emotion if event else ""
    return Clip(
        id=f"{video.dataset}/{video.subject}/{name}",
        dataset=video.dataset,
        subject=video.subject,
        name=name,
        fps=video.fps,
        frames=video.frames,
        onset=onset,
        apex=peak if peak is not None else (onset + offset) // 2,
        offset=offset,
        apex_estimated=peak is None,
        action_units=event.action_units if event else (),
        fine=emotion if emotion in (*FINE_TO_COARSE, "others") else "",
        coarse=event.coarse if event else "",
        type=kind,
    )


def label_interval(events: Sequence[Event], interval: SpottedInterval) -> tuple[IntervalType, Event | None]:
    """What an interval holds: the type of its event and the event, `none`, or empty for what is between."""
    if not events:
        return "none", None
    ious = interval_ious(ends_of([interval]), ends_of(events))[0]
    best = int(ious.argmax())
    if ious[best] >= LEAST_IOU:
        return events[best].type, events[best]
    return ("none" if ious[best] < FALSE_ALARM else ""), None


def jittered_interval(event: Event, draw: random.Random, length: int | None) -> SpottedInterval:
    """An interval whose ends lie up to `FARTHEST` of the event's length from the event's, of an IoU of .5 or more."""
    for _ in range(_TRIES):
        reach = FARTHEST * (event.offset - event.onset)
        onset, offset = (round(end + draw.uniform(-reach, reach)) for end in (event.onset, event.offset))
        jittered = SpottedInterval(max(1, onset), min(offset, length or offset), event.type)
        iou = interval_ious(ends_of([jittered]), ends_of([event]))[0, 0]
        if LEAST_IOU <= iou < 1:
            return jittered
    return SpottedInterval(event.onset, event.offset, event.type)  # of a frame or two, which no other one overlaps


def training_clips(
    item: SpottingVideo, proposals: Iterable[SpottedInterval], flow: RegionFlow | None, jitter: int, seed: int
) -> list[Clip]:
    """Labelled clips of a video: each event, `jitter` copies of it with other ends, and the proposals.

    Proposals that hit an event are labelled as it is; those that neither hit nor miss (see `label_interval`) are left
    out. The draws depend on `seed` and the video alone.
    """
    draw = random.Random(f"{seed}:{item.video.id}")
    intervals = []
    for event in item.video.events:
        intervals.append(SpottedInterval(event.onset, event.offset, event.type))
        intervals += [jittered_interval(event, draw, item.video.length) for _ in range(jitter)]
    clips: dict[str, Clip] = {}
    for interval in (*intervals, *proposals):
        kind, event = label_interval(item.video.events, interval)
        if kind:
            clip = _cut(item, interval, flow, kind, event)
            clips.setdefault(clip.id, clip)
    return list(clips.values())


def _cut(
    item: SpottingVideo,
    interval: SpottedInterval,
    flow: RegionFlow | None,
    kind: IntervalType = "",
    event: Event | None = None,
) -> Clip:
    """The clip of an interval, its apex at the peak of the region flow, where there is one."""
    peak = peak_frame(flow, round(interval.onset), round(interval.offset)) if flow else None
    return clip_of_interval(item, interval, kind, event, peak)


def clips_to_answer(item: SpottingVideo, intervals: Iterable[SpottedInterval], flow: RegionFlow | None) -> list[Clip]:
    """Clips of spotted intervals, without labels, in their order: events are not looked at."""
    return [_cut(item, interval, flow) for interval in intervals]


def place_clips(root: Path, clips: Iterable[Clip], videos_file: Path) -> list[Clip]:
    """The clips with paths of frames relative to the folder `root`, where a link to the videos is made if need be."""
    root.mkdir(parents=True, exist_ok=True)
    folder = os.path.relpath(link_into(root, videos_file.parent, LINK), root)
    return [
        replace(clip, frames=Path(os.path.normpath(f"{folder}/{clip.frames}")).as_posix()) if clip.frames else clip
        for clip in clips
    ]


def index_intervals(settings: IndexIntervalsSettings, problems: Problems) -> str:
    """Write `clips.jsonl` of labelled intervals, to train on; returns a summary.

    Rows of proposals that are no interval of a video go to `problems`. Raises DataError for videos, or region flow,
    that cannot be read, and where no interval is left.
    """
    videos = read_spotting_videos(settings.videos, settings.inputs or settings.videos.parent)
    index = VideoIndex(item.video for item in videos)
    runs = [read_run(path, index, problems) for path in settings.proposals]
    clips = []
    for item in tqdm(videos, "videos", unit="video", disable=None):
        proposals = [interval for run in runs for interval in run.predictions.get(item.video.id, ())]
        flow = item.region_flow() if settings.inputs else None
        clips += training_clips(item, proposals, flow, settings.jitter, settings.seed)
    if not clips:
        raise DataError(settings.videos, None, "no event and no proposal", "give annotated videos, or --proposals")
    write_clips(settings.out, place_clips(settings.out.parent, clips, settings.videos))
    counts = Counter(clip.type for clip in clips)
    listed = ", ".join(f"{counts[kind]} {kind}" for kind in ("micro", "macro", "none"))
    return f"{settings.out}: {len(clips)} intervals of {len(videos)} videos ({listed})"
