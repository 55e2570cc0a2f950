"""Annotation sheets: the header is searched for, columns go by cleaned names, cells are read strictly."""

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from pathlib import Path

from megc.datasets.workbooks import SheetCells, read_workbook
from megc.problems import DataError, Problem, Problems, excerpt

HEADER_ROWS = 50  # SAMM has 13 rows of notes above its header
_DIGITS = 9  # of a frame or subject number, at most: SMIC has frames of eight digits
_EMPTY = ("", "/", "-", "-1", "?", "nan", "none", "n/a", "na")

# What annotation sheets hold: our name, and the spellings met, cleaned by `clean_header`.
COLUMNS: dict[str, tuple[str, ...]] = {
    "subject": ("subject", "subjectid", "sub"),
    "filename": ("filename", "clip"),
    "onset": ("onsetframe", "onset"),
    "apex": ("apexframe", "apex"),
    "offset": ("offsetframe", "offset"),
    "units": ("actionunits", "actionunit", "aus", "au"),
    "emotion": ("estimatedemotion", "emotion"),
    "type": ("expressiontype", "exptype", "type"),
}
_FILENAME = {"filename": COLUMNS["filename"]}
CLIP_COLUMNS = ("subject", "filename", "onset", "apex", "offset", "units", "emotion")


@dataclass(frozen=True)
class SheetForm:
    """The columns of a sheet as a dataset's owners release it; a dataset may have several such sheets.

    `columns` must all be there, by names of `COLUMNS` or of `headers`, which adds spellings of column headers;
    `optional` are read where they are there; a sheet with file names has no form without them. `sheet` is the name
    of the sheet in the workbook (upper or lower case; empty: the first that fits). `without_header`: the columns go
    by their order, the first is `columns[0]`.
    """

    columns: tuple[str, ...] = CLIP_COLUMNS
    optional: tuple[str, ...] = ()
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sheet: str = ""
    without_header: bool = False

    def spellings(self) -> dict[str, tuple[str, ...]]:
        """The spellings of each column's header, those of `COLUMNS` first."""
        names = (*self.columns, *self.optional)
        return {name: (*COLUMNS.get(name, ()), *self.headers.get(name, ())) for name in names}


@dataclass(frozen=True)
class Row:
    """A data row: its number as the spreadsheet program shows it, its cells by the names of `COLUMNS`, and where
    these stand (columns from 0)."""

    file: str
    number: int
    cells: dict[str, object]
    columns: dict[str, int] = field(default_factory=dict)

    def error(self, what: str, fix: str) -> DataError:
        """The DataError that names this row."""
        return DataError(self.file, self.number, what, fix)

    def cell_error(self, column: str, what: str, fix: str) -> DataError:
        """The DataError that names this row and the cell of a column, as `H3`."""
        return self.error(f"cell {column_letter(self.columns[column])}{self.number}: {what}", fix)


def clean_header(cell: object) -> str:
    """A header for comparison: lower case, only letters and digits (`'Onset\\xa0Frame '` → `onsetframe`)."""
    text = unicodedata.normalize("NFKC", str(cell)).casefold()
    return "".join(letter for letter in text if letter.isalnum())


def column_letter(index: int) -> str:
    """Name of the column `index` (from 0) in a spreadsheet program: A, …, Z, AA, AB, …"""
    letters = ""
    while index >= 0:
        letters = chr(ord("A") + index % 26) + letters
        index = index // 26 - 1
    return letters


def is_empty(cell: object) -> bool:
    """True for no cell, a blank one, NaN, and the marks for `not annotated` (`/`, `-`, -1, `?`)."""
    return cell is None or cell != cell or " ".join(str(cell).lower().split()) in _EMPTY


def text_of(cell: object) -> str:
    """Text of a cell without the spaces (also no-break ones) and apostrophes around it; empty for an empty cell."""
    if cell is None or cell != cell:
        return ""
    return unicodedata.normalize("NFKC", str(cell)).strip().strip("'’`").strip()


def cell_excerpt(cell: object) -> str:
    """A cell as a message quotes it; a date or time is called so, since nobody typed `datetime.datetime(…)`."""
    if isinstance(cell, date | time | timedelta):
        return f"the date or time {cell}"
    return excerpt(cell)


