"""CASME, MMEW and 4DME: sheets and folders as public loaders describe them, with every irregular cell known."""

import pytest
from sheets import write_frames, write_sheet

from megc.datasets.readers import READERS
from megc.problems import DataError, Problems

CASME_HEADER = ["Subject", "Filename", None, "OnsetF", "ApexF1", "ApexF2", "OffsetF", None, "AU", "Emotion"]
MMEW_HEADER = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Estimated Emotion"]
MMEW_HEADER += ["remarks"]
DME_HEADER = ["sub_ID'", "fold_name", "fold", "Emotion", "Onset", "Apex", "Offset", "AUs", "AU1", "AU4", "AU7"]
DME_HEADER += ["eye blink", "Positive", "Negative", "Surprise", "Repression", "Others", "Total"]


def casme_row(subject=1, name="EP01_2", onset=3, apex=9, second=None, offset=15, units="4+7", emotion="disgust"):
    return [subject, name, None, onset, apex, second, offset, None, units, emotion]


def mmew_row(subject=13, name="S13-07-001", onset=1, apex=20, offset=40, units="4+7", emotion="anger"):
    return [subject, name, onset, apex, offset, units, emotion, None]


def dme_row(
    subject="S13_1st", name="S13_1st_001_01_1", emotion="Negative", onset=2470, apex=2490, offset=2510, units=4
):
    return [subject, name, 1, emotion, onset, apex, offset, units, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]


def read(dataset, header, *rows, tmp_path, frames=None, repairs=""):
    problems = Problems()
    sheet = write_sheet(tmp_path / f"{dataset}.xlsx", header, *rows)
    clips = READERS[dataset](sheet, frames, tmp_path, problems, repairs)
    return clips, [str(problem) for problem in (*problems, *problems.warnings)]


def read_casme(tmp_path, *rows, **options):
    return read("casme", CASME_HEADER, *rows, tmp_path=tmp_path, **options)


def read_mmew(tmp_path, *rows, **options):
    return read("mmew", MMEW_HEADER, *rows, tmp_path=tmp_path, **options)


def read_dme(tmp_path, *rows, **options):
    return read("4dme", DME_HEADER, *rows, tmp_path=tmp_path, **options)


# ---- CASME


def test_a_casme_row_becomes_a_clip_with_its_first_apex(tmp_path):
    (first, second), problems = read_casme(tmp_path, casme_row(), casme_row(2, second=12, emotion="tense"))
    assert problems == []
    assert (first.id, first.fps, first.fine, first.coarse) == ("casme/sub01/EP01_2", 60.0, "disgust", "negative")
    assert (first.onset, first.apex, first.offset, first.notes) == (3, 9, 15, ())
    assert (second.apex, second.fine, second.coarse) == (9, "others", "")
    assert second.left_out == "emotion 'tense'"
    assert "second apex 12: the first is read" in second.notes
    assert "emotion 'tense': counts as others" in second.notes


@pytest.mark.parametrize("pattern", ["EP01_2-{}.jpg", "EP01_2-{:03d}.jpg", "reg_EP01_2-{}.jpg"])
def test_casme_frames_are_numbered_behind_the_name_of_the_clip(tmp_path, pattern):
    write_frames(tmp_path / "CASME_raw_selected/sub01/EP01_2", pattern, 3, 9, 10, 15)
    (clip,), problems = read_casme(tmp_path, casme_row(), frames=tmp_path)
    assert problems == []
    assert (clip.onset, clip.apex, clip.offset) == (3, 9, 15)
    assert clip.frames == "CASME_raw_selected/sub01/EP01_2"


