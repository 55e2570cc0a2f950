"""Long videos of CAS(ME)², CAS(ME)³, SMIC-E-long: names, repairs, emotions of another sheet, several events a row."""

from collections import Counter
from pathlib import Path

import pytest
from sheets import write_frames, write_sheet

from megc.datasets.index import DatasetSource, index_clips, index_videos
from megc.datasets.readers import LONG_READERS
from megc.datasets.readers.casme_sq import FOLDER_NUMBERS, VIDEO_CODES
from megc.facs import ActionUnit
from megc.problems import Problems

REAL = Path(__file__).parents[3] / "shared" / "real"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real annotations are not on this machine")


def read(name, sheet, folder, frames=None, repairs="", emotions=None):
    problems = Problems()
    return LONG_READERS[name](sheet, frames, folder, problems, repairs, emotions), problems


def sq_row(subject=1, name="anger1_1", onset=557, apex=572, offset=608, units="4+10+14", emotion="negative"):
    return [subject, name, onset, apex, offset, units, emotion, "macro-expression", "anger"]


def write_casme_sq(folder, *rows):
    first, *others = rows
    return write_sheet(folder / "CAS(ME)^2code_final.xlsx", first, *others)  # without a header


def test_casme_sq_videos_are_named_by_folder_and_code(tmp_path):
    rows = [sq_row(), sq_row(name="anger1_2", onset=12, apex=13, offset=20), sq_row(9, "happy5_1", emotion="positive")]
    rows.append([*sq_row(22, "disgust2_1", emotion="others")[:7], "micro-expression", "happyiness"])
    videos, problems = read("casme_sq", write_casme_sq(tmp_path, *rows), tmp_path)
    assert [(video.id, len(video.events)) for video in videos] == [
        ("casme_sq/s15/s15_0401", 2),
        ("casme_sq/s25/s25_0508", 1),
        ("casme_sq/s40/s40_0102", 1),
    ]
    assert [event.name for event in videos[0].events] == ["anger1_2", "anger1_1"] and not problems
    assert (videos[1].events[0].emotion, videos[2].events[0].type) == ("positive", "micro")
    assert len(FOLDER_NUMBERS) == 22 and set(VIDEO_CODES.values()) >= {"0101", "0508"}


@pytest.mark.parametrize(("repairs", "offset"), [("", 2163), ("megc2020", 2163), ("lgsnet", 2183), ("none", 2163)])
def test_zero_offsets_of_casme_sq_are_repaired_as_asked(tmp_path, repairs, offset):
    rows = [sq_row(name="anger2_1", onset=2155, apex=2163, offset=0), sq_row(name="anger2_2")]
    videos, problems = read("casme_sq", write_casme_sq(tmp_path, *rows), tmp_path, repairs=repairs)
    event = max(videos[0].events, key=lambda event: event.onset)
    assert event.offset == offset and "offset 0" in event.notes[0] and not problems


def test_frames_of_casme_sq_lie_in_folders_with_the_films_name(tmp_path):
    write_frames(tmp_path / "CASME_sq/rawpic/s15/15_0401girlcrashing", "img{:03d}.jpg", *range(1, 601))
    videos, problems = read(
        "casme_sq", write_casme_sq(tmp_path, sq_row(), sq_row(name="anger1_2")), tmp_path, tmp_path
    )
    assert (videos[0].frames, videos[0].length) == ("CASME_sq/rawpic/s15/15_0401girlcrashing", 600)
    assert "reaches beyond" in videos[0].events[0].notes[-1] and not problems


def test_clips_and_videos_come_from_one_sheet_and_what_only_clips_have_is_a_warning(tmp_path):
    micro = [*sq_row(name="anger1_2", onset=10, apex=12, offset=20)[:7], "micro-expression", ""]
    source = DatasetSource("casme_sq", write_casme_sq(tmp_path, sq_row(), micro))
    problems = Problems()
    clips = index_clips([source], tmp_path / "clips.jsonl", problems)
    videos = index_videos([source], tmp_path / "videos.jsonl", problems)
    assert [clip.name for clip in clips] == ["anger1_2"] and len(videos[0].events) == 2 and not problems
    # frames of the clips alone
    write_frames(tmp_path / "selectedpic/s15/anger1_2", "img{}.jpg", *range(10, 21))
    source.frames, problems = tmp_path, Problems()
    assert len(index_clips([source], tmp_path / "clips.jsonl", problems)) == 1
    assert index_videos([source], tmp_path / "videos.jsonl", problems) == [] and not problems
    assert any("no long videos: no clip's folder" in str(warning) for warning in problems.warnings)


CASME3_HEADER = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Expression type", "Objective class"]
CASME3_ME_HEADER = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]


