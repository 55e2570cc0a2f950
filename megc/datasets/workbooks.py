"""Annotation files as they lie on disk, .xlsx, .xls or .csv: their cells by sheet, or an error in words."""

import csv
import io
import re
import struct
import warnings
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megc.problems import DataError, excerpt

if TYPE_CHECKING:
    import xlrd.sheet

SUFFIXES = (".xlsx", ".xlsm", ".xls", ".csv")
_MOST_BYTES = 512 * 1024**2  # of a spreadsheet's unpacked parts: the released ones have under ten million
_MOST_XLS_BYTES = 64 * 1024**2  # .xls is not packed, and the format ends at 65,536 rows
_AGAIN = "unpack or download it again"
# What zipfile raises for a damaged archive: its own errors, those of the decompressor, an unknown compression
# (NotImplementedError), a set encryption bit (RuntimeError), and paths or offsets that make no sense.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)
# What openpyxl raises for parts that are whole but not what they should be: it does not check them itself, and
# XML parsers raise SyntaxErrors. xlrd raises the same for .xls, struct.error where a record is cut, and MemoryError
# where a damaged record claims a size that no file of _MOST_XLS_BYTES can have.
_WORKBOOK_ERRORS = (SyntaxError, LookupError, TypeError, AttributeError, ArithmeticError, *_ZIP_ERRORS)
_XLS_ERRORS = (struct.error, AssertionError, MemoryError, *_WORKBOOK_ERRORS)
_FORMULA = re.compile(rb"<(?:\w+:)?f[\s/>]")  # in the XML of a sheet


@dataclass(frozen=True)
class SheetCells:
    """The cells of a sheet, row by row, as they are; formulas by (row, column), both from 0, where the format has
    them (.xlsx)."""

    cells: list[list[object]]
    formulas: dict[tuple[int, int], str] = field(default_factory=dict)


def read_workbook(path: Path | str) -> dict[str, SheetCells]:
    """All sheets of an annotation file by name; a .csv file is a single sheet without one.

    Raises DataError for a file that is missing, of another kind, too large, or that cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(path, None, "the spreadsheet does not exist", "check --annotations")
    readers = {".xlsx": _read_xlsx, ".xlsm": _read_xlsx, ".xls": _read_xls, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise DataError(path, None, "not an .xlsx, .xls or .csv file", "save the spreadsheet as .xlsx")
    return readers[path.suffix.lower()](path)


def _unreadable(path: Path, what: str, fix: str = _AGAIN) -> DataError:
    return DataError(path, None, f"not a readable spreadsheet ({what})", fix)


def _read_xlsx(path: Path) -> dict[str, SheetCells]:
    import pandas as pd  # here: it takes a third of a second, and `--help` must be quick

    _check_archive(path)
    try:
        with warnings.catch_warnings():  # openpyxl warns of styles and extensions that it passes over
            warnings.simplefilter("ignore", UserWarning)
            frames = pd.read_excel(
                path, sheet_name=None, header=None, dtype=object, keep_default_na=False, engine="openpyxl"
            )
            formulas = _read_formulas(path)
    except _WORKBOOK_ERRORS as error:
        fix = "open it in a spreadsheet program and save it again as .xlsx, or download it again"
        raise _unreadable(path, f"{type(error).__name__}: {excerpt(str(error))}", fix) from error
    return {name: SheetCells(frame.values.tolist(), formulas.get(name, {})) for name, frame in frames.items()}


def _check_archive(path: Path) -> None:
    """Raises DataError for a file that is no .xlsx inside, or whose parts do not have their checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
            if size > _MOST_BYTES:
                raise _unreadable(path, f"its parts say that they unpack to {size / 1e6:.0f} MB")
            damaged = archive.testzip()
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        fix = f"{_AGAIN}; give text the suffix .csv, an old workbook .xls, and save one with a password without it"
        raise _unreadable(path, str(error), fix) from error
    except _ZIP_ERRORS as error:
        raise _unreadable(path, str(error)) from error
    if damaged:
        raise _unreadable(path, f"its part {damaged} is damaged")
    if "[Content_Types].xml" not in names:
        fix = "give the .xlsx file itself, unpacked from its archive"
        raise _unreadable(path, "a zip archive of other files", fix)


