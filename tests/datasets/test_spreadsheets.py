"""Spreadsheets that are damaged, doubtful, or of another dataset: told in words, never read in silence."""

import io
import random
import zipfile
from datetime import datetime

import openpyxl
import pytest
from sheets import CASME2_HEADER, SAMM_HEADER, casme2_row, read_casme2, read_samm, samm_row, write_frames, write_sheet

from megc.datasets import workbooks
from megc.datasets.index import DatasetSource, index_clips, summarise_clips
from megc.datasets.readers import READERS
from megc.datasets.spreadsheets import frame_of, read_sheet, subject_number
from megc.problems import DataError, Problems

EMOTIONS = ("disgust", "happiness", "surprise", "repression")
ROWS = [
    casme2_row(n, f"EP{k:02d}_0{n}f", 40 + k, 50 + k, 90 + k, 12 + k, EMOTIONS[k]) for n in (1, 2) for k in range(4)
]


# ---- damage


def members(workbook: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(workbook)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(parts: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return out.getvalue()


def flipped(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 2, 50))):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def read_outcome(folder, workbook: bytes) -> str:
    """`error`, `problems` or `whole`; any exception but DataError passes."""
    path, problems = folder / "damaged.xlsx", Problems()
    path.write_bytes(workbook)
    try:
        clips = READERS["casme2"](path, None, folder, problems)
    except DataError as error:
        assert len(str(error)) < 500
        return "error"
    return "whole" if len(clips) == len(ROWS) and not problems else "problems"


def test_a_sheet_with_flipped_or_lost_bytes_is_refused_in_words(tmp_path):
    good, draw = write_sheet(tmp_path / "good.xlsx", CASME2_HEADER, *ROWS).read_bytes(), random.Random(0)
    outcomes = [read_outcome(tmp_path, flipped(good, draw)) for _ in range(150)]
    outcomes += [read_outcome(tmp_path, good[: draw.randrange(len(good))]) for _ in range(30)]
    assert outcomes.count("error") > 150  # the others have damage where nothing stands, such as in a date


def test_a_sheet_whose_parts_are_nonsense_inside_whole_zips_is_refused_in_words(tmp_path):
    parts, draw = members(write_sheet(tmp_path / "good.xlsx", CASME2_HEADER, *ROWS).read_bytes()), random.Random(1)
    outcomes = []
    for number in range(150):
        name = draw.choice(sorted(parts))
        damaged = flipped(parts[name], draw) if number % 2 else parts[name][: draw.randrange(len(parts[name]))]
        outcomes.append(read_outcome(tmp_path, packed({**parts, name: damaged})))
    for name in parts:
        outcomes.append(read_outcome(tmp_path, packed({key: part for key, part in parts.items() if key != name})))
    assert outcomes.count("error") > 75


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"Subject,Filename,Onset\n1,EP02_01f,46\n", "suffix .csv"),
        ("Subject\tFilename".encode("utf-16"), "suffix .csv"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "a password"),  # .xls, and protected files
        (packed({"CASME2-coding-20190701.xlsx": b"x"}), "a zip archive of other files"),
    ],
    ids=["csv", "utf-16", "xls", "zip"],
)
def test_another_file_named_xlsx_is_told(tmp_path, content, words):
    (tmp_path / "a.xlsx").write_bytes(content)
    with pytest.raises(DataError, match="not a readable spreadsheet") as caught:
        read_sheet(tmp_path / "a.xlsx", Problems())
    assert words in str(caught.value)


def test_a_sheet_that_says_it_unpacks_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(workbooks, "_MOST_BYTES", 1000)
    path = write_sheet(tmp_path / "a.xlsx", CASME2_HEADER, *ROWS)
    with pytest.raises(DataError, match=r"say that they unpack to \d+ MB"):
        read_sheet(path, Problems())


# ---- cells


@pytest.mark.parametrize("cell", ["9" * 5000, "9" * 10, datetime(2026, 4, 6), 46.5, 1e300, True])
def test_what_is_no_frame_number_is_refused_in_few_words(cell):
    with pytest.raises(ValueError, match="no frame number") as caught:
        frame_of(cell)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("cell", [0, "0", "sub00", "9" * 5000, datetime(2026, 4, 6)])
def test_subject_zero_and_endless_subjects_are_refused(cell):
    with pytest.raises(ValueError, match="no subject") as caught:
        subject_number(cell)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (casme2_row(subject=0), "row 3: 0 is no subject"),
        (casme2_row(name="nan"), "row 3: no file name ('nan')"),
        (casme2_row(name=datetime(2026, 2, 1)), "row 3: the date or time 2026-02-01 00:00:00 is no folder name"),
        (casme2_row(name="E" * 300), "is no folder name"),
        (
            casme2_row(name="EP9", onset=datetime(2026, 2, 1)),
            "row 3: the date or time 2026-02-01 00:00:00 is no frame",
        ),
        (casme2_row(name="EP9", apex="9" * 5000), "(5002 characters) is no frame number"),
        (casme2_row(name="EP9", units=datetime(2026, 4, 7)), "row 3: cell H3: 2026-04-07 00:00:00 is a date"),
        (casme2_row(name="EP9", units=4.5), "row 3: cell H3: 4.5 is no action unit; format the cell as text"),
        (casme2_row(name="EP9", emotion="x" * 5000), "row 3: unknown emotion 'xxx"),
    ],
)
def test_a_doubtful_cell_is_a_problem_of_its_row(tmp_path, row, words):
    clips, problems = read_casme2(tmp_path, casme2_row(), row, casme2_row(2))
    assert [clip.subject for clip in clips] == ["sub01", "sub02"]
    assert len(problems) == 1 and words in problems[0] and len(problems[0]) < 400


