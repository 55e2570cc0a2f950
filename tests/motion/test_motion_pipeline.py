"""Clips to key frames to fields: what is written and refused; runs that are killed, repeated and spread."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from motion_scenes import (
    align_of,
    clip_of,
    compute_set,
    drifting_frames,
    extract_set,
    portrait,
    tree,
    true_flow,
    write_clip,
    write_set,
)
from PIL import Image

from megc.motion.crop import crop_frame
from megc.motion.flow_files import picture_metadata, read_flow
from megc.motion.preview import write_preview
from megc.motion.settings import PreviewSettings
from megc.problems import DataError, Problems

SCRIPTS = Path(__file__).parents[2] / "data_process"


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return drifting_frames()


def test_a_contact_sheet_takes_the_pictures_beside_the_clips(tmp_path, images):
    write_clip(tmp_path, "a", images)
    extract_set(tmp_path, [clip_of(tmp_path, "a", 9, 15, 20)])
    compute_set(tmp_path)
    settings = PreviewSettings(clips=tmp_path / "clips.jsonl", out=tmp_path / "sheet.png")
    write_preview(settings, Problems())
    assert Image.open(tmp_path / "sheet.png").width > 1000
    for name, what in (("frames", "no key frames"), ("flow", "no flow picture")):
        with pytest.raises(DataError, match=f"none/demo/s1/a.*{what}"):
            write_preview(replace(settings, **{name: tmp_path / "none"}), Problems())


def test_one_clip_from_frames_to_picture(tmp_path, images):
    write_clip(tmp_path, "a", images)
    counts, problems = extract_set(tmp_path, [clip_of(tmp_path, "a", 9, 15, 20)])
    assert (counts, problems) == ({"done": 1, "kept": 0, "failed": 0}, [])
    align = align_of(tmp_path, "a")
    assert align["frames"]["apex"] == {"wanted": 15, "used": 15, "file": "img15.png"}
    assert not align["apex_spotted"]
    folder = tmp_path / "frames/demo/s1/a"
    stored = np.asarray(Image.open(folder / "apex.png"))
    assert stored.shape == (336, 280, 3)
    transform = np.array(align["transform"])
    assert np.abs(stored.astype(int) - crop_frame(images[6], transform)).mean() < 0.1

    assert compute_set(tmp_path) == ({"done": 1, "kept": 0, "failed": 0}, [])
    field = read_flow(tmp_path / "flow/demo/s1/a.npy")
    truth = crop_frame(true_flow(2.5)[0], transform) @ transform[:, :2].T
    moving = np.linalg.norm(truth, axis=2) > 1
    assert np.linalg.norm(field - truth, axis=2)[moving].mean() < 0.4
    assert np.load(tmp_path / "flow/demo/s1/a.npy").dtype == np.float16
    metadata = picture_metadata(tmp_path / "flow/demo/s1/a.png")
    assert json.loads(metadata["settings"]) == {
        "method": "dis",
        "compensate": "stable",
        "encoding": "uv-strain",
        "scale": 3.0,
        "mask": "face",
    }
    picture = np.asarray(Image.open(tmp_path / "flow/demo/s1/a.png"))
    assert (picture[0] == (128, 128, 0)).all() and (picture[:, 0] == (128, 128, 0)).all(), "only the face is drawn"
    assert np.median(picture[picture[..., 2] > 0][:, 2]) < 60, "the mask's edge is no strain"
    assert "3 px" in metadata["scale"] and "dark red up" in metadata["legend"]
    assert json.loads(metadata["head_motion"])["x"] == pytest.approx(0.6, abs=0.3)
    assert json.loads((tmp_path / "flow/flow.json").read_text())["clips"] == ["demo/s1/a"]


def test_frames_sort_by_number_not_by_text(tmp_path, images):
    """img9 … img20: as text img10 comes before img9."""
    write_clip(tmp_path, "a", images)
    extract_set(tmp_path, [clip_of(tmp_path, "a", 9, 15, 20)])
    used = [align_of(tmp_path, "a")["frames"][moment]["used"] for moment in ("onset", "apex", "offset")]
    assert used == [9, 15, 20]


def test_missing_apex_is_spotted_and_told(tmp_path, images):
    write_clip(tmp_path, "a", images)
    extract_set(tmp_path, [clip_of(tmp_path, "a", 9, 11, 20, apex_estimated=True)])
    align = align_of(tmp_path, "a")
    assert align["apex_spotted"] and align["frames"]["apex"]["wanted"] == 11
    assert abs(align["frames"]["apex"]["used"] - 15) <= 2
    assert any("apex spotted" in note for note in align["notes"])
    extract_set(tmp_path, [clip_of(tmp_path, "a", 9, 11, 20)])
    assert align_of(tmp_path, "a")["frames"]["apex"]["used"] == 11
    extract_set(tmp_path, [clip_of(tmp_path, "a", 9, 11, 20)], apex="spotted")
    assert align_of(tmp_path, "a")["apex_spotted"]


def test_missing_frames_take_the_nearest_or_are_refused(tmp_path, images):
    folder = write_clip(tmp_path, "a", images)
    (folder / "img15.png").unlink()
    (folder / "img20.png").unlink()
    _, problems = extract_set(tmp_path, [clip_of(tmp_path, "a", 9, 15, 20)])
    assert not problems
    align = align_of(tmp_path, "a")
    assert align["frames"]["apex"]["used"] == 14 and align["frames"]["offset"]["used"] == 19
    assert sum("missing" in note for note in align["notes"]) == 2
    for number in (12, 13, 14, 16, 17, 18):
        (folder / f"img{number}.png").unlink()
    _, problems = extract_set(tmp_path, [clip_of(tmp_path, "a", 9, 15, 20)])
    assert "apex frame 15 is missing" in problems[0].what
    assert problems[0].row == "demo/s1/a"


def damage(folder: Path, how: str) -> None:
    apex = folder / "img15.png"
    whole = apex.read_bytes()
    if how == "truncated":
        apex.write_bytes(whole[: len(whole) // 2])
    elif how == "empty":
        apex.write_bytes(b"")
    elif how == "text":
        apex.write_text("not a picture")
    elif how == "folder gone":
        shutil.rmtree(folder)
    elif how == "one frame":
        for path in folder.glob("*.png"):
            if path.name != "img9.png":
                path.unlink()
    elif how == "no face":
        for path in folder.glob("*.png"):
            Image.new("RGB", (420, 460), (90, 120, 90)).save(path)
    elif how == "other size":
        Image.fromarray(portrait()[:300]).save(apex)


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ("truncated", "cannot be read"),
        ("empty", "empty"),
        ("text", "is no image"),
        ("folder gone", "does not exist"),
        ("one frame", "only frame 9"),
        ("no face", "no face"),
        ("other size", "420×300"),
    ],
)
def test_bad_clip_is_told_and_harms_no_other(tmp_path, images, how, word):
    clips = []
    for name in ("a", "b"):
        write_clip(tmp_path, name, images)
        clips.append(clip_of(tmp_path, name, 9, 15, 20))
    damage(tmp_path / "clips/a", how)
    counts, problems = extract_set(tmp_path, clips)
    assert counts == {"done": 1, "kept": 0, "failed": 1}
    assert word in problems[0].what and problems[0].fix
    assert "demo/s1/a" in str(problems[0]) or "clips/a" in problems[0].file
    assert not (tmp_path / "frames/demo/s1/a/align.json").exists()
    assert compute_set(tmp_path)[0]["done"] == 1


@pytest.mark.parametrize("kind", ["grey", "16 bit", "12 in 16 bit", "rgba", "palette"])
def test_any_kind_of_picture_gives_the_same_motion(tmp_path, images, kind):
    write_clip(tmp_path, "a", images)
    folder = write_clip(tmp_path, "b", images)
    for path in folder.glob("*.png"):
        image = Image.open(path)
        grey = np.asarray(image.convert("L")).astype(np.uint16)
        if kind == "grey":
            image.convert("L").save(path)
        elif kind == "16 bit":
            Image.fromarray(grey * 257).save(path)
        elif kind == "12 in 16 bit":
            Image.fromarray(grey * 16).save(path)
        elif kind == "rgba":
            image.convert("RGBA").save(path)
        else:
            image.convert("L").convert("P").save(path)
    _, problems = extract_set(tmp_path, [clip_of(tmp_path, name, 9, 15, 20) for name in ("a", "b")])
    assert not problems
    compute_set(tmp_path)
    one, other = (read_flow(tmp_path / f"flow/demo/s1/{name}.npy") for name in ("a", "b"))
    assert np.linalg.norm(one - other, axis=2)[60:300, 40:240].mean() < 0.1


def test_no_face_may_be_cut_from_the_centre(tmp_path):
    texture = np.random.default_rng(0).integers(0, 255, (60, 50, 3), np.uint8)
    picture = np.asarray(Image.fromarray(texture).resize((420, 460), Image.Resampling.BICUBIC))
    write_clip(tmp_path, "a", [picture, np.roll(picture, 1, axis=1), picture])
    counts, _ = extract_set(tmp_path, [clip_of(tmp_path, "a", 9, 10, 11)], no_face="centre")
    assert counts["done"] == 1
    align = align_of(tmp_path, "a")
    assert align["landmarks_from"] == "template" and any("no face" in note for note in align["notes"])
    assert compute_set(tmp_path)[0]["done"] == 1


def test_finished_clips_are_kept_until_something_changes(tmp_path, images):
    write_clip(tmp_path, "a", images)
    clip = clip_of(tmp_path, "a", 9, 15, 20)
    extract_set(tmp_path, [clip])
    compute_set(tmp_path)
    before = tree(tmp_path / "frames", tmp_path / "flow")
    assert extract_set(tmp_path, [clip])[0]["kept"] == 1
    assert compute_set(tmp_path)[0]["kept"] == 1
    assert tree(tmp_path / "frames", tmp_path / "flow") == before
    assert compute_set(tmp_path, scale=2.0)[0]["done"] == 1
    assert compute_set(tmp_path)[0]["done"] == 1
    assert extract_set(tmp_path, [clip_of(tmp_path, "a", 9, 14, 20)])[0]["done"] == 1
    assert compute_set(tmp_path)[0]["done"] == 1
    (tmp_path / "flow/demo/s1/a.png").write_bytes(b"half a picture")
    (tmp_path / "frames/demo/s1/a/apex.png").unlink()
    assert extract_set(tmp_path, [clip_of(tmp_path, "a", 9, 14, 20)])[0]["done"] == 1
    assert compute_set(tmp_path)[0]["done"] == 1


def test_workers_change_nothing(tmp_path, images):
    clips = []
    for name in ("a", "b", "c"):
        write_clip(tmp_path, name, images)
        clips.append(clip_of(tmp_path, name, 9, 15, 20, apex_estimated=name == "b"))
    (tmp_path / "clips/c/img15.png").write_bytes(b"broken")
    results = []
    for workers in (1, 2):
        shutil.rmtree(tmp_path / "frames", ignore_errors=True)
        shutil.rmtree(tmp_path / "flow", ignore_errors=True)
        outcome = extract_set(tmp_path, clips, workers), compute_set(tmp_path, workers)
        results.append((outcome, tree(tmp_path / "frames", tmp_path / "flow")))
    assert results[0] == results[1]
    assert results[0][0][0][0] == {"done": 2, "kept": 0, "failed": 1}


def count_files(root: Path) -> int:
    return sum(len(names) for folder in ("frames", "flow") for _, _, names in os.walk(root / folder))


def run_scripts(root: Path, kill_at: int | None = None) -> int:
    """extract_frames.py, then compute_flow.py; the exit code. `kill_at`: kill at so many files, whatever goes on."""
    commands = [
        ["extract_frames.py", "--clips", str(root / "clips.jsonl"), "--out", str(root / "frames")],
        ["compute_flow.py", "--frames", str(root / "frames"), "--out", str(root / "flow")],
    ]
    for command in commands:
        process = subprocess.Popen(
            [sys.executable, str(SCRIPTS / command[0]), *command[1:]], stderr=subprocess.DEVNULL
        )
        while process.poll() is None:
            if kill_at is not None and count_files(root) >= kill_at:
                process.send_signal(signal.SIGKILL)
            time.sleep(0.005)
        if process.returncode:
            return process.returncode
    return 0


def test_killed_run_goes_on_to_the_same_files(tmp_path, images):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for root in (whole, cut):
        clips = []
        for name in "abcdef":
            write_clip(root, name, images)
            clips.append(clip_of(root, name, 9, 15, 20))
        write_set(root, clips)
    assert run_scripts(whole) == 0
    (cut / "frames/demo/s1/c").mkdir(parents=True)
    (cut / "frames/demo/s1/c/.apex.png.x1y2").write_bytes(b"left by a kill in the middle of a write")
    for files in (4, 15, 30):  # 24 files of key frames, then 13 of flow
        assert run_scripts(cut, kill_at=files) == -signal.SIGKILL
    assert run_scripts(cut) == 0
    left, right = (tree(root / "frames", root / "flow") for root in (whole, cut))
    assert left == right


def test_scripts_tell_what_is_wrong_and_set_the_exit_code(tmp_path, images):
    write_clip(tmp_path, "a", images)
    write_set(tmp_path, [clip_of(tmp_path, "a", 9, 15, 20), clip_of(tmp_path, "gone", 9, 15, 20)])
    command = [sys.executable, str(SCRIPTS / "extract_frames.py"), "--clips", str(tmp_path / "clips.jsonl")]
    command += ["--out", str(tmp_path / "frames")]
    bad = subprocess.run(command, capture_output=True, text=True)
    assert bad.returncode == 1 and "gone" in bad.stderr and "Traceback" not in bad.stderr
    assert "1 done" in bad.stdout and "1 failed" in bad.stdout
    assert subprocess.run([*command, "--skip-bad"], capture_output=True).returncode == 0
    empty = subprocess.run(
        [sys.executable, str(SCRIPTS / "compute_flow.py"), "--frames", str(tmp_path / "none")],
        capture_output=True,
        text=True,
    )
    assert empty.returncode == 1 and "extract_frames.py" in empty.stderr


def test_damaged_field_is_told(tmp_path):
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match="cannot be read"):
        read_flow(tmp_path / "x.npy")
    np.save(tmp_path / "y.npy", np.zeros((3, 3)))
    with pytest.raises(DataError, match="shape"):
        read_flow(tmp_path / "y.npy")
    with pytest.raises(DataError, match="does not exist"):
        read_flow(tmp_path / "z.npy")
