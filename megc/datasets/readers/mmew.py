"""MMEW (Ben et al., IEEE TPAMI 2022): 300 micro-expressions of 36 subjects at 90 frames a second.

Its sheet is `MMEW_Micro_Exp.xlsx`. Frames are sorted by emotion, not by subject, and count from 1 in each clip:
`MMEW_Final/Micro_Expression/anger/S13-07-001/1.jpg`. Sixteen rows have a wrong apex and offset: mmew.csv has the
numbers of a public loader. Columns, folders and slips are as this loader describes them (github.com/tvaranka/meb); no
file of the release was at hand.
"""

from megc.datasets.dataset import ClipNames, Dataset, Signs

_FOLDERS = ("Micro_Expression", "MMEW/Micro_Expression", "MMEW_Final/Micro_Expression")

MMEW = Dataset(
    name="mmew",
    clip_names=ClipNames("MMEW", r"S(?P<subject>\d+)-\d+-\d+", "S13-07-001"),
    fps=90.0,
    subject="S{:02d}",
    layouts=(*_FOLDERS, ""),
    released_rows=300,
    clip_folders=("{emotion}/{filename}", "{subject}/{emotion}/{filename}", "{subject}/{filename}"),
    signs=Signs(sheets=r"MMEW.*", frames=r"\d+\.\w+"),
)
