"""Known slips of annotation sheets, as data: a CSV beside a dataset's reader, each line a cell and its right value."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from megc.clips import REPAIRED
from megc.datasets.spreadsheets import CLIP_COLUMNS, Row, frame_of, subject_number, text_of
from megc.datasets.workbooks import read_workbook
from megc.problems import DataError, did_you_mean
from megc.records import ClosedContract, check_record

NO_REPAIRS = "none"  # of --repairs: the sheets as released
_ANY = "*"
_REFERENCE = re.compile(r"\{(?:row (?P<row>\d+)|(?P<column>\w+))\}(?:\+(?P<more>\d+))?")
_FOLDER = Path(__file__).parent / "readers"


class Repair(ClosedContract):
    """A line of `readers/<dataset>.csv`: a cell of the sheet as released, and what it should say.

    The row is that of `subject` (its number), `filename` and `onset` (as released; each 0 or empty: any). Where a
    source names slips by their place alone, it is `row`, as a spreadsheet program counts; such a repair is made only
    in a sheet of as many rows as the released one has, and where it is not chosen, the row is noted as wrong. `was`
    is the text of the cell as released (`*`: any): in a corrected sheet nothing is repaired. `value` is the right
    text, or refers to a cell as released: `{apex}` or `{apex}+20` of the same row, `{row 147}` of the same column.
    `set` is empty for a repair that is always made, else the name that `--repairs` must give. `reason` and `source`
    (paper, repository) go into the clip's notes.
    """

    set: str
    subject: Annotated[int, Field(ge=0)]
    filename: str
    onset: str
    row: Annotated[int, Field(ge=0)]
    field: Literal[*CLIP_COLUMNS, "type"]
    was: str
    value: str
    reason: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]

    @property
    def cell(self) -> tuple[int, str, str, int, str]:
        """What names the cell: subject, file, onset, row, column."""
        return self.subject, self.filename, self.onset, self.row, self.field

    def note(self, was: str, value: str) -> str:
        """What the clip's notes say of it: the cell's text as released, and the one that is taken."""
        was = f"{self.field} {was}" if was else f"no {self.field}"
        return f"{REPAIRED}{was}: {value or 'none'} is taken ({self.reason}; {self.source})"


@cache
def read_repairs(dataset: str) -> tuple[Repair, ...]:
    """All repairs of a dataset, those of every set; none where no CSV lies beside its reader.

    Raises what `read_repair_file` raises.
    """
    path = _FOLDER / f"{dataset}.csv"
    return read_repair_file(path) if path.is_file() else ()


def read_repair_file(path: Path) -> tuple[Repair, ...]:
    """The repairs of a CSV with the columns of `Repair`, of which `onset` and `row` may be missing.

    Raises DataError for a line that is no repair, and for a file that is no CSV.
    """
    fix = "write it as Repair in megc/datasets/repairs.py says"
    header, *lines = read_workbook(path)[""].cells or [[]]
    width = max((column for column, name in enumerate(header, start=1) if name), default=0)
    if len(set(header[:width])) < width:
        raise DataError(path, 1, "a column stands twice in the header, or has no name", fix)
    repairs = []
    for number, cells in enumerate(lines, start=2):
        if any(cells[width:]):
            raise DataError(path, number, f"more cells than the header's {width} columns", fix)
        if any(cells):
            row = {"onset": "", "row": "", **dict(zip(header[:width], cells, strict=False))}
            row |= {
                key: int(row[key] or 0) for key in ("subject", "row") if re.fullmatch(r"\d{0,9}", row.get(key, "x"))
            }
            repairs.append(check_record(Repair, row, path, number, fix))
    return tuple(repairs)


def choose_repairs(dataset: str, name: str = "") -> tuple[Repair, ...]:
    """The repairs to make on a dataset's sheet: those of the set `name`, and those of no set on other cells; with
    `none` not any."""
    if name == NO_REPAIRS:
        return ()
    repairs = read_repairs(dataset)
    named = tuple(repair for repair in repairs if name and repair.set == name)
    cells = {repair.cell for repair in named}
    return named + tuple(repair for repair in repairs if not repair.set and repair.cell not in cells)


def check_repairs_name(name: str, datasets: Collection[str]) -> None:
    """Raises DataError for a name of `--repairs` that no repair of the datasets has."""
    names = sorted({repair.set for dataset in datasets for repair in read_repairs(dataset)} - {""})
    if name not in ("", NO_REPAIRS, *names):
        fix = did_you_mean(name, [NO_REPAIRS, *names])
        raise DataError("--repairs", None, f"no set of repairs {name!r} for {', '.join(sorted(datasets))}", fix)


def repair_rows(
    rows: Sequence[Row], dataset: str, name: str = "", released_rows: int = 0
) -> list[tuple[Row, tuple[str, ...]]]:
    """The rows of a dataset's sheet with their wrong cells put right, each with notes; `name` as for `choose_repairs`.

    `released_rows` is how many rows the sheet has as released (0: unknown).
    """
    chosen = choose_repairs(dataset, name)
    offered = () if name == NO_REPAIRS else tuple(r for r in read_repairs(dataset) if r.row and r not in chosen)
    if len(rows) != released_rows:
        chosen, offered = tuple(r for r in chosen if not r.row), ()
    by_number = {row.number: row for row in rows}
    repaired = []
    for released in rows:
        row, notes = repair_row(released, chosen, by_number)
        repaired.append((row, notes + _notes_of_offered(released, offered)))
    return repaired


def warn_of_places(count: int, dataset: str, name: str, released_rows: int) -> tuple[str, str] | None:
    """What is to say of the repairs that go by the place of a row in a sheet of `count` rows, and what to do: that
    those which are asked for cannot be made, or that some can but are not asked for; else None."""
    placed = [repair for repair in read_repairs(dataset) if repair.row and name != NO_REPAIRS]
    chosen = [repair for repair in placed if repair.set in ("", name)]
    if count != released_rows:
        what = (
            f"the repairs {name} are not made: they go by the rows of a sheet of {released_rows}, and this has {count}"
        )
        return (what, "give the sheet as released, or leave --repairs out") if chosen else None
    offered = [repair for repair in placed if repair not in chosen]
    numbers = sorted({repair.row for repair in offered})
    what = f"{len(numbers)} row(s) are known to be wrong: {', '.join(map(str, numbers))}"
    fix = f"correct them with --repairs {' or '.join(sorted({repair.set for repair in offered}))}"
    return (what, fix) if offered else None


def repair_row(row: Row, repairs: Collection[Repair], rows: Mapping[int, Row]) -> tuple[Row, tuple[str, ...]]:
    """The row with its wrong cells put right, and a note on each; cells as released say which row is meant.

    `rows` are those of the sheet by their numbers.
    """
    if not repairs:
        return row, ()
    try:
        subject = subject_number(row.cells.get("subject"))
    except ValueError:  # reported where the subject is read
        return row, ()
    cells = dict(row.cells)
    notes = []
    for repair in repairs:
        released = {name: _released_text(row.cells.get(name)) for name in ("filename", "onset", repair.field)}
        # rows of one file in CAS(ME)³ differ by their onset alone
        keys = repair.filename in ("", released["filename"]) and repair.onset in ("", released["onset"])
        keys = keys and repair.subject in (0, subject) and repair.row in (0, row.number)
        if not keys or repair.field not in row.cells or repair.was not in (_ANY, released[repair.field]):
            continue
        value = _value_of(repair, row, rows)
        if value is not None and value != released[repair.field]:
            cells[repair.field] = value
            notes.append(repair.note(released[repair.field], value))
    return (replace(row, cells=cells), tuple(notes)) if notes else (row, ())


def _value_of(repair: Repair, row: Row, rows: Mapping[int, Row]) -> str | None:
    """The right text of the cell; None where it refers to a cell that is not there or holds no frame number."""
    match = _REFERENCE.fullmatch(repair.value)
    if match is None:
        return repair.value
    if match["row"]:
        other = rows.get(int(match["row"]))
        return None if other is None else _released_text(other.cells.get(repair.field))
    try:
        frame = frame_of(row.cells.get(match["column"]))
    except ValueError:  # reported where the interval is read
        return None
    return None if frame is None else str(frame + int(match["more"] or 0))


def _notes_of_offered(row: Row, offered: Collection[Repair]) -> tuple[str, ...]:
    """A note for each set that has repairs of this row by its place, which are not chosen."""
    sets: dict[tuple[str, str, str], list[str]] = {}
    for repair in offered:
        if repair.row == row.number:
            sets.setdefault((repair.set, repair.reason, repair.source), []).append(repair.field)
    return tuple(
        f"row {row.number} is known to be wrong ({reason}; {source}): --repairs {name} corrects {', '.join(fields)}"
        for (name, reason, source), fields in sets.items()
    )


def _released_text(cell: object) -> str:
    return text_of(int(cell) if isinstance(cell, float) and cell.is_integer() else cell)
