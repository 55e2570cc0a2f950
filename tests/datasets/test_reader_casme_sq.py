"""CAS(ME)²: a sheet without a header, numbers and names that stand for others, 44 offsets of 0, whole videos."""

import csv
from collections import Counter
from pathlib import Path

import openpyxl
import pytest
from sheets import write_frames

from megc.datasets.annotated import read_annotations
from megc.datasets.index import summarise_clips
from megc.datasets.readers import READERS
from megc.datasets.readers.casme_sq import CASME_SQ, FOLDER_NUMBERS, VIDEO_CODES, video_code
from megc.problems import DataError, Problems

REAL = Path(__file__).parents[3] / "shared" / "real"


def test_names_of_expressions_and_numbers_of_subjects_are_those_of_the_folders():
    assert (len(FOLDER_NUMBERS), FOLDER_NUMBERS[1], FOLDER_NUMBERS[11], FOLDER_NUMBERS[22]) == (22, 15, 27, 40)
    assert (video_code("anger1_1"), video_code("Happy5_12 "), video_code("disgust2_3")) == ("0401", "0508", "0102")
    for name in ("anger3_1", "anger1", "EP02_01f", ""):
        with pytest.raises(ValueError, match="names no expression"):
            video_code(name)


def test_the_real_events_lie_in_the_videos_that_their_names_say():
    if not (REAL / "spotting" / "events.csv").is_file():
        pytest.skip("the real events are not at hand (../shared/real/spotting)")
    with (REAL / "spotting" / "events.csv").open(encoding="utf-8", newline="") as file:
        events = [row for row in csv.DictReader(file) if row["dataset"] == "casme_sq"]
    assert len(events) == 357
    for event in events:
        subject, name = event["event"].split("_", 1)
        assert event["video"] == f"{subject}_{video_code(name)}"
    assert {int(event["subject"][1:]) for event in events} == set(FOLDER_NUMBERS.values())
    assert {event["video"].split("_")[1] for event in events} == set(VIDEO_CODES.values())


# ---- the sheet


def row(subject=1, name="anger1_1", onset=557, apex=572, offset=608, units="4+10", emotion="negative", kind="micro"):
    return [subject, name, onset, apex, offset, units, emotion, f"{kind}-expression", "happyiness"]


def write(path, *rows):
    """The workbook as released: no header, and two sheets of naming rules."""
    book = openpyxl.Workbook()
    book.active.title = "CASFEcode_final"
    for cells in rows:
        book.active.append(cells)
    rule = book.create_sheet("naming rule1")
    for number, folder in FOLDER_NUMBERS.items():
        rule.append([number, f"s{folder}"])
    rule = book.create_sheet("naming rule2")
    for name, code in VIDEO_CODES.items():
        rule.append([int(code), name])
    book.save(path)
    return path


def read(tmp_path, *rows, frames=None, repairs=""):
    problems = Problems()
    sheet = write(tmp_path / "CAS(ME)^2code_final.xlsx", *rows)
    clips = READERS["casme_sq"](sheet, frames, tmp_path, problems, repairs)
    return clips, [str(problem) for problem in problems], [str(warning) for warning in problems.warnings]


def test_micro_expressions_become_clips_and_macros_are_counted(tmp_path):
    rows = row(), row(11, "happy5_12", 10, 20, 26, "14or23", "positive"), row(2, "anger1_2", kind="macro")
    (first, second), problems, warnings = read(tmp_path, *rows)
    assert problems == []
    assert (first.id, first.subject, first.fps) == ("casme_sq/s15/anger1_1", "s15", 30.0)
    assert (first.fine, first.coarse, first.notes) == ("", "negative", ())
    assert second.id == "casme_sq/s27/happy5_12"
    assert [unit.number for unit in second.action_units] == [14, 23]
    assert len(warnings) == 1
    assert "1 of 3 rows are macro-expressions" in warnings[0]
    assert "emotions: negative 1, positive 1" in summarise_clips([first, second])


@pytest.mark.parametrize(
    ("emotion", "coarse", "fine", "reason"),
    [
        ("negative", "negative", "", ""),
        ("surprise", "surprise", "", ""),
        ("others", "", "others", "emotion 'others'"),
        (None, "", "", "no emotion"),
    ],
)
def test_the_emotions_are_coarse_classes(tmp_path, emotion, coarse, fine, reason):
    (clip,), problems, _ = read(tmp_path, row(emotion=emotion, units="NULL"))
    assert problems == []
    assert (clip.coarse, clip.fine, clip.left_out) == (coarse, fine, reason)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (row(23), "no subject 23 in CAS(ME)²; write one of 1 to 22"),
        (row(2, kind="both"), "'both-expression' is no type of expression"),
        (row(2, emotion="helpless"), "unknown emotion 'helpless'"),
    ],
)
def test_a_bad_row_is_told(tmp_path, bad, words):
    clips, problems, _ = read(tmp_path, row(), bad)
    assert len(clips) == 1
    assert len(problems) == 1
    assert "row 2: " in problems[0] and words in problems[0]


