"""Which dataset files are of: by their sheet, by the names of their folders and frames, as the datasets' records say.

Nothing about a dataset stands here. A sheet speaks for a dataset when it has the columns of one of its forms and clip
names like its own; folders do when they are named as its record names those of clips.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from megc.clips import IMAGE_SUFFIXES
from megc.datasets.dataset import Dataset
from megc.datasets.long_videos import LongDataset
from megc.datasets.readers import ANNOTATED, EVENT_TABLE, LONG, SIGNS
from megc.datasets.spreadsheets import Row, SheetForm, read_sheet, subject_number, text_of
from megc.datasets.workbooks import SUFFIXES, SheetCells, read_workbook
from megc.problems import DataError, Problems

AUTO = "auto"  # the value of --dataset
_MOST_FOLDERS = 300  # folders with images that are looked at
_ABOVE = 4  # folders above a clip's in which its subject is looked for, as `s1/micro/negative/s1_ne_01`
_SHEET, _FOLDERS, _NAME = 4, 2, 1  # points: a sheet that fits, folders that fit, names of files and folders


@dataclass
class Candidate:
    """A dataset that files may be of, and what speaks for it."""

    dataset: str
    title: str
    points: int = 0
    evidence: list[str] = field(default_factory=list)
    sheet: Path | None = None

    def add(self, points: int, evidence: str) -> None:
        """Count a piece of evidence."""
        self.points += points
        self.evidence.append(evidence)

    def __str__(self) -> str:
        return f"{self.dataset} ({self.title}: {'; '.join(self.evidence)})"


def recognise(annotations: Path | None, frames: Path | None) -> Candidate:
    """The dataset that a sheet and a folder of frames are of (one of them may be None), with what speaks for it.

    Without `annotations`, a sheet in the folder `frames`, or else in the one above it, counts if it is recognised
    (`Candidate.sheet`). Raises DataError, which names the candidates and what speaks for each, when none or several
    fit, and for a sheet that cannot be read.
    """
    given = annotations or frames
    if given is None:
        raise DataError(f"--dataset {AUTO}", None, "neither a sheet nor frames", "give --annotations or --frames")
    if frames is not None and not frames.is_dir():
        raise DataError(frames, None, "the folder does not exist", "check --frames, or leave it out")
    sheets = {annotations: read_workbook(annotations)} if annotations else _sheets_beside(frames)
    images = list(_images(frames)) if frames else []
    candidates, without_sheet, weak = [], [], []
    for name in SIGNS:
        candidate = Candidate(name, _title(name))
        fits = _weigh_sheets(candidate, sheets)
        _weigh_folders(candidate, images)
        if candidate.points >= _FOLDERS:
            # a sheet of other columns or names could not be read
            (candidates if fits or not annotations else without_sheet).append(candidate)
        elif candidate.evidence:
            weak.append(candidate)
    if not candidates and without_sheet:
        what = f"looks like {' or '.join(map(str, without_sheet))}, but the sheet has other columns or file names"
        raise DataError(given, None, what, "give the sheet as its owners release it")
    if not candidates:
        what = "is of no dataset that is known by its columns, folders and names"
        if weak:
            what += f"; too little speaks for {' and '.join(map(str, weak))}"
        names = ", ".join(f"{name} ({_title(name)})" for name in SIGNS)
        raise DataError(given, None, what, f"name the dataset, --dataset NAME: {names}")
    return _choose(given, annotations, candidates)


def _choose(given: Path, annotations: Path | None, candidates: Sequence[Candidate]) -> Candidate:
    """The candidate for which most speaks. Raises DataError where two are equal, and for frames without their
    sheet."""
    most = max(candidate.points for candidate in candidates)
    best, *equal = [candidate for candidate in candidates if candidate.points == most]
    if equal:
        what = f"may be of {1 + len(equal)} datasets: {' or '.join(map(str, (best, *equal)))}"
        choices = " or ".join(f"--dataset {candidate.dataset}" for candidate in (best, *equal))
        raise DataError(given, None, what, f"say which: {choices}")
    if not annotations and best.sheet is None and not SIGNS[best.dataset].without_sheet:
        what = f"looks like frames of {best}, but no sheet of it lies beside them"
        raise DataError(given, None, what, "give its sheet as --annotations")
    return best


def _records(name: str) -> list[Dataset | LongDataset]:
    """The records of a dataset: of its clips, of its long videos, or both."""
    return [record for record in (*ANNOTATED, *LONG, EVENT_TABLE) if record.name == name]


def _title(name: str) -> str:
    return next((record.title for record in _records(name)), SIGNS[name].title)


# ---- sheets


def _sheets_beside(frames: Path | None) -> dict[Path, dict[str, SheetCells]]:
    """The sheets in the folder of the frames, or else in the one above it, that can be read."""
    for folder in (frames, frames.absolute().parent) if frames else ():
        sheets = {}
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                with Problems().collect():  # one that is damaged speaks for nothing
                    sheets[path] = read_workbook(path)
        if sheets:
            return sheets
    return {}


def _weigh_sheets(candidate: Candidate, sheets: dict[Path, dict[str, SheetCells]]) -> bool:
    """Count the sheet that fits a dataset best, if any does; returns whether one does."""
    pattern = SIGNS[candidate.dataset].sheets
    fits = []
    for path, sheet in sheets.items():
        for record in _records(candidate.dataset):
            if evidence := _sheet_evidence(record, path, sheet):
                fits.append((_is_like(pattern, path.name), *evidence, path))
    if not fits:
        if names := [path.name for path in sheets if _is_like(pattern, path.name)]:
            candidate.add(_NAME, f"the sheet is named {names[0]}")
        return False
    is_named, _, words, candidate.sheet = max(fits, key=lambda fit: fit[:2])
    candidate.add(_SHEET, words)
    if is_named:
        candidate.add(_NAME, f"the sheet is named {candidate.sheet.name}")
    return True


def _sheet_evidence(record: Dataset | LongDataset, path: Path, sheet: dict[str, SheetCells]) -> tuple[int, str] | None:
    """How many rows of a sheet are like a record's, and words on it; None for a sheet of another dataset."""
    for form in record.forms:
        rows = _rows_of(path, sheet, form)
        named = [row for row in rows if text_of(row.cells.get("filename"))]
        like = [row for row in named if record.names_row(row)]
        if rows and not (named and (isinstance(record, LongDataset) or record.clip_names.pattern)):
            return 0, f"the sheet has the columns {', '.join(form.columns)}"
        if like and 2 * len(like) >= len(named):
            return len(like), f"{len(like)} of {len(named)} file names are like {text_of(like[0].cells['filename'])}"
    return None


