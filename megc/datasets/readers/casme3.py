"""CAS(ME)³ part A (Li et al., IEEE TPAMI 2023): 860 micro-expressions of 94 subjects at 30 frames a second.

Sheets: `cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx` (micro-expressions with emotions; version 1 as .xls has 61 more,
which its owners withdrew) and `CAS(ME)3_part_A_v2.xls` (4206 rows: macro-expressions too, but no emotions; a sheet of
blinks is not read). A file (`a` … `m`) is a video with several expressions, so a clip is named by file and onset, as
in the owners' release of clips. Frames: `Part_A_ME_clip/frame/spNo.1_a_355/`, clips cut by meb
(`ME_A/spNO.1/a/color/`, further ones `a2`, `a3`), or the whole videos (`part_A/spNO.1/a/color/355.jpg`), of which the
clips are intervals.
"""

from pathlib import Path

from megc.datasets.annotated import read_annotations
from megc.datasets.dataset import ClipNames, Dataset, Signs
from megc.datasets.long_videos import EventLabels, EventNames, LongDataset
from megc.datasets.spreadsheets import (
    CLIP_COLUMNS,
    Row,
    SheetForm,
    cell_excerpt,
    frame_of,
    subject_number,
    text_of,
)
from megc.problems import Problems

_WITHOUT_EMOTION = tuple(column for column in CLIP_COLUMNS if column != "emotion")

CASME3 = Dataset(
    name="casme3",
    clip_names=ClipNames("CAS(ME)³", r"[a-z]", "a"),
    fps=30.0,
    subject="spNO.{}",
    clip_name="{filename}_{onset}",
    layouts=("", "Part_A_ME_clip/frame", "frame", "ME_A", "part_A", "part_A/part_A"),
    clip_folders=(
        "{subject}_{filename}_{onset}/color",
        "{subject}_{filename}_{onset}",
        "{subject}/{filename}{nth}/color",
        "{subject}/{filename}/color",
    ),
    forms=(
        SheetForm((*CLIP_COLUMNS, "type")),
        SheetForm(),
        SheetForm((*_WITHOUT_EMOTION, "type"), sheet="AU+Emotion"),
    ),
    signs=Signs(sheets=r"cas\(me\)3_part_A.*", frames=r"\d+\.\w+"),
)


def _names_of(row: Row) -> EventNames:
    """Row `spNO.1, a, 355` is an event of the video `spNO.1/a`; files are also written with a capital."""
    subject, name = subject_number(row.cells["subject"]), text_of(row.cells["filename"]).lower()
    if not CASME3.clip_names.match(name):
        raise ValueError(f"{cell_excerpt(row.cells['filename'])} names no video, such as a")
    return EventNames(CASME3.subject.format(subject), name, f"{name}_{text_of(row.cells['onset'])}")


def _event_key(row: Row) -> tuple[int, str, int | None]:
    """Subject, video and onset, as the sheet of emotions has them after its repairs."""
    return subject_number(row.cells["subject"]), text_of(row.cells["filename"]).lower(), frame_of(row.cells["onset"])


def _read_labels(path: Path | str, problems: Problems) -> dict[tuple[int, str, int], EventLabels]:
    return {
        (clip.number, clip.filename.lower(), clip.interval.onset): EventLabels(clip.fine or clip.coarse)
        for clip in read_annotations(CASME3, path, problems)
    }


CASME3_VIDEOS = LongDataset(
    name=CASME3.name,
    title=CASME3.clip_names.title,
    fps=CASME3.fps,
    forms=(SheetForm((*_WITHOUT_EMOTION, "type"), optional=("emotion",), sheet="AU+Emotion"),),
    names_of=_names_of,
    layouts=("", "part_A", "part_A/part_A"),
    video_folders=("{subject}/{video}/color",),
    read_labels=_read_labels,
    label_key=_event_key,
)
