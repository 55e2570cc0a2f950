"""Motion of regions over a video: its truth on known scenes, gaps and faults, and the files of several videos."""

import gc
import json
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from motion_scenes import EYES, LIP_CORNERS, STILL, amplitudes, bump, portrait, pose, tree, write_clip
from PIL import Image

from megc.clips import Event, Video, write_videos
from megc.motion.crop import align_transform
from megc.motion.faces import FaceFinder
from megc.motion.frames import open_frames
from megc.motion.region_flow_files import extract_region_flow, read_region_flow
from megc.motion.region_stream import RegionFlow, mark_blinks, measure_video, sample_frames
from megc.motion.regions import SPOTTING_REGIONS, spotting_boxes, strongest_means
from megc.motion.settings import ExtractRegionFlowSettings, RegionFlowSettings
from megc.problems import DataError, Problems

ROOT = Path(__file__).parents[2]
NAMES = list(SPOTTING_REGIONS)
CORNER = NAMES.index("mouth, left corner")
FAR = [index for index, name in enumerate(NAMES) if "mouth" not in name and name != "nose, left"]
SHAPE = portrait().shape[:2]
SMILE = bump(SHAPE, LIP_CORNERS[1], (2, -2), 16)  # peak of one lip corner, pixels of the frame
LIDS = sum(bump(SHAPE, eye, (0, 6), 12) for eye in EYES)