def _read_formulas(path: Path) -> dict[str, dict[tuple[int, int], str]]:
    """Formulas of each sheet; a second reading of the workbook, so only where its XML has one."""
    with zipfile.ZipFile(path) as archive:
        sheets = [name for name in archive.namelist() if name.startswith("xl/worksheets/")]
        if not any(_FORMULA.search(archive.read(name)) for name in sheets):
            return {}
    import openpyxl

    book = openpyxl.load_workbook(path, read_only=True)
    try:
        return {
            sheet.title: {
                (cell.row - 1, cell.column - 1): str(getattr(cell.value, "text", cell.value))
                for row in sheet.iter_rows()
                for cell in row
                if getattr(cell, "data_type", "") == "f"
            }
            for sheet in book.worksheets
        }
    finally:
        book.close()


def _read_xls(path: Path) -> dict[str, SheetCells]:
    """Sheets of the old binary format, by xlrd itself: pandas is about to drop it as an engine."""
    import xlrd

    if path.stat().st_size > _MOST_XLS_BYTES:
        raise _unreadable(path, f"{path.stat().st_size / 1e6:.0f} MB, more than the format holds")
    try:
        # what it prints of odd but readable files is nothing that a user could mend
        with xlrd.open_workbook(path, logfile=io.StringIO(), on_demand=True) as book:
            return {
                sheet.name: SheetCells(
                    [[_xls_value(cell, book.datemode) for cell in sheet.row(row)] for row in range(sheet.nrows)]
                )
                for sheet in book.sheets()
            }
    except (xlrd.XLRDError, xlrd.compdoc.CompDocError, xlrd.formula.FormulaError, *_XLS_ERRORS) as error:
        what = f"{type(error).__name__}: {excerpt(str(error))}"
        fix = f"{_AGAIN}, or save it as .xlsx without a password"
        raise _unreadable(path, what, fix) from error


def _xls_value(cell: "xlrd.sheet.Cell", datemode: int) -> Any:
    """The value of a cell as openpyxl would give it: whole numbers as int, dates as such, errors as their text."""
    import xlrd

    if cell.ctype == xlrd.XL_CELL_NUMBER:
        return int(cell.value) if cell.value.is_integer() else cell.value
    if cell.ctype == xlrd.XL_CELL_DATE:
        try:
            return xlrd.xldate_as_datetime(cell.value, datemode)
        except (ValueError, OverflowError, xlrd.XLDateError):
            return cell.value  # a number that no calendar has
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return bool(cell.value)
    if cell.ctype == xlrd.XL_CELL_ERROR:
        return xlrd.error_text_from_code.get(cell.value, "#ERROR!")
    return cell.value if cell.ctype == xlrd.XL_CELL_TEXT else ""


def _read_csv(path: Path) -> dict[str, SheetCells]:
    """A text table: comma, semicolon or tab between its cells, UTF-8 or what Excel saves on Chinese systems."""
    if path.stat().st_size > _MOST_XLS_BYTES:
        raise _unreadable(path, f"{path.stat().st_size / 1e6:.0f} MB of text")
    data = path.read_bytes()
    text = _first_decoding(data, "utf-8-sig", "gb18030")
    if text is None or "\0" in text:
        fix = "save it as CSV in UTF-8; a workbook has the suffix .xlsx or .xls"
        raise _unreadable(path, "no text in UTF-8", fix)
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)  # the first of equals: the comma
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise _unreadable(path, str(error), "save it as CSV again") from error
    width = max((len(row) for row in rows), default=0)
    return {"": SheetCells([[*row, *[""] * (width - len(row))] for row in rows])}


def _first_decoding(data: bytes, *encodings: str) -> str | None:
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None
