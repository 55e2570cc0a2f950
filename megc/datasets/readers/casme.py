"""CASME (Yan et al., FG 2013), the first of its name: 189 clips at 60 frames a second.

Its sheet has two apexes, of which the first is read, and an emotion that no other dataset has, tense. Frames:
`CASME_raw_selected/sub01/EP01_2/EP01_2-1.jpg` (from the second half on `-001`), faces in `Cropped` (`reg_EP01_2-…`).
Five rows do not go with the frames: casme.csv has the numbers of a public loader. Columns, folders and slips are as
this loader describes them (github.com/tvaranka/meb); no file of the release was at hand.
"""

from megc.datasets.dataset import Annotation, ClipNames, Dataset, Signs
from megc.datasets.spreadsheets import CLIP_COLUMNS, SheetForm, is_empty, text_of

_FOLDERS = ("Cropped", "CASME_Cropped", "CASME_raw_selected")


def _notes(clip: Annotation) -> tuple[str, ...]:
    second = clip.row.cells["apex2"]
    return () if is_empty(second) else (f"second apex {text_of(second)}: the first is read",)


CASME = Dataset(
    name="casme",
    clip_names=ClipNames("CASME", r"EP\d+_\w+", "EP01_2"),
    fps=60.0,
    subject="sub{:02d}",
    layouts=("", *(layout for folder in _FOLDERS for layout in (folder, f"{folder}/{folder}"))),
    # the second apex must be there: CASME II, with clips of the same names, has one
    forms=(
        SheetForm(
            columns=(*CLIP_COLUMNS, "apex2"),
            headers={"onset": ("OnsetF",), "apex": ("ApexF1",), "apex2": ("ApexF2",), "offset": ("OffsetF",)},
        ),
    ),
    released_rows=189,
    emotions={"tense": "others"},
    notes=_notes,
    signs=Signs(sheets=r"casme[^2]*\.\w+", frames=r"(reg_)?EP\w+-\d+\.\w+"),
)
