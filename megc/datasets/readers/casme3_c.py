"""CAS(ME)³ part C, a mock crime (Li et al., IEEE TPAMI 2023): 165 clips of 30 subjects at 30 frames a second.

Sheets: `CAS(ME)3_part_C_ME.xlsx` (micro-expressions with coarse emotions and action units, no apex) and
`CAS(ME)3_part_C.xls` (463 rows: macro-expressions too, without labels). The two do not agree on the micro-expressions
(165 and 160), which its users have asked its owners about. A subject has a single video, so a clip is named by onset
and offset (two start at the same frame). Frames: `part_C/01/a/color/`, of which the clips are intervals.
"""

from megc.datasets.dataset import ClipNames, Dataset, Signs
from megc.datasets.spreadsheets import SheetForm

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
