"""Flow maps with known motion, on disk as data_process/extract_flow_maps.py writes them, without a picture.

Each video has a macro-expression of the mouth and a micro-expression of the brows; emotions differ in direction.
"""

import json
from pathlib import Path

import numpy as np

from megc.clips import Event, Video, write_videos
from megc.motion.flow_maps import SIZE
from megc.spotting.spotters import SpottingVideo

RATE = 30.0
DIRECTIONS = {"negative": (0, 1), "positive": (0, -1), "surprise": (1, 0)}


def write_maps(inputs: Path, video: Video, maps: np.ndarray, numbers: np.ndarray, segments: np.ndarray) -> None:
    """The `.npy`, `.npz` and `.json` of a video below `inputs/flow_maps`."""
    path = inputs / "flow_maps" / f"{video.id}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    count = len(maps)
    np.save(path, maps.astype(np.float16))
    ends = np.stack([maps.min(axis=(1, 2)), maps.max(axis=(1, 2))], axis=2)  # (frames, 3, 2)
    np.savez(
        path.with_suffix(".npz"),
        frame_numbers=numbers,
        times=(numbers - 1) / video.fps,
        segments=segments.astype(np.int32),
        nose=np.zeros((count, 3), np.float32),
        ranges=np.repeat(ends[:, None], 2, axis=1).astype(np.float32),
        placements=np.zeros(count, np.int32),
        eyes=np.zeros((1, SIZE, SIZE), bool),
    )
    record = {"key": "test", "video": video.id, "fps": video.fps, "face_width": 236.0, "frames": count}
    record |= {"channels": ["u", "v", "strain"], "measured": int((segments >= 0).sum()), "placements": 1}
    record |= {"segments": int(segments.max()) + 1, "settings": {}, "faults": [], "warnings": []}
    path.with_suffix(".json").write_text(json.dumps(record))


def write_map_set(folder: Path, subjects: int = 3, seconds: float = 12.0) -> list[SpottingVideo]:
    """Write `videos.jsonl` and the maps of a video of each subject of `slow` (30 fps) and `fast` (200 fps)."""
    videos = []
    for dataset, fps in (("slow", 30.0), ("fast", 210.0)):
        for number in range(subjects):
            rng = np.random.default_rng([number, int(fps)])
            numbers = np.arange(0, int(seconds * fps), round(fps / RATE)) + 1
            times = (numbers - 1) / fps
            maps = rng.normal(0, 0.05, (len(numbers), SIZE, SIZE, 3))
            maps[..., 2] = np.abs(maps[..., 2]) * 0.1
            emotion = list(DIRECTIONS)[number % 3]
            events = []
            for kind, start, length, rows in (("macro", 2.0, 1.2, slice(24, 38)), ("micro", 7.0, 0.4, slice(4, 16))):
                onset = start + rng.random()
                # motion over a tenth of a second: forth until the middle, back after it
                rate = np.where(
                    (times >= onset - 0.1) & (times <= onset + length), np.cos((times - onset) / length * np.pi), 0
                )
                for channel, part in enumerate(DIRECTIONS[emotion]):
                    maps[:, rows, 10:32, channel] += 1.5 * part * rate[:, None, None]
                maps[:, rows, 10:32, 2] += 0.05 * np.abs(rate)[:, None, None]
                ends = [round(moment * fps) + 1 for moment in (onset, onset + length / 2, onset + length)]
                events.append(Event(*ends, kind, emotion))
            segments = np.zeros(len(numbers), int)
            segments[-3:] = -1
            maps[-3:] = 0
            name = f"s{number}"
            video = Video(f"{dataset}/{name}/a", dataset, name, "a", fps, "", int(seconds * fps), tuple(events))
            write_maps(folder, video, maps, numbers, segments)
            videos.append(video)
    write_videos(folder / "videos.jsonl", videos)
    return [SpottingVideo(video, folder / "videos.jsonl", folder) for video in videos]
