"""Face crops of long videos: they follow the head without a jump, are what their record says, and survive bad data."""

import json
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from motion_scenes import pose, render, tree, write_clip
from PIL import Image

from megc.clips import Video, write_videos
from megc.motion.crop import CROP_WIDTH, align_transform, crop_frame, transform_points
from megc.motion.face_crops import extract_face_crops, read_face_crops
from megc.motion.faces import FaceFinder
from megc.motion.flow import optical_flow, to_grey
from megc.motion.settings import ExtractFaceCropsSettings, FaceCropSettings
from megc.problems import DataError, Problems

ROOT = Path(__file__).parents[2]
NAME = "demo/s1/a"


def write_long(root: Path, names: list[str], images: list[np.ndarray], fps: float = 30.0) -> Path:
    for name in names:
        write_clip(root, name, images)
    videos = [Video(f"demo/s1/{name}", "demo", "s1", name, fps, f"clips/{name}") for name in names]
    write_videos(root / "videos.jsonl", videos)
    return root / "videos.jsonl"


def extract(videos: Path, out: str = "face_crops", size: int = 96, more: dict | None = None, **crops) -> tuple:
    problems = Problems()
    settings = ExtractFaceCropsSettings(
        videos=videos, out=videos.parent / out, face_crops=FaceCropSettings(size=size, **crops), **more or {}
    )
    return extract_face_crops(settings, problems), problems


@pytest.fixture(scope="module")
def still() -> list[np.ndarray]:
    return [render(0, noise=1.5, seed=step) for step in range(6)]


def test_the_first_crop_is_the_square_of_the_aligned_one(tmp_path: Path, still: list[np.ndarray]) -> None:
    videos = write_long(tmp_path, ["a"], still)
    extract(videos, size=CROP_WIDTH)
    crops, record = read_face_crops(tmp_path / "face_crops", NAME)
    transform = align_transform(FaceFinder().find(still[0], "portrait").landmarks)
    square = crop_frame(to_grey(still[0]), transform)[56:].astype(int)
    assert np.abs(crops.pixels[0] - square).max() <= 1, "transforms are rounded otherwise"
    assert (record.recipe.size, record.measured, record.segments) == (CROP_WIDTH, 6, 1)
    assert isinstance(crops.pixels, np.memmap) and crops.frame_numbers.tolist() == list(range(9, 15))
    # a smaller one shows the same, smaller
    extract(videos, "small", size=70)
    small = read_face_crops(tmp_path / "small", NAME)[0].pixels[0].astype(float)
    shrunk = cv2.resize(crops.pixels[0], (70, 70), interpolation=cv2.INTER_AREA).astype(float)
    assert np.abs(small - shrunk).mean() < 2 and np.abs(small - shrunk[::-1]).mean() > 20


def test_crops_follow_a_head_that_drifts_turns_and_jumps_over_several_references(tmp_path: Path) -> None:
    heads = [pose(0.5 * step + 9 * (step > 12), 0.2 * step, 0.1 * step, 1 + 0.002 * step) for step in range(20)]
    images = [render(0, head, noise=1.5, seed=step) for step, head in enumerate(heads)]
    videos = write_long(tmp_path, ["a"], images, fps=10.0)
    extract(videos, size=CROP_WIDTH, window=1.0)
    pixels = np.asarray(read_face_crops(tmp_path / "face_crops", NAME)[0].pixels)
    face = (slice(60, 220), slice(70, 210))
    for last, step in pairwise(pixels):
        moved = optical_flow(last, step)[face]
        assert np.abs(np.median(moved, axis=(0, 1))).max() < 0.3, "no jump, also where landmarks are looked for again"
    assert np.abs(np.median(optical_flow(pixels[0], pixels[-1])[face], axis=(0, 1))).max() < 1.5
    landmarks = FaceFinder().find(images[0], "portrait").landmarks
    followed = transform_points(landmarks, heads[-1]) - transform_points(landmarks, heads[0])
    assert np.abs(followed).max(axis=1).min() > 10, "what they follow is larger by far"


