"""Annotation files of every kind: .xls and .csv like .xlsx, formulas, sheets without a header, damage."""

import random
import re
import zipfile

import openpyxl
import pytest
import xlwt
from sheets import CASME2_HEADER, SAMM_HEADER, casme2_row, read_casme2, read_samm, write_sheet

from megc.datasets.annotated import read_annotated
from megc.datasets.dataset import ClipNames, Dataset
from megc.datasets.readers import READERS
from megc.datasets.spreadsheets import SheetForm, read_sheet
from megc.datasets.workbooks import read_workbook
from megc.problems import DataError, Problems

ROWS = [casme2_row(), casme2_row(2, "EP03_02", 10, "/", 60, "4+L10", "others"), casme2_row(3, apex=60.0)]


def write_xls(path, header, *rows):
    book = xlwt.Workbook()
    sheet = book.add_sheet("Sheet1")
    for row, cells in enumerate((header, *rows)):
        for column, cell in enumerate(cells):
            if cell is not None:
                sheet.write(row, column, cell)
    book.add_sheet("Sheet2")
    book.save(str(path))
    return path


def write_csv(path, header, *rows, delimiter=",", encoding="utf-8"):
    lines = (delimiter.join("" if cell is None else str(cell) for cell in row) for row in (header, *rows))
    path.write_bytes("\r\n".join(lines).encode(encoding))
    return path


def read(path):
    problems = Problems()
    return READERS["casme2"](path, None, path.parent, problems), [str(problem) for problem in problems]


def test_every_kind_of_file_gives_the_same_clips(tmp_path):
    expected = read(write_sheet(tmp_path / "a.xlsx", CASME2_HEADER, *ROWS))
    assert (len(expected[0]), expected[1]) == (3, [])
    assert read(write_xls(tmp_path / "a.xls", CASME2_HEADER, *ROWS)) == expected
    assert read(write_csv(tmp_path / "a.csv", CASME2_HEADER, *ROWS)) == expected
    assert read(write_csv(tmp_path / "b.csv", CASME2_HEADER, *ROWS, delimiter=";", encoding="utf-8-sig")) == expected
    assert read(write_csv(tmp_path / "c.csv", CASME2_HEADER, *ROWS, delimiter="\t")) == expected


def test_a_csv_of_a_chinese_system_is_read(tmp_path):
    path = write_csv(tmp_path / "a.csv", CASME2_HEADER, casme2_row(units="4，11"), delimiter=";", encoding="gb18030")
    (clip,), problems = read(path)
    assert ([unit.number for unit in clip.action_units], problems) == ([4, 11], [])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.xls", b""),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600),
        ("a.xls", b"Subject,Filename\n"),
        ("a.csv", b"\0\0\0"),
        ("a.csv", b"\xff\xff\xff"),
        ("a.csv", b'"' + b"x" * 200_000),
        ("a.doc", b"x"),
    ],
)
def test_a_file_that_is_no_annotation_is_refused_in_words(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"not a readable spreadsheet|not an \.xlsx, \.xls or \.csv file"):
        read_workbook(tmp_path / name)


def test_an_xls_with_flipped_or_lost_bytes_is_read_or_refused_in_words(tmp_path):
    good, draw = write_xls(tmp_path / "good.xls", CASME2_HEADER, *ROWS).read_bytes(), random.Random(0)
    refused = 0
    for trial in range(200):
        data = bytearray(good[: draw.randrange(len(good))] if trial % 4 == 0 else good)
        for _ in range(draw.choice((1, 2, 50)) if data else 0):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        (tmp_path / "damaged.xls").write_bytes(bytes(data))
        try:
            read(tmp_path / "damaged.xls")
        except DataError as error:
            refused += 1
            assert len(str(error)) < 500
    assert refused > 50


# ---- formulas


def with_formula(path, column, formula, row=2):
    write_sheet(path, CASME2_HEADER, *ROWS)
    book = openpyxl.load_workbook(path)
    book["Sheet"].cell(row, column, formula)
    book.save(path)
    return path