def frame_of(cell: object, fractions: bool = False) -> int | None:
    """Frame number of a cell: `46`, `46.0`, `'46 '`, `46?`; None where the cell gives none (`/`, blank, -1).

    `fractions`: 566.4 is 566, and 566.5 is 567. Raises ValueError for anything else.
    """
    if is_empty(cell):
        return None
    if fractions and isinstance(cell, float) and 0 <= cell < 10**_DIGITS:
        return math.floor(cell + 0.5)
    match = re.fullmatch(rf"(\d{{1,{_DIGITS}}})(?:\.0*)?\s*\??", text_of(cell))
    if not match:
        raise ValueError(f"{cell_excerpt(cell)} is no frame number")
    return int(match[1])


def subject_number(cell: object) -> int:
    """Number of a subject however it is written: `6`, `6.0`, `006`, `sub06`, `s6`, `spNO.6`, in a session `S06_1st`.

    Raises ValueError for anything else, 0 included: subjects are counted from 1.
    """
    text = text_of(cell).casefold()
    match = re.fullmatch(rf"(?:subject|sub|spno|s)?[\s._]*(\d{{1,{_DIGITS}}})(?:\.0+|_[1-9](?:st|nd|rd|th))?", text)
    if not match or not int(match[1]):
        raise ValueError(f"{cell_excerpt(cell)} is no subject")
    return int(match[1])


def _find_columns(header: list[object], spellings: dict[str, tuple[str, ...]]) -> dict[str, list[int]]:
    """Places (from 0) of each column that the header has, the one to read first: by spelling, then by place."""
    cleaned = [clean_header(cell) for cell in header]
    places = {
        name: [index for spelling in texts for index, text in enumerate(cleaned) if text == clean_header(spelling)]
        for name, texts in spellings.items()
    }
    return {name: columns for name, columns in places.items() if columns}


@dataclass(frozen=True)
class _Table:
    """A sheet whose columns are known: its name, its cells, its form, the header's index (-1: it has none), and the
    places of the columns."""

    name: str
    sheet: SheetCells
    form: SheetForm
    header: int
    columns: dict[str, list[int]]

    @property
    def missing(self) -> list[str]:
        """The needed columns that it does not have."""
        return [column for column in self.form.columns if column not in self.columns]

    def unread_columns(self, column: str) -> list[str]:
        """The columns with values but no known header that may be an optional one's, by letter and header.

        An apex stands between onset and offset. None where the form has no header.
        """
        if self.header < 0 or column in self.columns:
            return []
        header, *rows = self.sheet.cells[self.header :]
        used = {index for indices in self.columns.values() for index in indices}
        filled = {index for cells in rows for index, cell in enumerate(cells) if text_of(cell)} - used
        if column == "apex":
            filled &= set(range(self.columns["onset"][0], self.columns["offset"][0]))
        texts = {index: text_of(header[index]) if index < len(header) else "" for index in sorted(filled)}
        return [f"{column_letter(index)} ({excerpt(text) if text else 'no header'})" for index, text in texts.items()]

    def rows(self, path: Path) -> tuple[list[Row], list[Problem]]:
        """The rows below the header that are not blank, and a problem for each with a formula that was not worked
        out, or that works out a sum of action units."""
        columns = {column: indices[0] for column, indices in self.columns.items()}
        rows, problems = [], []
        for number, cells in enumerate(self.sheet.cells[self.header + 1 :], start=self.header + 2):
            row = Row(str(path), number, {column: cells[index] for column, index in columns.items()}, columns)
            if fault := self._formula_fault(row) or self._length_fault(row, cells):
                problems.append(fault.problem)
            elif any(text_of(cell) for cell in row.cells.values()):
                rows.append(row)
        return rows, problems

    def _length_fault(self, row: Row, cells: Sequence[object]) -> DataError | None:
        """An error for a line of a CSV with more cells than its header: a comma without quotes moves those behind."""
        if not row.file.lower().endswith(".csv") or self.header < 0:
            return None
        width = max(index for index, cell in enumerate(self.sheet.cells[self.header], start=1) if text_of(cell))
        more = [cell for cell in cells[width:] if text_of(cell)]
        what = f"{len(more)} more cell(s) than the header has columns, such as {excerpt(more[0])}" if more else ""
        return row.error(what, "put quotes around a cell with a comma in it, or name the column") if more else None

    def _formula_fault(self, row: Row) -> DataError | None:
        for column, index in row.columns.items():
            formula = self.sheet.formulas.get((row.number - 1, index))
            if formula is None:
                continue
            if column == "units" and not re.search(r"[A-Za-z\"]", formula):
                what, fix = "is worked out to a number", "format the cell as text and write the action units, as 4+7"
            elif not text_of(row.cells[column]):
                what, fix = (
                    "has no value",
                    "save the file again in a spreadsheet program, or type the value",
                )
            else:
                continue
            return row.cell_error(column, f"the formula {excerpt(formula)} {what}", fix)
        return None


