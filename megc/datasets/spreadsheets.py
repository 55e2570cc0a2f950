"""Annotation spreadsheets: the header is searched for, columns go by cleaned names, cells are read strictly."""

import re
import unicodedata
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from megc.problems import DataError, Problem, Problems, excerpt

if TYPE_CHECKING:
    import pandas as pd

HEADER_ROWS = 50  # SAMM has 13 rows of notes above its header
_MOST_BYTES = 512 * 1024**2  # of a spreadsheet's unpacked parts: the released ones have under ten million
_DIGITS = 9  # of a frame or subject number, at most: SMIC has frames of eight digits
# What zipfile raises for a damaged archive: its own errors, those of the decompressor, an unknown compression
# (NotImplementedError), a set encryption bit (RuntimeError), and paths or offsets that make no sense.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)
# What openpyxl raises for parts that are whole but not what they should be: it does not check them itself, and
# XML parsers raise SyntaxErrors.
_WORKBOOK_ERRORS = (SyntaxError, LookupError, TypeError, AttributeError, ArithmeticError, *_ZIP_ERRORS)
_EMPTY = ("", "/", "-", "-1", "?", "nan", "none", "n/a", "na")

# What a micro-expression spreadsheet must hold: our name, and the spellings met, cleaned by `clean_header`.
COLUMNS: dict[str, tuple[str, ...]] = {
    "subject": ("subject", "subjectid"),
    "filename": ("filename", "clip"),
    "onset": ("onsetframe", "onset"),
    "apex": ("apexframe", "apex"),
    "offset": ("offsetframe", "offset"),
    "units": ("actionunits", "actionunit", "aus", "au"),
    "emotion": ("estimatedemotion", "emotion"),
}


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


def frame_of(cell: object) -> int | None:
    """Frame number of a cell: `46`, `46.0`, `'46 '`, `46?`; None where the cell gives none (`/`, blank, -1).

    Raises ValueError for anything else.
    """
    if is_empty(cell):
        return None
    match = re.fullmatch(rf"(\d{{1,{_DIGITS}}})(?:\.0*)?\s*\??", text_of(cell))
    if not match:
        raise ValueError(f"{cell_excerpt(cell)} is no frame number")
    return int(match[1])


def subject_number(cell: object) -> int:
    """Number of a subject however it is written: `6`, `6.0`, `006`, `sub06`, `s6`, `spNO.6`.

    Raises ValueError for anything else, 0 included: subjects are counted from 1.
    """
    text = text_of(cell).casefold()
    match = re.fullmatch(rf"(?:subject|sub|spno|s)?[\s._]*(\d{{1,{_DIGITS}}})(?:\.0+)?", text)
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


def _check_archive(path: Path) -> None:
    """Raises DataError for a file that is no .xlsx inside, or whose parts do not have their checksums."""
    again = "unpack or download it again"
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
            if size > _MOST_BYTES:
                what = f"its parts say that they unpack to {size / 1e6:.0f} MB"
                raise DataError(path, None, f"not a readable spreadsheet ({what})", again)
            damaged = archive.testzip()
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        fix = f"{again}; save text, .csv, .xls and files with a password as .xlsx without one"
        raise DataError(path, None, f"not a readable spreadsheet ({error})", fix) from error
    except _ZIP_ERRORS as error:
        raise DataError(path, None, f"not a readable spreadsheet ({error})", again) from error
    if damaged:
        raise DataError(path, None, f"not a readable spreadsheet (its part {damaged} is damaged)", again)
    if "[Content_Types].xml" not in names:
        fix = "give the .xlsx file itself, unpacked from its archive"
        raise DataError(path, None, "not a readable spreadsheet (a zip archive of other files)", fix)


