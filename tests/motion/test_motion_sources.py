"""Videos, sources without annotation, magnification, the contact sheet, and work over processes."""

import io
import json
import os
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
from motion_scenes import (
    align_of,
    clip_of,
    compute_set,
    drifting_frames,
    extract_set,
    write_clip,
    write_set,
    write_video,
)
from PIL import Image
from programs import run_program

from megc.clips import Clip, frames_folder, read_clips
from megc.motion.flow import compensate, optical_flow
from megc.motion.frames import open_frames, read_image
from megc.motion.keyframes import clips_of_sources, extract_clips
from megc.motion.parallel import run_on_clips
from megc.motion.preview import contact_sheet
from megc.motion.settings import KeyframeSettings
from megc.problems import DataError, Problems


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return drifting_frames()


@pytest.mark.parametrize(("suffix", "codec"), [("avi", "MJPG"), ("mp4", "mp4v"), ("mov", "mp4v")])
def test_videos_are_read_frame_by_frame(tmp_path, images, suffix, codec):
    """Numbers start at 1; a frame asked for by number is that frame, whatever was read before."""
    path = tmp_path / f"clip.{suffix}"
    write_video(path, images, codec)
    frames = open_frames(path)
    assert frames.numbers == tuple(range(1, 13))
    assert frames.fps == pytest.approx(50)
    wanted = dict(frames.read_many([12, 3]))
    assert list(wanted) == [3, 12]
    for number, seen in wanted.items():
        distance = [np.abs(seen.astype(int) - image).mean() for image in images]
        assert distance[number - 1] <= min(distance) + 0.05
    with pytest.raises(KeyError):
        frames.read(13)


def test_video_and_folder_without_annotation_go_through(tmp_path, images):
    write_video(tmp_path / "in/one.avi", images, "MJPG")
    folder = write_clip(tmp_path, "two", images)
    problems = Problems()
    clips, file = clips_of_sources([tmp_path / "in/one.avi", folder], 200.0, problems)
    counts = extract_clips(
        clips, file, tmp_path / "frames", KeyframeSettings(magnify=4, roi="box", samples=3), problems
    )
    assert counts["done"] == 2 and not list(problems)
    cut = tmp_path / "frames/unknown/two/two"
    for sample, moment in (("sample1", "onset"), ("sample3", "offset")):
        assert (cut / f"{sample}.png").read_bytes() == (cut / f"{moment}.png").read_bytes()
    assert (cut / "sample2.png").is_file() and not (cut / "sample4.png").exists()
    for name, apex in (("one", 7), ("two", 15)):
        align = json.loads((tmp_path / f"frames/unknown/{name}/{name}/align.json").read_text())
        assert align["apex_spotted"] and abs(align["frames"]["apex"]["used"] - apex) <= 2
        assert align["transform"][0][1] == 0  # a box is upright
    assert compute_set(tmp_path)[0]["done"] == 2


def test_sources_leave_the_clips_that_the_next_programs_need(tmp_path, images, monkeypatch):
    write_video(tmp_path / "in/one.mp4", images, "mp4v")
    folder = write_clip(tmp_path, "two", images)
    out = tmp_path / "mine"
    for source in ("in/one.mp4", folder, folder):  # each run adds its clips; the third changes nothing
        arguments = ("--source", tmp_path / source, "--out", out, "--fps", "100")
        assert run_program(monkeypatch, "data_process/extract_frames.py", *arguments) == 0
    clips = read_clips(out / "clips.jsonl")
    assert [(clip.id, clip.fps) for clip in clips] == [("unknown/one/one", 50.0), ("unknown/two/two", 100.0)]
    assert [open_frames(frames_folder(clip, out / "clips.jsonl")).numbers[0] for clip in clips] == [1, 9]
    assert run_program(monkeypatch, "data_process/compute_flow.py", "--frames", out, "--out", out / "flow") == 0
    sheet = tmp_path / "sheet.png"
    preview = ("unknown/two/two", "--clips", out / "clips.jsonl", "--out", sheet)
    assert run_program(monkeypatch, "data_process/preview.py", *preview) == 0
    assert Image.open(sheet).size[0] > 1000


def test_sources_that_cannot_be_read_are_told_and_harm_no_other(tmp_path, images):
    write_video(tmp_path / "good.avi", images, "MJPG")
    (tmp_path / "broken.avi").write_bytes(b"RIFF\x00\x00")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "notes.txt").write_text("x")
    names = ("good.avi", "broken.avi", "empty.mp4", "notes.txt", "gone.mp4", "gone")
    problems = Problems()
    clips, _ = clips_of_sources([tmp_path / name for name in names], 200.0, problems)
    assert [clip.name for clip in clips] == ["good"]
    assert [(Path(problem.file).name, problem.what) for problem in problems] == [
        ("broken.avi", "the video cannot be opened"),
        ("empty.mp4", "the video is empty"),
        ("notes.txt", "neither a folder of frames nor a video"),
        ("gone.mp4", "the video does not exist"),
        ("gone", "the folder does not exist"),
    ]


def write_short_video(path: Path, images: list[np.ndarray], kept: int) -> None:
    """An .avi whose header promises all `images`, cut behind the first `kept`."""
    write_video(path, images, "MJPG")
    whole = path.read_bytes()
    place = -1
    for _ in range(kept + 2):  # the first is the header's
        place = whole.index(b"00dc", place + 1)
    path.write_bytes(whole[:place])


