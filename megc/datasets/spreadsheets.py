"""Annotation spreadsheets: the header found by search, columns by cleaned name, cells read without surprises."""

import re
import unicodedata
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from megc.problems import DataError

HEADER_ROWS = 50  # SAMM has 13 rows of notes above its header
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
    """A data row: its number as the spreadsheet program shows it, and its cells by the names of `COLUMNS`."""

    file: str
    number: int
    cells: dict[str, object]

    def error(self, what: str, fix: str) -> DataError:
        """The DataError that names this row."""
        return DataError(self.file, self.number, what, fix)


def clean_header(cell: object) -> str:
    """A header for comparison: lower case, only letters and digits (`'Onset\\xa0Frame '` → `onsetframe`)."""
    text = unicodedata.normalize("NFKC", str(cell)).casefold()
    return "".join(letter for letter in text if letter.isalnum())


def is_empty(cell: object) -> bool:
    """True for no cell, a blank one, NaN, and the marks for `not annotated` (`/`, `-`, -1, `?`)."""
    return cell is None or cell != cell or " ".join(str(cell).lower().split()) in _EMPTY


def text_of(cell: object) -> str:
    """Text of a cell without the spaces (also no-break ones) and apostrophes around it; empty for an empty cell."""
    if cell is None or cell != cell:
        return ""
    return unicodedata.normalize("NFKC", str(cell)).strip().strip("'’`").strip()


def frame_of(cell: object) -> int | None:
    """Frame number of a cell: `46`, `46.0`, `'46 '`, `46?`; None where the cell gives none (`/`, blank, -1).

    Raises ValueError for anything else.
    """
    if is_empty(cell):
        return None
    match = re.fullmatch(r"(\d+)(?:\.0*)?\s*\??", text_of(cell))
    if not match:
        raise ValueError(f"{cell!r} is no frame number")
    return int(match[1])


def subject_number(cell: object) -> int:
    """Number of a subject however it is written: `6`, `6.0`, `006`, `sub06`, `s6`, `spNO.6`.

    Raises ValueError for anything else.
    """
    match = re.fullmatch(r"(?:subject|sub|spno|s)?[\s._]*(\d+)(?:\.0+)?", text_of(cell).casefold())
    if not match:
        raise ValueError(f"{cell!r} is no subject")
    return int(match[1])


def _columns_of(header: list[object]) -> dict[str, int]:
    cleaned = [clean_header(cell) for cell in header]
    return {
        name: cleaned.index(spelling)
        for name, spellings in COLUMNS.items()
        for spelling in reversed(spellings)  # the last one written wins: the first spelling
        if spelling in cleaned
    }


def _sheets(path: Path) -> dict[str, pd.DataFrame]:
    if not path.is_file():
        raise DataError(path, None, "the spreadsheet does not exist", "check --annotations")
    if path.suffix.lower() not in (".xlsx", ".xlsm"):
        raise DataError(path, None, "not an .xlsx file", "save the spreadsheet as .xlsx")
    try:
        return pd.read_excel(path, sheet_name=None, header=None, dtype=object, keep_default_na=False)
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise DataError(path, None, f"not a readable spreadsheet ({error})", "unpack or download it again") from error


def read_rows(path: Path | str) -> list[Row]:
    """Rows of the first sheet that has a header with a subject and a file name, with the cells of `COLUMNS`.

    Blank rows are passed over. Raises DataError for a missing or unreadable file, when no sheet has such a
    header in its first rows, and when a needed column is missing (it lists those found and those needed).
    """
    path = Path(path)
    sheets = _sheets(path)
    for name, sheet in sheets.items():
        table = sheet.values.tolist()
        for index, header in enumerate(table[:HEADER_ROWS]):
            columns = _columns_of(header)
            if not {"subject", "filename"} <= columns.keys():
                continue
            missing = [column for column in COLUMNS if column not in columns]
            if missing:
                found = ", ".join(repr(text_of(cell)) for cell in header if text_of(cell))
                what = f"sheet {name!r} has no column for {', '.join(missing)}; found: {found}"
                raise DataError(path, index + 1, what, f"needed are {', '.join(COLUMNS)}; name the columns so")
            return [
                Row(str(path), number, {column: cells[place] for column, place in columns.items()})
                for number, cells in enumerate(table[index + 1 :], start=index + 2)
                if any(text_of(cells[place]) for place in columns.values())
            ]
    what = f"no header with Subject and Filename in the first {HEADER_ROWS} rows of {', '.join(sheets) or 'no sheet'}"
    raise DataError(path, None, what, "give the annotation spreadsheet as the dataset's owners release it")
