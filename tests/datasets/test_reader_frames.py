"""Frame folders as unpacked by different people, whole and with gaps, found and fitted to the annotation."""

from pathlib import Path

import numpy as np
import pytest
from motion_scenes import write_clip, write_video
from sheets import casme2_row, read_casme2, read_samm, samm_row, write_frames

from megc.datasets.readers import READERS, unlabelled
from megc.problems import DataError, Problems
from megc.synthesis.demo_set import plan_demo, truth_row
from megc.synthesis.demo_sheets import annotate_clips, casme2_workbook, samm_workbook
from megc.synthesis.settings import DemoSettings


@pytest.mark.parametrize(
    "layout",
    [
        *("", "Cropped", "Cropped/Cropped", "CASME2_RAW_selected", "CASME2_RAW_selected/CASME2_RAW_selected"),
        *("CASME2-RAW", "cropped", "CASME2_raw"),
    ],
)
def test_casme2_frames_are_found_in_every_layout(tmp_path, layout):
    folder = tmp_path / "data" / layout / "sub01" / "EP02_01f"
    write_frames(folder, "reg_img{}.jpg", 46, 59, 86, 100)
    (clip,), problems = read_casme2(tmp_path, casme2_row(), frames=tmp_path / "data")
    assert problems == []
    assert tmp_path / clip.frames == folder
    assert clip.notes == ()


def test_the_fuller_of_two_releases_is_taken_and_junk_is_passed_over(tmp_path):
    rows = [casme2_row(subject, name) for subject in range(1, 6) for name in ("EP02_01f", "EP03_02")]
    for subject in range(1, 6):
        for name in ("EP02_01f", "EP03_02")[: 1 if subject > 2 else 2]:
            write_frames(tmp_path / f"Cropped/sub{subject:02d}/{name}", "reg_img{}.jpg", 46, 59, 86)
        for name in ("ep02_01F", "EP03_02"):
            write_frames(tmp_path / f"CASME2-RAW/Sub{subject:02d}/{name}", "img{}.jpg", 46, 59, 86)
    (tmp_path / "CASME2-RAW/Desktop.lnk").touch()
    (tmp_path / "CASME2-RAW/Sub01/readme.pdf").touch()
    clips, problems = read_casme2(tmp_path, *rows, frames=tmp_path)
    assert (len(clips), problems) == (10, [])
    assert {clip.frames.split("/")[0] for clip in clips} == {"CASME2-RAW"}


def test_two_folders_that_differ_by_case_alone_are_a_problem(tmp_path):
    for folder in ("Sub01", "SUB01"):
        write_frames(tmp_path / folder / "EP02_01f", "img{}.jpg", 46, 59, 86)
    with pytest.raises(DataError, match="SUB01 and Sub01 are both like sub01; rename one"):
        read_casme2(tmp_path, casme2_row(), frames=tmp_path)


def test_clips_that_are_videos_are_named_as_such(tmp_path):
    folder = tmp_path / "CASME2_Compressed video" / "CASME2_compressed" / "sub01"
    folder.mkdir(parents=True)
    (folder / "EP02_01f.avi").touch()
    with pytest.raises(DataError, match=r"no clip's folder .*, but 1 video\(s\); unpack the frames"):
        read_casme2(tmp_path, casme2_row(), frames=tmp_path)


@pytest.mark.parametrize("layout", ["", "SAMM"])
@pytest.mark.parametrize("pattern", ["006_{:05d}.jpg", "006_{:04d}.jpg"])
def test_samm_frames_are_found_in_every_layout_with_any_padding(tmp_path, layout, pattern):
    folder = tmp_path / "data" / layout / "006" / "006_1_2"
    write_frames(folder, pattern, 562, 588, 632)
    row = samm_row(subject=6, onset=562, apex=588, offset=632)
    (clip,), problems = read_samm(tmp_path, row, frames=tmp_path / "data")
    assert problems == []
    assert tmp_path / clip.frames == folder
    assert clip.notes == ()


def test_crops_and_full_frames_never_mix(tmp_path):
    write_frames(tmp_path / "Cropped/sub01/EP02_01f", "reg_img{}.jpg", 46, 59, 86)
    write_frames(tmp_path / "CASME2-RAW/sub02/EP02_01f", "img{}.jpg", 46, 59, 86)
    clips, problems = read_casme2(tmp_path, casme2_row(1), casme2_row(2), frames=tmp_path)
    assert [clip.frames for clip in clips] == ["Cropped/sub01/EP02_01f"]
    assert "row 3:" in problems[0]
    assert "does not exist" in problems[0]


def test_a_missing_frame_is_replaced_by_the_nearest_and_noted(tmp_path):
    write_frames(tmp_path / "Cropped/sub01/EP02_01f", "reg_img{}.jpg", 48, 58, 62, 86)
    (clip,), problems = read_casme2(tmp_path, casme2_row(), frames=tmp_path)
    assert problems == []
    assert (clip.onset, clip.apex, clip.offset) == (48, 58, 86)
    assert clip.notes == (
        "onset frame 46 has no file: the nearest, 48, is taken",
        "apex frame 59 has no file: the nearest, 58, is taken",
    )


