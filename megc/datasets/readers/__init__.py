"""One file a dataset, and the table of them all.

To add a dataset that has a spreadsheet, say `mmew`:

1. Write `mmew.py` beside this file, like `casme2.py`: a `Dataset` record (megc/datasets/dataset.py says what each
   field means) and the rule of what ME-VQA leaves out, if there is one beyond the emotions.
   - Its sheets are `forms`: a `SheetForm` each, with the columns that must be there. Sheets without emotions, apexes,
     action units or file names leave these columns out; other headers go into `headers`, a column of the dataset's
     own into `columns` and `headers` (a rule finds its cell in `Annotation.row.cells`); `without_header` reads by
     position, `sheet` names one of a workbook's.
   - Other words for emotions are `emotions`; where they are coarse classes, `coarse_only`. Words for micro and macro
     are `kinds`. A clip's name that is not its file name is `clip_name`.
   - Names that only its files have are `signs`: `--dataset auto` knows them by these.
   - Folders are `layouts` (places below `--frames`) and `clip_folders` (templates below these).
2. Known slips of the sheet go into `mmew.csv` beside it: see `Repair` in megc/datasets/repairs.py.
3. Add the record to ANNOTATED below, and delete it from WITHOUT_READER in megc/datasets/annotated.py.
   `--dataset mmew` of data_process/index_clips.py is then there.
4. Test it in tests/datasets, on rows that `tests/helpers/sheets.py` writes as the owners lay them out.

`read_annotations` (megc/datasets/annotated.py) gives all expressions of a sheet, macro-expressions too, for the events
of long videos; `read_annotated` makes clips of the micro-expressions.

A dataset without a sheet, whose labels stand in its folder names, has a `read` function instead (see `smic.py`)
and stands in READERS by itself. Its sentences in dataset/README.md tell users where to put it. Only a dataset whose
ME-VQA rows use fewer than the eight emotions needs a line elsewhere: `FINE_OF_DATASET` in megc/facs.py.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from megc.clips import Clip
from megc.datasets.annotated import read_annotated
from megc.datasets.dataset import Dataset, Signs
from megc.datasets.readers import smic, unlabelled
from megc.datasets.readers.casme2 import CASME2
from megc.datasets.readers.samm import SAMM

# (annotations or None, folder of frames or None, folder of the clips.jsonl to be, problems, name of a set of repairs
# or `none` or empty) → clips
Reader = Callable[..., list[Clip]]

ANNOTATED: tuple[Dataset, ...] = (CASME2, SAMM)
READERS: dict[str, Reader] = {dataset.name: partial(read_annotated, dataset) for dataset in ANNOTATED}
READERS["smic"] = smic.read
READERS["unlabelled"] = unlabelled.read

# What --dataset auto knows files by; each reader has its own.
SIGNS: dict[str, Signs] = {
    dataset.name: replace(dataset.signs, title=dataset.clip_names.title, example=dataset.clip_names.example)
    for dataset in ANNOTATED
}
SIGNS |= {"smic": smic.SIGNS, "unlabelled": unlabelled.SIGNS}
