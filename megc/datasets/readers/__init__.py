"""One file a dataset, and the table of them all.

To add a dataset that has a spreadsheet, say `studio`:

1. Write `studio.py` beside this file, like `casme2.py`: a `Dataset` record (megc/datasets/dataset.py says what each
   field means) and the rule of what ME-VQA leaves out, if there is one beyond the emotions.
   - Its sheets are `forms`: a `SheetForm` each, with the columns that must be there. Sheets without emotions, apexes,
     action units or file names leave these columns out; other headers go into `headers`, a column of the dataset's
     own into `columns` and `headers` (a rule finds its cell in `Annotation.row.cells`); `without_header` reads by
     position, `sheet` names one of a workbook's.
   - Other words for emotions are `emotions`; where they are coarse classes, `coarse_only`. Words for micro and macro
     are `kinds`. A clip's name that is not its file name is `clip_name`.
   - Names that only its files have are `signs`: `--dataset auto` knows them by these.
   - Folders are `layouts` (places below `--frames`) and `clip_folders` (templates below these).
2. Known slips of the sheet go into `studio.csv` beside it: see `Repair` in megc/datasets/repairs.py.
3. Add the record to ANNOTATED below. `--dataset studio` of data_process/index_clips.py is then there.
4. Write its layout into megc/synthesis/layouts.yaml, its irregular cells into `irregular_rows.csv` beside that, and
   its name into `LayoutName` in megc/synthesis/settings.py: tests/datasets/test_layouts.py then reads it back, and the
   fuzz damages it. What is left goes into a test of its own.

`read_annotations` (megc/datasets/annotated.py) gives all expressions of a sheet, macro-expressions too, for the events
of long videos; `read_annotated` makes clips of the micro-expressions.

Long videos with events are a `LongDataset` in LONG (see `samm_lv.py` and megc/datasets/long_videos.py).

A dataset whose labels stand in its folder names has a `read` function instead (see `smic.py`), which READERS names by
itself. Its sentences in dataset/README.md tell users where to put it. Only a dataset whose ME-VQA rows use fewer than
the eight emotions needs a line elsewhere: `FINE_OF_DATASET` in megc/facs.py.
"""

from collections.abc import Callable
from functools import partial

from megc.clips import Clip, Video
from megc.datasets.annotated import read_annotated
from megc.datasets.dataset import Dataset, Signs
from megc.datasets.long_videos import LongDataset, read_long
from megc.datasets.readers import smic, smic_long, unlabelled
from megc.datasets.readers.casme import CASME
from megc.datasets.readers.casme2 import CASME2
from megc.datasets.readers.casme3 import CASME3, CASME3_VIDEOS
from megc.datasets.readers.casme3_c import CASME3_C, CASME3_C_VIDEOS
from megc.datasets.readers.casme_sq import CASME_SQ, CASME_SQ_VIDEOS
from megc.datasets.readers.event_tables import EVENT_TABLE, read_event_tables
from megc.datasets.readers.four_dme import FOUR_DME
from megc.datasets.readers.mmew import MMEW
from megc.datasets.readers.samm import SAMM
from megc.datasets.readers.samm_lv import SAMM_LV
from megc.datasets.readers.smic import SMIC
from megc.datasets.readers.smic_long import SMIC_LONG

# (annotations or None, folder of frames or None, folder of the clips.jsonl to be, problems, name of a set of repairs
# or `none` or empty) → clips
Reader = Callable[..., list[Clip]]

ANNOTATED: tuple[Dataset, ...] = (CASME2, SAMM, CASME3, CASME3_C, SMIC, CASME, CASME_SQ, MMEW, FOUR_DME)
READERS: dict[str, Reader] = {dataset.name: partial(read_annotated, dataset) for dataset in ANNOTATED}
READERS[SMIC.name] = smic.read  # most copies have no sheet
READERS["unlabelled"] = unlabelled.read

# with one argument more: a sheet of emotions, or None. A dataset may have a reader of clips and one of long videos.
LongReader = Callable[..., list[Video]]
LONG: tuple[LongDataset, ...] = (SAMM_LV, CASME_SQ_VIDEOS, CASME3_VIDEOS, CASME3_C_VIDEOS, SMIC_LONG)
LONG_READERS: dict[str, LongReader] = {dataset.name: partial(read_long, dataset) for dataset in LONG}
LONG_READERS[SMIC_LONG.name] = smic_long.read  # of three cameras
LONG_READERS[EVENT_TABLE.name] = read_event_tables

# What --dataset auto knows files by; each record has its own.
SIGNS: dict[str, Signs] = {"unlabelled": unlabelled.SIGNS, EVENT_TABLE.name: EVENT_TABLE.signs}
SIGNS |= {dataset.name: dataset.signs for dataset in LONG}
SIGNS |= {dataset.name: dataset.signs for dataset in ANNOTATED}
