"""Annotation spreadsheets: damaged cells, rows, columns and files, judged by the cells as they were written."""

import datetime
import io
import json
import re
from functools import partial
from pathlib import Path

import openpyxl
from contracts import same
from damages import Damaged, Draw, damage_bytes
from hypothesis import strategies as st
from oracles import Case, Target
from sheets import CASME2_HEADER, SAMM_HEADER, casme2_row, samm_row

from megc.clips import clip_to_row
from megc.datasets.readers import READERS
from megc.problems import Problems

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


def _book(rows: list[list[object]]) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _rows_of(data: bytes) -> list[list[object]]:
    return [list(row) for row in openpyxl.load_workbook(io.BytesIO(data)).active.iter_rows(values_only=True)]


def _damage_sheet(draw: Draw, data: bytes, header: int) -> Damaged:
    """A fault of a cell, a row, a column or the file. `header`: index of the header's row."""
    rows = _rows_of(data)
    place = draw(st.integers(header + 1, len(rows) - 1))
    kind = draw(
        st.sampled_from(
            (
                "cell",
                "cell",
                "cell",
                "cell",
                "units",
                "units",
                "emotion",
                "drop",
                "repeat",
                "blank",
                "header",
                "swap",
                "bytes",
            )
        )
    )
    columns = [column for column, cell in enumerate(rows[header]) if cell]
    column = draw(st.sampled_from(columns))
    row = None
    if kind == "bytes":
        return damage_bytes(draw, data)
    if kind in ("cell", "units", "emotion"):
        names = {"units": "Action Units", "emotion": "Estimated Emotion"}
        column = rows[header].index(names[kind]) if kind in names else column
        cells = {
            "units": st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map("".join),
            "emotion": st.sampled_from(EMOTIONS),
        }
        rows[place][column] = draw(cells.get(kind, st.sampled_from(CELLS)))
        what, row = f"{rows[header][column]} of row {place + 1} = {str(rows[place][column])[:30]!r}", place + 1
    elif kind == "drop":
        del rows[place]
        what = f"row {place + 1} dropped"
    elif kind == "repeat":
        rows.append(list(rows[place]))
        what, row = f"row {place + 1} again", len(rows)
    elif kind == "blank":
        rows.insert(place, [None] * len(rows[header]))
        what = f"blank row {place + 1}"
    elif kind == "header":
        rows[header][column] = draw(
            st.sampled_from((None, "", "Subject", "Apex", "colour", f" {rows[header][column]} ", 5))
        )
        what = f"header {column} = {rows[header][column]!r}"
    else:
        other = draw(st.sampled_from(columns))
        for cells in rows[header:]:
            cells[column], cells[other] = cells[other], cells[column]
        what = f"columns {column} and {other} change places"
    try:
        return Damaged(_book(rows), what, row, table=rows)
    except (ValueError, openpyxl.utils.exceptions.IllegalCharacterError):
        return damage_bytes(draw, data)


def _sheet_oracle(case: Case, header: int) -> str:
    """Each row of the sheet is a clip that says what its cells say, or is named in a problem; the others stay."""
    told = {problem.row for problem in case.problems}
    if case.damaged.table is None:  # bytes: what was read must be what stood there
        return "" if same(case.reading, case.target.baseline) else "other clips than the whole sheet's"
    if any(row is None for row in told):
        return ""
    rows, clips = case.damaged.table, list(case.reading)
    names = [str(name).strip() if name is not None else "" for name in rows[header]]
    for number, cells in enumerate(rows[header + 1 :], header + 2):
        if not any(str(cell or "").strip() for cell in cells) or number in told:
            continue
        values = dict(reversed(list(zip(names, cells, strict=True))))  # of two columns of one name the first
        place = next((n for n, clip in enumerate(clips) if not _cell_fault(values, clip)), None)
        if place is None:
            faults = [_cell_fault(values, clip) for clip in clips]
            return f"row {number} is no clip and not named: {min(faults, key=len, default='no clip')}"
        del clips[place]
    return f"{len(clips)} clips that no row holds" if clips else ""


