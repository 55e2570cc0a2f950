"""A small data folder in the pipeline's layout: clips.jsonl, key frames and flow pictures of made-up clips."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from megc.clips import Clip, write_clips
from megc.facs import ActionUnit
from megc.problems import Problems
from megc.vqa.build import build_files
from megc.vqa.instructions import read_records
from megc.vqa.settings import BuildSettings


def make_clips(subjects: int = 6) -> list[Clip]:
    """Two clips a subject, alternating between two datasets' forms."""
    clips = []
    for n in range(1, subjects + 1):
        for take in (1, 2):
            dataset, subject, name = (
                ("casme2", f"sub{n:02d}", f"EP0{take}_01") if n % 2 else ("samm", f"{n:03d}", f"{n:03d}_{take}_1")
            )
            happy = take == 1
            units = (ActionUnit(12, "left" if n % 3 else None),) if happy else (ActionUnit(4), ActionUnit(7))
            fine = "happiness" if happy else ("disgust" if n % 2 else "anger")
            clips.append(
                Clip(
                    id=f"{dataset}/{subject}/{name}",
                    dataset=dataset,
                    subject=subject,
                    name=name,
                    fps=200.0,
                    frames="",
                    onset=1,
                    apex=5,
                    offset=9,
                    action_units=units,
                    fine=fine,
                    coarse="positive" if happy else "negative",
                )
            )
    return clips


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small data folder: clips.jsonl and pictures in the pipeline's layout."""
    clips = make_clips()
    write_clips(tmp_path / "clips.jsonl", clips)
    picture = Image.fromarray(np.zeros((56, 56, 3), np.uint8))
    for clip in clips:
        (tmp_path / "frames" / clip.id).mkdir(parents=True)
        for name in ("onset", "apex", "offset"):
            picture.save(tmp_path / "frames" / clip.id / f"{name}.png")
        (tmp_path / "flow" / clip.id).parent.mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / "flow" / f"{clip.id}.png")
    return tmp_path


def build(data: Path, **settings: object) -> tuple[list[dict], Problems]:
    problems = Problems()
    chosen = {"clips": data / "clips.jsonl", "out": data / "instructions.jsonl", **settings}
    build_files(BuildSettings(**chosen), problems)
    return read_records(data / "instructions.jsonl"), problems