def draw(field: np.ndarray, head: np.ndarray = STILL, seed: int = 0) -> np.ndarray:
    """The portrait moved by `field` and then by the head, with noise: uint8 RGB."""
    grid = np.dstack(np.meshgrid(np.arange(SHAPE[1]), np.arange(SHAPE[0]))).astype(np.float32)
    back = cv2.invertAffineTransform(head)
    resting = (grid @ back[:, :2].T + back[:, 2]).astype(np.float32)
    moved = cv2.remap(field.astype(np.float32), resting, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    out = cv2.remap(portrait(), resting - moved, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    out = out + np.random.default_rng(seed).normal(0, 1.5, out.shape)
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def measure(images: list[np.ndarray], fps: float = 30.0, **settings) -> tuple[RegionFlow, list[str], list[str]]:
    numbers = np.arange(1, len(images) + 1)
    series = ((number, image) for number, image in zip(numbers, images, strict=True))
    return measure_video(series, numbers, (numbers - 1) / fps, RegionFlowSettings(**settings), "video")


def true_corner() -> np.ndarray:
    """Motion (2,) of the lip corner's region at the peak, in pixels of the crop, of the true field."""
    landmarks = FaceFinder().find(portrait(), "portrait").landmarks
    transform = align_transform(landmarks)
    boxes = spotting_boxes(landmarks, SHAPE)
    return transform[:, :2] @ strongest_means(SMILE, boxes)[CORNER]


HEADS: dict[str, Callable[[int], np.ndarray]] = {
    "still": lambda _: STILL,
    "drift": lambda step: pose(0.4 * step, 0.15 * step, 0.02 * step),
    "shift": lambda step: pose(7, 3) if step > 4 else STILL,
}


@pytest.mark.parametrize("head", HEADS)
def test_the_motion_of_one_region_is_measured_and_the_heads_is_not(head: str) -> None:
    """Three windows: what moves in the second is joined to the first, and is over in the third."""
    strength = np.zeros(18)
    strength[4:14] = amplitudes(10, 4, 1)
    images = [draw(value * SMILE, HEADS[head](step), step) for step, value in enumerate(strength)]
    flow, faults, warnings = measure(images, fps=5.0, window=1.0)
    assert (faults, warnings) == ([], [])
    assert len(np.unique(flow.references)) >= 3 and (flow.segments == 0).all()
    peak = int(strength.argmax())
    assert np.abs(flow.flow[peak, CORNER] - true_corner()).max() < 0.35
    assert np.linalg.norm(flow.flow[:, FAR], axis=2).max() < 0.45
    assert np.linalg.norm(flow.flow[-1], axis=1).max() < 0.45
    assert not flow.blink.any()


def test_without_compensation_the_heads_shift_is_in_every_region() -> None:
    images = [draw(0 * SMILE, HEADS["shift"](step), step) for step in range(10)]
    landmarks = FaceFinder().find(images[0], "portrait").landmarks
    expected = align_transform(landmarks)[:, :2] @ (7, 3)
    flow, _, _ = measure(images, compensate="none")
    assert np.abs(flow.flow[:5]).max() < 0.2 and np.abs(flow.flow[5:] - expected).max() < 0.4
    assert np.abs(measure(images)[0].flow).max() < 0.2


def test_a_blink_is_marked_and_nothing_else() -> None:
    lids = np.zeros(30)
    lids[14:20] = (0.5, 1, 1, 1, 0.6, 0.2)
    flow, _, _ = measure([draw(value * LIDS, STILL, step) for step, value in enumerate(lids)])
    marked = np.flatnonzero(flow.blink)
    assert set(range(14, 19)) <= set(marked) <= set(range(12, 23))
    masked, _, _ = measure([draw(value * LIDS, STILL, step) for step, value in enumerate(lids[10:18])], eye_mask=True)
    under = [index for index, name in enumerate(NAMES) if name.startswith("below")]
    assert np.abs(masked.flow[6][under]).max() <= np.abs(flow.flow[16][under]).max() + 0.05


def test_lids_that_close_slowly_are_no_blink() -> None:
    times, segments = np.arange(60) / 30, np.zeros(60, np.int32)
    eyes = np.zeros((60, 2, 2))
    eyes[:, :, 1] = np.linspace(0, 10, 60)[:, None]  # 5 pixels a second
    assert not mark_blinks(eyes, times, segments).any()
    eyes[30:, :, 1] += 20
    assert mark_blinks(eyes, times, segments).nonzero()[0].tolist() == [29, 30]


def test_a_face_that_leaves_is_a_gap_and_a_new_segment() -> None:
    wall = np.random.default_rng(3).integers(0, 255, portrait().shape, np.uint8)
    images = [draw(0 * SMILE, STILL, step) for step in range(8)]
    flow, faults, warnings = measure([*images, *[wall] * 6, *images], fps=5.0)
    gap = np.isnan(flow.flow).all(axis=(1, 2))
    assert gap[8:14].all() and not gap[:8].any() and not gap[17:].any()
    assert ((flow.segments < 0) == gap).all() and flow.segments[-1] == 1 and faults == []
    assert any("no face in" in warning for warning in warnings) and any("2 segments" in text for text in warnings)


def test_a_cut_to_another_picture_of_a_face_begins_a_segment() -> None:
    images = [draw(0 * SMILE, STILL, step) for step in range(5)]
    other = [cv2.warpAffine(image, pose(40, 60, 0, 0.7), SHAPE[::-1]) for image in images]
    flow, _, _ = measure([*images, *other])
    assert flow.segments.tolist() == [0] * 5 + [1] * 5 and np.abs(flow.flow[5]).max() == 0


def test_frames_are_released_one_by_one() -> None:
    """At no moment are more than two frames in memory, however long the video."""
    alive, most = 0, 0
    drawn = [draw(0 * SMILE, STILL, step) for step in range(3)]

    def release() -> None:
        nonlocal alive
        alive -= 1

    def images(count: int) -> Iterator[tuple[int, np.ndarray]]:
        nonlocal alive, most
        for number in range(count):
            image = drawn[number % 3].copy()
            weakref.finalize(image, release)
            alive += 1
            most = max(most, alive)
            yield number, image
            del image

    for count in (6, 18):
        alive = most = 0
        measure_video(images(count), np.arange(count), np.arange(count) / 10, RegionFlowSettings(window=0.5), "video")
        gc.collect()
        assert most <= 2 and alive == 0


@pytest.mark.parametrize(("fps", "step"), [(200, 7), (60, 2), (30, 1), (25, 1), (100, 3)])
def test_the_rate_is_met_at_any_frame_rate(fps: float, step: int) -> None:
    assert (np.diff(sample_frames(np.arange(400) / fps, 30)) == step).all()


def test_sampling_follows_times_over_a_gap() -> None:
    times = np.array([0, 0.005, 0.01, 0.2, 0.205, 0.21, 0.215, 0.22, 0.225, 0.23, 0.235])
    assert sample_frames(times, 30).tolist() == [0, 3, 10]
    assert sample_frames(times, 0).tolist() == list(range(11))


# --- files of several videos


@pytest.fixture(scope="module")
def smiles() -> list[np.ndarray]:
    return [draw(value * SMILE, STILL, step) for step, value in enumerate(amplitudes(12, 6, 1))]


def write_long(root: Path, names: list[str], images: list[np.ndarray], **more) -> Path:
    for name in names:
        write_clip(root, name, images)
    videos = [Video(f"demo/s1/{name}", "demo", "s1", name, 30.0, f"clips/{name}", **more) for name in names]
    write_videos(root / "videos.jsonl", videos)
    return root / "videos.jsonl"


def extract(videos: Path, out: str = "region_flow", **more) -> tuple[str, Problems]:
    problems = Problems()
    settings = ExtractRegionFlowSettings(videos=videos, out=videos.parent / out, **more)
    return extract_region_flow(settings, problems), problems


def test_a_series_is_read_as_it_was_measured(tmp_path: Path, smiles: list[np.ndarray]) -> None:
    videos = write_long(tmp_path, ["a"], smiles)
    summary, problems = extract(videos)
    assert summary.startswith("1 done, 0 kept, 0 failed, 0 with faults") and not problems and not problems.warnings
    flow, record = read_region_flow(tmp_path / "region_flow", "demo/s1/a")
    assert flow.flow.shape == (12, 18, 2) and flow.flow.dtype == np.float32
    assert flow.frame_numbers.tolist() == list(range(9, 21)) and flow.times == pytest.approx(np.arange(12) / 30)
    assert (record.regions, record.face_width, record.fps, record.settings["window"]) == (NAMES, 236.0, 30.0, 2.0)
    assert np.array_equal(flow.flow, measure(smiles)[0].flow)
    # a setting changed: done again; else kept; a damaged file: done again
    assert extract(videos)[0].startswith("0 done, 1 kept")
    assert extract(videos, region_flow=RegionFlowSettings(compensate="nose"))[0].startswith("1 done")
    (tmp_path / "region_flow/demo/s1/a.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"cannot be read.*extract_region_flow\.py again"):
        read_region_flow(tmp_path / "region_flow", "demo/s1/a")
    assert extract(videos, region_flow=RegionFlowSettings(compensate="nose"))[0].startswith("1 done")


def test_processes_and_shards_write_the_bytes_of_one_run(tmp_path: Path, smiles: list[np.ndarray]) -> None:
    videos = write_long(tmp_path, ["a", "b", "c"], smiles[4:8])
    extract(videos)
    extract(videos, "pool", workers=2)
    for shard in ("1/2", "2/2"):
        extract(videos, "shards", shard=shard)
    whole = {name.split("/", 1)[1]: data for name, data in tree(tmp_path / "region_flow").items()}
    assert len([name for name in whole if name.endswith(".npz")]) == 3
    for other in ("pool", "shards"):
        assert {name.split("/", 1)[1]: data for name, data in tree(tmp_path / other).items()} == whole


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path, smiles: list[np.ndarray]) -> None:
    videos = write_long(tmp_path, ["a", "b"], smiles * 2)
    extract(videos)
    command = [sys.executable, str(ROOT / "data_process/extract_region_flow.py"), "--videos", str(videos)]
    run = subprocess.Popen([*command, "--out", str(tmp_path / "killed")], stderr=subprocess.DEVNULL)
    first, second = (tmp_path / "killed/demo/s1" / f"{name}.json" for name in "ab")
    deadline = time.monotonic() + 120
    while not first.exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert first.exists() and not second.exists()
    assert extract(videos, "killed")[0].startswith("1 done, 1 kept")
    for name in ("a.npz", "b.npz", "a.json", "b.json"):
        assert (first.parent / name).read_bytes() == (tmp_path / "region_flow/demo/s1" / name).read_bytes()


def test_dropped_and_damaged_frames_and_an_early_end_are_named(tmp_path: Path, smiles: list[np.ndarray]) -> None:
    late = Event(15, 17, 60, "macro")
    videos = write_long(tmp_path, ["a"], smiles, length=90, events=(late,))
    for number in (12, 13):
        (tmp_path / f"clips/a/img{number}.png").unlink()
    (tmp_path / "clips/a/img16.png").write_bytes(b"\x89PNG broken")
    summary, problems = extract(videos)
    assert "1 done" in summary and "1 with faults" in summary and problems.exit_code() == 1
    flow, record = read_region_flow(tmp_path / "region_flow", "demo/s1/a")
    assert flow.frame_numbers.tolist() == [9, 10, 11, 14, 15, 16, 17, 18, 19, 20]
    assert flow.times[3] == pytest.approx(5 / 30)
    assert np.isnan(flow.flow[5]).all() and np.isfinite(flow.flow[[4, 6]]).all()
    text = "\n".join(str(problem) for problem in problems)
    assert "ends at frame 20 of 90" in text and "1 event(s) end behind its last frame, 20" in text
    assert "1 frame(s) left out" in text and "img16.png" in text
    assert "2 frame(s) are missing" in str(problems.warnings[0]) and record.measured == 9
    assert extract(videos)[1].exit_code() == 1, "a kept series that ends early is still reported"


def test_a_video_without_a_face_fails_alone(tmp_path: Path, smiles: list[np.ndarray]) -> None:
    videos = write_long(tmp_path, ["a", "b"], smiles[:6])
    for path in (tmp_path / "clips/a").iterdir():
        Image.fromarray(np.full((120, 160), 90, np.uint8)).save(path)
    summary, problems = extract(videos)
    assert "1 done, 0 kept, 1 failed" in summary and problems.exit_code() == 1
    assert "no face in any of the 6 frame(s)" in str(next(iter(problems)))
    assert not (tmp_path / "region_flow/demo/s1/a.npz").exists()


def test_frames_of_two_sizes_end_the_series(tmp_path: Path, smiles: list[np.ndarray]) -> None:
    small = cv2.resize(smiles[0], None, fx=0.5, fy=0.5)
    videos = write_long(tmp_path, ["a"], [*smiles[:6], small])
    _, problems = extract(videos)
    assert "measured up to 6 of 7 frames: frame 15 is 210×230" in str(next(iter(problems)))
    assert len(read_region_flow(tmp_path / "region_flow", "demo/s1/a")[0].times) == 6


@pytest.mark.parametrize("cut", [False, True])
def test_video_files_need_no_index(tmp_path: Path, smiles: list[np.ndarray], cut: bool) -> None:
    path = tmp_path / "talk.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25.0, SHAPE[::-1])
    for image in smiles:
        video.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    video.release()
    if cut:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
    summary, problems = extract(tmp_path / "no.jsonl", source=(path,))
    flow, record = read_region_flow(tmp_path / "region_flow", "unknown/talk/talk")
    assert "1 done" in summary and record.fps == pytest.approx(25)
    assert flow.times == pytest.approx(np.arange(len(flow.times)) / 25, abs=1e-3)
    assert (len(flow.times) < 12) == cut == any("frames could be read" in str(problem) for problem in problems)


def test_times_of_a_video_that_plays_slowly_are_those_of_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "slow.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25.0, (64, 48))
    for level in range(8):
        video.write(np.full((48, 64, 3), 30 * level, np.uint8))
    video.release()
    frames = open_frames(path)
    assert frames.seconds(200) == pytest.approx(np.arange(8) / 200)
    assert frames.seconds(25) == pytest.approx(np.arange(8) / 25)
    frames.stamps = np.array([0, 0.04, 0.08, 0.2, 0.24, 0.28, 0.32, 0.36])  # a variable rate, as phones record
    assert frames.seconds(25) == pytest.approx(frames.stamps)
    frames.stamps = np.zeros(8)  # a container that stamps nothing
    assert frames.seconds(25) == pytest.approx(np.arange(8) / 25)


def test_the_record_keeps_its_contract(tmp_path: Path, smiles: list[np.ndarray]) -> None:
    videos = write_long(tmp_path, ["a"], smiles[:3])
    extract(videos)
    path = tmp_path / "region_flow/demo/s1/a.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "frames": 4}))
    with pytest.raises(DataError, match=r"frame_numbers is int64 \(3,\), not int or uint \(4,\)"):
        read_region_flow(tmp_path / "region_flow", "demo/s1/a")
    path.write_text(json.dumps({**record, "face_width": "wide"}))
    with pytest.raises(DataError, match="face_width"):
        read_region_flow(tmp_path / "region_flow", "demo/s1/a")