def test_offsets_of_0_are_repaired_by_the_rule_that_is_named(tmp_path):
    rows = [
        row(1, "anger2_1", 2155, 2163, 0, "4", kind="macro"),
        row(),
        row(17, "anger1_1", 1763, 0, 1787, kind="macro"),
    ]
    sheet = write(tmp_path / "code_final.xlsx", *rows)
    offsets = {}
    for name in ("", "megc2020", "lgsnet", "none"):
        problems = Problems()
        first, second, third = read_annotations(CASME_SQ, sheet, problems, name)
        assert list(problems) == []
        offsets[name] = first.interval.offset
        assert second.interval.offset == 608
        assert (third.interval.apex, third.interval.apex_estimated) == (1775, True)
        notes = " ".join(first.notes)
        assert ("repaired: offset 0" in notes) == (name in ("megc2020", "lgsnet"))
        assert ("offset 0: the apex 2163 is taken" in notes) == (name in ("", "none"))
        assert first.annotated == (2155, 2163, 0)
    assert offsets == {"": 2163, "megc2020": 2163, "lgsnet": 2183, "none": 2163}


@pytest.mark.parametrize("interval", [(1221, 1230, 1224), (2169, 2203, 2202), (2407, 2455, 2451)])
def test_an_apex_behind_the_offset_becomes_the_middle(tmp_path, interval):
    (clip,), problems, _ = read(tmp_path, row(11, "disgust1_5", *interval))
    onset, apex, offset = interval
    assert problems == []
    assert (clip.apex, clip.apex_estimated) == ((onset + offset) // 2, True)
    assert f"apex {apex} is outside {onset}–{offset}" in clip.notes[0]


def test_another_sheet_without_a_header_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"looks like a sheet of CASME II|no header|file names are like"):
        read(tmp_path, *[[1, f"EP0{index}_01f", 1, 5, 9, 4, "negative", "micro-expression"] for index in range(1, 5)])


# ---- frames


@pytest.mark.parametrize("above", ["", "CASME_sq/", "selectedpic/"])
def test_clips_of_their_own_are_preferred_to_videos(tmp_path, above):
    write_frames(tmp_path / f"{above}selectedpic/s15/anger1_1", "img{}.jpg", *range(557, 609))
    write_frames(tmp_path / f"{above}rawpic/s15/15_0401girlcrashing", "img{:03d}.jpg", *range(1, 700))
    (clip,), problems, _ = read(tmp_path, row(), frames=tmp_path)
    assert problems == []
    assert clip.frames == f"{above}selectedpic/s15/anger1_1"


@pytest.mark.parametrize("folder", ["rawpic", "CASME_sq/rawpic_crop", "cropped", "rawpic/rawpic"])
def test_a_clip_may_be_an_interval_of_the_video_that_its_name_says(tmp_path, folder):
    write_frames(tmp_path / folder / "s15/15_0401girlcrashing", "img{:03d}.jpg", *range(1, 1003))
    write_frames(tmp_path / folder / "s15/15_0402beatingpregnantwoman", "img{:03d}.jpg", *range(1, 50))
    rows = row(), row(1, "anger1_2", 990, 995, 1001), row(1, "anger2_1", 10, 20, 30), row(2, "happy5_1")
    clips, problems, _ = read(tmp_path, *rows, frames=tmp_path)
    assert [clip.frames.removeprefix(f"{folder}/s15/15_") for clip in clips] == [
        "0401girlcrashing",
        "0401girlcrashing",
        "0402beatingpregnantwoman",
    ]
    assert [(clip.onset, clip.apex, clip.offset) for clip in clips][1] == (990, 995, 1001)
    assert len(problems) == 1
    assert "row 4: s16/happy5_1: its folder does not exist" in problems[0]


# ---- the real events


def test_the_real_events_written_as_a_sheet_give_57_clips(tmp_path):
    if not (REAL / "spotting" / "events.csv").is_file():
        pytest.skip("the real events are not at hand (../shared/real/spotting)")
    with (REAL / "spotting" / "events.csv").open(encoding="utf-8", newline="") as file:
        events = [event for event in csv.DictReader(file) if event["dataset"] == "casme_sq"]
    numbers = {f"s{folder}": number for number, folder in FOLDER_NUMBERS.items()}
    rows = [
        row(
            numbers[event["subject"]],
            event["event"].split("_", 1)[1],
            int(event["onset"]),
            int(event["apex"]),
            0 if event["repair"] else int(event["offset"]),
            event["action_units"],
            event["emotion"],
            event["type"],
        )
        for event in events
    ]
    clips, problems, warnings = read(tmp_path, *rows)
    assert problems == []
    assert len(warnings) == 1
    assert "300 of 357 rows are macro-expressions" in warnings[0]
    assert Counter(clip.coarse or clip.fine for clip in clips) == {
        "negative": 21,
        "others": 19,
        "surprise": 9,
        "positive": 8,
    }
    assert {(clip.subject, clip.name, clip.onset, clip.apex, clip.offset) for clip in clips} == {
        (event["subject"], event["event"].split("_", 1)[1], *(int(event[key]) for key in ("onset", "apex", "offset")))
        for event in events
        if event["type"] == "micro"
    }
    assert not any(clip.apex_estimated for clip in clips)