def test_a_casme2_sheet_is_not_read_as_casme(tmp_path):
    header = ["Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None, "Action Units", "Emotion"]
    with pytest.raises(DataError, match="sheet of CASME II, not of CASME; read it with `--dataset casme2`"):
        read("casme", header, [1, "EP02_01f", None, 46, 59, 86, None, 12, "happiness"], tmp_path=tmp_path)


# ---- rows of a sheet that are known to be wrong


def test_rows_that_a_loader_corrects_are_named_and_corrected_only_when_asked_for(tmp_path):
    rows = [casme_row(1 + index // 20, f"EP{index:02d}_1") for index in range(189)]
    clips, (warning,) = read_casme(tmp_path, *rows)
    assert "5 row(s) are known to be wrong: 42, 44, 45, 56, 142; correct them with --repairs meb" in warning
    # the 41st row below the header, which is row 42 of the sheet
    assert (clips[40].onset, clips[40].apex, clips[40].offset) == (3, 9, 15)
    assert clips[40].notes == (
        "row 42 is known to be wrong (the frames of the clip are others; tvaranka/meb): --repairs meb corrects onset, "
        "apex, offset",
    )
    assert [index for index, clip in enumerate(clips) if clip.notes] == [40, 42, 43, 54, 140]
    clips, warnings = read_casme(tmp_path, *rows, repairs="meb")
    assert warnings == []
    assert (clips[40].onset, clips[40].apex, clips[40].offset) == (100, 120, 149)
    assert clips[40].notes[0].startswith("repaired: onset 3: 100 is taken")
    assert (clips[54].onset, clips[54].offset) == (3, 40)
    assert clips[41].notes == ()
    clips, warnings = read_casme(tmp_path, *rows, repairs="none")
    assert (clips[40].notes, warnings) == ((), [])


def test_rows_are_known_by_their_place_only_in_a_sheet_as_long_as_the_released_one(tmp_path):
    rows = [casme_row(1 + index // 20, f"EP{index:02d}_1") for index in range(60)]
    clips, (warning,) = read_casme(tmp_path, *rows, repairs="meb")
    assert not any(clip.notes for clip in clips)
    assert "the repairs meb are not made: they go by the rows of a sheet of 189, and this has 60; give" in warning
    assert read_casme(tmp_path, *rows)[1] == []


def test_the_sixteen_rows_of_mmew(tmp_path):
    rows = [mmew_row(1, f"S01-01-{index:03d}") for index in range(300)]
    clips, _ = read_mmew(tmp_path, *rows)
    noted = [index for index, clip in enumerate(clips) if clip.notes]
    assert noted == [33, *range(35, 43), 142, 143, 145, 146, 148, 154, 156]
    clips, _ = read_mmew(tmp_path, *rows, repairs="meb")
    assert [(clips[index].apex, clips[index].offset) for index in (33, 35, 156)] == [(40, 75), (15, 54), (38, 106)]


def test_the_swapped_action_units_of_4dme(tmp_path):
    rows = [dme_row(name=f"S13_1st_{index:03d}_01_1", units=f"{1 + index % 9}+12") for index in range(267)]
    clips, _ = read_dme(tmp_path, *rows)
    assert [index for index, clip in enumerate(clips) if clip.notes] == [144, 145]
    swapped, _ = read_dme(tmp_path, *rows, repairs="meb")
    assert swapped[144].action_units == clips[145].action_units != clips[144].action_units
    assert swapped[145].action_units == clips[144].action_units
    assert "1+12 is taken" not in swapped[144].notes[0]
    assert "2+12 is taken" in swapped[144].notes[0]


# ---- MMEW


def test_mmew_clips_lie_in_folders_of_emotions(tmp_path):
    write_frames(tmp_path / "MMEW_Final/Micro_Expression/anger/S13-07-001", "{}.jpg", *range(1, 41))
    write_frames(tmp_path / "MMEW_Final/Micro_Expression/others/S02-01-003", "{}.jpg", *range(1, 41))
    rows = mmew_row(), mmew_row(2, "S02-01-003", emotion="others"), mmew_row(3, "S03-02-001", emotion="happiness")
    (first, second), problems = read_mmew(tmp_path, *rows, frames=tmp_path)
    assert (first.id, first.fps, first.coarse) == ("mmew/S13/S13-07-001", 90.0, "negative")
    assert first.frames == "MMEW_Final/Micro_Expression/anger/S13-07-001"
    assert (second.fine, second.coarse, second.left_out) == ("others", "", "emotion 'others'")
    assert "row 4: S03/S03-02-001: its folder does not exist" in problems[0]


@pytest.mark.parametrize("folder", ["Micro_Expression/S13/anger", "Micro_Expression/S13"])
def test_mmew_clips_sorted_by_subject(tmp_path, folder):
    write_frames(tmp_path / folder / "S13-07-001", "{}.jpg", *range(1, 41))
    (clip,), problems = read_mmew(tmp_path, mmew_row(), frames=tmp_path)
    assert problems == []
    assert clip.frames == f"{folder}/S13-07-001"


def test_an_mmew_row_without_a_usable_interval_is_a_problem_that_names_its_row(tmp_path):
    clips, problems = read_mmew(tmp_path, mmew_row(), mmew_row(2, "S02-01-003", apex=0, offset=0))
    assert len(clips) == 1
    assert "row 3: the interval 1–0 is empty and the apex 0 does not help" in problems[0]


# ---- 4DME


def test_a_4dme_row_becomes_a_clip(tmp_path):
    (clip,), problems = read_dme(tmp_path, dme_row(units="AU4(k)+L7"))
    assert problems == []
    assert (clip.id, clip.subject, clip.fps) == ("4dme/S13/S13_1st_001_01_1", "S13", 60.0)
    assert (clip.fine, clip.coarse) == ("", "negative")
    assert [(unit.number, unit.side) for unit in clip.action_units] == [(7, "left")]
    assert "action units 'AU4(k)+L7': 4 is static and left out" in clip.notes


@pytest.mark.parametrize(
    ("emotion", "fine", "coarse", "reason"),
    [
        ("Positive", "", "positive", ""),
        ("Surprise", "", "surprise", ""),
        ("Repression", "repression", "negative", ""),
        ("Others", "others", "", "emotion 'others'"),
        ("Surprise+Positive", "", "", "several emotions, surprise and positive"),
        ("Negative + Repression", "repression", "negative", ""),
    ],
)
def test_the_emotions_of_4dme_are_coarse_classes_and_may_be_two(tmp_path, emotion, fine, coarse, reason):
    (clip,), problems = read_dme(tmp_path, dme_row(emotion=emotion))
    assert problems == []
    assert (clip.fine, clip.coarse, clip.left_out) == (fine, coarse, reason)


@pytest.mark.parametrize("subject", ["S13_1st", "S13", "13", 13, "'13"])
def test_subjects_of_4dme_are_numbers_whatever_the_session(tmp_path, subject):
    (clip,), problems = read_dme(tmp_path, dme_row(subject))
    assert (clip.subject, problems) == ("S13", [])


@pytest.mark.parametrize("folder", ["gray_micro_crop/S13_1st", "4DME/gray_micro/S13", "gray_micro"])
def test_4dme_frames_are_found_below_the_subject_as_the_sheet_writes_it_or_without(tmp_path, folder):
    write_frames(tmp_path / folder / "S13_1st_001_01_1", "Frame_{:09d}.jpg", *range(2470, 2511))
    (clip,), problems = read_dme(tmp_path, dme_row(), frames=tmp_path)
    assert problems == []
    assert clip.frames == f"{folder}/S13_1st_001_01_1"


def test_names_of_clips_that_are_unknown_refuse_no_sheet_of_4dme(tmp_path):
    (clip,), problems = read_dme(tmp_path, dme_row(7, "sub7_take3"))
    assert (clip.id, clip.notes, problems) == ("4dme/S07/sub7_take3", (), [])


def test_another_sheet_is_not_read_as_4dme(tmp_path):
    with pytest.raises(DataError, match="sheet of MMEW, not of 4DME; read it with `--dataset mmew`"):
        read("4dme", MMEW_HEADER, mmew_row(), tmp_path=tmp_path)
