"""Spreadsheets of the demo set, cell for cell as in CASME II (20190701) and SAMM (v2), with their irregularities."""

from dataclasses import dataclass, replace

import numpy as np

from megc.synthesis.label_counts import objective_class
from megc.synthesis.layout_sheets import SheetForm, sheet_cells, xlsx_bytes
from megc.synthesis.layouts import load_layouts
from megc.synthesis.render import ClipSpec

_CASME2_FORM = SheetForm(
    "Sheet1",
    ("Subject=subject", "Filename=name", "=", "OnsetFrame=onset", "ApexFrame=apex", "OffsetFrame=offset", "=",
     "Action Units=units", "Estimated Emotion=emotion", "Objective Classes=objective"),
)  # fmt: skip


@dataclass(frozen=True)
class Annotation:
    """A row of a spreadsheet: the clip and its cells as written."""

    subject: str
    name: str
    onset: int
    apex: int | str
    offset: int
    units: int | str
    emotion: str
    objective: int
    notes: str | None = None


def _casme2_units(spec: ClipSpec) -> int | str:
    text = "+".join((unit.side or "")[:1].upper() + str(unit.number) for unit in spec.units)
    return int(text) if text.isdigit() else text  # a single unit is a number in the real sheet, not text


def _samm_units(spec: ClipSpec, rng: np.random.Generator) -> int | str:
    """A SAMM cell that holds exactly the clip's units and sides, in one of the many ways its coders wrote."""
    units = spec.units
    # units that all lie on one half of the face are written with `or` in the real file
    one_half = len(units) > 1 and units[0].side and all(unit.side == units[0].side for unit in units)
    tokens = []
    for unit in units:
        side = (unit.side or "")[:1].upper()
        grade = str(rng.choice(["A", "B", "C", "D"])) if rng.random() < 0.3 else ""
        if grade and rng.random() < 0.1:
            grade = "A/B"
        if side and rng.random() < 0.1:
            side = f"A/{side}"
        elif not side and unit.number == 23:
            side = "T"
        elif not side and unit.number in (12, 14, 15) and rng.random() < 0.12:
            side = "A"
        tokens.append(f"{side}{unit.number}{grade}")
    if one_half and rng.random() < 0.6:
        text = " or ".join(tokens)
    elif len(tokens) > 1 and rng.random() < 0.06:
        index = int(rng.integers(len(tokens)))
        tokens[index] = f"ref({tokens[index]})"
        text = "+ ".join(tokens)
    else:
        text = str(rng.choice(["+"] * 8 + [" + ", "+ "])).join(tokens)
    # a blank at the end, or a word, as stands in some cells of the real file
    ending = rng.random()
    text += " " if ending < 0.03 else "+soft focus" if ending > 0.98 else ""
    return int(text) if text.isdigit() else text


def _irregular_casme2(rows: list[Annotation]) -> None:
    """One apex that is `/`, one at the onset, one at the offset, as the real file has."""
    if len(rows) < 12:
        return
    rows[len(rows) // 8] = replace(rows[len(rows) // 8], apex="/")
    rows[len(rows) // 5] = replace(rows[len(rows) // 5], apex=rows[len(rows) // 5].onset)
    rows[len(rows) // 2] = replace(rows[len(rows) // 2], apex=rows[len(rows) // 2].offset)


def _irregular_samm(rows: list[Annotation]) -> None:
    """Two apexes outside their clips: nine frames behind the offset, and a slip of one digit."""
    if len(rows) < 12:
        return
    late, slip = rows[len(rows) // 2], rows[len(rows) // 3]
    rows[len(rows) // 2] = replace(late, apex=late.offset + 9)
    rows[len(rows) // 3] = replace(slip, apex=int(slip.apex) + 3000)


def annotate_clips(specs: list[ClipSpec]) -> list[Annotation]:
    """What the spreadsheets say of the clips, in their order: the truth, but for a few irregular cells."""
    # 1. cells as the truth has them  2. irregular cells, by place in each sheet  3. the order of `specs` again
    rows: dict[str, list[Annotation]] = {"casme2": [], "samm": []}
    for spec in specs:
        dataset, subject, name = spec.id.split("/")
        rng = np.random.default_rng([spec.seed, 9])
        samm = dataset == "samm"
        rows[dataset].append(
            Annotation(
                subject=subject,
                name=name,
                onset=spec.onset,
                apex=spec.apex,
                offset=spec.offset,
                units=_samm_units(spec, rng) if samm else _casme2_units(spec),
                emotion=spec.emotion.capitalize().replace("Others", "Other") if samm else spec.emotion,
                objective=objective_class(tuple(unit.number for unit in spec.units)),
                notes="drawn" if samm and rng.random() < 0.05 else None,
            )
        )
    _irregular_casme2(rows["casme2"])
    _irregular_samm(rows["samm"])
    # the sheets are in the order of their clips, so that each spec takes the next row of its dataset
    iterators = {dataset: iter(cells) for dataset, cells in rows.items()}
    return [next(iterators[spec.id.split("/")[0]]) for spec in specs]


def _sheet_row(row: Annotation) -> dict[str, object]:
    duration = row.offset - row.onset + 1
    return vars(row) | {
        "subject": int(row.subject.removeprefix("sub")),
        "film": int(row.name.split("_")[1]) if row.name[0].isdigit() else None,
        "duration": duration,
        "micro": "Micro - 1" if duration <= 100 else "Micro - 2",
    }


def casme2_workbook(rows: list[Annotation]) -> bytes:
    """`CASME2-coding-20190701.xlsx`: header in the first row of Sheet1, two columns blank; Sheet2, Sheet3 empty."""
    cells = sheet_cells(_CASME2_FORM, map(_sheet_row, rows))
    return xlsx_bytes([(_CASME2_FORM.title, cells), ("Sheet2", []), ("Sheet3", [])])


def samm_workbook(rows: list[Annotation]) -> bytes:
    """`SAMM_Micro_FACS_Codes_v2.xlsx`: sheet MICRO_ONLY, thirteen rows of notes, then the header."""
    form = load_layouts()["samm"][0].sheets[0].forms[0]
    return xlsx_bytes([(form.title, sheet_cells(form, map(_sheet_row, rows)))])
