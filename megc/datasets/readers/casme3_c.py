"""CAS(ME)³ part C, a mock crime (Li et al., IEEE TPAMI 2023): 165 clips of 30 subjects at 30 frames a second.

Sheets: `CAS(ME)3_part_C_ME.xlsx` (micro-expressions with coarse emotions and action units, no apex) and
`CAS(ME)3_part_C.xls` (463 rows: macro-expressions too, without labels). The two do not agree on the micro-expressions
(165 and 160), which its users have asked its owners about. A subject has a single video, so a clip is named by onset
and offset (two start at the same frame). Frames: `part_C/01/a/color/`, of which the clips are intervals.
"""

from pathlib import Path

from megc.datasets.annotated import read_annotations
from megc.datasets.dataset import ClipNames, Dataset, Signs
from megc.datasets.long_videos import EventLabels, EventNames, LongDataset
from megc.datasets.spreadsheets import Row, SheetForm, frame_of, subject_number, text_of
from megc.problems import Problems

CASME3_C = Dataset(
    name="casme3_c",
    clip_names=ClipNames("CAS(ME)³ part C", r"a", "a"),
    fps=30.0,
    subject="{:02d}",
    clip_name="a_{onset}_{offset}",
    layouts=("", "part_C", "part_C/part_C"),
    clip_folders=("{subject}/a/color", "{subject}/color", "{subject}/a"),
    forms=(
        SheetForm(("subject", "count", "onset", "offset", "units", "emotion"), headers={"count": ("count",)}),
        SheetForm(("subject", "onset", "offset", "type")),
    ),
    kinds={"1": "micro", "0": "macro"},
    coarse_only=True,
    signs=Signs(sheets=r"cas\(me\)3_part_C.*", folders=r"\d{2}/a(/color)?", frames=r"\d+\.\w+"),
)


def _names_of(row: Row) -> EventNames:
    """Row `4, 520, 525` is an event of the video `04/a`."""
    subject = CASME3_C.subject.format(subject_number(row.cells["subject"]))
    return EventNames(subject, "a", f"a_{text_of(row.cells['onset'])}_{text_of(row.cells['offset'])}")


def _event_key(row: Row) -> tuple[int, int | None, int | None]:
    return subject_number(row.cells["subject"]), frame_of(row.cells["onset"]), frame_of(row.cells["offset"])


def _read_labels(path: Path | str, problems: Problems) -> dict[tuple[int, int, int], EventLabels]:
    """Emotions and action units of the sheet of micro-expressions."""
    return {
        (clip.number, clip.interval.onset, clip.interval.offset): EventLabels(
            clip.fine or clip.coarse, clip.row.cells["units"]
        )
        for clip in read_annotations(CASME3_C, path, problems)
    }


CASME3_C_VIDEOS = LongDataset(
    name=CASME3_C.name,
    title=CASME3_C.clip_names.title,
    fps=CASME3_C.fps,
    forms=(CASME3_C.forms[1],),
    names_of=_names_of,
    layouts=CASME3_C.layouts,
    video_folders=("{subject}/{video}/color", "{subject}/color", "{subject}/{video}"),
    types={"1": "micro", "0": "macro"},
    read_labels=_read_labels,
    label_key=_event_key,
)