def write_casme3(folder, *rows):
    return write_sheet(folder / "CAS(ME)3_part_A_v2.xlsx", CASME3_HEADER, *rows)


def test_casme3_events_have_emotions_of_the_other_sheet(tmp_path):
    sheet = write_casme3(
        tmp_path,
        ["spNO.1", "a", "355", "359", "360", 5, "Micro-expression", "II"],
        ["spNO.1", "a", "37", "63", "65", "4+15+R10", "Macro-expression", "VII"],
        ["spNO.14", "J", "7", "7", "21", "14", "Micro-expression", "I"],
    )
    emotions = write_sheet(
        tmp_path / "me.xlsx",
        CASME3_ME_HEADER,
        ["spNO.1", "a", 355, 359, 360, "5", "II", "surprise"],
        ["spNO.14", "j", 7, 7, 21, "14", "I", "Others"],
        ["spNO.2", "a", 7, 8, 21, "14", "I", "sad"],
    )
    videos, problems = read("casme3", sheet, tmp_path, emotions=emotions)
    assert [video.id for video in videos] == ["casme3/spNO.1/a", "casme3/spNO.14/j"] and not problems
    macro, micro = videos[0].events
    assert (macro.name, macro.type, macro.emotion, macro.apex) == ("a_37", "macro", "", 63)
    assert macro.action_units == (ActionUnit(4), ActionUnit(15), ActionUnit(10, "right"))
    assert (micro.name, micro.emotion) == ("a_355", "surprise")
    assert (videos[1].events[0].apex, videos[1].events[0].emotion) == (7, "others")
    assert "1 of 3 labelled rows belong to no event" in str(problems.warnings[0])


def test_casme3_rows_without_numbers_or_names_are_problems(tmp_path):
    good = [["spNO.1", "a", str(n), "359", "360", 5, "Micro-expression", "II"] for n in (1, 2, 3, 4)]
    bad = [["spNO.1", "a", "soon", "359", "360", 5, "Micro-expression", "II"]]
    bad.append(["spNO.1", "aa", "1", "359", "360", 5, "Micro-expression", "II"])
    videos, problems = read("casme3", write_casme3(tmp_path, *good, *bad), tmp_path)
    assert len(videos[0].events) == 4
    assert [problem.row for problem in problems] == [6, 7]
    words = ("'soon' is no frame number", "'aa' names no video")
    assert all(text in str(problem) for text, problem in zip(words, problems, strict=True))


def test_part_c_events_have_labels_of_the_other_sheet_by_both_ends(tmp_path):
    sheet = write_sheet(
        tmp_path / "CAS(ME)3_part_C.xlsx",
        ["Subject", "Onset", "Offset", "diff", "Exp_type", "risk"],
        [17, 12580, 12588, 8, 1, 1],
        [17, 12580, 12591, 11, 1, 1],
        [17, 12600, 12691, 91, 0, 1],
    )
    header = ["sub", "count", "onset", "offset", "au", "emotion"]
    emotions = write_sheet(tmp_path / "me.xlsx", header, [17, 1, 12580, 12591, "4，11", "negative"])
    videos, problems = read("casme3_c", sheet, tmp_path, emotions=emotions)
    assert [video.id for video in videos] == ["casme3_c/17/a"] and not problems
    facts = [(event.offset, event.type, event.emotion, event.apex, event.notes) for event in videos[0].events]
    assert facts[0] == (12588, "micro", "", None, ()) and facts[2] == (12691, "macro", "", None, ())
    assert facts[1][:3] == (12591, "micro", "negative")
    assert videos[0].events[1].action_units == (ActionUnit(4), ActionUnit(11))


SMIC_HEADER = ["Subject", "Filename", "OnsetF", "OffsetF", "Onset2F", "Offset2F", "Onset3F", "Offset3F", "FirstF"]
SMIC_HEADER += ["LastF", "TotalMF1", "TotalMF2", "TotalMF3", "TotalVL", "Emotion"]


def smic_row(name="s3_ne_22", *events, first=443700, last=444200):
    points = [point for event in events for point in event] + [None] * (6 - 2 * len(events))
    return [int(name[1 : name.index("_")]), name, *points, first, last, None, None, None, None, "negative"]