def test_onset_zero_and_unread_units_are_noted_on_the_clip(tmp_path):
    (clip,), problems = read_casme2(tmp_path, casme2_row(onset=0, units="4+U24A"))
    assert problems == []
    assert clip.notes == (
        "onset 0: frames are counted from 1, check the cell",
        "action units '4+U24A': cannot read U24A",
    )


def test_the_summary_counts_clips_whose_units_are_not_read_in_full(tmp_path):
    clips, _ = read_casme2(tmp_path, casme2_row(units="4+U24A"), casme2_row(2))
    assert "action units not read in full: 1 (the first: casme2/sub01/EP02_01f" in summarise_clips(clips)
    assert "not read" not in summarise_clips(clips[1:])


def test_a_decimal_of_a_whole_number_is_the_unit(tmp_path):
    (clip,), problems = read_casme2(tmp_path, casme2_row(units=12.0))
    assert (problems, [unit.number for unit in clip.action_units], clip.notes) == ([], [12], ())


# ---- sheets and columns


def test_a_second_sheet_with_rows_is_told(tmp_path):
    path = write_sheet(tmp_path / "a.xlsx", CASME2_HEADER, casme2_row())
    book, problems = openpyxl.load_workbook(path), Problems()
    for row in (CASME2_HEADER, casme2_row(2), casme2_row(3)):
        book["Sheet2"].append(row)
    book.create_sheet("Sheet3").append(CASME2_HEADER)  # without rows: nothing is lost
    book.save(path)
    assert len(read_sheet(path, problems)) == 1
    assert ["'Sheet2' has a header and 2 row(s) too" in str(problem) for problem in problems] == [True]


@pytest.mark.parametrize("name", ["OnsetFrame", "Onset"])
def test_a_second_column_for_the_same_thing_is_told(tmp_path, name):
    (clip,), problems = read_casme2(tmp_path, [*casme2_row(), 999], header=[*CASME2_HEADER, name])
    assert clip.onset == 46
    assert len(problems) == 1 and "row 1: column K is for the onset as D is, which is read" in problems[0]


def test_a_sheet_without_a_row_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no row below the header"):
        read_casme2(tmp_path)


# ---- sheets of other datasets


def test_a_sheet_of_another_dataset_is_an_error_that_names_the_flag(tmp_path):
    samm_rows = [samm_row(6, f"006_1_{n}") for n in range(3)]
    casme3 = [casme2_row(f"spNO.{n}", "abc"[n]) for n in range(3)]
    other = [casme2_row(1, f"take {n}") for n in range(3)]
    with pytest.raises(DataError, match=r"sheet of SAMM, not of CASME II: 3 of 3 .*`--dataset samm`"):
        read_casme2(tmp_path, *samm_rows, header=SAMM_HEADER)
    with pytest.raises(DataError, match=r"sheet of CASME II, not of SAMM: 8 of 8 .*`--dataset casme2`"):
        read_samm(tmp_path, *ROWS, header=CASME2_HEADER)
    with pytest.raises(DataError, match=r"sheet of CAS\(ME\)³, not of CASME II.*read it with `--dataset casme3`"):
        read_casme2(tmp_path, *casme3)
    with pytest.raises(DataError, match=r"0 of 3 file names are like those of CASME II \(EP02_01f\)"):
        read_casme2(tmp_path, *other)


def test_a_single_odd_file_name_is_noted(tmp_path):
    clips, problems = read_casme2(tmp_path, *ROWS, casme2_row(3, "take_1"))
    assert problems == []
    assert [clip.name for clip in clips if any("not like those of CASME II" in n for n in clip.notes)] == ["take_1"]
    (clip,), _ = read_samm(tmp_path, samm_row(7, "006_1_2"))
    assert "that of a clip of subject 006, not 7" in clip.notes[0]


# ---- frames on disk


def frames_of(folder, *rows):
    for row in rows:
        write_frames(folder / f"sub{row[0]:02d}" / row[1], "img{}.jpg", *range(row[3], row[5] + 1))
    return folder


def test_where_most_clips_are_absent_one_line_says_how_many(tmp_path):
    clips, problems = read_casme2(tmp_path, *ROWS, frames=frames_of(tmp_path / "f", *ROWS[:3]))
    assert (len(clips), len(problems)) == (3, 1)
    assert "5 of 8 clips have no folder" in problems[0] and "the 3 that are there (--skip-bad)" in problems[0]
    clips, problems = read_casme2(tmp_path, *ROWS, frames=frames_of(tmp_path / "f", *ROWS[:6]))
    assert (len(clips), len(problems)) == (6, 2)  # few are absent: each is named


def test_a_sheet_of_another_dataset_is_no_source_of_clips(tmp_path):
    sheet, problems = write_sheet(tmp_path / "b.xlsx", CASME2_HEADER, *ROWS), Problems()
    with pytest.raises(DataError, match="no clip to write"):
        index_clips([DatasetSource("samm", sheet)], tmp_path / "clips.jsonl", problems)
    assert "--dataset casme2" in str(next(iter(problems)))
