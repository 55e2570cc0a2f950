"""Short videos with the region flow of lips that move, as data_process/extract_region_flow.py writes it."""

import io
import json
from pathlib import Path

import numpy as np

from megc.clips import Event, Video
from megc.facs import ActionUnit
from megc.motion.regions import SPOTTING_REGIONS
from megc.spotting.spotters import SpottingVideo

FPS, LENGTH = 30, 360


def write_flow(inputs: Path, video: Video) -> None:
    """Noise, and in each event the mouth's regions go up by three pixels and back."""
    rng = np.random.default_rng(len(video.id) + ord(video.id[-1]))
    flow = rng.normal(0, 0.05, (LENGTH, len(SPOTTING_REGIONS), 2)).astype(np.float32)
    for event in video.events:
        rows = np.arange(event.onset - 1, event.offset)
        flow[rows, 8:14, 1] -= 3 * np.sin(np.linspace(0, np.pi, len(rows)))[:, None]
    arrays = {"flow": flow, "frame_numbers": np.arange(1, LENGTH + 1), "times": np.arange(LENGTH) / FPS}
    arrays |= {"blink": np.zeros(LENGTH, bool), "segments": np.zeros(LENGTH, int), "references": np.zeros(LENGTH, int)}
    path = inputs / "region_flow" / f"{video.id}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    path.write_bytes(content.getvalue())
    record = {"key": "", "video": video.id, "fps": FPS, "face_width": 236.0, "spotter_scale": 1.0, "settings": {}}
    record |= {"regions": list(SPOTTING_REGIONS), "frames": LENGTH, "measured": LENGTH, "segments": 1}
    path.with_suffix(".json").write_text(json.dumps(record | {"faults": [], "warnings": []}))


def region_videos(folder: Path) -> list[SpottingVideo]:
    """Four short videos of two subjects, each with a micro- and a macro-expression."""
    smile = (ActionUnit(12, None),)
    items = []
    for subject in ("s1", "s2"):
        for name in ("a", "b"):
            shift = 40 * (name == "b")
            events = (
                Event(60 + shift, None, 70 + shift, "micro", "happiness", smile),
                Event(180 + shift, None, 220 + shift, "macro", "", smile),
            )
            video = Video(f"demo/{subject}/{name}", "demo", subject, name, FPS, length=LENGTH, events=events)
            write_flow(folder / "inputs", video)
            items.append(SpottingVideo(video, folder / "videos.jsonl", folder / "inputs"))
    return items