def test_a_video_that_ends_early_is_told(tmp_path, images):
    path = tmp_path / "clips/short.avi"
    write_short_video(path, images, 6)
    frames = open_frames(path)
    assert frames.numbers == (1, 2, 3, 4, 5, 6)
    assert frames.faults == ("6 of 12 frames could be read",)
    clips = [
        Clip(f"demo/s1/{name}", "demo", "s1", name, 200.0, "clips/short.avi", 1, apex, offset)
        for name, apex, offset in (("inside", 4, 6), ("short", 5, 12), ("beyond", 11, 12), ("behind", 40, 50))
    ]
    problems = Problems()
    counts = extract_clips(
        clips, write_set(tmp_path, clips), tmp_path / "frames", KeyframeSettings(), problems, overwrite=True
    )
    assert counts == {"done": 2, "kept": 0, "failed": 2}
    assert [problem.row for problem in problems] == ["demo/s1/beyond", "demo/s1/behind"]
    assert all("6 of 12 frames could be read" in problem.what for problem in [*problems, *problems.warnings])
    assert [problem.row for problem in problems.warnings] == ["demo/s1/inside", "demo/s1/short"]
    assert "offset frame 12 is missing" in problems.warnings[1].what
    assert align_of(tmp_path, "inside")["warnings"] == ["6 of 12 frames could be read"]


def test_a_video_without_a_frame_is_told(tmp_path, images):
    write_short_video(tmp_path / "none.avi", images, 0)
    with pytest.raises(DataError, match="none of 12 frames could be read"):
        open_frames(tmp_path / "none.avi")


def test_a_frame_past_the_end_of_a_whole_video_is_told(tmp_path, images):
    write_video(tmp_path / "clips/a.avi", images, "MJPG")
    clip = Clip("demo/s1/a", "demo", "s1", "a", 200.0, "clips/a.avi", 1, 30, 40)
    problems = Problems()
    extract_clips([clip], write_set(tmp_path, [clip]), tmp_path / "frames", KeyframeSettings(), problems)
    (problem,) = problems
    assert "apex frame 30 is missing" in problem.what and "a.avi has 12 frame(s), 1 to 12" in problem.what


@pytest.mark.parametrize(
    ("size", "word"),
    [((1, 1), "1×1 pixels"), ((40_000, 20), "40000×20 pixels"), ((12_000, 10_000), "is too large")],
)
def test_frames_of_impossible_size_are_told(tmp_path, images, size, word):
    for name in ("a", "b"):
        write_clip(tmp_path, name, images)
    for path in (tmp_path / "clips/a").glob("*.png"):
        path.unlink()
    for number in (9, 15, 20):
        Image.new("1", size).save(tmp_path / f"clips/a/img{number}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counts, problems = extract_set(tmp_path, [clip_of(tmp_path, name, 9, 15, 20) for name in ("a", "b")])
    assert counts == {"done": 1, "kept": 0, "failed": 1}
    assert word in problems[0].what and problems[0].file.endswith("img9.png") and problems[0].row == "demo/s1/a"


def test_a_frame_of_another_size_is_told_where_the_apex_is_spotted(tmp_path, images):
    folder = write_clip(tmp_path, "a", images)
    Image.fromarray(images[3][:300]).save(folder / "img12.png")
    _, problems = extract_set(tmp_path, [clip_of(tmp_path, "a", 9, 15, 20, apex_estimated=True)])
    assert "frame 12 is 420×300, the onset 420×460" in problems[0].what


def test_magnified_apex_moves_further_and_head_motion_stays_out(tmp_path, images):
    write_clip(tmp_path, "a", images)
    extract_set(tmp_path, [clip_of(tmp_path, "a", 9, 15, 20)], magnify=3.0)
    onset, apex, large = (
        read_image(tmp_path / f"frames/demo/s1/a/{name}.png") for name in ("onset", "apex", "magnified")
    )
    landmarks = np.array(align_of(tmp_path, "a")["landmarks"], np.float32)
    small, big = (
        np.linalg.norm(compensate(optical_flow(onset, picture), landmarks)[0], axis=2) for picture in (apex, large)
    )
    strong = small > 1.2
    assert 2.2 < np.median(big[strong] / small[strong]) < 3.8
    extract_set(tmp_path, [clip_of(tmp_path, "a", 9, 15, 20)])
    assert not (tmp_path / "frames/demo/s1/a/magnified.png").exists()


def test_preview_is_a_picture_and_tells_what_is_missing(tmp_path, images):
    write_clip(tmp_path, "a", images)
    clip = clip_of(tmp_path, "a", 9, 11, 20, apex_estimated=True)
    extract_set(tmp_path, [clip])
    places = tmp_path / "clips.jsonl", tmp_path / "frames", tmp_path / "flow"
    with pytest.raises(DataError, match=r"compute_flow\.py"):
        contact_sheet(clip, *places)
    compute_set(tmp_path)
    sheet = Image.open(io.BytesIO(contact_sheet(clip, *places)))
    assert sheet.format == "PNG" and sheet.width >= 1000
    assert len(np.unique(np.asarray(sheet.convert("L")))) > 100


def die(task: int) -> int:
    """Kill the process that does task 2."""
    if task == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return task * 10


def fail(task: int) -> int:
    if task == 1:
        raise DataError("file", "clip 1", "bad", "mend it")
    if task == 3:
        raise ValueError("odd numbers\nonly")
    return task


def test_a_dying_process_takes_only_its_own_clip():
    problems = Problems()
    results = run_on_clips(die, list(range(6)), [f"clip {task}" for task in range(6)], problems, workers=2)
    assert results == [0, 10, None, 30, 40, 50]
    assert [problem.file for problem in problems] == ["clip 2"]


def test_failures_are_collected_in_order():
    problems = Problems()
    assert run_on_clips(fail, list(range(5)), list("abcde"), problems) == [0, None, 2, None, 4]
    assert [problem.what for problem in problems] == ["bad", "ValueError: odd numbers only"]
