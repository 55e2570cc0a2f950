"""CAS(ME)³ part A (Li et al., IEEE TPAMI 2023): 860 micro-expressions of 94 subjects at 30 frames a second.

Sheets: `cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx` (micro-expressions with emotions; version 1 as .xls has 61 more,
which its owners withdrew) and `CAS(ME)3_part_A_v2.xls` (4206 rows: macro-expressions too, but no emotions; a sheet of
blinks is not read). A file (`a` … `m`) is a video with several expressions, so a clip is named by file and onset, as
in the owners' release of clips. Frames: `Part_A_ME_clip/frame/spNo.1_a_355/`, clips cut by meb
(`ME_A/spNO.1/a/color/`, further ones `a2`, `a3`), or the whole videos (`part_A/spNO.1/a/color/355.jpg`), of which the
clips are intervals.
"""

from megc.datasets.dataset import ClipNames, Dataset, Signs
from megc.datasets.spreadsheets import CLIP_COLUMNS, SheetForm

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
