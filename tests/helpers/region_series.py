"""Region-flow series with known motion, on disk as data_process/extract_region_flow.py writes them, without a picture.

`write_motion_set` is a small set to train spotters on: several subjects at 30 and 200 fps, each video with a macro-
and a micro-expression of the brows or the mouth, a blink, and a slow turn of the head.
"""

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from megc.clips import Event, Video, write_videos
from megc.motion.region_stream import RegionFlow, sample_frames
from megc.motion.regions import SPOTTING_REGIONS
from megc.spotting.spotters import SpottingVideo

NAMES = list(SPOTTING_REGIONS)
BROWS = [index for index, name in enumerate(NAMES) if "brow" in name]
MOUTH = [index for index, name in enumerate(NAMES) if "mouth" in name]
LIDS = [index for index, name in enumerate(NAMES) if "eye" in name]


def hill(times: np.ndarray, onset: float, offset: float, height: float) -> np.ndarray:
    """A motion that begins and ends at rest: a raised cosine over the seconds from onset to offset."""
    share = np.clip((times - onset) / (offset - onset), 0, 1)
    return height * (1 - np.cos(2 * np.pi * share)) / 2


def make_flow(
    times: np.ndarray,
    moves: Sequence[tuple[list[int], tuple[float, float], tuple[float, float]]],
    blinks: Sequence[tuple[float, float]] = (),
    noise: float = 0.05,
    seed: int = 0,
) -> RegionFlow:
    """A series at `times`: `moves` are regions, the peak vector in pixels, and onset and offset in seconds; in a blink
    the lids take the brows with them."""
    rng = np.random.default_rng(seed)
    flow = rng.normal(0, noise, (len(times), len(NAMES), 2))
    blink = np.zeros(len(times), bool)
    for regions, vector, (onset, offset) in moves:
        flow[:, regions] += hill(times, onset, offset, 1)[:, None, None] * np.array(vector)
    for onset, offset in blinks:
        flow[:, [*BROWS, *LIDS], 1] += hill(times, onset, offset, 3.0)[:, None]
        blink |= (times >= onset) & (times <= offset)
    numbers = np.arange(1, len(times) + 1)
    whole = np.zeros(len(times), np.int32)
    return RegionFlow(flow.astype(np.float32), numbers, times, blink, whole, np.ones(len(times), np.int64))


def write_series(inputs: Path, video: Video, flow: RegionFlow) -> None:
    """The `.npz` and `.json` of a video below `inputs/region_flow`."""
    path = inputs / "region_flow" / f"{video.id}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{field.name: getattr(flow, field.name) for field in fields(flow)})
    record = {"key": "test", "video": video.id, "fps": video.fps, "face_width": 236.0, "spotter_scale": 0.9467}
    record |= {"regions": NAMES, "frames": len(flow.times), "measured": int((flow.segments >= 0).sum())}
    record |= {"segments": int(flow.segments.max()) + 1, "settings": {}, "faults": [], "warnings": []}
    path.with_suffix(".json").write_text(json.dumps(record))


def write_motion_set(folder: Path, subjects: int = 4, seconds: float = 16.0) -> list[SpottingVideo]:
    """Write `videos.jsonl` and the series of a video of each subject of `slow` (30 fps) and `fast` (200 fps)."""
    videos = []
    for dataset, fps in (("slow", 30.0), ("fast", 200.0)):
        for number in range(subjects):
            rng = np.random.default_rng([number, int(fps)])
            times = np.arange(int(seconds * fps)) / fps
            macro, micro, turn, blink = 2 + rng.random(), 6 + rng.random(), 9 + rng.random(), 14 + rng.random()
            moves = [
                (MOUTH, (2.0, -5.0), (macro, macro + 1.2)),
                (BROWS, (0.0, -3.0), (micro, micro + 0.33)),
                (list(range(18)), (0.5, 0.3), (turn, turn + 4)),
            ]
            flow = make_flow(times, moves, [(blink, blink + 0.3)], seed=number)
            kept = sample_frames(times, 30.0)
            flow = RegionFlow(**{field.name: getattr(flow, field.name)[kept] for field in fields(flow)})
            spans = [("macro", macro, macro + 1.2), ("micro", micro, micro + 0.33)]
            events = [Event(round(a * fps) + 1, None, round(b * fps) + 1, kind) for kind, a, b in spans]
            name = f"s{number}"
            video = Video(f"{dataset}/{name}/a", dataset, name, "a", fps, "", len(times), tuple(events))
            write_series(folder, video, flow)
            videos.append(video)
    write_videos(folder / "videos.jsonl", videos)
    return [SpottingVideo(video, folder / "videos.jsonl", folder) for video in videos]
