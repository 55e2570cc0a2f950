"""4DME (Li et al., IEEE Trans. Affective Computing 2023): 267 micro-expressions at 60 frames a second, in four
dimensions, of which the grey videos are read.

Its sheet is `4DME_Labelling_Micro_release v1.xlsx`; that of the extras and the columns of single action units (0 or 1)
are not needed. Emotions are coarse classes and repression, also two together; a unit marked `(k)` does not move. Two
rows have each other's action units. Frames: `gray_micro/<subject>/<clip>/`, faces in `gray_micro_crop`. Columns,
folders and slips are as a public loader describes them (github.com/tvaranka/meb); no file of the release was at hand.
"""

from megc.datasets.dataset import Annotation, ClipNames, Dataset, Signs
from megc.datasets.spreadsheets import CLIP_COLUMNS, SheetForm, text_of

_FOLDERS = ("gray_micro_crop", "gray_micro", "4DME/gray_micro_crop", "4DME/gray_micro")


def _folder_fields(clip: Annotation) -> dict[str, str]:
    return {"sub_id": text_of(clip.row.cells["subject"])}  # as the sheet writes it, which is the folder's name


FOUR_DME = Dataset(
    name="4dme",
    clip_names=ClipNames("4DME", "", "S13_1st_001_01_1"),  # the one that is known, of an older release
    fps=60.0,
    subject="S{:02d}",
    layouts=(*_FOLDERS, ""),
    clip_folders=("{sub_id}/{filename}", "{subject}/{filename}", "{filename}"),
    # the blinks must be there: the names of clips would let any other sheet through
    forms=(
        SheetForm(
            columns=(*CLIP_COLUMNS, "blink"),
            headers={"subject": ("sub_ID",), "filename": ("fold_name",), "blink": ("eye blink",)},
        ),
    ),
    released_rows=267,
    coarse_only=True,
    folder_fields=_folder_fields,
    signs=Signs(sheets=r"4DME.*", folders=r"gray_micro\w*/[^/]+/[^/]+"),
)
