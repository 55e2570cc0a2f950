"""Known slips of annotation sheets, as data: a CSV beside a dataset's reader, each line a cell and its right value."""

import csv
from collections.abc import Collection
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from megc.clips import REPAIRED
from megc.datasets.spreadsheets import CLIP_COLUMNS, Row, subject_number, text_of
from megc.problems import DataError, did_you_mean
from megc.records import ClosedContract, check_record

NO_REPAIRS = "none"  # of --repairs: the sheets as released
_FOLDER = Path(__file__).parent / "readers"


class Repair(ClosedContract):
    """A line of `readers/<dataset>.csv`: a cell of the sheet as released, and what it should say.

    The row is that of `subject` (its number), `filename` and `onset` (as released; each empty: any). `was` is the text
    of the cell as released: in a corrected sheet nothing is repaired. `set` is empty for a repair that is always made,
    else the name that `--repairs` must give. `reason` and `source` (paper, repository) go into the clip's notes.
    """

    set: str
    subject: Annotated[int, Field(ge=1)]
    filename: str
    onset: str
    field: Literal[*CLIP_COLUMNS, "type"]
    was: str
    value: str
    reason: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]

    @property
    def note(self) -> str:
        """What the clip's notes say of it."""
        was = f"{self.field} {self.was}" if self.was else f"no {self.field}"
        return f"{REPAIRED}{was}: {self.value or 'none'} is taken ({self.reason}; {self.source})"


@cache
def read_repairs(dataset: str) -> tuple[Repair, ...]:
    """All repairs of a dataset, those of every set; none where no CSV lies beside its reader.

    The column `onset` may be missing. Raises DataError for a line that is no repair.
    """
    path = _FOLDER / f"{dataset}.csv"
    if not path.is_file():
        return ()
    repairs = []
    with path.open(encoding="utf-8", newline="") as file:
        for line, cells in enumerate(csv.DictReader(file), start=2):
            row = {"onset": "", **cells}
            row["subject"] = int(row["subject"]) if str(row["subject"]).isdigit() else row["subject"]
            fix = "write it as Repair in megc/datasets/repairs.py says"
            repairs.append(check_record(Repair, row, path, line, fix))
    return tuple(repairs)


def choose_repairs(dataset: str, name: str = "") -> tuple[Repair, ...]:
    """The repairs to make on a dataset's sheet: those of no set and those of the set `name`; with `none` not any."""
    return () if name == NO_REPAIRS else tuple(r for r in read_repairs(dataset) if r.set in ("", name))


def check_repairs_name(name: str, datasets: Collection[str]) -> None:
    """Raises DataError for a name of `--repairs` that no repair of the datasets has."""
    names = sorted({repair.set for dataset in datasets for repair in read_repairs(dataset)} - {""})
    if name not in ("", NO_REPAIRS, *names):
        fix = did_you_mean(name, [NO_REPAIRS, *names])
        raise DataError("--repairs", None, f"no set of repairs {name!r} for {', '.join(sorted(datasets))}", fix)


def repair_row(row: Row, repairs: Collection[Repair]) -> tuple[Row, tuple[str, ...]]:
    """The row with its wrong cells put right, and a note on each; cells as released say which row is meant."""
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
        is_meant = repair.subject == subject and keys and repair.field in row.cells
        if is_meant and released[repair.field] == repair.was:
            cells[repair.field] = repair.value
            notes.append(repair.note)
    return (replace(row, cells=cells), tuple(notes)) if notes else (row, ())


def _released_text(cell: object) -> str:
    return text_of(int(cell) if isinstance(cell, float) and cell.is_integer() else cell)