def _sheets(path: Path) -> dict[str, "pd.DataFrame"]:
    """All sheets of a workbook, cells as they are. Raises DataError for what is no readable .xlsx."""
    import pandas as pd  # here: it takes a third of a second, and `--help` must be quick

    if not path.is_file():
        raise DataError(path, None, "the spreadsheet does not exist", "check --annotations")
    if path.suffix.lower() not in (".xlsx", ".xlsm"):
        raise DataError(path, None, "not an .xlsx file", "save the spreadsheet as .xlsx")
    _check_archive(path)
    try:
        with warnings.catch_warnings():  # openpyxl warns of styles and extensions that it passes over
            warnings.simplefilter("ignore", UserWarning)
            return pd.read_excel(
                path, sheet_name=None, header=None, dtype=object, keep_default_na=False, engine="openpyxl"
            )
    except _WORKBOOK_ERRORS as error:
        what = f"not a readable spreadsheet ({type(error).__name__}: {excerpt(str(error))})"
        fix = "open it in a spreadsheet program and save it again as .xlsx, or download it again"
        raise DataError(path, None, what, fix) from error


@dataclass(frozen=True)
class _Table:
    """A sheet with a header: its name, its cells, the header's index, and the places of the columns."""

    sheet: str
    cells: list[list[object]]
    header: int
    columns: dict[str, list[int]]

    def rows(self, path: Path) -> list[Row]:
        """The rows below the header that are not blank."""
        columns = {column: indices[0] for column, indices in self.columns.items()}
        return [
            Row(str(path), number, {column: cells[index] for column, index in columns.items()}, columns)
            for number, cells in enumerate(self.cells[self.header + 1 :], start=self.header + 2)
            if any(text_of(cells[index]) for index in columns.values())
        ]


def _tables(sheets: dict[str, "pd.DataFrame"], spellings: dict[str, tuple[str, ...]]) -> Iterator[_Table]:
    """The sheets that have a header with a subject and a file name in their first rows."""
    for name, sheet in sheets.items():
        cells = sheet.values.tolist()
        for index, header in enumerate(cells[:HEADER_ROWS]):
            columns = _find_columns(header, spellings)
            if {"subject", "filename"} <= columns.keys():
                yield _Table(name, cells, index, columns)
                break


def read_sheet(
    path: Path | str, problems: Problems, headers: Mapping[str, tuple[str, ...]] | None = None
) -> list[Row]:
    """Rows of the first sheet that has a header with a subject and a file name, with the cells of `COLUMNS`.

    `headers` are further spellings of column headers, by the names of `COLUMNS`. Blank rows are passed over. Another
    such sheet, and a second column for the same thing, are reported in `problems`. Raises DataError for a missing or
    unreadable file, when no sheet has such a header in its first rows, when a needed column is missing (it lists
    those of the sheet and those needed), and when no row stands below the header.
    """
    path = Path(path)
    sheets = _sheets(path)
    columns = {name: (*spellings, *(headers or {}).get(name, ())) for name, spellings in COLUMNS.items()}
    tables = list(_tables(sheets, columns))
    if not tables:
        names = ", ".join(sheets) or "no sheet"
        what = f"no header with Subject and Filename in the first {HEADER_ROWS} rows of {names}"
        raise DataError(path, None, what, "give the annotation spreadsheet as the dataset's owners release it")
    table, *others = tables
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        listed = ", ".join(excerpt(text_of(cell)) for cell in table.cells[table.header] if text_of(cell))
        what = f"sheet {table.sheet!r} has no column for {', '.join(missing)}; found: {listed}"
        raise DataError(path, table.header + 1, what, f"needed are {', '.join(COLUMNS)}; name the columns so")
    rows = table.rows(path)
    if not rows:
        fix = "give the spreadsheet with its rows"
        raise DataError(path, table.header + 1, f"no row below the header of sheet {table.sheet!r}", fix)
    for other in others:
        unread = len(other.rows(path))
        if not unread:
            continue
        what = f"sheet {other.sheet!r} has a header and {unread} row(s) too, which are not read"
        problems.add(Problem(str(path), None, what, f"keep one of it and {table.sheet!r} in the file"))
    for column, indices in table.columns.items():
        if len(indices) > 1:
            first, *rest = (column_letter(index) for index in indices)
            what = f"column {', '.join(rest)} is for the {column} as {first} is, which is read"
            problems.add(Problem(str(path), table.header + 1, what, "keep one of them, or rename the other"))
    return rows
