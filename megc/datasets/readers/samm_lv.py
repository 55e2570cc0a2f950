"""SAMM Long Videos (Yap et al., FG 2020): 343 macro- and 159 micro-expressions in 147 videos of 30 subjects, 200 fps.

Its sheets are `SAMM_LongVideos_V1_Release.xlsx`, `V2` and `V3`, with nine rows of notes above the header. They hold no
emotion: those of the micro-expressions stand in SAMM's own sheet (`--emotions SAMM_Micro_FACS_Codes_v2.xlsx`), under
the same names; its frame numbers are other ones. Frames: `SAMM_longvideos/006_1/006_1_0001.jpg`, counted from 1.
"""

import re
from pathlib import Path

from megc.datasets.annotated import read_annotations
from megc.datasets.dataset import Signs
from megc.datasets.long_videos import EventLabels, EventNames, LongDataset
from megc.datasets.readers.samm import SAMM
from megc.datasets.spreadsheets import Row, SheetForm, cell_excerpt, subject_number, text_of
from megc.problems import Problems


def _names_of(row: Row) -> EventNames:
    """Event `006_1_2` is of the video `006_1`."""
    name = text_of(row.cells["filename"])
    match = re.fullmatch(r"(\d{1,3})_(\d+)_\d+", name)
    if not match:
        raise ValueError(f"{cell_excerpt(row.cells['filename'])} names no event, such as 006_1_2")
    subject = subject_number(row.cells["subject"])
    if int(match[1]) != subject:
        raise ValueError(f"event {name} is of subject {int(match[1])}, not {subject}")
    return EventNames(f"{subject:03d}", f"{subject:03d}_{match[2]}", name)


def _read_labels(path: Path | str, problems: Problems) -> dict[str, EventLabels]:
    """Emotions of SAMM's micro-expressions by their names."""
    return {clip.filename: EventLabels(clip.fine or "others") for clip in read_annotations(SAMM, path, problems)}


def _label_key(row: Row) -> str:
    """The name of a micro-expression; other events have no label, whatever their name."""
    is_micro = text_of(row.cells["type"]).casefold().startswith("micro")
    return text_of(row.cells["filename"]) if is_micro else ""


SAMM_LV = LongDataset(
    name="samm_lv",
    title="SAMM Long Videos",
    fps=200.0,
    forms=(
        SheetForm(
            columns=("subject", "filename", "onset", "apex", "offset", "units", "type"),
            optional=("notes",),
            headers={"notes": ("notes",)},
        ),
    ),
    names_of=_names_of,
    layouts=("", "SAMM_longvideos", "SAMM_longvideos/SAMM_longvideos"),
    video_folders=("{video}", "{subject}/{video}"),
    fractions=True,
    read_labels=_read_labels,
    label_key=_label_key,
    signs=Signs(sheets=r"SAMM_?Long.*", folders=r"\d{3}_\d+", frames=r"\d{3}_\d+_\d{4,}\.\w+"),
)
