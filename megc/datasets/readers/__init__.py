"""One file a dataset, and the table of them all.

To add a dataset that has a spreadsheet, say `mmew`:

1. Write `mmew.py` beside this file, like `samm.py`: a `Dataset` record (names, frame rate, layouts of its folders,
   spellings of its column headers, known slips of its sheet) and the rule of what ME-VQA leaves out.
2. Add the record to ANNOTATED below. `--dataset mmew` of data_process/index_clips.py is then there.
3. Test it in tests/datasets/test_readers.py, on rows that `tests/helpers/sheets.py` writes as the owners lay them out.

A dataset without a sheet, whose labels stand in its folder names, has a `read` function instead (see `smic.py`)
and stands in READERS by itself. Its sentences in dataset/README.md tell users where to put it. Only a dataset whose
ME-VQA rows use fewer than the eight emotions needs a line elsewhere: `FINE_OF_DATASET` in megc/facs.py.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from megc.clips import Clip
from megc.datasets.annotated import Dataset, read_annotated
from megc.datasets.readers import smic, unlabelled
from megc.datasets.readers.casme2 import CASME2
from megc.datasets.readers.samm import SAMM
from megc.problems import Problems

# (annotations or None, folder of frames or None, folder of the clips.jsonl to be, problems) → clips
Reader = Callable[[Path | str | None, Path | str | None, Path | str, Problems], list[Clip]]

ANNOTATED: tuple[Dataset, ...] = (CASME2, SAMM)
READERS: dict[str, Reader] = {dataset.name: partial(read_annotated, dataset) for dataset in ANNOTATED}
READERS["smic"] = smic.read
READERS["unlabelled"] = unlabelled.read