def _number(cell: object) -> float | None:
    found = re.fullmatch(r"\D*?(\d+(?:\.\d+)?)\D*", str(cell).strip())
    return float(found[1]) if found and not isinstance(cell, bool) else None


def _cell_fault(values: dict[str, object], clip: dict) -> str:
    """The first cell of a row that the clip does not have as it stands, and no note tells of."""
    notes = " ".join(clip["notes"])
    if _number(values["Subject"]) != float(re.sub(r"\D", "", clip["subject"]) or -1):
        return "subject"
    name = values["Filename"]
    name = int(name) if isinstance(name, float) and name.is_integer() else name  # a sheet knows no 46.0
    if str(name).strip().strip("'’`") != clip["name"]:
        return "filename"
    for moment in ("onset", "apex", "offset"):
        heads = (f"{moment.title()}Frame", f"{moment.title()} Frame", moment.title())
        cell = next((values[head] for head in heads if head in values), None)
        if _number(cell) != clip[moment] and moment not in notes and not (moment == "apex" and clip["apex_estimated"]):
            return moment
    digits = [
        int(text)
        for text in re.findall(r"(?<![\d.])\d+", re.sub(r"\.0+(?!\d)", "", str(values["Action Units"] or "")))
    ]
    units = [unit["number"] for unit in clip["action_units"]]
    if sorted(set(digits)) != sorted(units) and "action units" not in notes:
        return "units"
    emotion = str(values["Estimated Emotion"] or "").lower().replace("\u00a0", " ").strip()
    if emotion in ("", "/", "-", "-1", "?", "none", "n/a"):  # not annotated
        return "" if "no emotion" in notes else "emotion"
    return "" if clip["fine"] == emotion or (emotion and clip["fine"].startswith(emotion[:3])) else "emotion"


def _read_sheet(reader: str, name: str, root: Path, problems: Problems) -> list[dict]:
    clips = READERS[reader](root / name, None, root, problems)
    return [json.loads(json.dumps(clip_to_row(clip))) for clip in clips]


def _casme2(root: Path) -> None:
    rows = [
        casme2_row(n, f"EP0{n}_0{n}f", 40 + n, 50 + n, 80 + n, units, emotion)
        for n, (units, emotion) in enumerate(
            (
                (12, "happiness"),
                ("4+7", "disgust"),
                ("L12 or L14", "repression"),
                ("1+2", "surprise"),
                ("17", "others"),
            ),
            1,
        )
    ]
    (root / "CASME2-coding-20190701.xlsx").write_bytes(_book([CASME2_HEADER, *rows]))


def _samm(root: Path) -> None:
    rows = [
        samm_row(f"{n:03d}", f"{n:03d}_1_{n}", 100 * n, 100 * n + 9, 100 * n + 30, units, emotion)
        for n, (units, emotion) in enumerate(
            (("A12", "Anger"), ("4+7", "Disgust"), ("R14", "Contempt"), ("AU1+AU2", "Surprise")), 6
        )
    ]
    notes = [[f"note {n}"] for n in range(13)]
    (root / "SAMM_Micro_FACS_Codes_v2.xlsx").write_bytes(_book([*notes, SAMM_HEADER, *rows]))


def _cleared(reader: str, name: str) -> "partial[list]":
    return partial(_read_sheet, reader, name)


SHEET_TARGETS = [
    Target(
        "CASME II spreadsheet",
        "CASME2-coding-20190701.xlsx",
        _casme2,
        partial(_damage_sheet, header=0),
        _cleared("casme2", "CASME2-coding-20190701.xlsx"),
        partial(_sheet_oracle, header=0),
        weight=4,
    ),
    Target(
        "SAMM spreadsheet",
        "SAMM_Micro_FACS_Codes_v2.xlsx",
        _samm,
        partial(_damage_sheet, header=13),
        _cleared("samm", "SAMM_Micro_FACS_Codes_v2.xlsx"),
        partial(_sheet_oracle, header=13),
        weight=3,
    ),
]