def stored(path, value):
    """The workbook with `value` as the result of its only formula, as a spreadsheet program stores it."""
    parts = {name: zipfile.ZipFile(path).read(name) for name in zipfile.ZipFile(path).namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            text = re.sub(rb"(<f>[^<]*</f>)<v\s*/>|(<f>[^<]*</f>)<v></v>", rb"\1\2<v>%s</v>" % value, data)
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize(("column", "cell"), [(8, "H2"), (4, "D2"), (9, "I2")])
def test_a_formula_without_a_value_is_a_problem_of_its_cell(tmp_path, column, cell):
    clips, problems = read(with_formula(tmp_path / "a.xlsx", column, "=A1+1"))
    assert [clip.subject for clip in clips] == ["sub02", "sub03"]
    assert [f"row 2: cell {cell}: the formula '=A1+1' has no value" in problem for problem in problems] == [True]


def test_a_sum_of_action_units_is_never_an_action_unit(tmp_path):
    path = stored(with_formula(tmp_path / "a.xlsx", 8, "=4+7"), b"11")
    clips, problems = read(path)
    assert len(clips) == 2
    assert "cell H2: the formula '=4+7' is worked out to a number; format the cell as text" in problems[0]


def test_a_formula_as_text_is_no_action_unit(tmp_path):
    clips, problems = read(write_csv(tmp_path / "a.csv", CASME2_HEADER, casme2_row(units="=1+1"), casme2_row(2)))
    assert [clip.subject for clip in clips] == ["sub02"]
    assert "row 2: cell H2: '=1+1' holds a formula, which is no action unit" in problems[0]


def test_a_formula_with_its_value_is_read(tmp_path):
    clips, problems = read(stored(with_formula(tmp_path / "a.xlsx", 4, "=40+6"), b"46"))
    assert (problems, clips[0].onset) == ([], 46)


# ---- columns


STUDIO = Dataset(
    name="studio",
    clip_names=ClipNames("Studio", r"take\d+", "take1"),
    fps=25.0,
    subject="actor{}",
    layouts=("",),
    forms=(
        SheetForm(("subject", "filename", "onset", "offset", "emotion"), sheet="Codes", without_header=True),
        SheetForm(("subject", "filename", "onset", "offset", "type"), headers={"filename": ("Take'",)}),
    ),
    emotions={"tense": "others", "glad": "happiness"},
    kinds={"1": "micro", "0": "macro"},
)


def read_studio(tmp_path, *rows, sheet="Codes", dataset=STUDIO):
    book, problems = openpyxl.Workbook(), Problems()
    book.active.title = "naming rule"
    book.active.append(["Subject", "Filename", "folder"])
    book.active.append([1, "take1", "s15"])
    book.create_sheet(sheet)
    for row in rows:
        book[sheet].append(row)
    book.save(tmp_path / "studio.xlsx")
    clips = read_annotated(dataset, tmp_path / "studio.xlsx", None, tmp_path, problems)
    return clips, problems


def test_a_sheet_without_a_header_is_read_by_the_order_of_its_columns(tmp_path):
    clips, problems = read_studio(tmp_path, [1, "take1", 5, 25, "Glad"], [2, "take2", 7, 17, "tense"])
    assert list(problems) == []
    assert [(clip.id, clip.onset, clip.apex, clip.offset) for clip in clips] == [
        ("studio/actor1/take1", 5, 15, 25),
        ("studio/actor2/take2", 7, 12, 17),
    ]
    assert [(clip.fine, clip.left_out) for clip in clips] == [
        ("happiness", ""),
        ("others", "emotion 'tense'"),
    ]
    assert "emotion 'tense': counts as others" in clips[1].notes


def test_another_form_of_sheet_is_read_where_the_first_does_not_fit(tmp_path):
    header = ["'subject' ", "Take'", "Onset\xa0Frame", "Offset", "Type"]
    clips, problems = read_studio(tmp_path, header, [1, "take1", 5, 25, 1], [1, "take2", 9, 80, 0], sheet="Any")
    assert [clip.name for clip in clips] == ["take1"]
    told = [str(problem) for problem in (*problems, *problems.warnings)]
    assert any("1 of 2 rows are macro-expressions" in line for line in told)


@pytest.mark.parametrize(
    ("cell", "fine", "coarse", "coarse_only"),
    [
        ("Surprise", "", "surprise", True),
        ("surprise", "surprise", "surprise", False),
        ("Negative", "", "negative", False),
        ("Surprise+Positive", "", "", True),
        ("Negative+Repression", "repression", "negative", False),
        ("disgust + anger", "", "negative", False),
        ("happiness+others", "", "", False),
        ("Others", "others", "", True),
    ],
)
def test_emotions_of_a_cell(tmp_path, cell, fine, coarse, coarse_only):
    dataset = Dataset(
        **{
            **{name: getattr(STUDIO, name) for name in STUDIO.__dataclass_fields__},
            "coarse_only": coarse_only,
            "forms": (SheetForm(("subject", "filename", "onset", "offset", "emotion", "units"), without_header=True),),
        }
    )
    (clip,), _ = read_studio(tmp_path, [1, "take1", 5, 25, cell, "4"], sheet="Sheet", dataset=dataset)
    assert (clip.fine, clip.coarse) == (fine, coarse)
    assert bool(clip.left_out) == (not coarse)


def test_an_unknown_emotion_is_a_problem(tmp_path):
    clips, problems = read_studio(tmp_path, [1, "take1", 5, 25, "glad+hapiness"], [2, "take2", 5, 25, "glad"])
    assert [clip.name for clip in clips] == ["take2"]
    assert "row 1: unknown emotion 'hapiness'" in str(next(iter(problems)))


def test_a_sheet_of_long_videos_given_as_samm_names_its_dataset(tmp_path):
    header = ["Subject", "Filename", "Inducement Code", "Onset", "Apex", "Offset", "Duration", "Type", "Action Units"]
    rows = [["006", "006_1_1", 1, 566, 648, 743, 178, "Macro", "4(B/C)+7B"]]
    with pytest.raises(DataError, match="a sheet of SAMM Long Videos, not of SAMM; read it with `--dataset samm_lv`"):
        read_samm(tmp_path, *rows, header=header)


def test_a_missing_column_of_any_form_is_named(tmp_path):
    header = ["Remark" if cell == "Estimated Emotion" else cell for cell in SAMM_HEADER]
    with pytest.raises(DataError, match="no column for emotion; found: 'Subject'"):
        read_samm(tmp_path, casme2_row(), header=header)
    with pytest.raises(DataError, match="no header with Subject and Filename"):
        read_sheet(write_sheet(tmp_path / "a.xlsx", ["Name", "Onset"], ["x", 1]), Problems())
    assert read_casme2(tmp_path, casme2_row())[1] == []