@pytest.mark.parametrize("numbers", [(1, 2, 3), (46, 47), ()])
def test_frames_that_do_not_cover_the_clip_are_a_problem(tmp_path, numbers):
    write_frames(tmp_path / "Cropped/sub01/EP02_01f", "reg_img{}.jpg", *numbers)
    write_frames(tmp_path / "Cropped/sub02/EP02_01f", "reg_img{}.jpg", 46, 59, 86)
    clips, problems = read_casme2(tmp_path, casme2_row(1), casme2_row(2), frames=tmp_path)
    assert [clip.subject for clip in clips] == ["sub02"]
    assert "row 2:" in problems[0]


def test_frames_nowhere_and_frames_outside_the_file_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no clip's folder \(such as sub01/EP02_01f\) in any of"):
        read_casme2(tmp_path, casme2_row(), frames=tmp_path / "empty")
    write_frames(tmp_path / "far/sub01/EP02_01f", "img{}.jpg", 46, 59, 86)
    (tmp_path / "near").mkdir()
    with pytest.raises(DataError, match=r"not below .*ln -s"):
        read_casme2(tmp_path / "near", casme2_row(), frames=tmp_path / "far")
    (tmp_path / "near" / "link").symlink_to(tmp_path / "far")
    (clip,), _ = read_casme2(tmp_path / "near", casme2_row(), frames=tmp_path / "near" / "link")
    assert clip.frames == "link/sub01/EP02_01f"


def test_the_challenge_test_set_is_read_as_its_rows_name_it(tmp_path):
    for name in ("CAS-10", "CAS-2", "SAMM-1"):
        write_frames(tmp_path / "test" / name, "{}.jpg", 9, 10, 11, 105)
    write_frames(tmp_path / "test" / "other" / "film", "img{}.png", 1, 2, 3)
    write_frames(tmp_path / "test" / "short", "img{}.png", 1)
    problems = Problems()
    clips = unlabelled.read(None, tmp_path / "test", tmp_path, problems)
    assert [clip.id for clip in clips] == [
        "casme3/CAS-2/CAS-2",
        "casme3/CAS-10/CAS-10",
        "samm/SAMM-1/SAMM-1",
        "unknown/other/film",
    ]
    assert (clips[0].onset, clips[0].apex, clips[0].offset, clips[0].apex_estimated) == (9, 10, 105, True)
    assert (clips[0].fps, clips[2].fps, clips[0].coarse, clips[0].frames) == (30.0, 200.0, "", "test/CAS-2")
    assert ["short" in str(problem) for problem in problems] == [True]


def test_an_unlabelled_folder_must_hold_clips(tmp_path):
    for frames in (None, tmp_path / "none", tmp_path):
        with pytest.raises(DataError):
            unlabelled.read(None, frames, tmp_path, Problems())


def test_videos_without_annotation_are_clips_beside_folders_of_frames(tmp_path):
    for name in ("ann/first.avi", "second.avi"):
        write_video(tmp_path / "in" / name, list(np.zeros((4, 48, 64, 3), np.uint8)), "MJPG")
    write_clip(tmp_path / "in", "third", list(np.zeros((5, 48, 64, 3), np.uint8)))
    (tmp_path / "in/empty.mov").touch()
    problems = Problems()
    clips = unlabelled.read(None, tmp_path / "in", tmp_path, problems)
    assert [(clip.id, clip.offset, clip.fps) for clip in clips] == [
        ("unknown/clips/third", 13, 30.0),
        ("unknown/ann/first", 4, 50.0),
        ("unknown/second/second", 4, 50.0),
    ]
    assert [(Path(problem.file).name, problem.what) for problem in problems] == [("empty.mov", "the video is empty")]
    (clip,) = unlabelled.read(None, tmp_path / "in/second.avi", tmp_path, problems)
    assert (clip.id, clip.frames) == ("unknown/second/second", "in/second.avi")
    with pytest.raises(DataError, match="does not exist"):
        unlabelled.read(None, tmp_path / "gone.mp4", tmp_path, Problems())


# ---- the synthetic set


def test_the_demo_spreadsheets_are_read_as_what_their_maker_meant(tmp_path):
    specs = plan_demo(DemoSettings(casme2_subjects=24, samm_subjects=12, clips=4))
    annotations = annotate_clips(specs)
    truth = [truth_row(spec, annotation) for spec, annotation in zip(specs, annotations, strict=True)]
    problems, clips = Problems(), []
    for name, workbook in (("casme2", casme2_workbook), ("samm", samm_workbook)):
        rows = [annotation for spec, annotation in zip(specs, annotations, strict=True) if spec.id.startswith(name)]
        (tmp_path / f"{name}.xlsx").write_bytes(workbook(rows))
        clips += READERS[name](tmp_path / f"{name}.xlsx", None, tmp_path, problems)
    assert [str(problem) for problem in problems] == []
    assert [clip.id for clip in clips] == [row["id"] for row in truth]
    for clip, row in zip(clips, truth, strict=True):
        assert [(unit.number, unit.side) for unit in clip.action_units] == [
            (unit["number"], unit["side"]) for unit in row["action_units"]
        ]
        assert (clip.fine, clip.onset, clip.offset) == (row["fine"], row["onset"], row["offset"])
        assert clip.apex == row["apex"] or clip.apex_estimated
    assert sum(clip.apex_estimated for clip in clips) == 5
