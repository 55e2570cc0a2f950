"""CAS(ME)³, parts A and C: several clips of a video, broken rows, coarse emotions, sheets without labels."""

from collections import Counter
from pathlib import Path

import pytest
from sheets import write_frames, write_sheet

from megc.datasets.annotated import read_annotated, read_annotations
from megc.datasets.readers import READERS
from megc.datasets.readers.casme3 import CASME3
from megc.datasets.readers.casme3_c import CASME3_C
from megc.problems import DataError, Problems

REAL = Path(__file__).parents[3] / "shared" / "real" / "annotations"
HEADER_A = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]
HEADER_C = ["sub", "count", "onset", "offset", "au", "emotion"]
VIDEO = [
    ["spNO.1", "a", 355, 359, 380, "5", "II", "others"],
    ["spNO.1", "a", 596, 615, 624, "R12", "I", "happy"],
    ["spNO.14", "J", 1012, 1019, 1038, "14", "VII", "sad"],
]


def read(tmp_path, header, *rows, dataset="casme3", frames=None, repairs=""):
    problems = Problems()
    sheet = write_sheet(tmp_path / "sheet.xlsx", header, *rows)
    return READERS[dataset](sheet, frames, tmp_path, problems, repairs), problems


def real_sheet(name: str) -> Path:
    if not (REAL / name).is_file():
        pytest.skip(f"{name} is not at hand (../shared/real/annotations)")
    return REAL / name


def test_clips_of_a_video_are_named_by_file_and_onset(tmp_path):
    clips, problems = read(tmp_path, HEADER_A, *VIDEO)
    assert list(problems) == []
    assert [clip.id for clip in clips] == [
        "casme3/spNO.1/a_355",
        "casme3/spNO.1/a_596",
        "casme3/spNO.14/j_1012",
    ]
    assert [(clip.fine, clip.coarse) for clip in clips] == [
        ("others", ""),
        ("happiness", "positive"),
        ("sadness", "negative"),
    ]
    assert [(unit.number, unit.side) for unit in clips[1].action_units] == [(12, "right")]


@pytest.mark.parametrize(
    ("layout", "folders"),
    [
        ("part_A/spNo.1/a/color/{}.jpg", {"spNo.1/a/color": range(350, 630), "spNo.14/J/color": range(1000, 1040)}),
        (
            "Part_A_ME_clip/frame/{}.jpg",
            {
                "spNo.1_a_355": range(355, 381),
                "spNo.1_a_596": range(596, 625),
                "spNo.14_J_1012": range(1012, 1039),
            },
        ),
        (
            "ME_A/{}.jpg",
            {
                "spNO.1/a/color": range(355, 381),
                "spNO.1/a2/color": range(596, 625),
                "spNO.14/j/color": range(1012, 1039),
            },
        ),
    ],
    ids=["videos", "clips", "meb"],
)
def test_frames_of_a_video_or_of_clips_in_any_case(tmp_path, layout, folders):
    place = tmp_path / layout.split("/spNo")[0].split("/{}")[0]
    for folder, numbers in folders.items():
        write_frames(place / folder, "{}.jpg", *numbers)
    clips, problems = read(tmp_path, HEADER_A, *VIDEO, frames=tmp_path)
    assert list(problems) == []
    assert [(clip.onset, clip.apex, clip.offset) for clip in clips] == [
        (355, 359, 380),
        (596, 615, 624),
        (1012, 1019, 1038),
    ]
    distinct = {str((place / folder).relative_to(tmp_path)) for folder in folders}
    assert {clip.frames for clip in clips} == distinct
    assert not any("no file" in note for clip in clips for note in clip.notes)


def test_frames_that_a_video_has_lost_are_replaced_by_the_nearest(tmp_path):
    write_frames(tmp_path / "spNO.1/a/color", "{}.jpg", *range(357, 700))
    (clip,), problems = read(tmp_path, HEADER_A, VIDEO[0], frames=tmp_path)
    assert list(problems) == []
    assert (clip.onset, clip.notes[0]) == (357, "onset frame 355 has no file: the nearest, 357, is taken")


def test_broken_rows_are_repaired_by_name_of_the_clip_and_only_where_they_are_broken(tmp_path):
    rows = [
        ["spNO.149", "d", 112, 83, 358, "T28+14", "VII", "fear"],
        ["spNO.40", "e", 1812, 1824, 0, "18", "VII", "others"],
        ["spNO.40", "e", 2327, 2363, 0, "14", "VII", "others"],
        ["spNO.40", "e", 2500, 2520, 0, "14", "VII", "others"],
    ]
    clips, problems = read(tmp_path, HEADER_A, *rows)
    assert list(problems) == []
    assert [(clip.onset, clip.apex, clip.offset) for clip in clips] == [
        (112, 123, 358),
        (1812, 1824, 1845),
        (2327, 2363, 2403),
        (2500, 2520, 2520),  # of no repair: the rule
    ]
    assert [sum(note.startswith("repaired: ") for note in clip.notes) for clip in clips] == [1, 1, 1, 0]
    owners, _ = read(tmp_path, HEADER_A, *rows, repairs="owners")
    assert (owners[0].apex, owners[1].offset) == (160, 1845)
    released, _ = read(tmp_path, HEADER_A, *rows, repairs="none")
    assert [(clip.apex, clip.apex_estimated, clip.offset) for clip in released[:2]] == [
        (235, True, 358),
        (1824, False, 1824),
    ]


