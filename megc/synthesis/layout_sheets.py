"""Annotation spreadsheets from descriptions: sheets, notes above the header, columns, cell types, .xlsx and .xls.

A column is `Header=key`. The key names a value of a row, with a format behind a colon where the cell is text: `onset`
is a number where the value is digits, `subject:03d` the text `006`, `onset:s` the text `46`, `onset:f` a number with a
fraction. Without a header or a key it is left blank.
"""

import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

from openpyxl import Workbook

Cell = int | float | str | None


@dataclass(frozen=True)
class SheetForm:
    """One sheet of a workbook: its title, rows of `notes` above, `columns` (none: no header row), rows below.

    `header` False leaves the header row out. `fixed` are rows that stand there as they are, behind those of the
    clips. `kinds` says which rows it lists: micro, macro, or a kind of its own such as `blink`. `by_video` writes one
    row for each video, whose further events have the keys `onset2`, `offset2`, ….
    """

    title: str
    columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    header: bool = True
    fixed: tuple[tuple[Cell, ...], ...] = ()
    kinds: tuple[str, ...] = ("micro", "macro")
    by_video: bool = False


def cell_value(key: str, values: Mapping[str, object]) -> Cell:
    """The cell of a column's key; None where the row has no such value, or an empty text."""
    name, _, form = key.partition(":")
    value = values.get(name)
    if value is None or value == "":
        return None
    if form == "f":
        return float(value)
    if form == "s":
        return str(value)
    if form:
        return format(value, form)
    return int(value) if isinstance(value, str) and re.fullmatch(r"\d+", value) else value


def sheet_cells(form: SheetForm, rows: Iterable[Mapping[str, object]]) -> list[list[Cell]]:
    """All cells of a sheet, row by row: notes, header, rows, fixed rows."""
    cells: list[list[Cell]] = [[note or None] for note in form.notes]
    headers, keys = zip(*(column.split("=") for column in form.columns), strict=True) if form.columns else ((), ())
    if headers and form.header:
        cells.append([header or None for header in headers])
    cells += [[cell_value(key, row) for key in keys] for row in rows]
    return cells + [list(row) for row in form.fixed]


def xlsx_bytes(sheets: Sequence[tuple[str, list[list[Cell]]]]) -> bytes:
    """A workbook of (title, cells) as .xlsx; the bytes do not depend on the clock."""
    book = Workbook()
    book.remove(book.active)
    for title, cells in sheets:
        sheet = book.create_sheet(title)
        for row in cells:
            sheet.append(row)
    buffer, fixed = BytesIO(), BytesIO()
    book.save(buffer)
    with zipfile.ZipFile(buffer) as parts, zipfile.ZipFile(fixed, "w", zipfile.ZIP_DEFLATED) as out:
        for name in parts.namelist():
            data = parts.read(name)
            if name == "docProps/core.xml":
                data = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"2019-07-01T00:00:00Z", data)
            # a fixed date of each part too: zip stores the clock
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(info, data)
    return fixed.getvalue()


def xls_bytes(sheets: Sequence[tuple[str, list[list[Cell]]]]) -> bytes:
    """A workbook of (title, cells) as .xls of Excel 97 to 2003."""
    import xlwt  # here: only two of the layouts need it

    book = xlwt.Workbook()
    for title, cells in sheets:
        sheet = book.add_sheet(title)
        for index, row in enumerate(cells):
            for column, cell in enumerate(row):
                if cell is not None:
                    sheet.write(index, column, cell)
    buffer = BytesIO()
    book.save(buffer)
    return buffer.getvalue()
