"""The layouts of `layouts.yaml`: folders, frames and sheets of each dataset, and the rows that they list."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from pydantic import TypeAdapter

from megc.synthesis.layout_rows import LabelledRow, RowRange, draw_rows, irregular_rows
from megc.synthesis.layout_sheets import Cell, SheetForm, sheet_cells
from megc.synthesis.subjects import View

TABLE = Path(__file__).with_name("layouts.yaml")
_VIEWS = {"crop": View(70, 85, 58.0, 34.5, 32.0), "full": View(120, 90, 40.0, 59.5, 38.0)}
# Folders of the subjects 1 to 22 of CAS(ME)², and its videos.
_CASME_SQ_FOLDERS = (15, 16, *range(19, 28), *range(29, 39), 40)
_CASME_SQ_VIDEOS = {
    "disgust1": "0101disgustingteeth",
    "disgust2": "0102eatingworms",
    "anger1": "0401girlcrashing",
    "anger2": "0402beatingpregnantwoman",
    "happy1": "0502funnyerrors",
    "happy2": "0503unnyfarting",
    "happy3": "0505funnyinnovations",
    "happy4": "0507climbingthewall",
    "happy5": "0508funnydunkey",
}
_MISSPELT = "happyiness"  # once in the self-reports
_FOURDME_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 18, 20, 23, 24, 25, 26, 28, 38, 43, 45)


@dataclass(frozen=True)
class SheetFile:
    """A spreadsheet: its path, its sheets, and what a reader makes of its rows (nothing: it is not the annotation)."""

    path: str
    forms: tuple[SheetForm, ...]
    gives: tuple[Literal["clip", "event"], ...] = ("clip",)


@dataclass(frozen=True)
class Layout:
    """A dataset, or one camera of it, as its owners release it.

    `source` is the name for `--dataset`, `dataset` the first part of ids (default: the source); `subject`, `clip` and
    `video` format the others. `folder` and `file` name the frames; `whole`: a folder holds a whole video, from frame
    `first` (negative: so many frames before the first movement); `beside` are other pictures, one for each frame.
    `rows` are sets of `irregular_rows.csv`; `spread` draws the regular ones. `junk` lies in a folder of frames,
    `extra` are pictures that belong to no movement. Without sheets, the folders give the clips.
    """

    source: str
    fps: float
    view: Literal["crop", "full"]
    folder: str
    file: str
    subject: str
    spread: RowRange
    dataset: str = ""
    grey: bool = False
    whole: bool = False
    first: int = 1
    beside: str = ""
    clip: str = "{name}"
    video: str = "{name}"
    rows: tuple[str, ...] = ()
    sheets: tuple[SheetFile, ...] = ()
    junk: tuple[str, ...] = ("Desktop.lnk", "readme.pdf", "Thumbs.db")
    extra: tuple[str, ...] = ()

    @property
    def camera(self) -> View:
        """The small pictures of this layout."""
        return replace(_VIEWS[self.view], grey=self.grey)

    def values(self, row: LabelledRow) -> dict[str, object]:
        """Values of a row that columns and names are made from, those of this dataset included."""
        return row.values | _dataset_values(self.source, row)

    def format(self, template: str, row: LabelledRow, **more: object) -> str:
        """A folder, file name or part of an id."""
        return template.format(**self.values(row), **more)


def _dataset_values(source: str, row: LabelledRow) -> dict[str, object]:
    """What only the sheets and folders of one dataset have."""
    numbers = {number for number, _ in row.units}
    if source == "samm":
        # padding differs by clip, never within one: here by the film of the clip
        return {"digits": 5 if int(row.name.split("_")[1]) % 2 else 4, "notes": "drawn" if row.subject == 7 else ""}
    if source == "smic_long":
        first, last = row.onset - 21, row.offset + 40
        # large numbers as text with a blank, as a few cells of the real sheet
        start = f"{first} " if first > 10**7 else first
        names = {"long_name": f"s{row.subject}_{row.name}", "first_frame": start, "last_frame": last}
        return names | {"video_length": last - first + 1}
    if source == "casme_sq":
        stimulus = _CASME_SQ_VIDEOS[row.name.partition("_")[0]]
        reports = {"negative": "disgust", "positive": "happiness", "others": _MISSPELT}
        report = reports.get(row.emotion, row.emotion)
        folder = _CASME_SQ_FOLDERS[row.subject - 1]
        return {"folder": folder, "stimulus": stimulus, "video_code": stimulus[:4], "report": report}
    if source in ("casme3", "casme3_c"):
        codes = {"micro_code": int(row.kind == "micro"), "risk": 1, "subject_text": f"spNO.{row.subject}"}
        return codes | {"count": row.name, "letter": row.name.lower(), "title_type": f"{row.kind.title()}-expression"}
    if source == "4dme":
        emotions = row.cells["emotion"].split("+")
        flags = {emotion: int(emotion in emotions) for emotion in ("Positive", "Negative", "Surprise", "Repression")}
        units = {f"AU{number}": int(number in numbers) for number in _FOURDME_UNITS}
        others = {"Others": int("Others" in emotions), "fold": row.subject % 5 + 1, "blink": 0}
        others["subject_text"] = f"S{row.subject:02d}"
        return units | flags | others | {"total": len(emotions)}
    if source == "samm_lv":
        return {"long_type": "Macro" if row.kind == "macro" else "Micro - 1/2", "notes": row.why}
    return {}


@cache
def load_layouts() -> dict[str, tuple[Layout, ...]]:
    """The layouts by their name for `--layout`: the datasets or cameras that lie in one folder."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    layouts = TypeAdapter(dict[str, tuple[Layout, ...]]).validate_python(table)
    return {
        name: tuple(replace(layout, dataset=layout.dataset or layout.source) for layout in parts)
        for name, parts in layouts.items()
    }


def layout_rows(layout: Layout, seed: int) -> list[LabelledRow]:
    """All rows of a layout, regular ones first, by subject and name as the real sheets are."""
    rng = np.random.default_rng([seed, zlib.crc32(f"{layout.source} {layout.folder}".encode())])
    rows = [*draw_rows(layout.spread, rng), *(row for name in layout.rows for row in irregular_rows(name))]
    return sorted(rows, key=lambda row: row.subject)


def _video_values(layout: Layout, rows: list[LabelledRow]) -> dict[str, Mapping[str, object]]:
    """One row of values for each video; those of its second and third movement end in 2 and 3."""
    videos: dict[str, dict[str, object]] = {}
    counts: dict[str, int] = {}
    for row in rows:
        name = f"{row.subject}/{row.name}"
        counts[name] = counts.get(name, 0) + 1
        values = layout.values(row)
        if name not in videos:
            videos[name] = values
        else:
            videos[name] |= {f"{key}{counts[name]}": value for key, value in values.items()}
            videos[name] |= {key: values[key] for key in ("last_frame",) if key in values}
    return videos


def form_cells(layout: Layout, form: SheetForm, rows: list[LabelledRow]) -> list[list[Cell]]:
    """Cells of one sheet of a layout."""
    listed = [row for row in rows if row.kind in form.kinds] if form.columns else []
    if form.by_video:
        return sheet_cells(form, _video_values(layout, listed).values())
    return sheet_cells(form, [layout.values(row) for row in listed])