def test_a_row_of_smic_holds_several_micro_expressions(tmp_path):
    rows = [
        smic_row("s3_ne_22", (443812, 443840), (444100, 444130)),
        smic_row("s14_po_1", (9, 20), first="?", last=40),
    ]
    rows.append(["Annotated by two coders", *[None] * 14])
    videos, problems = read(
        "smic_long", write_sheet(tmp_path / "SMIC-HS-E_annotation.xlsx", SMIC_HEADER, *rows), tmp_path
    )
    assert [(video.id, video.fps, video.length) for video in videos] == [
        ("smic_long/s03/s03_ne_22", 100.0, 501),
        ("smic_long/s14/s14_po_01", 100.0, None),
    ]
    facts = [
        (event.name, event.onset, event.apex, event.offset, event.type, event.emotion) for event in videos[0].events
    ]
    assert facts == [
        ("s03_ne_22_1", 443812, None, 443840, "micro", "negative"),
        ("s03_ne_22_2", 444100, None, 444130, "micro", "negative"),
    ]
    assert videos[1].events[0].emotion == "positive" and not problems
    assert "1 row(s) of words are passed over, the first is 'Annotated by two coders'" in str(problems.warnings[0])


def test_frames_of_smic_are_numbered_as_its_sheet(tmp_path):
    folder = tmp_path / "SMIC-E_raw image/HS_long/SMIC-HS-E/s03/s3_ne_22"
    write_frames(folder, "image{}.jpg", *range(443800, 443830))
    sheet = write_sheet(tmp_path / "SMIC-HS-E_annotation.xlsx", SMIC_HEADER, smic_row("s3_ne_22", (443812, 443840)))
    videos, problems = read("smic_long", sheet, tmp_path, tmp_path)
    assert (videos[0].length, videos[0].frames.split("/")[-1]) == (30, "s3_ne_22") and not problems
    assert videos[0].events[0].notes == ("443812–443840 reaches beyond the video's frames 443800–443829",)


def test_the_sheet_of_vis_holds_the_third_camera_too(tmp_path):
    header = ["Subject", "Filename", "OnsetF", "ApexF", "OffsetF", "OnsetF NIR", "ApexF NIR", "OffsetF NIR"]
    sheet = write_sheet(tmp_path / "SMIC_VIS_E_annotation.xlsx", header, [1, "s1_sur_3", 10, 12, 15, 110, 111, 115])
    for camera, first in (("VIS", 1), ("NIR", 100)):
        folder = tmp_path / f"{camera}_long/SMIC-{camera}-E/s01/s1_sur_03"
        write_frames(folder, "image{}.jpg", *range(first, first + 20))
    videos, problems = read("smic_long", sheet, tmp_path, tmp_path)
    assert [(video.id, video.fps, video.length) for video in videos] == [
        ("smic_long/s01/s01_sur_03_vis", 25.0, 20),
        ("smic_long/s01/s01_sur_03_nir", 25.0, 20),
    ]
    points = [[(event.onset, event.apex, event.offset) for event in video.events] for video in videos]
    assert points == [[(10, 12, 15)], [(110, 111, 115)]] and not problems
    assert "NIR_long" in videos[1].frames and not videos[1].events[0].notes


def test_an_apex_without_its_header_is_missed_with_a_word(tmp_path):
    header = ["Subject", "Filename", "OnsetF", "middle", "OffsetF", "remark"]
    sheet = write_sheet(tmp_path / "SMIC_VIS_E_annotation.xlsx", header, [1, "s1_sur_3", 10, 12, 15, "dim"])
    videos, problems = read("smic_long", sheet, tmp_path)
    assert videos[0].events[0].apex is None and not problems
    assert "there is no column for the apex; not read are D ('middle')" in str(problems.warnings[0])


@needs_real
@pytest.mark.parametrize(
    ("dataset", "sheet", "emotions", "videos", "subjects", "counts"),
    [
        (
            *("casme3", "CAS(ME)3_part_A_v2.xls", "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx", 956, 98),
            {("macro", ""): 3346, ("micro", "disgust"): 250, ("micro", "surprise"): 187, ("micro", "others"): 161}
            | {("micro", "fear"): 86, ("micro", "anger"): 64, ("micro", "sadness"): 57, ("micro", "happiness"): 55},
        ),
        (
            *("casme3_c", "CAS(ME)3_part_C.xls", "CAS(ME)3_part_C_ME.xlsx", 28, 28),
            {("macro", ""): 303, ("micro", "negative"): 98, ("micro", "surprise"): 27, ("micro", "others"): 19}
            | {("micro", "positive"): 15, ("micro", ""): 1},
        ),
    ],
)
def test_real_sheets_of_casme3(tmp_path, dataset, sheet, emotions, videos, subjects, counts):
    folder = REAL / "annotations"
    read_videos, problems = read(dataset, folder / sheet, tmp_path, emotions=folder / emotions)
    assert (len(read_videos), len({video.subject for video in read_videos})) == (videos, subjects) and not problems
    assert Counter((event.type, event.emotion) for video in read_videos for event in video.events) == counts
    # of part C, six micro-expressions of subjects 1 to 3, and one with another offset, are in one sheet alone
    assert len(problems.warnings) == (dataset == "casme3_c")