def test_a_frame_without_a_face_is_black_and_marked(tmp_path: Path, still: list[np.ndarray]) -> None:
    wall = np.random.default_rng(3).integers(0, 255, still[0].shape, np.uint8)
    videos = write_long(tmp_path, ["a"], [*still, *[wall] * 3, *still], fps=5.0)
    (tmp_path / "clips/a/img11.png").write_bytes(b"\x89PNG broken")
    summary, problems = extract(videos, size=32)
    assert "1 with faults" in summary and problems.exit_code() == 1 and "img11.png" in str(next(iter(problems)))
    crops, record = read_face_crops(tmp_path / "face_crops", NAME)
    assert crops.pixels.shape == (15, 32, 32) and record.frames == 15
    absent = crops.segments < 0
    assert absent[[2, 6, 7, 8]].all() and not absent[[0, 1, 3, 14]].any() and crops.segments[-1] == 1
    assert not crops.pixels[absent].any() and (crops.pixels[~absent].std(axis=(1, 2)) > 10).all()


def test_colour_is_kept_where_it_is_chosen(tmp_path: Path, still: list[np.ndarray]) -> None:
    videos = write_long(tmp_path, ["a"], still[:2])
    extract(videos, "grey", size=40)
    extract(videos, "rgb", size=40, colour=True)
    grey, colour = (np.asarray(read_face_crops(tmp_path / name, NAME)[0].pixels) for name in ("grey", "rgb"))
    assert colour.shape == (2, 40, 40, 3)
    assert np.abs(np.stack([to_grey(image) for image in colour]).astype(int) - grey).max() <= 2


def test_an_early_end_cuts_the_file_and_other_settings_begin_again(tmp_path: Path, still: list[np.ndarray]) -> None:
    half = cv2.resize(still[0], None, fx=0.5, fy=0.5)
    videos = write_long(tmp_path, ["a"], [*still[:4], half])
    _, problems = extract(videos, size=32)
    assert "measured up to 4 of 5 frames" in str(next(iter(problems)))
    assert read_face_crops(tmp_path / "face_crops", NAME)[0].pixels.shape == (4, 32, 32)
    assert extract(videos, size=32)[0].startswith("0 done, 1 kept")
    assert extract(videos, size=48)[0].startswith("1 done")
    record = tmp_path / "face_crops" / f"{NAME}.json"
    whole = record.read_text()
    record.write_text(json.dumps({**json.loads(whole), "frames": 5}))
    with pytest.raises(DataError, match=r"frame_numbers is int64 \(4,\), not int or uint \(5,\)"):
        read_face_crops(tmp_path / "face_crops", NAME)
    record.write_text(whole.replace('"size": 48', '"size": 47'))
    with pytest.raises(DataError, match=r"recipe\.size .* is uint8 \(4, 48, 48\), not uint \(4, 47, 47\)"):
        read_face_crops(tmp_path / "face_crops", NAME)
    record.write_text(whole)
    record.with_suffix(".npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=r"cannot be read.*extract_face_crops\.py again"):
        read_face_crops(tmp_path / "face_crops", NAME)


def test_processes_shards_and_kills_end_in_the_same_bytes(tmp_path: Path, still: list[np.ndarray]) -> None:
    videos = write_long(tmp_path, ["a", "b"], still)
    extract(videos, size=32)
    extract(videos, "shards", size=32, more={"shard": "1/2"})
    extract(videos, "shards", size=32, more={"shard": "2/2"})
    command = [sys.executable, str(ROOT / "data_process/extract_face_crops.py"), "--videos", str(videos)]
    killed = tmp_path / "killed"
    run = subprocess.Popen([*command, "--size", "32", "--out", str(killed)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (killed / "demo/s1/.a.npy.part").exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not (killed / "demo/s1/a.json").exists()
    assert extract(videos, "killed", size=32, more={"workers": 2})[0].startswith("2 done")
    whole = {name.split("/", 1)[1]: data for name, data in tree(tmp_path / "face_crops").items()}
    for other in ("shards", "killed"):
        assert {name.split("/", 1)[1]: data for name, data in tree(tmp_path / other).items()} == whole


def test_a_video_without_a_face_leaves_nothing(tmp_path: Path) -> None:
    videos = write_long(tmp_path, ["a"], [np.full((120, 160, 3), 90, np.uint8)] * 3)
    for path in (tmp_path / "clips/a").iterdir():
        Image.fromarray(np.full((120, 160), 90, np.uint8)).save(path)
    summary, problems = extract(videos)
    assert "0 done, 0 kept, 1 failed" in summary and problems.exit_code() == 1
    assert [path for path in (tmp_path / "face_crops").rglob("*") if path.is_file()] == []
