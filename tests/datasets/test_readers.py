"""Spreadsheets and frame folders as released, with every irregular cell known, into clips."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sheets import CASME2_HEADER, SAMM_HEADER, casme2_row, read_casme2, read_samm, samm_row, write_frames, write_sheet

from megc.clips import read_clips
from megc.datasets.annotated import read_annotated
from megc.datasets.dataset import ClipNames, Dataset
from megc.datasets.index import DatasetSource, index_clips, summarise_clips
from megc.datasets.intervals import repair_interval
from megc.datasets.readers import READERS
from megc.datasets.spreadsheets import SheetForm, frame_of, read_sheet, subject_number
from megc.problems import DataError, Problems

ROOT = Path(__file__).parents[2]
REAL = Path(__file__).parents[3] / "shared" / "real"


# ---- cells


@pytest.mark.parametrize("cell", [6, 6.0, "6", "006", "sub06", "s6", "s06", "spNO.6", "spNo.6", " 006 ", "'006"])
def test_a_subject_is_a_number_however_it_is_written(cell):
    assert subject_number(cell) == 6


@pytest.mark.parametrize("cell", ["", None, "dzw", "6a", float("nan")])
def test_what_is_no_subject_is_refused(cell):
    with pytest.raises(ValueError, match="no subject"):
        subject_number(cell)


@pytest.mark.parametrize(
    ("cell", "frame"),
    [(46, 46), (46.0, 46), (" 46\xa0", 46), ("46?", 46), ("/", None), ("", None), (-1, None), (None, None), (0, 0)],
)
def test_frame_cells(cell, frame):
    assert frame_of(cell) == frame


@pytest.mark.parametrize(
    ("annotated", "repaired"),
    [
        ((46, 59, 86), (46, 59, 86, False)),
        ((261, None, 321), (261, 291, 321, True)),  # missing apex
        ((69, 69, 123), (69, 96, 123, True)),  # apex on the onset
        ((141, 181, 181), (141, 161, 181, True)),  # apex on the offset
        ((1071, 1143, 1134), (1071, 1102, 1134, True)),  # apex behind the offset
        ((4896, 1930, 4970), (4896, 4933, 4970, True)),  # apex far before the onset
        ((100, 120, None), (100, 120, 120, False)),  # missing offset
        ((100, 120, 90), (100, 120, 120, False)),  # offset before the onset
        ((100, 120, 0), (100, 120, 120, False)),
        ((7, None, 8), (7, 8, 8, True)),  # the middle is never the onset
    ],
)
def test_intervals_are_repaired_and_told(annotated, repaired):
    interval = repair_interval(*annotated)
    assert (interval.onset, interval.apex, interval.offset, interval.apex_estimated) == repaired
    assert bool(interval.notes) == (annotated != repaired[:3])


@pytest.mark.parametrize("annotated", [(None, 5, 9), (9, None, 5), (9, 9, 9), (9, 3, 5)])
def test_an_interval_beyond_repair_is_refused(annotated):
    with pytest.raises(ValueError, match=r"missing|empty"):
        repair_interval(*annotated)


# ---- spreadsheets


def test_a_casme2_row_becomes_a_clip(tmp_path):
    (clip,), problems = read_casme2(tmp_path, casme2_row(units="4+7+L2", emotion="disgust"))
    assert problems == []
    assert (clip.id, clip.subject, clip.name, clip.fps) == ("casme2/sub01/EP02_01f", "sub01", "EP02_01f", 200.0)
    assert (clip.onset, clip.apex, clip.offset, clip.frames, clip.notes) == (46, 59, 86, "", ())
    assert (clip.fine, clip.coarse) == ("disgust", "negative")
    assert [(unit.number, unit.side) for unit in clip.action_units] == [(4, None), (7, None), (2, "left")]


def test_a_samm_row_becomes_a_clip_behind_any_number_of_note_rows(tmp_path):
    for notes in (0, 13, 20):
        (clip,), problems = read_samm(tmp_path, samm_row(subject=6), notes=notes)
        assert problems == []
        assert (clip.id, clip.subject, clip.fine, clip.coarse) == ("samm/006/006_1_2", "006", "anger", "negative")


def test_headers_with_stray_spaces_and_apostrophes_and_version_1_names(tmp_path):
    header = [f"'{cell}\xa0 " if cell else cell for cell in SAMM_HEADER]
    assert len(read_samm(tmp_path, samm_row(), header=header)[0]) == 1
    version1 = [cell.removesuffix(" Frame") for cell in SAMM_HEADER]
    assert len(read_samm(tmp_path, samm_row(), header=version1)[0]) == 1


def test_the_file_of_2014_without_objective_classes_is_read(tmp_path):
    row = casme2_row(24, "EP07_01", emotion="sadness")
    (clip,), problems = read_casme2(tmp_path, row[:-1], header=CASME2_HEADER[:-1])
    assert problems == []
    assert (clip.fine, clip.coarse) == ("sadness", "")


def test_a_missing_column_names_those_found_and_those_needed(tmp_path):
    header = ["Apex" if cell == "ApexFrame" else cell for cell in CASME2_HEADER]
    header = ["Comment" if cell == "Action Units" else cell for cell in header]
    with pytest.raises(
        DataError, match=r"no column for units; found: 'Subject'.*'Comment'.*needed are subject"
    ) as caught:
        read_casme2(tmp_path, casme2_row(), header=header)
    assert caught.value.problem.row == 1


@pytest.mark.parametrize("content", [None, b"", b"PK no zip", "no header"])
def test_a_spreadsheet_that_cannot_be_read_says_so(tmp_path, content):
    path = tmp_path / "annotations.xlsx"
    if content == "no header":
        write_sheet(path, ["a", "b"], [1, 2])
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"does not exist|not a readable|no header"):
        read_sheet(path, Problems())


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (casme2_row(subject="x"), "row 3: 'x' is no subject"),
        (casme2_row(name=None), "row 3: no file name"),
        (casme2_row(name="../../EP"), "row 3: '../../EP' is no folder name"),
        (casme2_row(name="EP9", onset="a"), "row 3: 'a' is no frame number"),
        (casme2_row(name="EP9", onset=None), "row 3: the onset is missing"),
        (casme2_row(name="EP9", apex="/", offset=40), "row 3: the interval 46–40 is empty"),
        (casme2_row(name="EP9", emotion="hapiness"), "row 3: unknown emotion 'hapiness'"),
        (casme2_row(subject="sub01"), "row 3: clip casme2/sub01/EP02_01f is already in row 2"),
    ],
)
def test_a_bad_row_is_told_and_the_others_survive(tmp_path, bad, words):
    clips, problems = read_casme2(tmp_path, casme2_row(), bad, casme2_row(2))
    assert [clip.subject for clip in clips] == ["sub01", "sub02"]
    assert len(problems) == 1
    assert words in problems[0]


def test_blank_rows_are_passed_over_and_row_numbers_are_those_of_the_spreadsheet(tmp_path):
    clips, problems = read_casme2(tmp_path, casme2_row(), [None] * 10, casme2_row(2, onset="a"), casme2_row(3))
    assert len(clips) == 2
    assert "row 4:" in problems[0]


def test_the_wrong_offset_of_casme2_is_repaired_only_where_it_is_wrong(tmp_path):
    rows = [casme2_row(7, "EP06_01", 15, 49, 68), casme2_row(8, "EP06_01", 15, 49, 68)]
    (repaired, other), _ = read_casme2(tmp_path, *rows)
    assert (repaired.offset, other.offset) == (91, 68)
    assert repaired.notes == (
        "repaired: offset 68: 91 is taken (the frames go on to 91, and the movement with them; tvaranka/meb)",
    )
    (as_released, _), _ = read_casme2(tmp_path, *rows, repairs="none")
    assert (as_released.offset, as_released.notes) == (68, ())


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (casme2_row(emotion="others"), "emotion 'others'"),
        (casme2_row(emotion="sadness"), "too few clips of sadness"),
        (casme2_row(emotion="fear"), "too few clips of fear"),
        (casme2_row(24, "EP10_03", emotion="surprise"), "differs between the releases"),
        (casme2_row(apex="/"), "no apex annotated"),
        (casme2_row(apex=46), "the annotated apex is the onset"),
        (casme2_row(emotion=None), "no emotion"),
        (casme2_row(units=None), "no action unit"),
    ],
)
def test_a_clip_that_me_vqa_leaves_out_has_no_coarse_class_and_says_why(tmp_path, row, reason):
    (clip,), problems = read_casme2(tmp_path, row)
    assert (clip.coarse, problems) == ("", [])
    assert reason in clip.notes[-1]


def test_me_vqa_keeps_samm_clips_with_a_bad_apex_and_an_apex_on_the_offset(tmp_path):
    (clip,), _ = read_samm(tmp_path, samm_row("032", "032_3_1", 4896, 1930, 4970))
    assert (clip.coarse, clip.apex, clip.apex_estimated) == ("negative", 4945, False)
    (clip,), _ = read_casme2(tmp_path, casme2_row(apex=86))
    assert (clip.coarse, clip.apex, clip.apex_estimated) == ("positive", 66, True)


@pytest.mark.parametrize(
    ("units", "numbers", "note"),
    [
        ("L12 or L14", [12, 14], "alternatives"),
        ("(R6 or R12)+R15", [6, 12, 15], "alternatives"),
        ("10A/B", [10], None),
        ("ref(7B)+43", [7, 43], "reference"),
        ("12+15 ", [12, 15], None),
        (7, [7], None),
    ],
)
def test_the_action_units_of_samm(tmp_path, units, numbers, note):
    (clip,), problems = read_samm(tmp_path, samm_row(units=units))
    assert problems == []
    assert [unit.number for unit in clip.action_units] == numbers
    assert (note in clip.notes[0]) if note else clip.notes == ()


# ---- index


def both(tmp_path):
    write_sheet(tmp_path / "c.xlsx", CASME2_HEADER, casme2_row(), casme2_row(2, onset="a"))
    write_sheet(tmp_path / "s.xlsx", SAMM_HEADER, samm_row(), notes=13)
    return [DatasetSource("casme2", tmp_path / "c.xlsx"), DatasetSource("samm", tmp_path / "s.xlsx")]


def test_several_datasets_go_into_one_file(tmp_path):
    problems = Problems()
    clips = index_clips(
        [*both(tmp_path), DatasetSource("samm", tmp_path / "gone.xlsx")], tmp_path / "clips.jsonl", problems
    )
    assert read_clips(tmp_path / "clips.jsonl") == clips
    assert [clip.dataset for clip in clips] == ["casme2", "samm"]
    assert len(problems) == 2  # a row, and a file that is not there
    assert "samm: 1 clips of 1 subjects; 1 with a coarse class" in summarise_clips(clips)


def test_no_clip_at_all_writes_nothing(tmp_path):
    with pytest.raises(DataError, match="no clip to write"):
        index_clips([DatasetSource("casme2")], tmp_path / "clips.jsonl", Problems())
    assert not (tmp_path / "clips.jsonl").exists()


def test_the_program_indexes_pairs_and_its_exit_code_tells_of_bad_rows(tmp_path):
    both(tmp_path)
    command = [sys.executable, str(ROOT / "data_process/index_clips.py"), "--dataset", "casme2", "--annotations"]
    command += [str(tmp_path / "c.xlsx"), "--dataset", "samm", "--annotations", str(tmp_path / "s.xlsx")]
    command += ["--out", str(tmp_path / "clips.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "2 clips written" in done.stdout
    assert "c.xlsx, row 3: 'a' is no frame number" in done.stderr
    assert subprocess.run([*command, "--skip-bad"], capture_output=True, check=False).returncode == 0


# ---- the real spreadsheet


@pytest.fixture(scope="module")
def real_clips():
    sheet = REAL / "annotations" / "CASME2-coding-20190701.xlsx"
    if not sheet.is_file():
        pytest.skip("the CASME II spreadsheet is not at hand (../shared/real/annotations)")
    problems = Problems()
    clips = READERS["casme2"](sheet, None, sheet.parent, problems)
    assert len(problems) == 0
    return clips


def test_real_casme2_has_255_clips_of_26_subjects(real_clips):
    assert len(real_clips) == 255
    assert len({clip.subject for clip in real_clips}) == 26
    assert sum(clip.apex_estimated for clip in real_clips) == 5  # the sixth, without one, is repaired
    assert all(clip.onset < clip.apex <= clip.offset for clip in real_clips)


def test_real_casme2_clips_of_me_vqa_are_those_of_the_organisers(real_clips):
    rows = [json.loads(line) for line in (REAL / "me_vqa_casme2.jsonl").read_text().splitlines() if line.strip()]
    asked = {
        (row["subject"], row["filename"]): row["answer"]
        for row in rows
        if row["question"].startswith("What is the coarse")
    }
    ours = {(clip.subject, clip.name): clip.coarse for clip in real_clips if clip.coarse}
    assert len(ours) == 145
    assert ours == asked
    units = {
        (row["subject"], row["filename"]): row["answer"]
        for row in rows
        if row["question"].endswith(("unit?", "units?"))
    }
    named = {(clip.subject, clip.name): ", ".join(unit.name for unit in clip.action_units) for clip in real_clips}
    assert {key: named[key] for key in units} == units


def test_a_dataset_is_its_record_and_its_rule_alone(tmp_path):
    """What a new file in readers/ holds, here for a layout that no real dataset has."""
    record = Dataset(
        name="studio",
        clip_names=ClipNames("Studio", r"take_(?P<subject>\d+)\w*", "take_7a"),
        fps=120.0,
        subject="actor{}",
        layouts=("", "takes"),
        me_vqa_without=lambda clip: "rehearsal" if clip.name.endswith("r") else None,
        forms=(SheetForm(headers={"subject": ("Actor",), "filename": ("Take",), "units": ("Muscles (FACS)",)}),),
    )
    header = ["Actor", "Take", "Onset", "Apex", "Offset", "Muscles (FACS)", "Emotion"]
    rows = [7, "take_7a", 10, 20, 30, "6+12", "happy"], [8, "take_9r", 10, 20, 30, "4", "anger"]
    sheet = write_sheet(tmp_path / "studio.xlsx", header, *rows)
    for subject, name in (("actor7", "take_7a"), ("actor8", "take_9r")):
        write_frames(tmp_path / "takes" / subject / name, "{}.png", 10, 20, 30, 40)
    problems = Problems()
    first, second = read_annotated(record, sheet, tmp_path, tmp_path, problems)
    assert list(problems) == []
    assert (first.id, first.frames) == ("studio/actor7/take_7a", "takes/actor7/take_7a")
    assert (first.fps, first.offset, first.coarse, first.notes) == (120.0, 30, "positive", ())
    assert second.left_out == "rehearsal"
    assert second.notes[0] == "file name take_9r: that of a clip of subject 9, not 8"