def _tables(sheets: Mapping[str, SheetCells], form: SheetForm) -> Iterator[_Table]:
    """The sheets with columns of this form: the first header with a subject and another key of a row, or by order."""
    keys = {"filename", "onset"} & set(form.columns)
    named = [name for name in sheets if name.casefold() == form.sheet.casefold()] if form.sheet else []
    for name in named or sheets:
        sheet = sheets[name]
        for index, header in enumerate(sheet.cells[:HEADER_ROWS]):
            columns = _find_columns(header, form.spellings())
            with_names = "filename" in (*form.columns, *form.optional) or not _find_columns(header, _FILENAME)
            if "subject" in columns and keys & columns.keys() and with_names:
                yield _Table(name, sheet, form, index, columns)
                break
        else:
            width = max(map(len, sheet.cells), default=0)
            if form.without_header and width >= len(form.columns):
                order = [*form.columns, *form.optional][:width]
                yield _Table(name, sheet, form, -1, {column: [index] for index, column in enumerate(order)})


def read_sheet(
    path: Path | str,
    problems: Problems,
    forms: Sequence[SheetForm] = (SheetForm(),),
    sheets: dict[str, SheetCells] | None = None,
) -> list[Row]:
    """Rows of the first sheet that has all columns of one of `forms`, the first form first, by the columns' names.

    `sheets` are those of the file where it has been read before.

    Blank rows are passed over. Another such sheet, a second column for the same thing, and a row with a formula in
    place of a value are reported in `problems`. Raises DataError for a missing or unreadable file, when no sheet has
    a header in its first rows, when a needed column is missing (it lists those of the sheet and those needed), and
    when no row stands below the header.
    """
    path = Path(path)
    sheets = read_workbook(path) if sheets is None else sheets
    tables = [table for form in forms for table in _tables(sheets, form)]
    if not tables:
        names = f" of {', '.join(name for name in sheets if name)}" if any(sheets) else ""
        columns = " and ".join(column.capitalize() for column in forms[0].columns[:2])
        what = f"no header with {columns} in the first {HEADER_ROWS} rows{names}"
        raise DataError(path, None, what, "give the annotation spreadsheet as the dataset's owners release it")
    table = next((table for table in tables if not table.missing), None)
    if table is None:
        table = min(tables, key=lambda table: len(table.missing))
        listed = ", ".join(excerpt(text_of(cell)) for cell in table.sheet.cells[table.header] if text_of(cell))
        what = f"sheet {table.name!r} has no column for {', '.join(table.missing)}; found: {listed}"
        raise DataError(
            path, table.header + 1, what, f"needed are {', '.join(table.form.columns)}; name the columns so"
        )
    rows, faults = table.rows(path)
    if not rows and not faults:
        fix = "give the spreadsheet with its rows"
        raise DataError(path, table.header + 1, f"no row below the header of sheet {table.name!r}", fix)
    for fault in faults:
        problems.add(fault)
    _report_unread(path, table, [other for other in tables if other.form is table.form], problems)
    return rows


def _report_unread(path: Path, table: _Table, tables: list[_Table], problems: Problems) -> None:
    """Problems of what is not read beside `table`: rows of other sheets like it, a second column for a thing.

    A warning where apex or action units have no column while others are not read: a header may be misspelt.
    """
    for other in tables:
        unread = 0 if other is table else len(other.rows(path)[0])
        if unread:
            what = f"sheet {other.name!r} has a header and {unread} row(s) too, which are not read"
            problems.add(Problem(str(path), None, what, f"keep one of it and {table.name!r} in the file"))
    for column, indices in table.columns.items():
        if len(indices) > 1:
            first, *rest = (column_letter(index) for index in indices)
            what = f"column {', '.join(rest)} is for the {column} as {first} is, which is read"
            problems.add(Problem(str(path), table.header + 1, what, "keep one of them, or rename the other"))
    for column in sorted({"apex", "units"} & {*table.form.optional}):  # events without an emotion are noted one by one
        if unread := table.unread_columns(column):
            what = f"there is no column for the {column}; not read are {', '.join(unread)}"
            fix = f"where one of them is meant, name it {column.capitalize()}"
            problems.warn(Problem(str(path), table.header + 1, what, fix))