def _rows_of(path: Path, sheet: dict[str, SheetCells], form: SheetForm) -> list[Row]:
    try:
        return read_sheet(path, Problems(), (form,), sheet)
    except DataError:  # it has not the columns of this form
        return []


# ---- folders


def _images(frames: Path) -> Iterator[str]:
    """An image of each of the first folders below `frames` that hold any: its whole path, with `/`."""
    count = 0
    for folder, subfolders, files in os.walk(frames, followlinks=True):
        subfolders.sort()
        image = min((name for name in files if name.lower().endswith(IMAGE_SUFFIXES)), default=None)
        if image is not None:
            yield (Path(folder).absolute() / image).as_posix()
            count += 1
        if count >= _MOST_FOLDERS:
            return


def _weigh_folders(candidate: Candidate, images: Sequence[str]) -> None:
    """Count folders of frames that are named as a dataset's, and their place."""
    signs, records = SIGNS[candidate.dataset], _records(candidate.dataset)
    patterns = [signs.folders] if signs.folders else []
    for record in () if patterns else records:
        patterns += folder_patterns(record) if isinstance(record, Dataset) else []
    for pattern in patterns:
        matches = [re.search(rf"(?:^|/)({pattern})/([^/]+)$", image, re.IGNORECASE) for image in images]
        fitting = [match for match in matches if match]
        if not fitting:
            continue
        are_most = 2 * len(fitting) >= len(images)
        words = f"{len(fitting)} of {len(images)} folders with images are like {fitting[0][1]}"
        candidate.add(_FOLDERS if are_most else 0, words)
        if not are_most:
            continue
        names = [match[0].rpartition("/")[2] for match in fitting]
        if 2 * sum(_is_like(signs.frames, name) for name in names) >= len(names):
            candidate.add(_NAME, f"frames are named like {names[0]}")
        layouts = [layout for record in records for layout in record.layouts if layout]
        if layout := next((each for each in layouts if f"/{each}/".casefold() in images[0].casefold()), None):
            candidate.add(_NAME, f"they lie in {layout}")
        return


def _is_like(pattern: str, name: str) -> bool:
    return bool(pattern and re.fullmatch(pattern, name, re.IGNORECASE))


def folder_patterns(record: Dataset) -> list[str]:
    """Regular expressions of a clip's folder, from the templates of a dataset's record that name its clips or subjects
    by what is known of them."""
    parts = {"onset": r"\d+", "nth": r"\d*", "emotion": "[^/]+"}
    parts["subject"] = re.sub(r"\\\{.*?\\\}", r"\\d+", re.escape(record.subject))
    if record.clip_names.pattern:
        # group names may stand once in an expression
        parts["filename"] = f"(?:{re.sub(r'[(][?]P<[^>]+>', '(?:', record.clip_names.pattern)})"
        parts["name"] = re.sub(r"\{(\w+)\}", lambda field: parts.get(field[1], "[^/]+"), record.clip_name)
    patterns = []
    for template in record.clip_folders:
        pieces = re.split(r"(\{\w+\}|[*?])", template)
        fields = {piece.strip("{}") for piece in pieces if piece.startswith("{")}
        if not fields <= parts.keys() or not fields & {"subject", "name", "filename"}:
            continue  # nothing in it tells it from any other folder
        texts = {"*": "[^/]*", "?": "[^/]", **{f"{{{name}}}": text for name, text in parts.items()}}
        patterns.append("".join(texts.get(piece, re.escape(piece)) for piece in pieces))
    return patterns


def origin_of_picture(path: str) -> dict[str, str] | None:
    """Clip id, dataset and subject of a frame by its folders, as `…/sub01/EP02_01f/reg_img46.jpg`; None where no
    dataset has such folders."""
    folders = PurePosixPath(path.replace("\\", "/")).parts[:-1]
    # from the file upwards: folders above a dataset may have any name
    for index in range(len(folders) - 1, 0, -1):
        clip = folders[index]
        for dataset in ANNOTATED:
            match = dataset.clip_names.match(clip)
            # names of one letter, as in CAS(ME)³, need their subject beside them
            above = folders[max(0, index - (_ABOVE if len(clip) > 1 else 1)) : index] if match else ()
            for folder in reversed(above):
                if number := _subject_of(folder, dataset.subject):
                    subject = dataset.subject.format(number)
                    return {"clip": f"{dataset.name}/{subject}/{clip}", "dataset": dataset.name, "subject": subject}
    return None


def _subject_of(folder: str, pattern: str) -> int | None:
    """The number of a subject whose folder is named as a dataset names it (`sub{:02d}`), but for zeros in front."""
    try:
        number = subject_number(folder)
    except ValueError:
        return None
    spellings = (pattern.format(number), re.sub(r"\{.*?\}", str(number), pattern))
    return number if folder.casefold() in map(str.casefold, spellings) else None