def test_macro_expressions_are_no_clips_and_a_sheet_without_emotions_says_so(tmp_path):
    header = [*HEADER_A[:6], "Expression type", "Objective class"]
    rows = [
        ["spNO.1", "a", 37, 63, 65, "4+15+R10", "Macro-expression", "VII"],
        ["spNO.1", "a", 355, 359, 360, "5", "Micro-expression", "II"],
    ]
    clips, problems = read(tmp_path, header, *rows)
    assert [clip.id for clip in clips] == ["casme3/spNO.1/a_355"]
    assert (len(problems), clips[0].left_out) == (0, "no emotion")
    warnings = " ".join(str(warning) for warning in problems.warnings)
    assert "1 of 2 rows are macro-expressions" in warnings and "has no emotions" in warnings
    rows[0][6] = "neutral"
    clips, problems = read(tmp_path, header, *rows)
    assert len(clips) == 1 and "row 2: 'neutral' is no type of expression" in str(next(iter(problems)))


def test_part_c_has_coarse_classes_alone_and_no_apex(tmp_path):
    rows = [
        [1, 1, 373, 385, "4，11,", "negative"],
        [1, 2, 6450, 6464, "13?", "surprise"],
        [1, 3, 7108, 7121, "2,24", "others"],
    ]
    clips, problems = read(tmp_path, HEADER_C, *rows, dataset="casme3_c")
    assert list(problems) == []
    assert [(clip.id, clip.fine, clip.coarse) for clip in clips] == [
        ("casme3_c/01/a_373_385", "", "negative"),
        ("casme3_c/01/a_6450_6464", "", "surprise"),
        ("casme3_c/01/a_7108_7121", "others", ""),
    ]
    assert [unit.number for unit in clips[0].action_units] == [4, 11]
    assert (clips[0].apex, clips[0].apex_estimated) == (379, True)


def test_part_c_finds_its_videos(tmp_path):
    write_frames(tmp_path / "part_C/01/a/color", "{}.jpg", *range(360, 400))
    (clip,), problems = read(
        tmp_path, HEADER_C, [1, 1, 373, 385, "4", "negative"], dataset="casme3_c", frames=tmp_path
    )
    assert (list(problems), clip.frames) == ([], "part_C/01/a/color")


def test_a_sheet_of_long_videos_is_not_read_as_part_c(tmp_path):
    header = ["Subject", "Filename", "Onset", "Apex", "Offset", "Type", "Action Units"]
    with pytest.raises(DataError, match="sheet of SAMM Long Videos, not of CAS"):
        read(tmp_path, header, ["006", "006_1_1", 566, 648, 743, "Macro", "4"], dataset="casme3_c")


# ---- the real sheets


def test_real_part_a_has_860_clips_and_its_broken_rows_are_repaired():
    problems = Problems()
    sheet = real_sheet("cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx")
    clips = read_annotated(CASME3, sheet, None, sheet.parent, problems)
    assert (len(clips), len(problems), len({clip.subject for clip in clips})) == (860, 0, 94)
    assert Counter(clip.fine for clip in clips) == {
        "disgust": 250,
        "surprise": 187,
        "others": 161,
        "fear": 86,
        "anger": 64,
        "sadness": 57,
        "happiness": 55,
    }
    by_id = {clip.id: (clip.onset, clip.apex, clip.offset) for clip in clips}
    assert by_id["casme3/spNO.149/d_112"] == (112, 123, 358)
    assert by_id["casme3/spNO.214/c_5"] == (5, 19, 34)  # the apex is the onset: the middle
    assert by_id["casme3/spNO.216/d_2647"] == (2647, 2668, 2694)
    assert by_id["casme3/spNO.216/e_1"] == (1, 13, 25)
    assert by_id["casme3/spNO.40/e_1812"] == (1812, 1824, 1845)
    assert by_id["casme3/spNO.40/e_2327"] == (2327, 2363, 2403)
    assert "casme3/spNO.14/j_1012" in by_id


def test_real_part_a_of_macro_and_micro_expressions():
    problems = Problems()
    expressions = read_annotations(CASME3, real_sheet("CAS(ME)3_part_A_v2.xls"), problems)
    assert Counter(expression.kind for expression in expressions) == {"macro": 3346, "micro": 860}
    assert len(problems) == 0


def test_real_part_c():
    problems = Problems()
    expressions = read_annotations(CASME3_C, real_sheet("CAS(ME)3_part_C_ME.xlsx"), problems)
    labels = Counter(expression.coarse or expression.fine for expression in expressions)
    assert labels == {"negative": 99, "surprise": 30, "others": 20, "positive": 16}
    expressions = read_annotations(CASME3_C, real_sheet("CAS(ME)3_part_C.xls"), problems)
    assert Counter(expression.kind for expression in expressions) == {"micro": 160, "macro": 303}
    assert len(problems) == 0
