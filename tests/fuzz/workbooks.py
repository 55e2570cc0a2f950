"""Annotation sheets as they lie on disk: which column means what, and damaged cells, rows, columns and files."""

import datetime
import io
from dataclasses import dataclass

import openpyxl
import xlrd
from damages import Damaged, Draw, damage_bytes
from hypothesis import strategies as st

from megc.synthesis.layout_sheets import SheetForm, xls_bytes, xlsx_bytes
from megc.synthesis.layouts import SheetFile

# What spreadsheet programs and hands have put into cells.
CELLS = (
    *(
        None,
        "",
        " ",
        "/",
        "-",
        "?",
        "n/a",
        0,
        1,
        -1,
        12,
        46,
        46.0,
        46.5,
        99999,
        10**12,
        1e300,
        True,
        False,
        "46",
        "46 ",
        "46?",
    ),
    *(
        "46.0",
        "four",
        "sub01",
        "s1",
        "006",
        "6",
        "0",
        "x" * 3000,
        "A/B",
        "../x",
        "EP01",
        "é",
        "日本",
        "#N/A",
        "=1+1",
        "2026-01-02",
    ),
    *(datetime.datetime(2026, 4, 7), datetime.date(2026, 4, 7), datetime.time(4, 7), datetime.timedelta(days=1)),
)
PARTS = (
    "1",
    "2",
    "4",
    "12",
    "15",
    "R",
    "L",
    "A",
    "T",
    "B",
    "+",
    " or ",
    ",",
    "，",
    "(",
    ")",
    "/",
    "?",
    "C",
    "AU",
    "ref",
    " ",
    "0",
    "99",
    "123",
    ".",
    "-",
    "glare",
    "x",
    "٤",
    "and",
    "4+7",
    "12.0",
)
EMOTIONS = (
    "happiness",
    "Disgust",
    "SAD",
    "happy",
    "others",
    "Other",
    "joy",
    "fear ",
    "none",
    "",
    "surprise\u00a0",
    "5",
)


ROLES = {  # of columns, by the keys of the layouts
    **dict.fromkeys(("subject", "subject_text"), "subject"),
    **dict.fromkeys(("name", "letter", "long_name"), "name"),
    **{key: key for key in ("onset", "apex", "offset", "units", "emotion")},
    **dict.fromkeys(("micro_code", "title_type", "long_type"), "type"),
}
Table = list[list[object]]


@dataclass
class Sheet:
    """One sheet of a layout: how it is read, where its rows are, and what each gives. `rows` are numbers from 1."""

    source: str
    kind: str
    file: SheetFile
    form: SheetForm

    @property
    def header(self) -> int:
        """Index of the row above the first data row; -1 where there is none."""
        return len(self.form.notes) - (not self.form.header)

    def roles(self, table: Table) -> dict[str, int]:
        """Column of each role: by the header, or by the order where there is no header."""
        pairs = [column.split("=") for column in self.form.columns]
        keys = [key.partition(":")[0] for _, key in pairs]
        if self.form.header:
            by_header = {header.strip(): key for (header, _), key in zip(pairs, keys, strict=True) if header}
            keys = [by_header.get(str(cell or "").strip(), "") for cell in table[self.header]]
        roles: dict[str, int] = {}
        for index, key in enumerate(keys):
            if key in ROLES:
                roles.setdefault(ROLES[key], index)
        return roles

    @property
    def is_xls(self) -> bool:
        """Whether it is of the old binary format."""
        return self.file.path.endswith(".xls")


def read_tables(data: bytes, is_xls: bool) -> dict[str, Table]:
    if is_xls:
        book = xlrd.open_workbook(file_contents=data)
        return {
            sheet.name: [[_plain(value) for value in sheet.row_values(row)] for row in range(sheet.nrows)]
            for sheet in book.sheets()
        }
    book = openpyxl.load_workbook(io.BytesIO(data))
    return {sheet.title: [list(row) for row in sheet.iter_rows(values_only=True)] for sheet in book.worksheets}


def _plain(value: object) -> object:
    """A cell of xlrd as it was written: it knows no whole numbers and no empty cells."""
    return None if value == "" else int(value) if isinstance(value, float) and value.is_integer() else value


def book_bytes(tables: dict[str, Table], is_xls: bool) -> bytes:
    return (xls_bytes if is_xls else xlsx_bytes)(list(tables.items()))


def damage_sheet(sheet: Sheet, draw: Draw, data: bytes) -> Damaged:
    """A fault of a cell, a row, a column or the file."""
    tables = read_tables(data, sheet.is_xls)
    table = tables[sheet.form.title]
    first = sheet.header + 1
    place = draw(st.integers(first, len(table) - 1))
    kinds = ("cell",) * 6 + ("drop", "repeat", "blank", "bytes") + ("header", "swap") * sheet.form.header
    kind = draw(st.sampled_from(kinds))
    roles = sheet.roles(table)
    columns = range(max(map(len, table)))
    row = None
    for cells in table:
        cells.extend([None] * (len(columns) - len(cells)))
    if kind == "bytes":
        return damage_bytes(draw, data)
    if kind == "cell":
        role = draw(st.sampled_from(sorted(roles)))
        column = roles[role] if draw(st.integers(0, 5)) else draw(st.sampled_from(columns))
        cells = {
            "units": st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map("".join),
            "emotion": st.sampled_from(EMOTIONS),
        }
        table[place][column] = draw(st.one_of(cells.get(role, st.nothing()), st.sampled_from(CELLS)))
        row, what = place + 1, f"column {column + 1} of row {place + 1} = {str(table[place][column])[:30]!r}"
    elif kind == "drop":
        del table[place]
        what = f"row {place + 1} dropped"
    elif kind == "repeat":
        table.append(list(table[place]))
        row, what = len(table), f"row {place + 1} again"
    elif kind == "blank":
        table.insert(place, [None] * len(columns))
        what = f"blank row {place + 1}"
    elif kind == "header":
        column = draw(st.sampled_from(columns))
        words = (None, "", "Subject", "Apex", "colour", f" {table[sheet.header][column]} ", 5)
        table[sheet.header][column] = draw(st.sampled_from(words))
        what = f"header of column {column + 1} = {table[sheet.header][column]!r}"
    else:
        column, other = draw(st.sampled_from(columns)), draw(st.sampled_from(columns))
        for cells in table[sheet.header :]:
            cells[column], cells[other] = cells[other], cells[column]
        what = f"columns {column + 1} and {other + 1} change places"
    try:
        return Damaged(book_bytes(tables, sheet.is_xls), what, row, table=(kind, place, table))
    except Exception:  # a cell that the format cannot hold, of which each writer says so in its own way
        return damage_bytes(draw, data)
